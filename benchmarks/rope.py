"""Our rotation against four peers, and the blocks of RoFormer: ours, Hugging Face's, and the second version's.

Queries and keys of 8 heads of 64 features are turned, with angles that are made beforehand. We take their cosines in
each call, and so do two of the peers; RoFormer and LLaMA of transformers are handed them, so of these less is asked. A
block has the shape of BERT's base, 768 features and 12 heads, and dropout 0; Hugging Face's holds the n × n weights.
Whether the second version is faster than the first, and by how much, is a question, not an aim: it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor
from transformers import RoFormerConfig
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as turned_by_llama
from transformers.models.roformer.modeling_roformer import RoFormerLayer, RoFormerSelfAttention
from x_transformers.x_transformers import RotaryEmbedding as OtherEmbedding
from x_transformers.x_transformers import apply_rotary_pos_emb as turned_by_x_transformers

from minilib.roformer import V1, V2, RoformerSizes
from minilib.roformer_torch import RoformerBlock
from minilib.rope import rope, rope_angles, rope_halves

from . import Row, agree, learning, modules_side_by_side, side_by_side

HEADS, D = 8, 64
SIZES = RoformerSizes(1, 768, 1, 12, 3072)


class Peer(NamedTuple):
    """Its name, our function of the same layout, its call, and the speed that we aim at, as a multiple of its own."""

    name: str
    turn: Callable[[Tensor, Tensor], Tensor]
    call: Callable[[], Sequence[Tensor]]
    aim: float


def peers(n: int, q: Tensor, k: Tensor, angles: Tensor) -> Iterator[Peer]:
    """The four, each ready to turn q and k."""
    table, twice = torch.cat([angles.sin(), angles.cos()], -1), torch.cat([angles, angles], -1)[None]
    cos, sin, module = twice.cos(), twice.sin(), RotaryEmbedding(D)
    roformer, (freqs, _) = RoFormerSelfAttention, OtherEmbedding(D).forward_from_seq_len(n)
    yield Peer("transformers, RoFormer", rope, lambda: roformer.apply_rotary_position_embeddings(table, q, k), 0.7)
    yield Peer("transformers, LLaMA", rope_halves, lambda: turned_by_llama(q, k, cos, sin), 0.7)
    yield Peer("rotary_embedding_torch", rope, lambda: [module.rotate_queries_or_keys(a) for a in (q, k)], 0.9)
    yield Peer("x_transformers", rope, lambda: [turned_by_x_transformers(a, freqs) for a in (q, k)], 0.9)


def turns(n: int, rounds: int) -> Iterator[Row]:
    """Queries and keys turned, forward and backward."""
    # Small, since at the last positions the angles of two libraries differ by the rounding of float32.
    q, k = ((0.1 * torch.randn(1, HEADS, n, D)).requires_grad_() for _ in range(2))
    angles = rope_angles(n, D, q)
    for peer in peers(n, q, k, angles):
        ours, theirs = partial(_ours, peer.turn, angles, q, k), partial(_theirs, peer.call)
        agree(ours, theirs)
        passes = learning(ours, (q, k)), learning(theirs, (q, k))
        what, options = f"{peer.turn.__name__}, forward and backward", {"aim": peer.aim, "memory_aim": 0.9}
        yield side_by_side(what, n, passes[0], peer.name, passes[1], rounds, **options)


def _ours(turn: Callable[[Tensor, Tensor], Tensor], angles: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return torch.stack([turn(q, angles), turn(k, angles)])


def _theirs(call: Callable[[], Sequence[Tensor]]) -> Tensor:
    return torch.stack([*call()])


def blocks(n: int, rounds: int) -> Iterator[Row]:
    """The first version's block against Hugging Face's, with the same weights, and the second's against the first's."""
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    ours, theirs, x = RoformerBlock(SIZES, V1), RoFormerLayer(RoFormerConfig(**options)), torch.randn(1, n, SIZES.d)
    a, f, other = ours.attention, ours.feed, theirs.attention
    pairs = [(a.W_q, other.self.query), (a.W_k, other.self.key), (a.W_v, other.self.value)]
    pairs += [(a.W_o, other.output.dense), (f.W_1, theirs.intermediate.dense), (f.W_2, theirs.output.dense)]
    for mine, its in pairs:
        its.load_state_dict(mine.state_dict())
    angles = rope_angles(n, SIZES.d // SIZES.heads, x)
    table = torch.cat([angles.sin(), angles.cos()], -1)[None, None]
    calls = lambda: ours(x), lambda: theirs(x, sinusoidal_pos=table)[0]
    yield modules_side_by_side("RoFormer's block", n, (ours, theirs), calls, "RoFormerLayer of transformers", rounds)
    second = RoformerBlock(SIZES, V2)
    passes = learning(lambda: second(x), second.parameters()), learning(lambda: ours(x), ours.parameters())
    yield side_by_side("RoFormerV2's block, forward and backward", n, passes[0], "RoFormer's block", passes[1], rounds)
    forward = [torch.no_grad()(lambda block=block: block(x)) for block in (second, ours)]
    yield side_by_side("RoFormerV2's block, forward", n, forward[0], "RoFormer's block", forward[1], rounds)


def run(quick: bool) -> list[Row]:
    """Each comparison at two lengths, the rows of one comparison one after the other."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths, rounds = ((128,), 3) if quick else ((128, 512), 7)
    rows = [row for n in lengths for part in (turns, blocks) for row in part(n, rounds)]
    return sorted(rows, key=lambda row: (row.what, row.peer))
