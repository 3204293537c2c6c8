"""What the exercises on recurrence promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import recurrence as rec
from minilib import recurrence_exercises as ex

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "1.1": [r"\b458\b", r"\\ln 0\.01"],
    "1.2": [r"T ?- ?1\b", r"\\ln\b", r"\blog\("],
    "1.3": [r"0\.77\d", r"0\.44\d", r"\|h\|", r"abs\(h\)"],
    "1.4": [r"sinh", r"1-h\^\{\*2\}", r"1 - h \* h"],
    "1.5": [r"1 ?- ?h_\{?t", r"diag", r"\[:, None\]"],
    "1.6": [r"i\(1-i\)", r"f\(1-f\)", r"1-\\hat c\^2"],
    "1.7": [r"\\hat h ?- ?h", r"1 ?- ?z, ", r", rec\.flip_update_gate\(U\)\)"],
    "1.8": [r"4 ?/ ?g", r"\\tfrac4g", r"\\tfrac14"],
    "1.9": [r"\\min", r"min\(", r"sqrt"],
    "1.10": [r"\b618\b", r"\b513\b", r"2\D+099\D+200"],
    "1.11": [r"0\.98", r"pmatrix", r"corner"],
}


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


def differences(f, h, eps=1e-6):
    """Central differences of f at h, as a matrix."""
    return np.stack([(f(h + e) - f(h - e)) / (2 * eps) for e in eps * np.eye(h.size)], axis=-1)


def cell(gates, d=5, d_x=3):
    rng = np.random.default_rng(0)
    weights = [0.7 * rng.normal(size=size) for size in ((gates * d, d_x), (gates * d, d), (gates * d,))]
    return weights, rng.normal(size=d_x), 0.5 * rng.normal(size=d), rng.normal(size=d)


def test_after_the_steps_of_the_first_exercise_one_percent_is_left():
    assert 0.99 ** ex.forgetting_steps() == pytest.approx(0.01)
    assert ex.FORGETTING_STEPS.check(458)
    assert ex.FORGETTING_STEPS.check(459)


def test_the_bias_gives_the_time_constant():
    for T in (2.5, 10.0, 784.0):
        assert rec.time_constant(ex.bias_for_memory(T)) == pytest.approx(T)


def test_the_tanh_bound_is_the_highest_point_of_the_slope():
    for h, bound in ((0.1, 4.477), (-0.5, 0.8955), (0.9, 0.4975)):
        u, slope = ex.tanh_bound(h)
        assert slope == pytest.approx(bound, abs=5e-4)
        around = u + np.linspace(-3, 3, 60_001) / abs(h)
        assert ((1 - np.tanh(around * h) ** 2) * around).max() == pytest.approx(slope, rel=1e-6)
        assert (1 - math.tanh(u * h) ** 2) * u == pytest.approx(slope)


def test_the_multiplier_of_the_fixed_point_is_below_one_and_falls():
    known = {1.1: 0.822, 1.5: 0.394, 2.0: 0.16637, 3.0: 0.0305}
    for u, multiplier in known.items():
        assert ex.fixed_point_multiplier(u) == pytest.approx(multiplier, rel=2e-3)


def test_the_jacobians_are_the_slopes_of_the_steps():
    (W, U, b), x, h, c = cell(1)
    want = differences(lambda h: rec.rnn_step(x, h, W, U, b), h)
    np.testing.assert_allclose(ex.step_jacobian(x, h, W, U, b), want, rtol=1e-6, atol=1e-9)
    (W, U, b), x, h, c = cell(4)
    want = differences(lambda h: rec.lstm_step(x, c, h, W, U, b).c, h)
    np.testing.assert_allclose(ex.lstm_block(c, rec.lstm_gates(x, h, W, U, b), U), want, rtol=1e-6, atol=1e-9)


def test_the_jacobian_of_the_other_gru_is_the_slope_of_its_step():
    (W, U, b), x, h, _ = cell(3)

    def step(h):
        _, z, h_hat = rec.gru_gates(x, h, W, U, b)
        return (1 - z) * h + z * h_hat

    got = ex.other_gru(h, rec.gru_gates(x, h, W, U, b), U)
    np.testing.assert_allclose(got, differences(step, h), rtol=1e-6, atol=1e-9)


def test_at_the_edge_of_growth_the_whole_jacobian_has_the_eigenvalue_one():
    for g in (0.3, 1.0, 3.0):
        zero, U, b = np.zeros(1), np.full((4, 1), g), np.array([0.0, ex.edge_of_growth(g), 0.0, 0.0])
        gates = rec.lstm_gates(zero, zero, np.zeros((4, 1)), U, b)
        eigenvalues = np.linalg.eigvals(rec.lstm_jacobian(rec.lstm_slopes(gates, zero), U))
        assert np.abs(eigenvalues).max() == pytest.approx(1)


@pytest.mark.torch
def test_clipping_together_is_what_torch_does():
    torch = pytest.importorskip("torch")

    def answer(gradients, threshold):
        parameters = [torch.zeros(g.shape, dtype=torch.float64) for g in gradients]
        for parameter, g in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_(parameters, threshold)
        return [parameter.grad for parameter in parameters]

    assert ex.CLIP_TOGETHER.check(answer)


def test_clipping_is_asked_for_above_and_below_the_threshold():
    rng = np.random.default_rng(ex.CLIP_TOGETHER.seed)
    draws = [ex.CLIP_TOGETHER.inputs(rng) for _ in range(ex.CLIP_TOGETHER.points)]
    long = [ex._norm(gradients) > threshold for gradients, threshold in draws]
    assert 4 <= sum(long) <= len(long) - 4


def test_the_equal_width_has_as_many_parameters():
    def parameters(gates, d):
        return gates * d * (512 + d + 1)

    assert parameters(4, 512) == 2_099_200
    assert parameters(3, ex.equal_width()) == pytest.approx(2_099_200)
    assert parameters(3, 618) < 2_099_200 < parameters(3, 619)


def test_a_transient_passes_one_hundred_before_it_vanishes():
    for U in ex.TRANSIENT.right_answers:
        norms = [np.linalg.norm(np.linalg.matrix_power(U, t), 2) for t in (1, *range(10, 200, 10), 5000)]
        assert norms[0] <= 10
        assert max(norms) > 100
        assert norms[-1] < 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_any_rotated_transient_is_accepted_and_its_symmetric_part_is_not(seed):
    Q = rec.orthogonal(np.random.default_rng(seed).normal(size=(2, 2)))
    U = Q @ ex.transient() @ Q.T
    assert ex.TRANSIENT.check(U)
    assert ex.TRANSIENT.check(0.9 * (U + U.T) / 12).mistake == "normal"
