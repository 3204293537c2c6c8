"""Our block of BERT and a whole encoder against those of transformers, with the same weights and without dropout.

The block has the shape of BERT's base, the encoder that of MiniLM with random weights, which is read end to end, from
the numbers of the pieces to the last states of four texts. transformers computes attention in two ways: "sdpa" is
torch's fused kernel, as here, and "eager" holds the n × n weights. Of the first we ask less, as both do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertLayer

from minilib.bert import BERT_SIZES, BertSizes
from minilib.bert_torch import Bert, BertBlock

from . import Row, agree, learning, side_by_side

BASE, SMALL = BERT_SIZES["BERT base, uncased"], BERT_SIZES["MiniLM"]
AIMS = {"eager": 1.0, "sdpa": 0.9}


def settings(sizes: BertSizes, way: str) -> BertConfig:
    """The same sizes as transformers writes them, with one of its ways to attend."""
    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.d,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config._attn_implementation = way
    return config


def same_block(ours: BertBlock, theirs: BertLayer) -> None:
    """Copy our weights into their block."""
    a, f, other = ours.attention, ours.feed, theirs.attention
    pairs = [(a.W_q, other.self.query), (a.W_k, other.self.key), (a.W_v, other.self.value)]
    pairs += [(a.W_o, other.output.dense), (ours.norm_1, other.output.LayerNorm), (f.W_1, theirs.intermediate.dense)]
    pairs += [(f.W_2, theirs.output.dense), (ours.norm_2, theirs.output.LayerNorm)]
    for mine, its in pairs:
        its.load_state_dict(mine.state_dict())


def same_encoder(ours: Bert, theirs: BertModel) -> None:
    """Copy our weights into their encoder."""
    e, other = ours.embedding, theirs.embeddings
    pairs = [(e.pieces, other.word_embeddings), (e.segments, other.token_type_embeddings)]
    pairs += [(e.positions, other.position_embeddings), (e.norm, other.LayerNorm)]
    for mine, its in pairs:
        its.load_state_dict(mine.state_dict())
    for mine, its in zip(ours.blocks, theirs.encoder.layer, strict=True):
        same_block(mine, its)


def compared(
    what: str, n: int, modules: Sequence[nn.Module], calls: Sequence[Callable[[], Tensor]], way: str, rounds: int
) -> Iterator[Row]:
    """Both ways there and back, and the way there alone."""
    agree(*calls)
    peer, options = f"transformers, {way}", {"aim": AIMS[way], "memory_aim": 0.9}
    parts = [[p for p in module.parameters() if p.requires_grad] for module in modules]
    passes = [learning(call, leaves) for call, leaves in zip(calls, parts, strict=True)]
    yield side_by_side(f"{what}, forward and backward", n, passes[0], peer, passes[1], rounds, **options)
    forward = [torch.no_grad()(call) for call in calls]
    yield side_by_side(f"{what}, forward", n, forward[0], peer, forward[1], rounds, **options)


def blocks(n: int, way: str, rounds: int) -> Iterator[Row]:
    """One block of BERT's base, one text."""
    ours, theirs, x = BertBlock(BASE), BertLayer(settings(BASE, way)), torch.randn(1, n, BASE.d)
    same_block(ours, theirs)
    calls = lambda: ours(x), lambda: theirs(x)
    yield from compared("BERT's block", n, (ours, theirs), calls, way, rounds)


def encoders(n: int, way: str, rounds: int) -> Iterator[Row]:
    """MiniLM, four texts."""
    ours, theirs = Bert(SMALL), BertModel(settings(SMALL, way), add_pooling_layer=False)
    same_encoder(ours, theirs)
    ids = torch.randint(SMALL.vocabulary, (4, n))
    calls = lambda: ours(ids), lambda: theirs(ids).last_hidden_state
    yield from compared("MiniLM, end to end", n, (ours, theirs), calls, way, rounds)


def run(quick: bool) -> list[Row]:
    """Each comparison at two lengths, the rows of one comparison one after the other."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths, rounds = ((64,), 3) if quick else ((128, 512), 7)
    rows = [row for n in lengths for way in AIMS for part in (blocks, encoders) for row in part(n, way, rounds)]
    return sorted(rows, key=lambda row: (row.what, row.peer))
