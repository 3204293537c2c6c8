"""What the exercises on rotary positions and RoFormerV2 promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import roformer as rof
from minilib import roformer_exercises as ex
from minilib import rope as turns
from minilib.depth import truncation_correction
from minilib.rope_numpy import products

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "6.1": [r"u \* math\.cos", r"exp\(iα\)", r"u cos α"],
    "6.2": [r"d ?/ ?\(d ?[-−] ?2\)", r"47,?117"],
    "6.3": [r"even rows", r"range\(0, len"],
    "6.4": [r"2 \* c \*", r"Σ cos"],
    "6.5": [r"R_s\\?,? ?q", r"exp\(1j \* s"],
    "6.6": [r"94,152,192", r"12 d²", r"4 \* d \* d"],
    "6.7": [r"1\.1368", r"layers \* into"],
    "6.8": [r"√d \(e \+ s\)", r"sqrt\(len\(e\)\) \* \(x"],
    "6.9": [r"3/\(4L\)", r"attention\*\*2"],
    "6.10": [r"angle = 0\.8", r"second plane, which"],
}


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


def test_the_turn_is_that_of_the_first_exercise_ever():
    """d = 4, m = 1, base 10,000: the two planes turn by 1 and by 0.01."""
    got = ex.turned(np.array([1.0, 0, 1, 0]), 1, 10_000.0)
    assert got == pytest.approx([math.cos(1), math.sin(1), math.cos(0.01), math.sin(0.01)])


@pytest.mark.parametrize(("n", "d"), [(997, 4), (4099, 62)])
def test_with_that_base_the_slowest_plane_turns_once_in_n_positions(n, d):
    assert turns.wavelengths(d, ex.base_for_length(n, d))[-1] == pytest.approx(n)
    assert ex.base_for_length(47_117, 64) == pytest.approx(10_000, abs=1)
    assert ex.base_for_length(1_000_000, 64) == pytest.approx(234_000, rel=0.01)


def test_rows_in_the_new_order_give_the_same_products_in_the_other_layout():
    rng = np.random.default_rng(0)
    W_q, W_k = rng.normal(size=(2, 18, 5))
    x, angles = rng.normal(size=(7, 5)), turns.rope_angles(7, 6, np.zeros(1))

    def scores(W_q, W_k, turn):
        q, k = (turn((x @ W.T).reshape(7, 3, 6).swapaxes(0, 1), angles) for W in (W_q, W_k))
        return q @ k.swapaxes(-1, -2)

    moved = ex.other_layout(W_q, 3), ex.other_layout(W_k, 3)
    np.testing.assert_allclose(scores(*moved, turns.rope_halves), scores(W_q, W_k, turns.rope), atol=1e-12)
    assert not np.allclose(scores(W_q, W_k, turns.rope_halves), scores(W_q, W_k, turns.rope))


def test_the_mean_is_that_of_a_sample():
    rng, d, c = np.random.default_rng(0), 12, 0.6
    q, noise = rng.normal(size=(2, 200_003, d))
    k = c * q + math.sqrt(1 - c * c) * noise
    assert products(q, k, np.array([9]))[:, 0].mean() == pytest.approx(ex.mean_at_distance(9, d, 1e4, c), abs=0.05)


def test_no_key_of_the_same_norm_answers_better_at_the_two_distances():
    rng = np.random.default_rng(0)
    q, places = rng.normal(size=ex.D), np.array([3, 17])
    k = ex.looks_at_two(q, *places, 100.0)
    assert np.linalg.norm(k) == pytest.approx(np.linalg.norm(q))
    best = products(q[None], k[None], places, 100.0).sum()
    others = np.concatenate([rng.normal(size=(1009, ex.D)), k + 0.1 * rng.normal(size=(1009, ex.D))])
    others *= np.linalg.norm(q) / np.linalg.norm(others, axis=-1, keepdims=True)
    assert products(q[None], others, places, 100.0).sum(-1).max() < best
    assert best < 2 * q @ q


def test_at_one_place_twice_it_answers_in_full():
    q = np.random.default_rng(0).normal(size=ex.D)
    assert products(q[None], ex.looks_at_two(q, 7, 7, 100.0)[None], np.array([7]), 100.0)[0, 0] == pytest.approx(q @ q)


def test_the_count_is_that_of_the_published_sizes():
    counts = [ex.parameters(s.vocabulary, s.d, s.layers) for s in rof.V2_SIZES.values()]
    assert counts == [15_225_600, 94_152_192, 314_279_936]


@pytest.mark.torch
def test_a_sampler_told_so_returns_the_deviation_of_the_second_version():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    s = ex.sampler_std((768, 3072), 12)
    W = torch.nn.init.trunc_normal_(torch.empty(768, 3072), std=s, a=-2 * s, b=2 * s)
    assert W.std().item() == pytest.approx(rof.v2_std(3072, 12), rel=3e-3)
    assert s == pytest.approx(truncation_correction() / math.sqrt(12 * 3072))


def test_the_logit_of_the_input_is_that_of_an_encoder_without_blocks():
    rng = np.random.default_rng(0)
    pieces, parts = rng.normal(size=(23, 12)), rng.normal(size=(2, 12))
    ids, segments = np.array([5, 17]), np.array([0, 1])
    h = rof.roformer_v2_encoder(ids, segments, rof.RoformerV2Weights(pieces, parts, ()), 2)
    logits = h @ pieces.T
    for row, (piece, part) in enumerate(zip(ids, segments, strict=True)):
        assert logits[row, piece] == pytest.approx(ex.own_logit(pieces[piece], parts[part]), rel=1e-6)


def test_three_digits_suffice_for_the_sampler():
    assert ex.SAMPLER.check(lambda shape, layers: float(f"{ex.sampler_std(shape, layers):.3g}"))
    assert ex.SAMPLER.check(lambda shape, layers: 1.14 / math.sqrt(layers * shape[1]))


def test_the_share_rises_with_the_depth():
    shares = [ex.share_left(layers) for layers in (6, 12, 24)]
    assert shares == pytest.approx([0.884, 0.940, 0.969], abs=1e-3)
    assert shares[2] == pytest.approx(1 - 3 / 96, abs=1e-3)


@pytest.mark.parametrize("factor", [1.0, 0.7, -1.0])
def test_any_turn_of_both_and_a_smaller_length_is_accepted_too(factor):
    pair = ex.rising()
    assert ex.RISING.check(factor * pair).status == "right"
    place = turns.rope_angles(np.array([13]), 8, pair)
    assert ex.RISING.check(turns.rope(pair, np.broadcast_to(place, (2, 4))))
