"""What rotary positions promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.rope import rope, rope_angles, rope_halves

B, N, D = 2, 7, 10
LAYOUTS = [rope, rope_halves]

each_layout = pytest.mark.parametrize("turn", LAYOUTS, ids=lambda f: f.__name__)


def numbers(seed=0, shape=(B, N, D)):
    return np.random.default_rng(seed).normal(size=shape)


def at(position, d=D):
    """The angles of one position."""
    return rope_angles(np.array([position]), d, np.zeros(1))


# ---------------------------------------------------------------------------------------------------------------
# theorems


@each_layout
@settings(deadline=None)
@given(m=st.integers(-1000, 1000), n=st.integers(-1000, 1000), shift=st.integers(-1000, 1000))
def test_rotation_leaves_only_relative_position(turn, m, n, shift):
    q, k = numbers(0, (1, D)), numbers(1, (1, D))
    here = (turn(q, at(m)) * turn(k, at(n))).sum()
    there = (turn(q, at(m + shift)) * turn(k, at(n + shift))).sum()
    assert there == pytest.approx(here, abs=1e-10)
    assert here == pytest.approx((turn(q, at(m - n)) * k).sum(), abs=1e-10)


@each_layout
def test_rotation_keeps_norms_and_position_zero_as_it_is(turn):
    x = numbers()
    y = turn(x, rope_angles(N, D, x))
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-13)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    assert np.abs(y[:, 1:] - x[:, 1:]).max() > 0.1


@each_layout
def test_turning_twice_is_turning_by_the_sum(turn):
    x = numbers(0, (1, D))
    np.testing.assert_allclose(turn(turn(x, at(3)), at(8)), turn(x, at(11)), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(turn(turn(x, at(3)), at(-3)), x, rtol=1e-12, atol=1e-14)


def test_neighbouring_features_are_a_complex_number_that_is_multiplied():
    x = numbers()
    z = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(
        1j * np.outer(np.arange(N), 10_000.0 ** (-2 * np.arange(D // 2) / D))
    )
    want = np.stack([z.real, z.imag], axis=-1).reshape(B, N, D)
    np.testing.assert_allclose(rope(x, rope_angles(N, D, x)), want, rtol=1e-12, atol=1e-14)


def test_the_two_layouts_are_a_permutation_of_each_other():
    """Feature 2j of the one is feature j of the other, 2j + 1 is j + d/2; scores agree if both sides are permuted."""
    x, angles = numbers(), rope_angles(N, D, numbers())
    order = np.concatenate([np.arange(0, D, 2), np.arange(1, D, 2)])
    np.testing.assert_allclose(rope_halves(x[..., order], angles), rope(x, angles)[..., order], rtol=1e-14)
    assert np.abs(rope_halves(x, angles) - rope(x, angles)).max() > 0.1


def test_the_matrix_of_a_turn_is_orthogonal():
    for turn in LAYOUTS:
        R = turn(np.eye(D)[:, None, :], at(5))[:, 0]
        np.testing.assert_allclose(R @ R.T, np.eye(D), atol=1e-14)


def test_the_mean_score_of_equal_vectors_falls_with_the_distance():
    """The sum of cos(mθ_j): largest at distance 0, and below a third of that from a few hundred on (d = 128)."""
    x = np.ones((1, 128))
    scores = np.array([(rope(x, at(m, 128)) * x).sum() / 128 for m in (0, 1, 10, 100, 1000)])
    assert scores[0] == 1
    assert (np.diff(scores) < 0).all()
    assert scores[-1] < 1 / 3


# ---------------------------------------------------------------------------------------------------------------
# angles


def test_angles_are_positions_times_a_geometric_series():
    angles = rope_angles(N, D, numbers(), base=100.0)
    assert angles.shape == (N, D // 2)
    for m in range(N):
        for j in range(D // 2):
            assert angles[m, j] == pytest.approx(m * 100.0 ** (-2 * j / D), rel=1e-13)


def test_angles_of_given_positions_are_rows_of_those_of_a_length():
    whole = rope_angles(N, D, numbers())
    np.testing.assert_array_equal(rope_angles(np.array([5, 0, 2]), D, numbers()), whole[[5, 0, 2]])


@pytest.mark.torch
def test_positions_are_told_apart_in_bfloat16_where_bfloat16_cannot_count():
    torch = pytest.importorskip("torch")
    x = torch.ones(300, 4, dtype=torch.bfloat16)
    assert torch.arange(300).to(torch.bfloat16)[257] == 256
    angles = rope_angles(300, 4, x)
    assert angles.dtype == torch.float32
    turned = rope(x, angles)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned, rope(x.double(), rope_angles(300, 4, x.double())).bfloat16(), atol=2e-2, rtol=0)
    assert (turned[257] != turned[256]).any()


# ---------------------------------------------------------------------------------------------------------------
# dialects, dtypes, gradients


def formulas(convert, whole):
    x = convert(numbers())
    angles = rope_angles(N, D, x)
    return [angles, rope_angles(whole(np.arange(3)), D, x), rope(x, angles), rope_halves(x, angles)]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    for a, b in zip(formulas(np.asarray, np.asarray), formulas(xp.asarray, xp.asarray), strict=True):
        assert type(b) is type(xp.asarray([0.0]))
        np.testing.assert_allclose(np.asarray(b), a, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    for a in formulas(lambda a: xp.asarray(a, dtype=xp.float32), xp.asarray):
        assert a.dtype == xp.float32


@pytest.mark.torch
def test_the_gradient_is_the_slope():
    torch = pytest.importorskip("torch")
    x = torch.tensor(numbers(), requires_grad=True)
    angles = rope_angles(N, D, x)
    for turn in LAYOUTS:
        assert torch.autograd.gradcheck(lambda x, turn=turn: turn(x, angles), (x,))


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rope_angles(N, 5, numbers()), "d must be even and positive.*got 5"),
        (lambda: rope_angles(N, 0, numbers()), "d must be even and positive"),
        (lambda: rope_angles(N, D, numbers(), base=0.0), "base must be positive, got 0.0"),
        (lambda: rope_angles(-1, D, numbers()), "n must be non-negative"),
        (lambda: rope(numbers(), rope_angles(N + 1, D, numbers())), r"x must have shape \(…, 8, 10\).*8 positions"),
        (lambda: rope_halves(numbers(), rope_angles(N, 4, numbers())), "7 positions and 2 planes"),
        (lambda: rope(numbers().astype(int), rope_angles(N, D, numbers())), "must hold floats"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_slowest_plane_of_a_head_of_64_turns_once_in_fifty_thousand_positions():
    slowest = 10_000.0 ** (-62 / 64)
    assert rope_angles(2, 64, numbers())[1, -1] == pytest.approx(slowest)
    assert 2 * math.pi / slowest == pytest.approx(47_117, rel=1e-3)
