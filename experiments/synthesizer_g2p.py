r"""How well does a network spell out words if its tokens may not look at one another?

The task: the letters of an English word go in, its phonemes with their stress come out. An encoder and a decoder of one
layer each (layer norm before every part, cross-attention, feed-forward) learn it from the CMU dictionary. Only the
self-attention of both is swapped; cross-attention stays, so letters and phonemes meet in any case. ``none`` is the
control in which each token keeps to itself and only cross-attention is left.

Positions are added to all inputs, since without them standard attention sees a bag of letters and would lose for that
reason alone. The runs with ``positions=False`` show it: there only scores that are tied to places know the order.

Held-out words, the same for all seeds, share neither their spelling nor any pronunciation with a training word. Of a
word with several pronunciations the usual one is taught, and each counts as right. The published GRU of g2p-en says the
same words; it has seen most of them in its own training, so its score is no competitor but a landmark.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minilib.attention import causal_mask
from minilib.attention_torch import MultiHeadAttention
from minilib.recurrence_corpora import pronunciations, score, spelling_gru
from minilib.synthesizer import explained_share, static_map
from minilib.synthesizer_torch import (
    DenseScores,
    DenseSynthesizer,
    DotScores,
    FactorizedDenseSynthesizer,
    FactorizedRandomSynthesizer,
    Mixture,
    RandomScores,
    RandomSynthesizer,
)
from minilib.training import Config as Training
from minilib.training import Cosine, generator, train

LONGEST = 12
"""Letters of a word, and phonemes with the mark before them: 97 % of the dictionary's words are no longer."""

SHOWN = "nightmare"
"""A word that is never trained on; its attention maps are stored."""

GRU = "published GRU"
PAD, START, END = 0, 1, 2


@dataclass(frozen=True)
class Config:
    """One run: what mixes the tokens, and how the network is trained (Adam, warm-up, cosine, clipped at norm 1)."""

    mixer: str
    seed: int
    positions: bool = True
    d: int = 64
    heads: int = 4
    batch: int = 128
    steps: int = 500
    rate: float = 6e-3
    held_out: int = 2000


class Alone(nn.Module):
    r"""$W_o W_v x$: the values and the output of attention without any mixing, as if each token saw itself alone."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.W_v, self.W_o = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return self.W_o(self.W_v(x))

    def weights(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        itself = torch.eye(x.shape[-2], dtype=x.dtype)
        return itself.expand(*x.shape[:-2], self.heads, -1, -1)


MIXERS: dict[str, Callable[[int, int], nn.Module]] = {
    "standard": MultiHeadAttention,
    "dense": lambda d, h: DenseSynthesizer(d, h, LONGEST),
    "random": lambda d, h: RandomSynthesizer(d, h, LONGEST),
    "fixed random": lambda d, h: RandomSynthesizer(d, h, LONGEST, trained=False),
    "factorized random": lambda d, h: FactorizedRandomSynthesizer(d, h, LONGEST, rank=4),
    "factorized dense": lambda d, h: FactorizedDenseSynthesizer(d, h, LONGEST, 3, 4, "interleave"),
    "random + standard": lambda d, h: Mixture([RandomScores(d, h, LONGEST), DotScores(d, h)]),
    "dense + standard": lambda d, h: Mixture([DenseScores(d, h, LONGEST), DotScores(d, h)]),
    "none": Alone,
}
"""Self-attention as a function of width and heads."""


def grid(quick: bool) -> list[Config]:
    """All mixers, three of them without positions too, three seeds; the published GRU. Or, quick, each once, tiny."""
    if quick:
        tiny = {"d": 8, "heads": 2, "batch": 4, "steps": 3, "held_out": 5}
        return [*(Config(mixer, seed=0, **tiny) for mixer in MIXERS), Config(GRU, seed=0, steps=0, held_out=5)]
    blind = product(range(3), ("standard", "dense", "random"))
    return [
        *(Config(mixer, seed) for seed, mixer in product(range(3), MIXERS)),
        *(Config(mixer, seed, positions=False) for seed, mixer in blind),
        Config(GRU, seed=0, steps=0),
    ]


# ---------------------------------------------------------------------------------------------------------------
# words


class Words(NamedTuple):
    """The dictionary split in two, and the phonemes in the order of their numbers, marks included."""

    training: list[str]
    held_out: list[str]
    spoken: dict[str, list[tuple[str, ...]]]
    phonemes: tuple[str, ...]


@lru_cache
def split(held_out: int) -> Words:
    """Draw the held-out words, and drop from the rest every word that is pronounced like one of them."""
    spoken = {word: variants for word, variants in pronunciations().items() if _fits(word, variants)}
    drawn = np.random.default_rng(0).permutation(sorted(spoken.keys() - {SHOWN})).tolist()
    held, rest = [SHOWN, *drawn[: held_out - 1]], drawn[held_out - 1 :]
    heard = {variant for word in held for variant in spoken[word]}
    training = [word for word in rest if heard.isdisjoint(spoken[word])]
    sounds = sorted({sound for variants in spoken.values() for variant in variants for sound in variant})
    return Words(training, held, spoken, ("<pad>", "<start>", "<end>", *sounds))


def _fits(word: str, variants: Sequence[tuple[str, ...]]) -> bool:
    plain = word.isascii() and word.isalpha() and 3 <= len(word) <= LONGEST
    return plain and all(len(variant) < LONGEST for variant in variants)


def spelled(words: Sequence[str]) -> Tensor:
    """The letters as numbers 1 to 26, padded with 0: (words, LONGEST)."""
    return _table([[ord(letter) - ord("a") + 1 for letter in word] for word in words])


def pronounced(words: Sequence[str], of: Words) -> Tensor:
    """The usual pronunciations as numbers, with the end mark, padded with 0: (words, LONGEST)."""
    number = {sound: k for k, sound in enumerate(of.phonemes)}
    return _table([[*(number[sound] for sound in of.spoken[word][0]), END] for word in words])


def _table(rows: Sequence[list[int]]) -> Tensor:
    return torch.tensor([row + [PAD] * (LONGEST - len(row)) for row in rows])


@lru_cache
def _taught(held_out: int) -> tuple[Tensor, Tensor]:
    """The training words and their pronunciations as numbers."""
    words = split(held_out)
    return spelled(words.training), pronounced(words.training, words)


def _trimmed(rows: Tensor) -> Tensor:
    """Without the columns in which all is padding."""
    return rows[:, : int((rows != PAD).sum(1).max())]


# ---------------------------------------------------------------------------------------------------------------
# the network


class Block(nn.Module):
    """Self-attention or what stands for it, cross-attention in the decoder, feed-forward; a norm before each."""

    def __init__(self, config: Config, cross: bool) -> None:
        super().__init__()
        d = config.d
        self.mixer = MIXERS[config.mixer](d, config.heads)
        self.cross = MultiHeadAttention(d, config.heads) if cross else None
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2 + cross))
        self.feed_forward = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor | None = None, visible: Tensor | None = None) -> Tensor:
        x = x + self.mixer(self.norms[0](x), mask=mask)
        if self.cross is not None:
            x = x + self.cross(self.norms[2](x), memory, visible)
        return x + self.feed_forward(self.norms[1](x))


class Speller(nn.Module):
    """Letters in, phonemes out."""

    def __init__(self, config: Config, phonemes: int) -> None:
        super().__init__()
        d = config.d
        self.letters, self.phonemes = nn.Embedding(1 + 26, d), nn.Embedding(phonemes, d)
        places = torch.randn(2, LONGEST, d) * config.positions
        self.places = nn.Parameter(places, requires_grad=config.positions)
        self.encoder, self.decoder = Block(config, cross=False), Block(config, cross=True)
        self.read, self.spoken, self.head = nn.LayerNorm(d), nn.LayerNorm(d), nn.Linear(d, phonemes)

    def encode(self, letters: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder makes of the letters, and which of them may be looked at, (batch, 1, n)."""
        visible = (letters != PAD)[:, None, :]
        return self.read(self.encoder(self.embed_letters(letters), visible)), visible

    def decode(self, said: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """Logits of the phoneme after each of those said."""
        x = self.embed_phonemes(said)
        return self.head(self.spoken(self.decoder(x, causal_mask(said.shape[1], x), memory, visible)))

    def embed_letters(self, letters: Tensor) -> Tensor:
        return self.letters(letters) + self.places[0, : letters.shape[1]]

    def embed_phonemes(self, said: Tensor) -> Tensor:
        return self.phonemes(said) + self.places[1, : said.shape[1]]

    def forward(self, letters: Tensor, answer: Tensor) -> Tensor:
        return self.decode(before(answer), *self.encode(letters))


def before(answer: Tensor) -> Tensor:
    """What has been said before each phoneme of the answer: the start mark, and all but the last."""
    return torch.cat([torch.full_like(answer[:, :1], START), answer[:, :-1]], dim=1)


def build(config: Config) -> Speller:
    """The network before training; the same mixer and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Speller(config, len(split(config.held_out).phonemes))


@torch.no_grad()
def say(model: Speller, letters: Tensor) -> Tensor:
    """The likeliest phoneme at each step, for all words at once, (words, LONGEST); the letters are read once."""
    memory, visible = model.encode(letters)
    said = torch.full_like(letters[:, :1], START)
    for _ in range(LONGEST):
        logits = model.decode(said, memory, visible)[:, -1]
        said = torch.cat([said, logits.argmax(-1, keepdim=True)], dim=1)
    return said[:, 1:]


def in_phonemes(said: Tensor, phonemes: Sequence[str]) -> list[list[str]]:
    """The rows as phonemes, up to the end mark."""
    rows = [row[: row.index(END)] if END in row else row for row in said.tolist()]
    return [[phonemes[number] for number in row] for row in rows]


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, object]:
    """Train, and return the scores on held-out words, the curve of the loss, the size, the time, and what was attended.

    `seconds` are those of the processor while training, which a busy machine stretches less than the clock's.
    """
    words = split(config.held_out)
    if config.mixer == GRU:
        gru = spelling_gru()
        return _scores(gru.pronounce_all(words.held_out), words)
    model, taught = build(config), _taught(config.held_out)
    start = time.process_time()
    losses = fit(model, *taught, config)
    seconds = round(time.process_time() - start, 1)
    said = in_phonemes(say(model.eval(), spelled(words.held_out)), words.phonemes)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    result = _scores(said, words) | {"losses": losses, "parameters": parameters, "seconds": seconds}
    return result | attended(model, words, keep=config.seed == 0)


def _scores(said: Sequence[Sequence[str]], words: Words) -> dict[str, float]:
    found = score(said, [words.spoken[word] for word in words.held_out])
    return {name: round(value, 4) for name, value in found._asdict().items()}


def fit(model: Speller, letters: Tensor, answers: Tensor, config: Config, points: int = 20) -> list[float]:
    """Train on words and their pronunciations, and return the mean loss of each twentieth of the run.

    A batch has words of one length, that of a word drawn at random: little padding, and every word is as likely.
    """
    lengths = (letters != PAD).sum(1)
    of_length = {n: torch.nonzero(lengths == n)[:, 0] for n in lengths.unique().tolist()}

    def batch(k: int) -> tuple[Tensor, Tensor]:
        noise = generator(config.seed, k)
        alike = of_length[lengths[torch.randint(len(letters), (), generator=noise)].item()]
        drawn = alike[torch.randint(len(alike), (config.batch,), generator=noise)]
        return _trimmed(letters[drawn]), _trimmed(answers[drawn])

    rate = Cosine(config.rate, config.steps, warm_up=config.steps // 10)
    record = train(model, loss, batch, Training(config.steps, rate=rate, clip=1.0, seed=config.seed))
    return [round(float(part.mean()), 4) for part in np.array_split(record.losses, min(points, config.steps))]


def loss(model: Speller, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of the phonemes and the end mark, in nats each."""
    return nn.functional.cross_entropy(model(*batch).flatten(0, 1), batch[1].flatten(), ignore_index=PAD)


# ---------------------------------------------------------------------------------------------------------------
# what was attended


@torch.no_grad()
def attended(model: Speller, words: Words, keep: bool) -> dict[str, object]:
    r"""How much of the attention of each head a fixed map explains, and if `keep` the maps of the word SHOWN.

    A share is $1 - \sum_t\lVert A_t - \bar A\rVert^2/\sum_t\lVert A_t - U\rVert^2$ over the held-out words t as
    long as SHOWN, with $\bar A$ their mean and U uniform over what a row may see: 1 if every word gets the same map.
    """
    n, m = len(SHOWN), len(words.spoken[SHOWN][0]) + 1
    letters = spelled([word for word in words.held_out if len(word) == n])[:, :n]
    answers = pronounced([word for word in words.held_out if len(words.spoken[word][0]) + 1 == m], words)[:, :m]
    of_letters, of_phonemes = letter_maps(model, letters), phoneme_maps(model, answers)
    found: dict[str, object] = {
        "fixed_share_letters": _fixed_share(of_letters, torch.ones(n, n)),
        "fixed_share_phonemes": _fixed_share(of_phonemes, causal_mask(m, of_phonemes)),
    }
    # SHOWN is the first of the held-out words, and so of both lists.
    maps = {"maps_letters": _digits(of_letters[0]), "maps_phonemes": _digits(of_phonemes[0])}
    return found | (maps if keep else {})


def letter_maps(model: Speller, letters: Tensor) -> Tensor:
    """The encoder's self-attention (words, heads, n, n) for words of one length."""
    x = model.encoder.norms[0](model.embed_letters(letters))
    return model.encoder.mixer.weights(x, mask=(letters != PAD)[:, None, :])


def phoneme_maps(model: Speller, answers: Tensor) -> Tensor:
    """The decoder's self-attention (words, heads, n, n) while it says answers of one length."""
    x = model.decoder.norms[0](model.embed_phonemes(before(answers)))
    return model.decoder.mixer.weights(x, mask=causal_mask(answers.shape[1], x))


def _fixed_share(maps: Tensor, mask: Tensor) -> list[float]:
    uniform = mask / mask.sum(-1, keepdim=True)
    return [round(share, 3) for share in explained_share(maps, static_map(maps), uniform).tolist()]


def _digits(maps: Tensor) -> list:
    return [[[round(weight, 2) for weight in row] for row in head] for head in maps.tolist()]
