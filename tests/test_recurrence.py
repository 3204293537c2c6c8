"""What recurrence promises."""

from __future__ import annotations

import math

import dialects
import numpy as np
import pytest

from minilib import arrays
from minilib import recurrence as rec

T, B, D, D_X = 7, 3, 5, 2
"""Steps, batch, state width and input width: pairwise different primes, so that no two axes can be mistaken."""


def cell(gates, d=D, d_x=D_X, seed=0, scale=0.7):
    """Random float64 weights W, U, b of a cell with so many gates."""
    rng = np.random.default_rng(seed)
    return tuple(scale * rng.normal(size=s) for s in ((gates * d, d_x), (gates * d, d), (gates * d,)))


def sequence(seed=1, batch=(B,)):
    return np.random.default_rng(seed).normal(size=(T, *batch, D_X))


def state(seed=2, batch=(B,)):
    return 0.5 * np.random.default_rng(seed).normal(size=(*batch, D))


def finite_difference(f, h, eps=1e-6):
    """Central differences of f: R^d -> R^m at h, as an m × d matrix."""
    columns = [(f(h + eps * e) - f(h - eps * e)) / (2 * eps) for e in np.eye(h.size)]
    return np.stack(columns, axis=-1)


class Rnn:
    """The tanh RNN behind one interface, so that every cell is held to the same promises."""

    gates = 1
    width = D

    def __init__(self, seed=0, phi=None, slope=rec.tanh_slope):
        self.weights, self.phi, self.slope = cell(self.gates, seed=seed), phi, slope

    def start(self, batch=(B,)):
        return state(batch=batch)

    def step(self, x, s):
        return rec.rnn_step(x, s, *self.weights, self.phi)

    def scan(self, x, s):
        return rec.rnn_scan(x, s, *self.weights, self.phi)

    def jacobian(self, x, s):
        return rec.rnn_jacobian(self.slope(self.step(x, s)), self.weights[1])

    def vjp(self, delta, x, s):
        back = rec.rnn_vjp(delta, self.slope(self.step(x, s)), self.weights[1])
        return back.h, back.a


class ReluRnn(Rnn):
    def __init__(self, seed=0):
        super().__init__(seed, arrays.relu, rec.relu_slope)


class Lstm(Rnn):
    gates = 4
    width = 2 * D

    def __init__(self, seed=0):
        self.weights = cell(4, seed=seed)

    def start(self, batch=(B,)):
        return np.concatenate([state(3, batch), state(4, batch)], axis=-1)

    def step(self, x, s):
        return np.concatenate(rec.lstm_step(x, s[..., :D], s[..., D:], *self.weights), axis=-1)

    def scan(self, x, s):
        return np.concatenate(rec.lstm_scan(x, s[..., :D], s[..., D:], *self.weights), axis=-1)

    def jacobian(self, x, s):
        return rec.lstm_jacobian(self.slopes(x, s), self.weights[1])

    def slopes(self, x, s):
        return rec.lstm_slopes(rec.lstm_gates(x, s[..., D:], *self.weights), s[..., :D])

    def vjp(self, delta, x, s):
        back = rec.lstm_vjp(delta[..., :D], delta[..., D:], self.slopes(x, s), self.weights[1])
        return np.concatenate([back.c, back.h], axis=-1), back.a


class Gru(Rnn):
    gates = 3

    def __init__(self, seed=0):
        self.weights = cell(3, seed=seed)

    def step(self, x, s):
        return rec.gru_step(x, s, *self.weights)

    def scan(self, x, s):
        return rec.gru_scan(x, s, *self.weights)

    def jacobian(self, x, s):
        return rec.gru_jacobian(self.slopes(x, s), self.weights[1])

    def slopes(self, x, s):
        return rec.gru_slopes(rec.gru_gates(x, s, *self.weights), s)

    def vjp(self, delta, x, s):
        back = rec.gru_vjp(delta, self.slopes(x, s), self.weights[1])
        return back.h, back.a


class GruResetAfter(Gru):
    def __init__(self, seed=0):
        self.weights = (*cell(3, seed=seed), np.random.default_rng(seed + 9).normal(size=D))

    def step(self, x, s):
        return rec.gru_reset_after_step(x, s, *self.weights)

    def scan(self, x, s):
        return rec.gru_reset_after_scan(x, s, *self.weights)

    def jacobian(self, x, s):
        return rec.gru_reset_after_jacobian(self.slopes(x, s), self.weights[1])

    def slopes(self, x, s):
        return rec.gru_reset_after_slopes(rec.gru_reset_after_gates(x, s, *self.weights), s)

    def vjp(self, delta, x, s):
        back = rec.gru_reset_after_vjp(delta, self.slopes(x, s), self.weights[1])
        return back.h, back.a


CELLS = [Rnn, ReluRnn, Lstm, Gru, GruResetAfter]


# ---------------------------------------------------------------------------------------------------------------
# theorems and limits


def test_the_total_derivative_is_the_sum_of_the_terms_of_all_lags():
    """dh_T/dθ = Σ_k (∂h_T/∂h_k) ∂h_k/∂θ, for θ = U of a scalar RNN, against a finite difference."""
    rng = np.random.default_rng(0)
    x, zero, one, u = rng.normal(size=(61, 1)), np.zeros(1), np.ones((1, 1)), np.full((1, 1), 0.8)
    h = rec.rnn_scan(x, zero, one, u, zero)
    J = rec.rnn_jacobian(rec.tanh_slope(h), u)
    direct = (rec.tanh_slope(h) * rec.preceding(h, zero))[::-1, 0]
    terms = rec.jacobian_products(J)[:-1, 0, 0] * direct
    eps = 1e-6
    far = [rec.rnn_scan(x, zero, one, u + e, zero)[-1, 0] for e in (eps, -eps)]
    np.testing.assert_allclose(terms.sum(), (far[0] - far[1]) / (2 * eps), rtol=1e-8)


def test_a_linear_recurrence_grows_like_its_spectral_radius_in_the_end_but_not_at_first():
    U = np.array([[0.9, 5.0], [0.0, 0.9]])
    norms = rec.spectral_norm(rec.jacobian_products(np.broadcast_to(U, (201, 2, 2))))
    assert int(norms.argmax()) == 9
    assert norms[9] == pytest.approx(19.38, abs=0.005)
    assert norms[200] < 1e-6


def test_the_scalar_tanh_step_is_bounded_for_each_state_but_not_uniformly():
    u = np.linspace(-200, 200, 400_001)
    for h in (0.1, 0.5, 0.9):
        assert np.max(np.abs(rec.tanh_slope(np.tanh(u * h)) * u)) == pytest.approx(0.447743 / h, rel=1e-5)


def test_an_autonomous_scalar_tanh_rnn_never_explodes():
    for u in (1.1, 1.5, 2.0, 3.0):
        weights = np.zeros((1, 1)), np.full((1, 1), u), np.zeros(1)
        h = rec.rnn_scan(np.zeros((2000, 1)), np.full(1, 0.3), *weights)
        assert abs(rec.rnn_jacobian(rec.tanh_slope(h[-1]), weights[1])[0, 0]) < 1


def test_at_the_zero_state_lstm_and_gru_pass_the_same_half_plus_a_quarter_of_the_weight():
    u = 1.7
    zero, U = np.zeros(1), np.zeros((4, 1))
    U[2] = u
    gates = rec.lstm_gates(zero, zero, np.zeros((4, 1)), U, np.zeros(4))
    assert sum(rec.lstm_terms(rec.lstm_slopes(gates, zero), np.full(1, 0.5), U))[0, 0] == pytest.approx(0.5 + u / 4)
    U = U[:3]
    gates = rec.gru_gates(zero, zero, np.zeros((3, 1)), U, np.zeros(3))
    assert rec.gru_jacobian(rec.gru_slopes(gates, zero), U)[0, 0] == pytest.approx(0.5 + u / 4)


def test_a_wide_open_forget_gate_makes_a_perfect_memory():
    W, U, b = np.zeros((4 * D, D_X)), np.zeros((4 * D, D)), np.zeros(4 * D)
    b[:D], b[D : 2 * D] = -40, 40
    c = rec.lstm_scan(sequence(), state(), state(), W, U, b).c
    np.testing.assert_allclose(c[-1], state(), rtol=1e-12)


def test_the_gru_state_stays_inside_the_unit_cube():
    W, U, b = cell(3, scale=20.0)
    assert np.max(np.abs(rec.gru_scan(sequence(), np.tanh(state()), W, U, b))) <= 1


def test_the_four_terms_are_the_path_through_the_cell_inside_the_state_jacobian():
    """T1+…+T4 = f + M diag(o_{t−1}(1−tanh²c_{t−1})), M being the upper right block of the Jacobian."""
    W, U, b = cell(4)
    c, h, o, x = state(5), state(6), arrays.sigmoid(state(7)), sequence()[0]
    slopes = rec.lstm_slopes(rec.lstm_gates(x, h, W, U, b), c)
    M = rec.lstm_jacobian(slopes, U)[..., :D, D:]
    path = o * rec.tanh_slope(np.tanh(c))
    want = slopes.keep[..., None] * np.eye(D) + M * path[..., None, :]
    np.testing.assert_allclose(sum(rec.lstm_terms(slopes, path, U)), want, rtol=1e-12)


def test_the_four_terms_of_a_scalar_lstm_are_its_derivative_when_the_output_gate_is_held():
    W, U, b = cell(4, d=1)
    x, c, o = sequence()[0, 0], np.array([0.6]), np.array([0.4])

    def next_c(c):
        return rec.lstm_step(x, c, o * np.tanh(c), W, U, b).c

    slopes = rec.lstm_slopes(rec.lstm_gates(x, o * np.tanh(c), W, U, b), c)
    terms = rec.lstm_terms(slopes, o * rec.tanh_slope(np.tanh(c)), U)
    np.testing.assert_allclose(sum(terms), finite_difference(next_c, c), rtol=1e-8)


def test_flipping_the_update_gate_gives_the_other_convention():
    """(1−z) h + z ĥ with the flipped weights is z h + (1−z) ĥ with ours."""
    W, U, b = cell(3)
    x, h = sequence()[0], state()
    _, z, h_hat = rec.gru_gates(x, h, *(rec.flip_update_gate(w) for w in (W, U, b)))
    np.testing.assert_allclose((1 - z) * h + z * h_hat, rec.gru_step(x, h, W, U, b), rtol=1e-12)


def test_both_resets_agree_only_when_the_reset_gate_is_one_number():
    W, U, b = cell(3)
    W[:D], U[:D], b[:D] = 0, 0, 0.3
    x, h, zero = sequence(), state(), np.zeros(D)
    np.testing.assert_allclose(rec.gru_reset_after_scan(x, h, W, U, b, zero), rec.gru_scan(x, h, W, U, b))
    U[:D] = U[D : 2 * D]
    assert np.abs(rec.gru_reset_after_scan(x, h, W, U, b, zero) - rec.gru_scan(x, h, W, U, b)).max() > 1e-3


# ---------------------------------------------------------------------------------------------------------------
# every cell


@pytest.mark.parametrize("kind", CELLS)
def test_a_scan_is_its_steps_one_after_another(kind):
    c = kind()
    x, s, states = sequence(), c.start(), []
    scanned = c.scan(x, s)
    for x_t in x:
        s = c.step(x_t, s)
        states.append(s)
    np.testing.assert_allclose(scanned, states, rtol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_the_closed_form_jacobian_is_the_slope_of_the_step(kind):
    c = kind()
    x, s = sequence(batch=())[0], c.start(batch=())
    np.testing.assert_allclose(c.jacobian(x, s), finite_difference(lambda s: c.step(x, s), s), rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("kind", CELLS)
def test_the_vector_jacobian_product_is_the_row_times_the_matrix(kind):
    c = kind()
    x, s = sequence()[0], c.start()
    delta = np.random.default_rng(8).normal(size=s.shape)
    want = (delta[..., None, :] @ c.jacobian(x, s))[..., 0, :]
    np.testing.assert_allclose(c.vjp(delta, x, s)[0], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_the_pre_activation_part_is_the_slope_by_the_bias(kind):
    c = kind()
    x, s = sequence(batch=())[0], c.start(batch=())
    delta = np.random.default_rng(8).normal(size=s.shape)

    def loss(b):
        c.weights = (*c.weights[:2], b, *c.weights[3:])
        return delta @ c.step(x, s)

    b, a = c.weights[2], c.vjp(delta, x, s)[1]
    np.testing.assert_allclose(a, finite_difference(loss, b), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", CELLS)
def test_products_of_jacobians_are_the_derivative_over_many_steps(kind):
    c = kind()
    x, s0 = sequence(batch=()), c.start(batch=())
    before = rec.preceding(c.scan(x, s0), s0)
    J = np.stack([c.jacobian(x_t, s) for x_t, s in zip(x, before, strict=True)])
    products = rec.jacobian_products(J)
    assert products.shape == (T + 1, c.width, c.width)
    np.testing.assert_array_equal(products[0], np.eye(c.width))
    far = finite_difference(lambda s: c.scan(x, s)[-1], s0)
    np.testing.assert_allclose(products[T], far, rtol=1e-5, atol=1e-9)


def test_back_through_time_is_the_row_times_the_products_of_jacobians():
    W, U, b = cell(4)
    x, c, h = sequence(), state(3), state()
    states = rec.lstm_scan(x, c, h, W, U, b)
    gates = rec.lstm_gates(x, rec.preceding(states.h, h), W, U, b)
    slopes = rec.lstm_slopes(gates, rec.preceding(states.c, c))
    back = rec.back_through_time(rec.lstm_vjp, (state(8), state(9)), slopes, U)
    row = np.concatenate([state(8), state(9)], axis=-1)[..., None, :]
    want = (row @ rec.jacobian_products(rec.lstm_jacobian(slopes, U))[1:])[..., 0, :]
    np.testing.assert_allclose(np.concatenate([back.c, back.h], axis=-1)[::-1], want, rtol=1e-10, atol=1e-13)
    assert back.a.shape == (T, B, 4 * D)


def test_back_through_time_adds_up_to_the_gradient_by_the_bias():
    W, U, b = cell(1)
    x, h, delta = sequence(batch=()), state(batch=()), state(8, ())
    slope = rec.tanh_slope(rec.rnn_scan(x, h, W, U, b))
    terms = rec.back_through_time(rec.rnn_vjp, (delta,), slope, U).a
    want = finite_difference(lambda b: rec.rnn_scan(x, h, W, U, b)[-1], b)
    np.testing.assert_allclose(terms.sum(0), delta @ want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", CELLS)
def test_batches_do_not_mix(kind):
    c = kind()
    x, s = sequence(), c.start()
    alone = np.stack([c.scan(x[:, k], s[k]) for k in range(B)], axis=1)
    np.testing.assert_allclose(c.scan(x, s), alone, rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# dialects


def formulas(xp, convert):
    """Every public array formula of the module on the same numbers, in the library that `convert` makes arrays of."""
    x, c, h = convert(sequence()), convert(state(3)), convert(state())
    out = []
    for gates in (1, 3, 4):
        W, U, b = (convert(w) for w in cell(gates))
        if gates == 1:
            s = rec.rnn_scan(x, h, W, U, b)
            slope = rec.tanh_slope(s)
            out += [s, rec.rnn_scan(x, h, W, U, b, arrays.relu), rec.relu_slope(s), rec.rnn_jacobian(slope, U)]
            out += rec.rnn_vjp(s, slope, U)
        elif gates == 3:
            s = rec.gru_scan(x, h, W, U, b)
            before = rec.preceding(s, h)
            peep = rec.gru_gates(x, before, W, U, b)
            slopes = rec.gru_slopes(peep, before)
            out += [s, *peep, *slopes, rec.gru_jacobian(slopes, U), *rec.gru_vjp(s, slopes, U)]
            s = rec.gru_reset_after_scan(x, h, W, U, b, b[:D])
            before = rec.preceding(s, h)
            peep = rec.gru_reset_after_gates(x, before, W, U, b, b[:D])
            slopes = rec.gru_reset_after_slopes(peep, before)
            out += [s, *peep, *slopes, rec.gru_reset_after_jacobian(slopes, U)]
            out += rec.gru_reset_after_vjp(s, slopes, U)
            out += [rec.flip_update_gate(U), rec.reorder_gates(U, "zrh", "rzh")]
        else:
            s = rec.lstm_scan(x, c, h, W, U, b)
            before_c = rec.preceding(s.c, c)
            peep = rec.lstm_gates(x, rec.preceding(s.h, h), W, U, b)
            slopes = rec.lstm_slopes(peep, before_c)
            J = rec.lstm_jacobian(slopes, U)
            P = rec.jacobian_products(J)
            out += [*s, *peep, J, P, rec.rms_gain(P), rec.spectral_norm(P), rec.lyapunov_exponents(J[:, 0, ...])]
            out += [*slopes, *rec.lstm_terms(slopes, peep.o, U), *rec.lstm_vjp(s.c, s.h, slopes, U)]
    square = convert(cell(1)[1])
    out += [rec.orthogonal(square), rec.chrono_forget_bias(arrays.sigmoid(h), 50.0)]
    return [*out, rec.clip_norm(h, 0.5), rec.clip_value(h, 0.5), rec.rms_gain(square)]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    ours, theirs = formulas(np, np.asarray), formulas(xp, xp.asarray)
    assert len(ours) == len(theirs) > 50
    dialects.assert_same(ours, theirs, xp, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_float32(formulas(xp, lambda a: xp.asarray(a, dtype=xp.float32)), xp)


# ---------------------------------------------------------------------------------------------------------------
# many steps, initialisation, clipping


def test_an_orthogonal_matrix_comes_out_orthogonal_and_uniform():
    rng = np.random.default_rng(0)
    Q = np.stack([rec.orthogonal(rng.normal(size=(3, 3))) for _ in range(4000)])
    np.testing.assert_allclose(Q @ np.swapaxes(Q, -1, -2), np.broadcast_to(np.eye(3), Q.shape), atol=1e-12)
    # uniform: each entry has mean 0 and variance 1/d; without the sign fix the diagonal's mean is far from 0
    assert np.abs(Q.mean(0)).max() < 0.04
    np.testing.assert_allclose((Q**2).mean(0), 1 / 3, atol=0.03)


def test_lyapunov_exponents_of_a_constant_matrix_are_the_logarithms_of_its_eigenvalues():
    basis = rec.orthogonal(np.random.default_rng(0).normal(size=(3, 3)))
    A = basis @ np.diag([2.0, 0.7, 0.1]) @ basis.T
    rates = rec.lyapunov_exponents(np.broadcast_to(A, (400, 3, 3)))
    np.testing.assert_allclose(rates, np.log([2.0, 0.7, 0.1]), atol=0.01)


def test_the_sum_of_lyapunov_exponents_is_the_mean_log_determinant():
    J = np.random.default_rng(3).normal(size=(11, D, D))
    want = np.mean(np.linalg.slogdet(J)[1])
    assert rec.lyapunov_exponents(J).sum() == pytest.approx(want, rel=1e-12)


def test_rms_gain_is_one_for_every_rotation_and_at_most_the_spectral_norm():
    P = np.random.default_rng(0).normal(size=(13, D, D))
    assert np.all(rec.rms_gain(P) <= rec.spectral_norm(P))
    assert rec.rms_gain(rec.orthogonal(P[0])) == pytest.approx(1)


def test_a_gate_forgets_half_in_its_half_life_and_has_the_time_constant_of_its_bias():
    for b in (0.0, 1.0, 5.0, math.log(99)):
        f = float(arrays.sigmoid(np.asarray(b)))
        assert f ** rec.half_life(b) == pytest.approx(0.5)
        assert rec.time_constant(b) == pytest.approx(1 / (1 - f))


def test_chrono_time_constants_reach_the_longest_dependency_and_average_half_of_it():
    u = np.linspace(0, 1, 1001)
    tau = 1 + np.exp(rec.chrono_forget_bias(u, 784.0))
    assert (tau[0], tau[-1]) == (2, pytest.approx(784))
    assert tau.mean() == pytest.approx(1 + 784 / 2)


def test_clipping_by_norm_keeps_the_direction_and_by_value_turns_it():
    g = np.array([3.0, 0.4])
    by_norm, by_value = rec.clip_norm(g, 1.0), rec.clip_value(g, 1.0)
    assert np.linalg.norm(by_norm) == pytest.approx(1)
    assert by_norm[0] / by_norm[1] == pytest.approx(7.5)
    turned = math.degrees(math.atan2(by_value[1], by_value[0]) - math.atan2(g[1], g[0]))
    assert turned == pytest.approx(14.2, abs=0.05)
    np.testing.assert_array_equal(rec.clip_norm(g, 100.0), g)
    np.testing.assert_array_equal(rec.clip_norm(np.zeros(2), 1.0), np.zeros(2))


# ---------------------------------------------------------------------------------------------------------------
# bad input


def broken(**change):
    """The arguments of an LSTM scan with some of them replaced."""
    W, U, b = cell(4)
    return {"x": sequence(), "c": state(3), "h": state(), "W": W, "U": U, "b": b} | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((T, B, D_X + 1))}, r"W must have shape \(…, 20, 3\)"),
        ({"x": np.zeros((0, B, D_X))}, "T ≥ 1 steps"),
        ({"x": np.zeros(D_X)}, "put time first"),
        ({"U": cell(3)[1]}, r"U must have shape .* 4 × d rows"),
        ({"b": np.zeros(D)}, "b must have shape"),
        ({"x": np.zeros((T, B, D_X), dtype=int)}, "x must hold floats, got dtype int64; convert it"),
        ({"x": [[1.0]]}, "x must be an array, got list"),
        ({"c": np.zeros((B, D + 1))}, "c must have shape"),
        ({"h": np.zeros((B + 1, D))}, "same batch axes"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_bad_argument_is_named_with_what_was_expected(change, message):
    with pytest.raises(ValueError, match=message):
        rec.lstm_scan(**broken(**change))


@pytest.mark.torch
@pytest.mark.usefixtures("unchecked")
def test_numpy_and_torch_do_not_mix():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="one library, got x: torch, c: numpy"):
        rec.lstm_scan(**broken(x=torch.zeros(T, B, D_X, dtype=torch.float64)))


def test_a_gate_order_that_is_no_permutation_is_refused():
    with pytest.raises(ValueError, match="permutations of each other, got 'ifgo' and 'ifco'"):
        rec.reorder_gates(cell(4)[1], "ifgo", "ifco")
    with pytest.raises(ValueError, match="permutations"):
        rec.reorder_gates(cell(4)[1], "ifog", "iffo")


def test_nan_goes_through_and_is_not_hidden():
    x = sequence()
    x[2, 1] = np.nan
    h = rec.gru_scan(x, state(), *cell(3))
    assert np.isnan(h[2:, 1]).all()
    assert np.isfinite(h[:, 0]).all()


def test_thresholds_and_horizons_out_of_range_are_refused():
    with pytest.raises(ValueError, match="threshold must be positive"):
        rec.clip_norm(state(), 0.0)
    with pytest.raises(ValueError, match="threshold must be positive"):
        rec.clip_value(state(), float("nan"))
    with pytest.raises(ValueError, match="longest must exceed 2 steps"):
        rec.chrono_forget_bias(state(), 2.0)
