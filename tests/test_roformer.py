"""What roformer promises."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from minilib import roformer as rof
from minilib.attention import causal_mask, padding_mask
from minilib.bert import BertWeights, BlockWeights, EmbeddingWeights, bert_block, bert_encoder
from minilib.depth import RULES, identity_share
from minilib.layernorm import rms_norm
from minilib.roformer import V1, V2, V2_SIZES, Changes, RoformerSizes
from minilib.rope import rope, rope_angles, rope_halves

B, H, D_H, N, F, V, LAYERS = 2, 3, 10, 7, 19, 23, 5
"""Batch, heads, features of a head, tokens, features inside, pieces, layers: pairwise different."""

D = H * D_H


def drawn(kind, seed, shapes, scale=0.4):
    rng = np.random.default_rng(seed)
    return kind(*(scale * rng.normal(size=shapes.get(name, (D, D))) for name in kind._fields))


def block_weights(seed=0):
    small = dict.fromkeys(("b_q", "b_k", "b_v", "b_o", "gamma_1", "beta_1", "b_2", "gamma_2", "beta_2"), (D,))
    block = drawn(BlockWeights, seed, {"W_1": (F, D), "b_1": (F,), "W_2": (D, F)} | small)
    return block._replace(gamma_1=1 + block.gamma_1, gamma_2=1 + block.gamma_2)


def v2_block_weights(seed=0):
    return drawn(rof.RoformerV2BlockWeights, seed, {"W_1": (F, D), "W_2": (D, F)})


def weights():
    shapes = {"pieces": (V, D), "segments": (2, D), "gamma": (D,), "beta": (D,)}
    embedding = drawn(rof.RoformerEmbeddingWeights, 1, shapes)
    return rof.RoformerWeights(embedding, tuple(block_weights(i) for i in range(LAYERS)))


def v2_weights():
    pieces, segments, _, _ = weights().embedding
    return rof.RoformerV2Weights(pieces, segments, tuple(v2_block_weights(i) for i in range(LAYERS)))


def tokens(seed=5, n=N):
    return np.random.default_rng(seed).normal(size=(B, n, D))


def batch(n=N):
    rng = np.random.default_rng(7)
    return rng.integers(0, V, (B, n)), rng.integers(0, 2, (B, n))


def angles(start=0, n=N):
    return rope_angles(np.arange(n) + start, D_H, np.zeros(1))


def same(a, b, tolerance=1e-12):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


VERSIONS = {
    "first": (rof.roformer_block, block_weights, rof.roformer_encoder, weights),
    "second": (rof.roformer_v2_block, v2_block_weights, rof.roformer_v2_encoder, v2_weights),
}
each_version = pytest.mark.parametrize(("block", "block_of", "encoder", "weights_of"), VERSIONS.values(), ids=VERSIONS)

# ---------------------------------------------------------------------------------------------------------------
# theorems and limits


@each_version
def test_a_block_sees_distances_and_not_places(block, block_of, encoder, weights_of):
    x, w = tokens(), block_of()
    here = block(x, w, H, angles())
    same(block(x, w, H, angles(start=613)), here, 1e-9)
    assert np.abs(block(x, w, H, 2 * angles()) - here).max() > 1e-2


@each_version
def test_without_the_turn_a_block_does_not_know_the_order_and_with_it_it_does(block, block_of, encoder, weights_of):
    x, w, order = tokens(), block_of(), np.random.default_rng(3).permutation(N)
    still = np.zeros((N, D_H // 2))
    same(block(x[:, order], w, H, still), block(x, w, H, still)[:, order], 1e-10)
    assert np.abs(block(x[:, order], w, H, angles()) - block(x, w, H, angles())[:, order]).max() > 1e-2


def test_without_the_turn_the_first_version_is_bert_without_positions():
    w, (ids, segments), mask = weights(), batch(), padding_mask(np.array([N, 3]), N)
    x = tokens()
    same(rof.roformer_block(x, w.blocks[0], H, np.zeros((N, D_H // 2)), mask), bert_block(x, w.blocks[0], H, mask), 0)
    e = w.embedding
    bert = BertWeights(
        EmbeddingWeights(e.pieces, e.segments, np.zeros((N, D)), *e[2:]), w.blocks, np.eye(D), np.zeros(D)
    )
    same(rof.roformer_embedding(ids, segments, e), bert_encoder(ids, segments, bert._replace(blocks=()), H), 0)
    assert np.abs(rof.roformer_encoder(ids, segments, w, H) - bert_encoder(ids, segments, bert, H)).max() > 0.1


@each_version
def test_a_single_token_is_not_touched_by_its_turn(block, block_of, encoder, weights_of):
    x, w = tokens(n=1), block_of()
    same(block(x, w, H, angles(start=97, n=1)), block(x, w, H, angles(n=1)), 1e-10)


@each_version
def test_padding_behind_a_mask_changes_no_state_of_a_real_token(block, block_of, encoder, weights_of):
    w, (ids, segments), lengths = weights_of(), batch(), np.array([N, 3])
    h = encoder(ids, segments, w, H, padding_mask(lengths, N))
    for row, length in enumerate(lengths):
        same(h[row, :length], encoder(ids[row, :length], segments[row, :length], w, H))


@each_version
def test_under_a_causal_mask_no_state_depends_on_a_later_token(block, block_of, encoder, weights_of):
    w, (ids, segments) = weights_of(), batch()
    other = ids.copy()
    other[:, 4] = (other[:, 4] + 1) % V
    before, after = (encoder(i, segments, w, H, causal_mask(N, ids)) for i in (ids, other))
    same(after[:, :4], before[:, :4], 0)
    assert (np.abs(after[:, 4:] - before[:, 4:]).max(-1) > 1e-3).all()


def test_there_is_no_longest_text():
    ids, segments = batch(n=307)
    assert np.isfinite(rof.roformer_v2_encoder(ids, segments, v2_weights(), H)).all()


def test_values_are_not_turned():
    """With a map that looks nowhere but at the token itself the position plays no part."""
    x, w = tokens(), v2_block_weights()
    own = np.eye(N, dtype=bool)
    same(rof.roformer_v2_block(x, w, H, angles(), own), rof.roformer_v2_block(x, w, H, 3 * angles(), own), 0)


def test_every_state_of_the_second_version_has_root_mean_square_one_but_any_mean():
    states = rof.roformer_v2_states(rms_norm(tokens()), v2_weights().blocks, H)
    assert len(states) == LAYERS + 1
    for h in states:
        same((h * h).mean(-1), 1, 1e-5)
    assert np.abs(states[-1].mean(-1)).max() > 0.05


def test_the_scale_of_the_tables_plays_no_part_at_the_input_but_does_in_the_logits():
    """A norm without gamma forgets the scale; the tied table brings it back."""
    w, (ids, segments) = v2_weights(), batch()
    larger = w._replace(pieces=3 * w.pieces, segments=3 * w.segments)
    h, other = (rof.roformer_v2_encoder(ids, segments, one, H) for one in (w, larger))
    same(other, h, 1e-9)
    same(other @ larger.pieces.T, 3 * (h @ w.pieces.T), 1e-9)


def test_without_a_centring_a_shift_of_all_features_is_seen():
    w, x = v2_block_weights(), tokens()
    shifted = rof.roformer_v2_block(x + 1, w, H, angles())
    assert np.abs(shifted - rof.roformer_v2_block(x, w, H, angles())).max() > 0.1


# ---------------------------------------------------------------------------------------------------------------
# slow and obvious equals fast


def turned(vector, m):
    out = []
    for j in range(0, D_H, 2):
        a = m * 10_000 ** (-j / D_H)
        u, v = vector[j : j + 2]
        out += [u * math.cos(a) - v * math.sin(a), u * math.sin(a) + v * math.cos(a)]
    return out


def to_rms_one(vector):
    return vector / math.sqrt(sum(a * a for a in vector) / len(vector))


def obvious_v2_block(x, w):
    """Token by token, for one text."""
    out = []
    for i in range(N):
        heads = []
        for part in (slice(r * D_H, (r + 1) * D_H) for r in range(H)):
            q = turned((w.W_q @ x[i])[part], i)
            e = [math.exp(np.dot(q, turned((w.W_k @ x[j])[part], j)) / math.sqrt(D_H)) for j in range(N)]
            heads.append(sum(e[j] * (w.W_v @ x[j])[part] for j in range(N)) / sum(e))
        y = to_rms_one(x[i] + w.W_o @ np.concatenate(heads))
        out.append(to_rms_one(y + w.W_2 @ np.maximum(w.W_1 @ y, 0)))
    return out


def test_a_block_of_the_second_version_is_its_definition_token_by_token():
    x, w = tokens(), v2_block_weights()
    got = rof.roformer_v2_block(x, w, H, angles())
    for row in range(B):
        same(got[row], obvious_v2_block(x[row], w), 1e-9)


def test_the_second_version_is_the_sum_of_two_rows_normalised_and_its_blocks():
    w, (ids, segments), scale = v2_weights(), batch(), 0.7
    x = rof.roformer_v2_embedding(ids, segments, w.pieces, w.segments)
    same(x[1, 2], to_rms_one(w.pieces[ids[1, 2]] + w.segments[segments[1, 2]]), 1e-9)
    for one in w.blocks:
        x = rof.roformer_v2_block(x, one, H, angles(), scale=scale)
    same(rof.roformer_v2_encoder(ids, segments, w, H, scale=scale), x, 0)


def test_the_map_is_made_of_the_turned_queries_and_keys_of_each_head():
    x, block = tokens(), block_weights()
    q, k = rof.roformer_queries_keys(x, block, H, angles())
    r = 2
    part = slice(r * D_H, (r + 1) * D_H)
    same(q[:, r], rope((x @ block.W_q.T + block.b_q)[..., part], angles()))
    same(k[:, r], rope((x @ block.W_k.T + block.b_k)[..., part], angles()))
    A = rof.roformer_attention_weights(x, block, H, angles(), scale=0.3)
    e = np.exp(0.3 * q @ np.swapaxes(k, -1, -2))
    same(A, e / e.sum(-1, keepdims=True))


def test_the_angles_are_of_the_width_of_a_head_and_those_of_the_whole_are_refused(unchecked):
    x = tokens()
    with pytest.raises(ValueError, match=r"x must have shape \(…, 7, 30\).*7 positions and 15 planes"):
        rof.roformer_block(x, block_weights(), H, rope_angles(N, D, x))


def test_the_two_versions_agree_where_they_are_the_same():
    """A first version without biases, on tokens whose maps are centred, and with relu put for gelu by large inputs."""
    w = v2_block_weights()
    centre = np.eye(D) - 1 / D
    w = w._replace(W_o=centre @ w.W_o, W_2=centre @ w.W_2, W_1=1e6 * np.abs(w.W_1))
    zero, one = np.zeros(D), np.ones(D)
    first = BlockWeights(
        *(w.W_q, zero, w.W_k, zero, w.W_v, zero, w.W_o, zero, one, zero), w.W_1, np.zeros(F), w.W_2, zero, one, zero
    )
    x = tokens() @ centre
    same(rof.roformer_block(x, first, H, angles()), rof.roformer_v2_block(x, w, H, angles()), 1e-6)


# ---------------------------------------------------------------------------------------------------------------
# sizes


def test_the_published_sizes_of_the_second_version_to_the_last_number():
    counts = {name: sizes.total(V2) for name, sizes in V2_SIZES.items()}
    assert counts == {"small": 15_225_600, "base": 94_152_192, "large": 314_279_936}
    for sizes in V2_SIZES.values():
        assert sizes.total(V2) == 12_000 * sizes.d + 2 * sizes.d + 12 * sizes.layers * sizes.d**2
        assert sizes.d == 64 * sizes.heads
        assert sizes.inner == 4 * sizes.d


def test_what_the_biases_and_the_norms_of_the_encoder_hold_is_a_thousandth():
    left_out = {name: sizes.encoder(V1) - sizes.encoder(V2) for name, sizes in V2_SIZES.items()}
    assert left_out == {"small": 30_720, "base": 121_344, "large": 321_536}
    assert left_out["base"] / V2_SIZES["base"].total(V2) == pytest.approx(0.00129, rel=0.01)


def test_a_count_is_that_of_the_weights():
    sizes = RoformerSizes(V, D, LAYERS, H, F)

    def numbers(tree):
        return sum(map(numbers, tree)) if isinstance(tree, tuple) else tree.size

    assert numbers(weights()) == sizes.encoder(V1)
    assert numbers(v2_weights()) == sizes.encoder(V2) == sizes.total(V2)


def test_no_change_adds_a_parameter_and_the_three_that_have_none_change_no_count():
    sizes = RoformerSizes(V, D, LAYERS, H, F)
    for flags in itertools.product([False, True], repeat=6):
        changes = Changes(*flags)
        for name in Changes.names():
            with_it = sizes.total(dataclasses.replace(changes, **{name: True}))
            assert with_it <= sizes.total(changes)
            assert name in ("no_bias", "rms", "plain_head") or with_it == sizes.total(changes)


def test_the_first_version_has_no_changes_and_the_second_has_six():
    assert Changes.names() == ("no_bias", "rms", "relu", "embedding_order", "plain_head", "v2_init")
    assert dataclasses.astuple(V1) == (False,) * 6
    assert dataclasses.astuple(V2) == (True,) * 6


# ---------------------------------------------------------------------------------------------------------------
# how the second version starts


def test_the_deviations_of_the_published_sizes():
    stds = [rof.v2_std(sizes.d, sizes.layers) for sizes in V2_SIZES.values()]
    assert stds == pytest.approx([0.02083, 0.01042, 0.00638], abs=5e-6)
    for sizes, std in zip(V2_SIZES.values(), stds, strict=True):
        assert rof.v2_std(sizes.inner, sizes.layers) == pytest.approx(std / 2)


def test_the_factor_is_the_rule_for_lamb_but_for_the_root_of_two():
    for layers in (6, 12, 24):
        assert rof.v2_std(1, layers) == pytest.approx(math.sqrt(2) * RULES["LAMB"].at(layers).lam)
        assert RULES["LAMB"].at(layers).alpha == 1


def test_the_branches_and_what_is_left_of_the_input_in_the_published_sizes():
    depths = [sizes.layers for sizes in V2_SIZES.values()]
    found = [rof.v2_branches(layers) for layers in depths]
    assert [one.attention for one in found] == pytest.approx([1 / 6, 1 / 12, 1 / 24])
    assert [one.feed for one in found] == pytest.approx([0.118, 0.059, 0.0295], rel=0.01)
    assert [rof.v2_identity_share(layers) for layers in depths] == pytest.approx([0.884, 0.940, 0.969], abs=6e-4)


def test_the_deeper_the_more_is_left_where_a_plain_stack_leaves_nothing():
    for layers in (50, 500):
        assert rof.v2_identity_share(layers) == pytest.approx(1 - 3 / (4 * layers), rel=2 / layers**2)
        assert identity_share(1.0, 2 * layers) < 1e-14


def test_a_mean_over_many_tokens_is_smaller_the_less_they_are_alike():
    assert rof.v2_branches(6, seen=100).attention == pytest.approx(1 / 60)
    assert rof.v2_branches(6, seen=100, alike=1.0).attention == pytest.approx(1 / 6)
    assert rof.v2_branches(6, seen=1e9, alike=0.5).attention == pytest.approx(1 / 6 / math.sqrt(2))
    assert rof.v2_branches(6, seen=100).feed == rof.v2_branches(6).feed


# ---------------------------------------------------------------------------------------------------------------
# dialects, dtypes, gradients


def converted(tree, convert):
    if not isinstance(tree, tuple):
        return convert(tree)
    parts = [converted(part, convert) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


@pytest.mark.parametrize("name", [pytest.param("torch", marks=pytest.mark.torch), "array_api_strict"])
@each_version
def test_the_encoder_runs_on_every_array_library(name, block, block_of, encoder, weights_of):
    xp = pytest.importorskip(name)
    w, (ids, segments), mask = weights_of(), batch(), padding_mask(np.array([N, 3]), N)
    got = encoder(xp.asarray(ids), xp.asarray(segments), converted(w, xp.asarray), H, xp.asarray(mask))
    same(got, encoder(ids, segments, w, H, mask), 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_version
def test_the_dtype_stays(dtype, block, block_of, encoder, weights_of):
    w, (ids, segments) = converted(weights_of(), lambda a: a.astype(dtype)), batch()
    assert encoder(ids, segments, w, H).dtype == dtype


@pytest.mark.torch
@each_version
def test_the_gradient_of_a_block_is_its_slope(block, block_of, encoder, weights_of):
    torch = pytest.importorskip("torch")
    turn, kind = torch.asarray(angles(n=3)), type(block_of())
    inputs = [torch.asarray(a).requires_grad_() for a in (tokens(n=3), *block_of())]

    def loss(x, *arrays):
        return (block(x, kind(*arrays), H, turn) ** 3).sum()  # of squares the norm would make a constant

    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RoformerSizes(V, 30, 1, 2, F), "an even number of features, since two make a plane; got 30 / 2"),
        (lambda: RoformerSizes(V, 30, 0, 3, F), "every size must be at least 1, got RoformerSizes.*layers=0"),
        (lambda: rof.v2_std(30, 0), "layers must be at least 1, got 0"),
        (lambda: rof.v2_std(0, 3), "fan_in must be at least 1"),
        (lambda: rof.v2_branches(3, seen=0.5), "seen ≥ 1 tokens and a cosine alike from 0 to 1, got 0.5 and 0.0"),
        (lambda: rof.v2_branches(3, alike=1.5), "a cosine alike from 0 to 1"),
        (lambda: rof.roformer_v2_block(tokens(), v2_block_weights(), 4, angles()), "30 features cannot be shared out"),
        (
            lambda: rof.roformer_v2_block(tokens(), v2_block_weights(), H, angles(n=6)),
            r"x must have shape \(…, 6, 10\)",
        ),
        (lambda: rof.roformer_v2_encoder(batch()[0] + V, batch()[1], v2_weights(), H), "ids must lie between 0 and 22"),
        (lambda: rof.roformer_encoder(*batch(), weights(), H, np.ones((N, N))), "mask must be boolean"),
        (lambda: rof.roformer_embedding(batch()[0], batch()[1][:, 1:], weights().embedding), "has its segment"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", rof.RoformerV2BlockWeights._fields)
def test_a_weight_of_a_wrong_shape_is_named(unchecked, name):
    wrong = v2_block_weights()._replace(**{name: np.zeros((D + 1, D + 2))})
    with pytest.raises(ValueError, match=f"{name} must have shape .* fits tokens of 30 features"):
        rof.roformer_v2_block(tokens(), wrong, H, angles())


def test_the_other_layout_raises_no_error_and_gives_other_products():
    """Weights know their layout; a formula cannot."""
    x, block = tokens(), block_weights()
    q, k = (x @ W.T for W in (block.W_q[:D_H], block.W_k[:D_H]))
    ours, others = (turn(q, angles()) @ np.swapaxes(turn(k, angles()), -1, -2) for turn in (rope, rope_halves))
    assert np.abs(ours - others).max() > 0.1
