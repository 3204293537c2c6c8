"""Recurrent cells, their Jacobians in closed form, and what happens to a gradient over many steps.

Time is the first axis of a sequence, features are the last, anything between is a batch. Weights have PyTorch's
layout: $W$ of shape (gates·d, d_x) acts on the input, $U$ of shape (gates·d, d) on the state, $b$ of shape
(gates·d,); the blocks are stacked in the order of the gates: (i, f, ĉ, o) for the LSTM, (r, z, ĥ) for the GRU.

A scan returns states only. The gates of all steps at once are ``lstm_gates(x, preceding(h, h0), W, U, b)``, since a
gate depends on nothing but the input and the state before it: peeping costs nothing unless one peeps.

The derivative of a step needs the matrix U and a few entrywise slopes, which again are known for all steps at once:
``lstm_slopes(gates, preceding(c, c0))``. From the two come the Jacobian (a matrix, to look at; new state on the rows,
old state on the columns) and the vector-Jacobian product (cheap, to follow a gradient back).

Sources: Su Jianlin, Scientific Spaces 7888 (the analysis); Hochreiter & Schmidhuber 1997 and Gers et al. 2000
(LSTM); Cho et al. 2014 (GRU); Pascanu, Mikolov & Bengio 2013 (norms, clipping).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float

from .arrays import Array, chunks, expect_shape, namespace, sigmoid, unstack

# ---------------------------------------------------------------------------------------------------------------
# shapes


def _expect_cell(x: Array, h: Array, W: Array, U: Array, b: Array, gates: int) -> None:
    """Check one step's arrays against each other; the state decides the width d, the input d_x."""
    d, d_x = h.shape[-1], x.shape[-1]
    if x.shape[:-1] != h.shape[:-1]:
        raise ValueError(
            f"x and the state must have the same batch axes, got x {tuple(x.shape)} and state {tuple(h.shape)} "
            "for one step; start from a state of shape (*batch, d)"
        )
    rows = f"{gates} × d rows belong to a state of width d = {d}" if gates > 1 else f"it fits a state of width d = {d}"
    expect_shape("W", W, (gates * d, d_x), f"{rows} and its columns to an input of width {d_x}")
    expect_shape("U", U, (gates * d, d), rows)
    expect_shape("b", b, (gates * d,), rows)


def _expect_sequence(x: Array) -> None:
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(
            f"x must be a sequence of shape (T, …, d_x) with T ≥ 1 steps, got {tuple(x.shape)}; "
            "put time first, e.g. x[None] for a single step"
        )


def preceding(states: Float[Array, "T *batch d"], first: Float[Array, "*batch d"]) -> Float[Array, "T *batch d"]:
    """Return the state before each step: `first`, then all of `states` but the last."""
    xp = namespace(states=states, first=first)
    expect_shape("first", first, states.shape[1:], "it is one state of the same batch and width")
    return xp.concat([first[None, ...], states[:-1, ...]])


# ---------------------------------------------------------------------------------------------------------------
# simple RNN


def rnn_step(
    x: Float[Array, "*batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "d d_x"],
    U: Float[Array, "d d"],
    b: Float[Array, "d"],
    phi: Callable[[Array], Array] | None = None,
) -> Float[Array, "*batch d"]:
    r"""$h_t = \phi(W x_t + U h_{t-1} + b)$ with $\phi = \tanh$ unless another function is given. Elman 1990."""
    xp = namespace(x=x, h=h, W=W, U=U, b=b)
    _expect_cell(x, h, W, U, b, gates=1)
    return (phi or xp.tanh)(x @ W.T + h @ U.T + b)


def rnn_scan(
    x: Float[Array, "T *batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "d d_x"],
    U: Float[Array, "d d"],
    b: Float[Array, "d"],
    phi: Callable[[Array], Array] | None = None,
) -> Float[Array, "T *batch d"]:
    """All states $h_1 … h_T$ of :func:`rnn_step` from the state `h` before the first input."""
    xp = namespace(x=x, h=h, W=W, U=U, b=b)
    _expect_sequence(x)
    _expect_cell(x[0, ...], h, W, U, b, gates=1)
    phi, drive, U_T, states = phi or xp.tanh, x @ W.T + b, U.T, []
    for drive_t in unstack(drive):
        h = phi(drive_t + h @ U_T)
        states.append(h)
    return xp.stack(states)


def tanh_slope(h: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\tanh'(a) = 1 - h^2$, written in terms of the value $h = \tanh a$."""
    return 1 - h * h


def relu_slope(h: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\mathrm{relu}'(a) = [h > 0]$, written in terms of the value $h = \max(a, 0)$; 0 at the kink."""
    xp = namespace(h=h)
    return xp.astype(h > 0, h.dtype)


def rnn_jacobian(slope: Float[Array, "*batch d"], U: Float[Array, "d d"]) -> Float[Array, "*batch d d"]:
    r"""$\partial h_t/\partial h_{t-1} = \mathrm{diag}(\phi'(a_t))\,U$; `slope` is $\phi'(a_t)$: ``tanh_slope(h_t)``."""
    namespace(slope=slope, U=U)
    return slope[..., None] * U


class RNNGradient(NamedTuple):
    """Row vectors: the loss by the state before the step, and by the step's pre-activation."""

    h: Array
    a: Array


def rnn_vjp(delta: Float[Array, "*#batch d"], slope: Float[Array, "*#batch d"], U: Float[Array, "d d"]) -> RNNGradient:
    r"""$\delta_a = \delta \circ \phi'(a_t)$ and $\delta_{t-1} = \delta_a U$: one step of back-propagation.

    $\delta = \partial L/\partial h_t$. The step adds $\delta_a$ to $\partial L/\partial b$, $\delta_a^\top x_t^\top$ to
    $\partial L/\partial W$ and $\delta_a^\top h_{t-1}^\top$ to $\partial L/\partial U$.
    """
    delta_a = delta * slope
    return RNNGradient(delta_a @ U, delta_a)


# ---------------------------------------------------------------------------------------------------------------
# LSTM


class LSTMState(NamedTuple):
    """Cell state c and output h."""

    c: Array
    h: Array


class LSTMGates(NamedTuple):
    """Input gate, forget gate, candidate, output gate, in the order of the weight blocks."""

    i: Array
    f: Array
    c_hat: Array
    o: Array


def _lstm_gates(a: Array) -> LSTMGates:
    a_i, a_f, a_c, a_o = chunks(a, 4)
    return LSTMGates(sigmoid(a_i), sigmoid(a_f), namespace(a=a).tanh(a_c), sigmoid(a_o))


def lstm_gates(
    x: Float[Array, "*batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "4*d d_x"],
    U: Float[Array, "4*d d"],
    b: Float[Array, "4*d"],
) -> LSTMGates:
    r"""$(i, f, o) = \sigma(W_\cdot x_t + U_\cdot h_{t-1} + b_\cdot)$ and $\hat c = \tanh(W_c x_t + U_c h_{t-1} + b_c)$.

    `h` is the output *before* the step. $\hat c$ is called $g$ in PyTorch.
    """
    namespace(x=x, h=h, W=W, U=U, b=b)
    _expect_cell(x, h, W, U, b, gates=4)
    return _lstm_gates(x @ W.T + h @ U.T + b)


def _lstm_update(gates: LSTMGates, c: Array) -> LSTMState:
    c = gates.f * c + gates.i * gates.c_hat
    return LSTMState(c, gates.o * namespace(c=c).tanh(c))


def lstm_step(
    x: Float[Array, "*batch d_x"],
    c: Float[Array, "*batch d"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "4*d d_x"],
    U: Float[Array, "4*d d"],
    b: Float[Array, "4*d"],
) -> LSTMState:
    r"""$c_t = f \circ c_{t-1} + i \circ \hat c$ and $h_t = o \circ \tanh c_t$, with the gates of :func:`lstm_gates`."""
    expect_shape("c", c, h.shape, "it belongs to the output h")
    return _lstm_update(lstm_gates(x, h, W, U, b), c)


def lstm_scan(
    x: Float[Array, "T *batch d_x"],
    c: Float[Array, "*batch d"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "4*d d_x"],
    U: Float[Array, "4*d d"],
    b: Float[Array, "4*d"],
) -> LSTMState:
    """All states $(c_1, h_1) … (c_T, h_T)$ of :func:`lstm_step`, stacked along a first axis of length T."""
    xp = namespace(x=x, c=c, h=h, W=W, U=U, b=b)
    _expect_sequence(x)
    _expect_cell(x[0, ...], h, W, U, b, gates=4)
    expect_shape("c", c, h.shape, "it belongs to the output h")
    drive, U_T, state, states = x @ W.T + b, U.T, LSTMState(c, h), []
    for drive_t in unstack(drive):
        state = _lstm_update(_lstm_gates(drive_t + state.h @ U_T), state.c)
        states.append(state)
    return LSTMState(xp.stack([s.c for s in states]), xp.stack([s.h for s in states]))


class LSTMSlopes(NamedTuple):
    r"""All that the derivative of a step needs besides U: entrywise slopes of its scalar functions.

    `i`, `f`, `c_hat` are $\partial c_t/\partial a$ for the pre-activation $a$ of each gate, `o` is
    $\partial h_t/\partial a_o$, `keep` is the direct $\partial c_t/\partial c_{t-1}$ and `out` is
    $\partial h_t/\partial c_t$.
    """

    i: Array
    f: Array
    c_hat: Array
    o: Array
    keep: Array
    out: Array


def lstm_slopes(gates: LSTMGates, c: Float[Array, "*batch d"]) -> LSTMSlopes:
    r"""$s_i = i(1-i)\hat c$, $s_f = f(1-f)c_{t-1}$, $s_c = i(1-\hat c^2)$, $s_o = o(1-o)\tanh c_t$, keep $= f$ and
    out $= o(1-\tanh^2 c_t)$.

    `gates` are those of step t and `c` is $c_{t-1}$, the cell state *before* the step.
    """
    xp = namespace(f=gates.f, c=c)
    i, f, c_hat, o = gates
    tanh_c = xp.tanh(f * c + i * c_hat)
    into_c = i * (1 - i) * c_hat, f * (1 - f) * c, i * tanh_slope(c_hat)
    return LSTMSlopes(*into_c, o * (1 - o) * tanh_c, f, o * tanh_slope(tanh_c))


def lstm_jacobian(slopes: LSTMSlopes, U: Float[Array, "rows d"]) -> Float[Array, "*batch 2*d 2*d"]:
    r"""$\partial(c_t, h_t)/\partial(c_{t-1}, h_{t-1})$: the whole state against the whole state.

    With the slopes $s$ and $p = $ out of :func:`lstm_slopes`, and
    $M = \mathrm{diag}(s_i)U_i + \mathrm{diag}(s_f)U_f + \mathrm{diag}(s_c)U_c$, the blocks are
    $$\begin{pmatrix} \mathrm{diag}(f) & M \\
    \mathrm{diag}(pf) & \mathrm{diag}(p)M + \mathrm{diag}(s_o)U_o \end{pmatrix}.$$
    """
    s, d = slopes, slopes.keep.shape[-1]
    xp = namespace(slopes=s.keep, U=U)
    expect_shape("U", U, (4 * d, d), f"4 × d rows belong to a state of width d = {d}")
    U_i, U_f, U_c, U_o = chunks(U, 4, axis=0)
    M = s.i[..., None] * U_i + s.f[..., None] * U_f + s.c_hat[..., None] * U_c
    top = xp.concat([_diagonal(s.keep), M], axis=-1)
    bottom = xp.concat([_diagonal(s.out * s.keep), s.out[..., None] * M + s.o[..., None] * U_o], axis=-1)
    return xp.concat([top, bottom], axis=-2)


class LSTMGradient(NamedTuple):
    """Row vectors: the loss by the cell state and the output before the step, and by the step's pre-activations."""

    c: Array
    h: Array
    a: Array


def lstm_vjp(
    delta_c: Float[Array, "*batch d"], delta_h: Float[Array, "*batch d"], slopes: LSTMSlopes, U: Float[Array, "4*d d"]
) -> LSTMGradient:
    r"""$\delta_c' = \delta_c + \delta_h p$; $\;\delta_a = (\delta_c's_i, \delta_c's_f, \delta_c's_c, \delta_h s_o)$;
    $\;\delta_{c,t-1} = \delta_c' f$; $\;\delta_{h,t-1} = \delta_a U$.

    One step of back-propagation in the symbols of :func:`lstm_jacobian`, without building the matrix.
    """
    s, xp = slopes, namespace(delta_c=delta_c, delta_h=delta_h, U=U)
    delta_c = delta_c + delta_h * s.out
    delta_a = xp.concat([delta_c * s.i, delta_c * s.f, delta_c * s.c_hat, delta_h * s.o], axis=-1)
    return LSTMGradient(delta_c * s.keep, delta_a @ U, delta_a)


class LSTMTerms(NamedTuple):
    r"""The four terms of $\partial c_t/\partial c_{t-1}$, each of shape (…, d, d)."""

    forget: Array
    through_f: Array
    through_i: Array
    through_c_hat: Array


def lstm_terms(slopes: LSTMSlopes, path: Float[Array, "*batch d"], U: Float[Array, "4*d d"]) -> LSTMTerms:
    r"""$\partial c_t/\partial c_{t-1} = \mathrm{diag}(f) + \bigl(\mathrm{diag}(s_f)U_f + \mathrm{diag}(s_i)U_i +
    \mathrm{diag}(s_c)U_c\bigr)\,\mathrm{diag}(p)$, term by term.

    `path` is $p = \partial h_{t-1}/\partial c_{t-1} = o_{t-1}(1-\tanh^2 c_{t-1})$, the entry `out` of the slopes of the
    step *before*. It holds $o_{t-1}$ fixed: $c$ alone is not a state, so a product of these is not the derivative over
    many steps; a product of :func:`lstm_jacobian` is. Source: Scientific Spaces 7888, for d = 1.
    """
    namespace(slopes=slopes.keep, path=path, U=U)
    U_i, U_f, U_c, _ = chunks(U, 4, axis=0)
    pairs = (slopes.f, U_f), (slopes.i, U_i), (slopes.c_hat, U_c)
    through = [slope[..., None] * block * path[..., None, :] for slope, block in pairs]
    return LSTMTerms(_diagonal(slopes.keep), *through)


# ---------------------------------------------------------------------------------------------------------------
# GRU


class GRUGates(NamedTuple):
    """Reset gate, update gate (the share *kept*), candidate, in the order of the weight blocks."""

    r: Array
    z: Array
    h_hat: Array


def _gru_gates(drive: Array, h: Array, U_rz: Array, U_h: Array) -> GRUGates:
    """Gates from the input's share `drive` of the three pre-activations; the matrices are already transposed."""
    d = h.shape[-1]
    r, z = chunks(sigmoid(drive[..., : 2 * d] + h @ U_rz), 2)
    return GRUGates(r, z, namespace(h=h).tanh(drive[..., 2 * d :] + (r * h) @ U_h))


def gru_gates(
    x: Float[Array, "*batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "3*d d_x"],
    U: Float[Array, "3*d d"],
    b: Float[Array, "3*d"],
) -> GRUGates:
    r"""$(r, z) = \sigma(W_\cdot x_t + U_\cdot h_{t-1} + b_\cdot)$ and
    $\hat h = \tanh(W_h x_t + U_h (r \circ h_{t-1}) + b_h)$. `h` is the state *before* the step.
    """
    namespace(x=x, h=h, W=W, U=U, b=b)
    _expect_cell(x, h, W, U, b, gates=3)
    d = h.shape[-1]
    return _gru_gates(x @ W.T + b, h, U[: 2 * d, :].T, U[2 * d :, :].T)


def gru_step(
    x: Float[Array, "*batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "3*d d_x"],
    U: Float[Array, "3*d d"],
    b: Float[Array, "3*d"],
) -> Float[Array, "*batch d"]:
    r"""$h_t = z \circ h_{t-1} + (1-z) \circ \hat h$, reset before the matrix, as in Cho et al. 2014.

    $z$ is the share kept, as in PyTorch and Keras. Where a source writes $h_t = (1-z) \circ h_{t-1} + z \circ \hat h$
    (Chung et al. 2014, Scientific Spaces 7888), its weights become ours by :func:`flip_update_gate`.
    """
    return _gru_update(gru_gates(x, h, W, U, b), h)


def _gru_update(gates: GRUGates | ResetAfterGates, h: Array) -> Array:
    return gates.z * h + (1 - gates.z) * gates.h_hat


def gru_scan(
    x: Float[Array, "T *batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "3*d d_x"],
    U: Float[Array, "3*d d"],
    b: Float[Array, "3*d"],
) -> Float[Array, "T *batch d"]:
    """All states $h_1 … h_T$ of :func:`gru_step`."""
    xp = namespace(x=x, h=h, W=W, U=U, b=b)
    _expect_sequence(x)
    _expect_cell(x[0, ...], h, W, U, b, gates=3)
    d, drive, states = h.shape[-1], x @ W.T + b, []
    U_rz, U_h = U[: 2 * d, :].T, U[2 * d :, :].T
    for drive_t in unstack(drive):
        h = _gru_update(_gru_gates(drive_t, h, U_rz, U_h), h)
        states.append(h)
    return xp.stack(states)


class GRUSlopes(NamedTuple):
    r"""All that the derivative of a step needs besides U: entrywise slopes of its scalar functions.

    `keep` is $z$, `z` is $\partial h_t/\partial a_z$, `h_hat` is $\partial h_t/\partial \hat a$, `r` is the slope by
    $a_r$ of what the reset gate has multiplied, and `reset` is $r$ itself.
    """

    keep: Array
    z: Array
    h_hat: Array
    r: Array
    reset: Array


def gru_slopes(gates: GRUGates, h: Float[Array, "*batch d"]) -> GRUSlopes:
    r"""keep $= z$, $s_z = (h-\hat h)z(1-z)$, $s_h = (1-z)(1-\hat h^2)$, $s_r = h\,r(1-r)$; `h` is $h_{t-1}$."""
    namespace(z=gates.z, h=h)
    r, z, h_hat = gates
    return GRUSlopes(z, (h - h_hat) * z * (1 - z), (1 - z) * tanh_slope(h_hat), h * r * (1 - r), r)


def gru_jacobian(slopes: GRUSlopes, U: Float[Array, "rows d"]) -> Float[Array, "*batch d d"]:
    r"""$\partial h_t/\partial h_{t-1} = \mathrm{diag}(z) + \mathrm{diag}(s_z)U_z +
    \mathrm{diag}(s_h)\,U_h\bigl[\mathrm{diag}(r) + \mathrm{diag}(s_r)U_r\bigr]$ of :func:`gru_step`."""
    U_r, U_z, U_h = _gru_blocks(slopes, U)
    inside = _diagonal(slopes.reset) + slopes.r[..., None] * U_r
    return _diagonal(slopes.keep) + slopes.z[..., None] * U_z + slopes.h_hat[..., None] * (U_h @ inside)


def _gru_blocks(slopes: GRUSlopes, U: Array) -> tuple[Array, ...]:
    d = slopes.keep.shape[-1]
    namespace(slopes=slopes.keep, U=U)
    expect_shape("U", U, (3 * d, d), f"3 × d rows belong to a state of width d = {d}")
    return chunks(U, 3, axis=0)


class GRUGradient(NamedTuple):
    """Row vectors: the loss by the state before the step, and by the step's pre-activations."""

    h: Array
    a: Array


def gru_vjp(delta: Float[Array, "*batch d"], slopes: GRUSlopes, U: Float[Array, "3*d d"]) -> GRUGradient:
    r"""$\delta_{\hat a} = \delta s_h$; $\;\delta_{a_z} = \delta s_z$; $\;\delta_{a_r} = (\delta_{\hat a}U_h)s_r$;
    $\;\delta_{t-1} = \delta z + \delta_{a_z}U_z + \delta_{a_r}U_r + (\delta_{\hat a}U_h)r$.

    One step of back-propagation through :func:`gru_step`, in the symbols of :func:`gru_jacobian`.
    """
    s, (U_r, U_z, U_h) = slopes, _gru_blocks(slopes, U)
    a_z, a_h = delta * s.z, delta * s.h_hat
    back = a_h @ U_h
    a_r = back * s.r
    a = namespace(delta=delta).concat([a_r, a_z, a_h], axis=-1)
    return GRUGradient(delta * s.keep + a_z @ U_z + a_r @ U_r + back * s.reset, a)


class ResetAfterGates(NamedTuple):
    """The gates of :class:`GRUGates` and u, what the reset gate multiplies."""

    r: Array
    z: Array
    h_hat: Array
    u: Array


def _gru_reset_after_gates(drive: Array, h: Array, U_T: Array, b_u: Array) -> ResetAfterGates:
    d, recurrent = h.shape[-1], h @ U_T
    r, z = chunks(sigmoid(drive[..., : 2 * d] + recurrent[..., : 2 * d]), 2)
    u = recurrent[..., 2 * d :] + b_u
    return ResetAfterGates(r, z, namespace(h=h).tanh(drive[..., 2 * d :] + r * u), u)


def gru_reset_after_gates(
    x: Float[Array, "*batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "3*d d_x"],
    U: Float[Array, "3*d d"],
    b: Float[Array, "3*d"],
    b_u: Float[Array, "d"],
) -> ResetAfterGates:
    r"""As :func:`gru_gates`, but $\hat h = \tanh(W_h x_t + r \circ u + b_h)$ with $u = U_h h_{t-1} + b_u$.

    One matrix product for all gates instead of two in a row, which is why cuDNN, PyTorch and Keras
    (``reset_after=True``) do it this way. `b_u` is the second half of the candidate's bias there.
    """
    namespace(x=x, h=h, W=W, U=U, b=b, b_u=b_u)
    _expect_cell(x, h, W, U, b, gates=3)
    expect_shape("b_u", b_u, (h.shape[-1],), "it fits the width of the state")
    return _gru_reset_after_gates(x @ W.T + b, h, U.T, b_u)


def gru_reset_after_step(
    x: Float[Array, "*batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "3*d d_x"],
    U: Float[Array, "3*d d"],
    b: Float[Array, "3*d"],
    b_u: Float[Array, "d"],
) -> Float[Array, "*batch d"]:
    r"""$h_t = z \circ h_{t-1} + (1-z) \circ \hat h$ with the gates of :func:`gru_reset_after_gates`."""
    return _gru_update(gru_reset_after_gates(x, h, W, U, b, b_u), h)


def gru_reset_after_scan(
    x: Float[Array, "T *batch d_x"],
    h: Float[Array, "*batch d"],
    W: Float[Array, "3*d d_x"],
    U: Float[Array, "3*d d"],
    b: Float[Array, "3*d"],
    b_u: Float[Array, "d"],
) -> Float[Array, "T *batch d"]:
    """All states $h_1 … h_T$ of :func:`gru_reset_after_step`."""
    xp = namespace(x=x, h=h, W=W, U=U, b=b, b_u=b_u)
    _expect_sequence(x)
    _expect_cell(x[0, ...], h, W, U, b, gates=3)
    drive, U_T, states = x @ W.T + b, U.T, []
    for drive_t in unstack(drive):
        h = _gru_update(_gru_reset_after_gates(drive_t, h, U_T, b_u), h)
        states.append(h)
    return xp.stack(states)


def gru_reset_after_slopes(gates: ResetAfterGates, h: Float[Array, "*batch d"]) -> GRUSlopes:
    r"""As :func:`gru_slopes`, but $s_r = u\,r(1-r)$, since here the reset gate multiplies $u$; `h` is $h_{t-1}$."""
    r, z, h_hat, u = gates
    return gru_slopes(GRUGates(r, z, h_hat), h)._replace(r=u * r * (1 - r))


def gru_reset_after_jacobian(slopes: GRUSlopes, U: Float[Array, "rows d"]) -> Float[Array, "*batch d d"]:
    r"""$\partial h_t/\partial h_{t-1} = \mathrm{diag}(z) + \mathrm{diag}(s_z)U_z +
    \mathrm{diag}(s_h)\bigl[\mathrm{diag}(r)U_h + \mathrm{diag}(s_r)U_r\bigr]$ of :func:`gru_reset_after_step`."""
    U_r, U_z, U_h = _gru_blocks(slopes, U)
    inside = slopes.reset[..., None] * U_h + slopes.r[..., None] * U_r
    return _diagonal(slopes.keep) + slopes.z[..., None] * U_z + slopes.h_hat[..., None] * inside


def gru_reset_after_vjp(delta: Float[Array, "*batch d"], slopes: GRUSlopes, U: Float[Array, "3*d d"]) -> GRUGradient:
    r"""$\delta_{\hat a} = \delta s_h$; $\;\delta_{a_z} = \delta s_z$; $\;\delta_{a_r} = \delta_{\hat a}s_r$;
    $\;\delta_{t-1} = \delta z + \delta_{a_z}U_z + \delta_{a_r}U_r + (\delta_{\hat a}r)U_h$.

    One step of back-propagation through :func:`gru_reset_after_step`.
    """
    s, xp = slopes, namespace(delta=delta, slopes=slopes.keep, U=U)
    _gru_blocks(slopes, U)
    a_z, a_h = delta * s.z, delta * s.h_hat
    a_r = a_h * s.r
    back = xp.concat([a_r, a_z, a_h * s.reset], axis=-1) @ U
    return GRUGradient(delta * s.keep + back, xp.concat([a_r, a_z, a_h], axis=-1))


# ---------------------------------------------------------------------------------------------------------------
# conventions of weights


def reorder_gates(weight: Float[Array, "rows *columns"], source: str, target: str) -> Float[Array, "rows *columns"]:
    """Reorder the gate blocks of a weight or bias, e.g. ``reorder_gates(W, "zrh", "rzh")`` from Keras' GRU to ours.

    Each letter names one block of rows. Raises ValueError if the two words are not permutations of each other.
    """
    xp = namespace(weight=weight)
    if sorted(source) != sorted(target) or len(set(source)) != len(source):
        raise ValueError(f"gate orders must be permutations of each other, got {source!r} and {target!r}")
    blocks = dict(zip(source, chunks(weight, len(source), axis=0), strict=True))
    return xp.concat([blocks[gate] for gate in target])


def flip_update_gate(weight: Float[Array, "rows *columns"]) -> Float[Array, "rows *columns"]:
    r"""Turn a GRU's $z$ into $1-z$ by the sign of its block, since $\sigma(-a) = 1-\sigma(a)$; its own inverse.

    Apply it to $W$, $U$ and $b$ alike to pass between $h_t = z h_{t-1} + (1-z)\hat h$ and $(1-z)h_{t-1} + z\hat h$.
    """
    xp = namespace(weight=weight)
    r, z, h_hat = chunks(weight, 3, axis=0)
    return xp.concat([r, -z, h_hat])


# ---------------------------------------------------------------------------------------------------------------
# many steps


def jacobian_products(J: Float[Array, "T *batch d d"]) -> Float[Array, "T+1 *batch d d"]:
    r"""$P_k = J_T J_{T-1} \cdots J_{T-k+1} = \partial s_T/\partial s_{T-k}$ for $k = 0 … T$; $P_0$ is the identity.

    `J` holds $J_t = \partial s_t/\partial s_{t-1}$ for t = 1 … T, in the order of time.
    """
    xp = namespace(J=J)
    expect_shape("J", J, (J.shape[-1], J.shape[-1]), "each Jacobian is square")
    P = [xp.broadcast_to(xp.eye(J.shape[-1], dtype=J.dtype, device=J.device), J.shape[1:])]
    for t in range(J.shape[0] - 1, -1, -1):
        P.append(P[-1] @ J[t, ...])
    return xp.stack(P)


def back_through_time(
    vjp: Callable[..., NamedTuple], delta: tuple[Array, ...], slopes: Array | NamedTuple, U: Array
) -> NamedTuple:
    r"""Apply a cell's vector-Jacobian product from the last step to the first: $\delta_{t-1} = \delta_t J_t$.

    `vjp` is :func:`rnn_vjp`, :func:`lstm_vjp`, … ; `delta` holds the rows $\partial L/\partial s_T$, one array for each
    part of the state; `slopes` are those of all T steps, time first. Returns what `vjp` returns, stacked along a first
    axis: entry t−1 holds $\partial L/\partial s_{t-1}$ and the gradient by the pre-activations of step t.
    """
    parts = slopes if isinstance(slopes, tuple) else (slopes,)
    xp, gradients = namespace(U=U, slopes=parts[0]), []
    for t in range(parts[0].shape[0] - 1, -1, -1):
        now = [part[t, ...] for part in parts]
        gradient = vjp(*delta, type(slopes)(*now) if isinstance(slopes, tuple) else now[0], U)
        delta = gradient[:-1]
        gradients.append(gradient)
    return type(gradient)(*(xp.stack(part) for part in zip(*reversed(gradients), strict=True)))


def rms_gain(P: Float[Array, "*batch m d"]) -> Float[Array, "*batch"]:
    r"""$\|P\|_F/\sqrt m$: the root mean square length of $v^\top P$ over unit rows $v$ in all directions.

    Equal to 1 for the identity and every orthogonal matrix. It never exceeds the spectral norm.
    """
    xp = namespace(P=P)
    return xp.sqrt(xp.sum(P * P, axis=(-2, -1)) / P.shape[-2])


def spectral_norm(P: Float[Array, "*batch m d"]) -> Float[Array, "*batch"]:
    r"""$\|P\|_2$: the largest singular value, the longest that $P$ can make a unit vector."""
    xp = namespace(P=P)
    return xp.max(xp.linalg.svdvals(P), axis=-1)


def lyapunov_exponents(J: Float[Array, "T d d"]) -> Float[Array, "d"]:
    r"""Growth rates $\frac1T\sum_t \log |R^{(t)}_{ii}|$ where $Q_t R_t = J_t Q_{t-1}$, largest first, in nats a step.

    The first estimates $\lim \frac1T\log\|J_T\cdots J_1\|$, without overflow or underflow. T must be large against
    the time that the directions need to settle. Source: Benettin et al. 1980.
    """
    xp = namespace(J=J)
    expect_shape("J", J, (J.shape[-1], J.shape[-1]), "each Jacobian is square")
    Q = xp.eye(J.shape[-1], dtype=J.dtype, device=J.device)
    total = xp.zeros(J.shape[-1], dtype=J.dtype, device=J.device)
    for t in range(J.shape[0]):
        Q, R = xp.linalg.qr(J[t, ...] @ Q)
        total = total + xp.log(xp.abs(xp.linalg.diagonal(R)))
    return xp.sort(total / J.shape[0], descending=True)


# ---------------------------------------------------------------------------------------------------------------
# initialisation and time constants


def orthogonal(noise: Float[Array, "d d"]) -> Float[Array, "d d"]:
    r"""$Q\,\mathrm{diag}(\mathrm{sign}\,R_{ii})$ from $QR$ of Gaussian `noise`: a uniformly random orthogonal matrix.

    Without the signs the result is not uniform over the group. Source: Mezzadri 2007; as initialisation Saxe et al.
    2013.
    """
    xp = namespace(noise=noise)
    expect_shape("noise", noise, (noise.shape[-1], noise.shape[-1]), "the matrix is square")
    Q, R = xp.linalg.qr(noise)
    return Q * xp.sign(xp.linalg.diagonal(R))


def chrono_forget_bias(uniform: Float[Array, "*shape"], longest: float) -> Float[Array, "*shape"]:
    r"""$b_f = \log u$ with $u$ uniform in $[1, T_{\max}-1]$, so that time constants $1+e^{b_f}$ reach $T_{\max}$.

    `uniform` holds numbers in [0, 1], `longest` is $T_{\max}$ in steps; the input bias is $-b_f$. Source: Tallec &
    Ollivier 2018.
    """
    xp = namespace(uniform=uniform)
    if longest <= 2:
        raise ValueError(f"longest must exceed 2 steps, got {longest}; it is the longest dependency expected")
    return xp.log(1 + uniform * (longest - 2))


def time_constant(b: float) -> float:
    r"""$\tau = 1/(1-\sigma(b)) = 1 + e^b$ steps: how long a gate held at $\sigma(b)$ remembers."""
    return 1 + math.exp(b)


def half_life(b: float) -> float:
    r"""$\log 2/\log(1+e^{-b})$ steps: after so many, a gate held at $f = \sigma(b)$ has halved the memory."""
    return math.log(2) / math.log1p(math.exp(-b))


# ---------------------------------------------------------------------------------------------------------------
# clipping


def clip_norm(g: Float[Array, "*shape"], threshold: float) -> Float[Array, "*shape"]:
    r"""$g \cdot \min(1, \tau/\|g\|)$: shortens the gradient, keeps its direction. Pascanu et al. 2013.

    `g` is the gradient of *all* parameters at once; clipping each tensor by itself turns the whole.
    """
    xp = namespace(g=g)
    _expect_threshold(threshold)
    norm = xp.sqrt(xp.sum(g * g))
    return g * (threshold / xp.clip(norm, min=threshold))


def clip_value(g: Float[Array, "*shape"], threshold: float) -> Float[Array, "*shape"]:
    r"""$\min(\tau, \max(-\tau, g_i))$ entry by entry: shortens the gradient and turns it."""
    _expect_threshold(threshold)
    return namespace(g=g).clip(g, min=-threshold, max=threshold)


def _expect_threshold(threshold: float) -> None:
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")


def _diagonal(v: Float[Array, "*batch d"]) -> Float[Array, "*batch d d"]:
    """Put the last axis on the diagonal of a matrix."""
    xp = namespace(v=v)
    return v[..., None] * xp.eye(v.shape[-1], dtype=v.dtype, device=v.device)
