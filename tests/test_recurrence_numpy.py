"""What networks on numbers promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import recurrence as rec
from minilib.arrays import relu
from minilib.recurrence_numpy import (
    CELLS,
    gru_network,
    gru_reset_after_network,
    lstm_network,
    memory,
    rnn_network,
    top_lyapunov_exponent,
    unit_terms,
    untrained,
)

T, D, D_X = 7, 5, 3
"""Steps, state width and input width: pairwise different primes, so that no two axes can be mistaken."""


def weights(gates, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(0.7 * rng.normal(size=size) for size in ((gates * D, D_X), (gates * D, D), (gates * D,)))


def sequence(seed=1):
    return np.random.default_rng(seed).normal(size=(T, D_X))


def lstm_scan(x, state, *cell):
    """All states (c, h) in one row, as the Jacobians order them."""
    return np.concatenate(rec.lstm_scan(x, state[:D], state[D:], *cell), axis=-1)


RELU = relu, rec.relu_slope
NETWORKS = {
    "tanh RNN": (rnn_network, rec.rnn_scan, weights(1), ()),
    "relu RNN": (lambda x, *cell: rnn_network(x, *cell, *RELU), rec.rnn_scan, weights(1), RELU[:1]),
    "LSTM": (lstm_network, lstm_scan, weights(4), ()),
    "GRU": (gru_network, rec.gru_scan, weights(3), ()),
    "GRU, reset after": (gru_reset_after_network, rec.gru_reset_after_scan, (*weights(3), weights(1)[2]), ()),
}
"""Each constructor, an independent run of the same cell from any first state, the weights, and what the run needs."""

each_network = pytest.mark.parametrize("kind", NETWORKS)


def build(kind):
    """A network, and a function that runs its cell over inputs from any state and returns all states."""
    make, scan, cell, more = NETWORKS[kind]
    return make(sequence(), *cell), lambda x, state: scan(x, state, *cell, *more)


def states_of(network):
    """States s_0 … s_T of a network, one row each, from the zero state on."""
    after = np.concatenate(network.states, axis=-1) if isinstance(network.states, tuple) else network.states
    return np.concatenate([np.zeros_like(after[:1]), after])


def finite_difference(f, s, eps=1e-6):
    """Central differences of f: R^m -> R^m at s; new state on the rows, old state on the columns."""
    return np.stack([(f(s + eps * e) - f(s - eps * e)) / (2 * eps) for e in np.eye(s.size)], axis=-1)


# ---------------------------------------------------------------------------------------------------------------
# a network


@each_network
def test_a_network_runs_its_cell_from_the_zero_state(kind):
    network, run = build(kind)
    states = states_of(network)
    np.testing.assert_allclose(states[1:], run(sequence(), states[0]), rtol=1e-13)


@each_network
def test_each_jacobian_is_the_slope_of_its_step(kind):
    network, run = build(kind)
    J, states = network.jacobians(), states_of(network)
    assert len(J) == T
    for t, x in enumerate(sequence()):
        want = finite_difference(lambda s, x=x: run(x[None], s)[-1], states[t])
        np.testing.assert_allclose(J[t], want, rtol=2e-6, atol=1e-9)


@each_network
def test_each_product_is_the_slope_of_the_last_state_by_the_state_that_many_steps_before(kind):
    network, run = build(kind)
    P, states = network.products(), states_of(network)
    np.testing.assert_array_equal(P[0], np.eye(states.shape[1]))
    assert len(P) == T + 1
    for k in range(1, T + 1):
        want = finite_difference(lambda s, k=k: run(sequence()[T - k :], s)[-1], states[T - k])
        np.testing.assert_allclose(P[k], want, rtol=1e-5, atol=1e-8)


@each_network
def test_a_batch_of_sequences_is_each_of_them_alone(kind):
    make, _, cell, _ = NETWORKS[kind]
    x = np.stack([sequence(seed) for seed in (1, 2)], axis=1)
    together = make(x, *cell)
    for k in range(2):
        alone = make(x[:, k], *cell)
        np.testing.assert_allclose(together.products()[:, k], alone.products(), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(together.dominant[:, k], alone.dominant, rtol=1e-13)


@each_network
def test_a_row_sent_back_through_the_steps_is_the_row_times_the_products(kind):
    network, _ = build(kind)
    parts = 2 if kind == "LSTM" else 1
    delta = np.random.default_rng(8).normal(size=(parts, D))
    back = rec.back_through_time(network.vjp, tuple(delta), network.slopes, network.U)
    got = np.concatenate(back[:-1], axis=-1)[::-1]
    np.testing.assert_allclose(got, delta.reshape(-1) @ network.products()[1:], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU, reset after"])
def test_the_dominant_gate_is_what_the_second_block_of_weights_makes_of_input_and_state(kind):
    network, _ = build(kind)
    h = states_of(network)[:-1, -D:]
    W, U, b = (w[D : 2 * D] for w in NETWORKS[kind][2][:3])
    np.testing.assert_allclose(network.dominant, 1 / (1 + np.exp(-(sequence() @ W.T + h @ U.T + b))), rtol=1e-12)


@pytest.mark.parametrize("kind", ["tanh RNN", "relu RNN"])
def test_a_simple_rnn_has_no_dominant_gate(kind):
    network, _ = build(kind)
    assert network.dominant.shape == (T, D)
    assert np.isnan(network.dominant).all()


# ---------------------------------------------------------------------------------------------------------------
# an untrained network


def pre_activations(cell, **chosen):
    """What enters each gate's σ or tanh, gate by gate, read off the gates themselves."""
    network = untrained(cell, **chosen)
    gates = network.gates._asdict() if network.gates else {"h": network.states}
    return {n: np.arctanh(g) if n in ("h", "c_hat", "h_hat") else np.log(g / (1 - g)) for n, g in gates.items()}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("gain", [0.0, 0.8, 3.0])
def test_each_block_of_u_is_the_gain_times_another_orthogonal_matrix(cell, gain):
    blocks = untrained(cell, gain, length=2, width=D).U.reshape(-1, D, D)
    assert len(blocks) == {"LSTM": 4, "GRU": 3}.get(cell, 1)
    for U in blocks:
        np.testing.assert_allclose(U @ U.T, gain**2 * np.eye(D), atol=1e-13)
    if gain:
        assert len({U.tobytes() for U in blocks}) == len(blocks)


@pytest.mark.parametrize("cell", ["tanh RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(("width", "seeds"), [(5, 400), (61, 3)])
def test_w_keeps_the_variance_of_the_input_at_every_width(cell, width, seeds):
    """Without U the pre-activation is W x alone: variance σ² for W of variance 1/d, whatever the width d."""
    runs = [
        pre_activations(cell, gain=0.0, input_std=0.5, length=11, width=width, seed=seed).values()
        for seed in range(seeds)
    ]
    variance = np.mean([[np.mean(a**2) for a in run] for run in runs], axis=0)
    # d² entries of W and 11 d of x in each run: relative error √(2/(d² n) + 2/(11 d n)), here below 4 %; 4 σ.
    within = 4 * math.sqrt(2 / (width**2 * seeds) + 2 / (11 * width * seeds))
    assert within < 0.16
    np.testing.assert_allclose(variance, 0.25, rtol=within)


@pytest.mark.parametrize("cell", ["tanh RNN", "LSTM", "GRU"])
def test_the_input_scale_multiplies_the_same_noise(cell):
    small, large = (pre_activations(cell, gain=0.0, input_std=s, length=T, width=D) for s in (0.1, 0.3))
    for name, a in small.items():
        np.testing.assert_allclose(3 * a, large[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("cell", "want"),
    [("LSTM", {"i": -0.7, "f": 1.3, "c_hat": 0, "o": 0}), ("GRU", {"r": -0.7, "z": 1.3, "h_hat": 0})],
)
def test_each_bias_goes_to_its_own_gate(cell, want):
    """At the first step of a silent input the bias is all that enters a gate."""
    got = pre_activations(cell, memory_bias=1.3, input_bias=-0.7, input_std=0.0, length=2, width=D)
    assert set(got) == set(want)
    for name, bias in want.items():
        np.testing.assert_allclose(got[name][0], np.full(D, bias), atol=1e-12)


@pytest.mark.parametrize("cell", ["tanh RNN", "relu RNN"])
def test_a_simple_rnn_takes_no_gate_bias_and_has_no_gate(cell):
    plain, biased = untrained(cell, length=T, width=D), untrained(cell, 1.0, 4.0, -3.0, length=T, width=D)
    np.testing.assert_array_equal(biased.states, plain.states)
    assert np.isnan(plain.dominant).all()


def test_the_relu_cell_has_slope_zero_or_one_and_the_tanh_cell_anything_between():
    relu_cell, tanh_cell = (untrained(cell, length=50, width=D) for cell in ("relu RNN", "tanh RNN"))
    assert set(np.unique(relu_cell.slopes)) == {0.0, 1.0}
    assert (relu_cell.states >= 0).all()
    assert ((tanh_cell.slopes > 0) & (tanh_cell.slopes < 1)).all()


@pytest.mark.parametrize("cell", CELLS)
def test_a_seed_decides_everything_and_another_seed_gives_another_network(cell):
    first, again, other = (untrained(cell, length=T, width=D, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.products(), again.products())
    assert not np.array_equal(first.products(), other.products())


def test_an_unknown_cell_is_refused_with_the_cells_that_there_are():
    with pytest.raises(ValueError, match="one of tanh RNN, relu RNN, LSTM, GRU, got 'lstm'"):
        untrained("lstm")


# ---------------------------------------------------------------------------------------------------------------
# memory


SMALL = {"length": 23, "width": D, "memory_bias": 1.0}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gain_of_memory_is_that_of_the_products_within_the_error_of_its_sample(cell, seed):
    r"""For v uniform on the unit sphere of R^m and A = P Pᵀ, vᵀA v has mean tr A/m and relative variance
    (2/(m+2)) (m tr A²/(tr A)² − 1); the mean over independent rows has that over their number."""
    rows = 1009
    got = memory(rows=rows, cell=cell, seed=seed, **SMALL).gain
    P = untrained(cell=cell, seed=seed, **SMALL).products()
    A, m = P @ np.swapaxes(P, -1, -2), P.shape[-1]
    mean, square = np.trace(A, axis1=-2, axis2=-1) / m, np.trace(A @ A, axis1=-2, axis2=-1) / m
    deviation = np.sqrt(2 / (m + 2) * np.maximum(square - mean**2, 0) / rows)
    assert (deviation <= 0.05 * mean).all()
    assert (np.abs(got**2 - mean) <= 4 * deviation + 1e-12 * mean).all()
    np.testing.assert_allclose(mean, rec.rms_gain(P) ** 2, rtol=1e-12)


@pytest.mark.parametrize("cell", ["tanh RNN", "GRU"])
def test_with_one_unit_the_gain_of_memory_is_exact(cell):
    chosen = {"cell": cell, "length": 23, "width": 1, "seed": 5}
    products = untrained(**chosen).products()[:, 0, 0]
    np.testing.assert_allclose(memory(**chosen).gain, np.abs(products), rtol=1e-12)


def test_a_single_row_of_memory_is_one_unit_row_and_not_the_gradient_of_the_loss():
    """The squared gains are Σ_ij (P Pᵀ)_ij V_ij; for one unit row v the V that fits them is v vᵀ."""
    chosen = {"cell": "LSTM", "length": 7, "width": 1, "memory_bias": 1.0}
    squares, P = memory(rows=1, **chosen).gain ** 2, untrained(**chosen).products()
    A = P @ np.swapaxes(P, -1, -2)
    V = np.linalg.lstsq(np.stack([A[:, 0, 0], 2 * A[:, 0, 1], A[:, 1, 1]], axis=-1), squares)[0]
    assert V[0] + V[2] == pytest.approx(1, rel=1e-9)
    assert V[0] * V[2] == pytest.approx(V[1] ** 2, rel=1e-6)
    # The gradient of the loss starts in h alone, this row in both parts of the state.
    assert V[0] > 1e-3


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_gate_of_memory_is_the_product_of_the_dominant_gate_averaged_over_units(cell):
    got = memory(cell=cell, **SMALL).gate
    dominant = untrained(cell=cell, **SMALL).dominant
    want = [np.mean([math.prod(dominant[23 - k :, unit]) for unit in range(D)]) for k in range(24)]
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("cell", ["tanh RNN", "relu RNN"])
def test_without_a_gate_there_is_no_product_of_gates(cell):
    assert np.isnan(memory(cell=cell, **SMALL).gate[1:]).all()


def bias_slopes(network):
    """∂s_t/∂b of each single step, shape (T, m, gates·d): a unit row for each entry of the state, sent back once."""
    m, (steps, d) = network.products().shape[-1], network.dominant.shape
    rows = np.split(np.broadcast_to(np.eye(m)[:, None], (m, steps, m)), m // d, axis=-1)
    back = network.vjp(*rows, network.slopes, network.U)
    return np.swapaxes(back.a, 0, 1)


@pytest.mark.parametrize("cell", CELLS)
def test_with_one_unit_the_terms_are_the_products_times_the_slopes_by_the_bias(cell):
    chosen = {"cell": cell, "length": 23, "width": 1, "seed": 5, "memory_bias": 0.5}
    network = untrained(**chosen)
    terms = network.products()[:-1] @ bias_slopes(network)[::-1]
    # The loss is ±h_T, the last entry of the state, and a norm does not see the sign.
    np.testing.assert_allclose(memory(**chosen).terms, np.linalg.norm(terms[:, -1], axis=-1), rtol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_the_terms_lie_between_the_extreme_gains_from_the_bias_to_the_output(cell):
    network, got = untrained(cell=cell, **SMALL), memory(cell=cell, **SMALL).terms
    terms = (network.products()[:-1] @ bias_slopes(network)[::-1])[:, -D:]
    singular = np.linalg.svdvals(terms)
    assert got.shape == (23,)
    assert (got <= singular[:, 0] * (1 + 1e-12)).all()
    assert (got >= singular[:, -1] * (1 - 1e-9)).all()


def test_the_slopes_by_the_bias_are_those_of_a_finite_difference():
    """The yardstick of the tests above, held to one step of an LSTM."""
    network, _ = build("LSTM")
    W, U, b = weights(4)
    c, h = states_of(network)[T - 1, :D], states_of(network)[T - 1, D:]
    want = finite_difference(lambda b: np.concatenate(rec.lstm_step(sequence()[-1], c, h, W, U, b)), b)
    np.testing.assert_allclose(bias_slopes(network)[-1], want, rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------------
# growth rates


def effective_weight(seed):
    """|u| of the one unit that a seed draws, read off its growth at a tiny gain, where tanh is linear."""
    return math.exp(top_lyapunov_exponent([1e-3], 1, seed=seed)[0]) * 1e3


def at_rest(w):
    """The exponent of one unit of weight |w| without input: log w, and log(2y/sinh 2y) with w = y/tanh y beyond 1."""
    if w <= 1:
        return math.log(w)
    y = w
    for _ in range(200):
        y = w * math.tanh(y)
    return math.log(2 * y / math.sinh(2 * y))


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_one_unit_grows_as_its_closed_form_says(seed):
    # Near weight 1 the state comes to rest too slowly to be compared.
    w = np.array([0.3, 0.8, 1.4, 2.0, 4.0])
    got = top_lyapunov_exponent((w / effective_weight(seed)).tolist(), 1, seed=seed)
    np.testing.assert_allclose(got, [at_rest(v) for v in w], rtol=1e-9)
    assert (got < 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_saturated_start_does_not_lose_the_perturbation():
    got = top_lyapunov_exponent([8.0 / effective_weight(3)], 1, seed=3)
    np.testing.assert_allclose(got, at_rest(8.0), rtol=1e-9)


def test_a_dying_state_grows_by_the_logarithm_of_its_gain():
    """While the state is tiny, J = g U, so that two gains differ by log g₁/g₂ and nothing else."""
    gains = [0.1, 0.2, 0.5]
    rates = top_lyapunov_exponent(gains, 7, warm_up=300)
    np.testing.assert_allclose(rates - rates[0], np.log(gains) - math.log(0.1), rtol=1e-12)


def test_a_wide_matrix_of_variance_one_over_d_has_spectral_radius_one():
    """The circular law: at small gain the exponent is log g, up to what is left of finite width."""
    rates = [top_lyapunov_exponent([0.2], 100, seed=seed)[0] for seed in range(10)]
    assert np.mean(rates) == pytest.approx(math.log(0.2), abs=0.1)


def test_noise_keeps_a_large_gain_from_chaos():
    quiet, loud = (top_lyapunov_exponent([2.0], 101, input_std=std)[0] for std in (0.0, 3.0))
    assert quiet > 0.1
    assert loud < 0


def test_each_gain_is_followed_by_itself_through_the_same_noise():
    gains = [0.3, 0.6, 0.9]
    together = top_lyapunov_exponent(gains, 7, input_std=0.5, seed=2)
    alone = [top_lyapunov_exponent([g], 7, input_std=0.5, seed=2)[0] for g in gains]
    np.testing.assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.parametrize("gain", [0.7, 1.5, 3.0])
@pytest.mark.parametrize("input_std", [0.0, 0.5])
def test_the_top_exponent_is_the_largest_of_all_exponents(gain, input_std):
    d, steps, warm_up = 7, 2000, 100
    rng = np.random.default_rng(1)
    U, (h, _) = rng.normal(size=(d, d)) / d**0.5, rng.normal(size=(2, 1, d))
    x = input_std * rng.normal(size=(warm_up + steps, 1, d))
    h = rec.rnn_scan(x, h, np.eye(d), gain * U, np.zeros(d))[:, 0]
    J = rec.rnn_jacobian(rec.tanh_slope(h), gain * U)
    got = top_lyapunov_exponent([gain], d, input_std, steps, warm_up, seed=1)[0]
    # Each follows a direction of its own at first, which costs a number of nats that does not grow with the steps.
    assert got == pytest.approx(rec.lyapunov_exponents(J[warm_up:])[0], abs=5 / steps)


# ---------------------------------------------------------------------------------------------------------------
# one unit


def last_state(u, x):
    h = 0.5
    for x_t in x:
        h = math.tanh(x_t + u * h)
    return h


@settings(deadline=None)
@given(u=st.floats(-2, 2), length=st.integers(1, 40), input_std=st.floats(0, 3), seed=st.integers(0, 9))
def test_the_terms_of_a_unit_add_up_to_the_slope_of_its_last_state(u, length, input_std, seed):
    terms = unit_terms(u, length, input_std, seed)
    x = input_std * np.random.default_rng(seed).normal(size=length)
    eps = 1e-6
    assert terms.shape == (length,)
    slope = (last_state(u + eps, x) - last_state(u - eps, x)) / (2 * eps)
    assert terms.sum() == pytest.approx(slope, rel=1e-5, abs=1e-6)


@settings(deadline=None)
@given(u=st.floats(-0.9, 0.9), input_std=st.floats(0, 3), seed=st.integers(0, 9))
def test_no_term_of_a_contracting_unit_exceeds_the_power_of_its_weight(u, input_std, seed):
    """|∂h_j/∂h_{j−1}| ≤ |u| and |∂h_t/∂u| ≤ |h_{t−1}| ≤ 1."""
    assert (np.abs(unit_terms(u, 60, input_std, seed)) <= abs(u) ** np.arange(60) + 1e-300).all()


@pytest.mark.parametrize("u", [-0.8, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_a_contracting_unit_with_input_has_its_largest_terms_first(u, seed):
    size = np.abs(unit_terms(u, seed=seed))
    assert size.argmax() <= 2
    assert size[:10].min() > 0
    assert size[10:].sum() < 0.01 * size.sum()


def test_the_first_term_is_the_slope_of_the_last_step_alone():
    x = np.random.default_rng(0).normal(size=60)
    before = last_state(0.8, x[:-1])
    assert unit_terms(0.8)[0] == pytest.approx((1 - last_state(0.8, x) ** 2) * before, rel=1e-12)


@pytest.mark.parametrize("u", [1.5, 2.0, 3.0])
def test_without_input_the_terms_of_a_large_weight_shrink_by_the_multiplier_at_rest(u):
    terms = unit_terms(u, input_std=0.0)[:20]
    np.testing.assert_allclose(np.log(terms[1:] / terms[:-1]), at_rest(u), rtol=1e-6)
