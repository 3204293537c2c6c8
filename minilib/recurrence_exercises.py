r"""The exercises of the chapter on recurrence, from a line of algebra to a matrix to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import math

import numpy as np

from . import recurrence as rec
from .exercises import Exercise, Mistake, OpenExercise, Requirement

D, D_X = 5, 3
"""State and input width of the random inputs: different, so that no two axes can be mistaken."""

# ---------------------------------------------------------------------------------------------------------------
# time constants


def forgetting_steps():
    return math.log(0.01) / math.log(0.99)


def _forgetting_steps_one_by_one():
    steps, left = 0, 1.0
    while left > 0.01:
        steps, left = steps + 1, left * 0.99
    return steps


FORGETTING_STEPS = Exercise(
    id="1.1",
    title="How long is 0.99?",
    question=r"""
    A forget gate is held at $f = 0.99$. After how many steps has the cell forgotten 99 % of what it held? Solve for a
    real number, or count; three digits suffice.
    """,
    reference=forgetting_steps,
    because=r"After $n$ steps the share $f^n$ is left. $f^n = 0.01$ gives $n = \ln 0.01 / \ln f$.",
    hints=(
        "Each step multiplies what is left by the same number. What is left after $n$ steps?",
        r"Set the share that is left, $f^n$, equal to 1 % and take logarithms on both sides.",
    ),
    accepted=(_forgetting_steps_one_by_one, lambda: 2 / -np.log10(0.99), lambda: np.emath.logn(0.99, 0.01)),
    mistakes=(
        Mistake("time constant", 100, r"This is the time constant $1/(1-f)$; by then $1/e$ is left, not 1 %."),
        Mistake("linear", 99, "Each step takes 1 % of what is *left*, not of what there was at first."),
        Mistake("half-life", math.log(0.5) / math.log(0.99), "This is the half-life: half is left, not 1 %."),
        Mistake("left for lost", 1, "After one step 99 % is left. The question is when 99 % is lost."),
        Mistake("sign", -forgetting_steps(), "The size is right, but steps are counted forwards."),
    ),
    tolerance=2e-3,
)


def bias_for_memory(T):
    return math.log(T - 1)


def _bias_as_logit(T):
    f = 1 - 1 / T
    return np.log(f) - np.log1p(-f)


def _bias_by_bisection(T):
    low, high = -20.0, 20.0
    for _ in range(60):
        b = (low + high) / 2
        low, high = (b, high) if rec.time_constant(b) < T else (low, b)
    return b


BIAS_FOR_MEMORY = Exercise(
    id="1.2",
    title="A bias for a memory of T steps",
    question=r"""
    Input and state contribute nothing, so that the forget gate stays at $f = \sigma(b)$. Which bias $b$ gives the time
    constant $1/(1-f) = T$, for $T > 2$?
    """,
    inputs=lambda rng: (float(np.exp(rng.uniform(1.0, 6.0))),),
    reference=bias_for_memory,
    because=r"$1 - \sigma(b) = 1/(1+e^b)$, so the time constant is $1 + e^b$. It equals $T$ at $b = \ln(T-1)$.",
    hints=(
        r"Begin with $1 - \sigma(b)$, written as a single fraction.",
        r"The time constant is $1/(1-\sigma(b)) = 1 + e^b$. Set it equal to $T$ and solve for $b$.",
    ),
    accepted=(_bias_as_logit, _bias_by_bisection, lambda T: 2 * math.atanh(1 - 2 / T)),
    mistakes=(
        Mistake(
            "no one", math.log, r"Close for long memories only. Write out $1/(1-\sigma(b))$: not only $e^b$ is in it."
        ),
        Mistake(
            "sign", lambda T: -math.log(T - 1), "A gate with this bias *loses* all but the share $1/T$ at each step."
        ),
        Mistake("gate", lambda T: 1 - 1 / T, r"This is the gate $f$. The bias is what $\sigma$ turns into it."),
        Mistake(
            "no log", lambda T: T - 1, r"Where does $b$ stand in $\sigma(b)$? This is not yet solved for $b$ itself."
        ),
        Mistake(
            "half-life",
            lambda T: -math.log(2 ** (1 / T) - 1),
            "With this bias the *half-life* is $T$. The time constant of the question is $1/(1-f)$.",
        ),
        Mistake(
            "exactly 1/e",
            lambda T: -math.log(math.expm1(1 / T)),
            "With this bias exactly $1/e$ is left after $T$ steps. Close, but the question defines it as $1/(1-f)$.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# one dimension


def tanh_bound(h):
    y = 0.8
    for _ in range(20):  # Newton's method for y tanh y = 1/2
        y -= (y * math.tanh(y) - 0.5) / (math.tanh(y) + y / math.cosh(y) ** 2)
    return y / abs(h), y / math.cosh(y) ** 2 / abs(h)


def _tanh_bound_on_a_grid(h):
    u = np.linspace(0, 5 / abs(h), 100_001)
    slope = (1 - np.tanh(u * h) ** 2) * u
    return u[slope.argmax()], slope.max()


def _tanh_bound_by_a_fixed_point(h):
    y = 1.0
    for _ in range(200):  # halfway between y and 1/(2 tanh y): the plain iteration would hardly settle
        y = (y + 0.5 / np.tanh(y)) / 2
    u = y / np.abs(h)
    return np.array([u, u * (1 - np.tanh(u * h) ** 2)])


def _tanh_bound_without_the_two(h):
    y = 1.1996786  # y tanh y = 1
    return y / abs(h), y / math.cosh(y) ** 2 / abs(h)


TANH_BOUND = Exercise(
    id="1.3",
    title="How large can the slope of a tanh step become?",
    question=r"""
    A scalar RNN without input and bias has the slope $\partial h_t/\partial h_{t-1} = (1-\tanh^2(uh))\,u$, where
    $h = h_{t-1}$. For a given $h \ne 0$, which may be negative, at which $u$ does the slope take its largest positive
    value, and what is that value? Show first that with $y = uh$ the maximum lies where $y\tanh y = \tfrac12$; then let
    the computer solve that. Return the pair $(u, \text{largest slope})$.
    """,
    inputs=lambda rng: (float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.95)),),
    reference=tanh_bound,
    because=r"""The slope is $y\,\mathrm{sech}^2 y / h$ with $y = uh$. Its derivative by $y$ vanishes where
    $1 - 2y\tanh y = 0$, at $y = \pm 0.7717$. A positive slope needs $u > 0$, so $u = 0.7717/|h|$, and there the
    slope is $0.4477/|h|$: bounded for each $h$, but not for all $h$ at once.""",
    hints=(
        "Write the slope in terms of $y = uh$ alone, apart from one factor that does not depend on $u$.",
        r"Newton's method or a fine grid gives the $y > 0$ with $y\tanh y = \tfrac12$. Then go back from $y$ to $u$; "
        "mind the sign of $h$.",
    ),
    accepted=(_tanh_bound_on_a_grid, _tanh_bound_by_a_fixed_point),
    mistakes=(
        Mistake(
            "sign of h",
            lambda h: tuple(value * np.sign(h) for value in tanh_bound(h)),
            "Right for positive $h$. For negative $h$ this is the most negative slope, not the largest.",
        ),
        Mistake(
            "sign of u",
            lambda h: (tanh_bound(h)[0] * np.sign(h), tanh_bound(h)[1]),
            "The value is right, but for negative $h$ it is not taken at this $u$. Put the two into the slope.",
        ),
        Mistake(
            "y for u",
            lambda h: tanh_bound(1.0),
            "This is the answer in terms of $y = uh$. It still has to depend on $h$.",
        ),
        Mistake(
            "bound without h",
            lambda h: (tanh_bound(h)[0], tanh_bound(1.0)[1]),
            r"The place is right. The value is that of $y\,\mathrm{sech}^2 y$; which factor is missing?",
        ),
        Mistake(
            "one constant",
            lambda h: (tanh_bound(1.0)[0] / h, tanh_bound(1.0)[1]),
            r"The value is that of $y\,\mathrm{sech}^2 y$, the place has the sign of $h$. Put the two into the slope.",
        ),
        Mistake(
            "swapped", lambda h: tanh_bound(h)[::-1], "The pair is the other way round: first $u$, then the slope."
        ),
        Mistake(
            "product rule",
            _tanh_bound_without_the_two,
            r"This solves $y\tanh y = 1$. Differentiate $\tanh^2 y$ again: where is the 2?",
        ),
    ),
    tolerance=1e-3,
)


def fixed_point_multiplier(u):
    h = 1.0
    for _ in range(1000):
        h = math.tanh(u * h)
    return (1 - h * h) * u


def _multiplier_by_newton(u):
    y = u
    for _ in range(50):
        y -= (y - u * np.tanh(y)) / (1 - u / np.cosh(y) ** 2)
    return 2 * y / np.sinh(2 * y)


def _multiplier_by_the_library(u):
    U = np.array([[u]])
    h = rec.rnn_scan(np.zeros((1000, 1)), np.ones(1), np.zeros((1, 1)), U, np.zeros(1))
    return rec.rnn_jacobian(rec.tanh_slope(h[-1]), U)


FIXED_POINT_MULTIPLIER = Exercise(
    id="1.4",
    title="Why a scalar tanh RNN does not explode",
    question=r"""
    For $u > 1$ the states $h_t = \tanh(u\,h_{t-1})$ run from any $h_0 > 0$ into a fixed point $h^* > 0$. What is the
    slope $\partial h_t/\partial h_{t-1}$ there, as a function of $u$? Then show that it is below 1 for every $u > 1$.
    """,
    inputs=lambda rng: (float(rng.uniform(1.1, 4.0)),),
    reference=fixed_point_multiplier,
    because=r"""The slope at $h^* = \tanh(uh^*)$ is $u(1-h^{*2})$. With $y = uh^*$ and $u = y/\tanh y$ it equals
    $y\,\mathrm{sech}^2 y/\tanh y = 2y/\sinh 2y$, which is below 1 since $\sinh 2y > 2y$.""",
    hints=(
        "Find the fixed point by running the recurrence until it stands still.",
        r"The slope of $\tanh$ at $a$ is $1 - \tanh^2 a$, and at the fixed point $\tanh(uh^*)$ is $h^*$ itself. "
        "Do not forget the chain rule.",
    ),
    accepted=(_multiplier_by_newton, _multiplier_by_the_library),
    mistakes=(
        Mistake("at zero", lambda u: u, "This is the slope at the fixed point 0, which the states leave when $u > 1$."),
        Mistake(
            "inner slope",
            lambda u: fixed_point_multiplier(u) / u,
            r"This is the slope of $\tanh$ alone. $h_{t-1}$ stands inside it with a factor.",
        ),
        Mistake(
            "state",
            lambda u: math.sqrt(1 - fixed_point_multiplier(u) / u),
            "This is the fixed point itself. The question is the slope there.",
        ),
        Mistake(
            "inverse",
            lambda u: 1 / u,
            "At the fixed point a step changes nothing, so *state over state* is 1. The slope is another matter.",
        ),
        Mistake(
            "one step",
            lambda u: (1 - math.tanh(u) ** 2) * u,
            "This is the slope after one step from $h = 1$. The states have not yet arrived.",
        ),
        Mistake(
            "slope of the argument",
            lambda u: (1 - u * u * (1 - fixed_point_multiplier(u) / u)) * u,
            r"The slope of $\tanh$ was written as one minus the square of its *argument*. It takes its *value*.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# Jacobians


def _rnn_inputs(rng):
    shapes = (D_X,), (D,), (D, D_X), (D, D), (D,)
    return tuple(0.6 * rng.normal(size=shape) for shape in shapes)


def step_jacobian(x, h, W, U, b):
    h_new = np.tanh(W @ x + U @ h + b)
    return (1 - h_new**2)[:, None] * U


def _step_jacobian_as_a_product(x, h, W, U, b):
    return np.diag(1 / np.cosh(W @ x + U @ h + b) ** 2) @ U


def _step_jacobian_by_the_library(x, h, W, U, b):
    return rec.rnn_jacobian(rec.tanh_slope(rec.rnn_step(x, h, W, U, b)), U)


def _step_jacobian_by_differences(x, h, W, U, b):
    def step(h):
        return np.tanh(W @ x + U @ h + b)

    columns = [(step(h + e) - step(h - e)) / 2e-5 for e in 1e-5 * np.eye(len(h))]
    return np.array(columns).T


STEP_JACOBIAN = Exercise(
    id="1.5",
    title="The Jacobian of one tanh step",
    question=r"""
    $h_t = \tanh(Wx_t + Uh_{t-1} + b)$. Write the matrix $\partial h_t/\partial h_{t-1}$, new state on the rows, old
    state on the columns. `h` is the state *before* the step.
    """,
    inputs=_rnn_inputs,
    reference=step_jacobian,
    because=r"""Row $i$ is the derivative of $\tanh(a_i)$, namely $1 - h_{t,i}^2$ times
    $\partial a_i/\partial h_{t-1}$, which is row $i$ of $U$. Together: $\mathrm{diag}(1 - h_t^2)\,U$.""",
    hints=(
        r"Begin with one entry, $\partial h_{t,i}/\partial h_{t-1,j}$.",
        r"It is $(1 - h_{t,i}^2)\,U_{ij}$, with the new state. In which direction has the slope to be spread over $U$?",
    ),
    accepted=(_step_jacobian_as_a_product, _step_jacobian_by_the_library, _step_jacobian_by_differences),
    mistakes=(
        Mistake(
            "transposed",
            lambda *a: step_jacobian(*a).T,
            "This is the transpose: old state on the rows. The question wants the new state there.",
        ),
        Mistake(
            "slope on the columns",
            lambda x, h, W, U, b: (1 - np.tanh(W @ x + U @ h + b) ** 2) * U,
            "The slope multiplies the columns here. It belongs to the *new* state. What is `(d,) * (d, d)` in NumPy?",
        ),
        Mistake(
            "slope at the old state",
            lambda x, h, W, U, b: (1 - h**2)[:, None] * U,
            r"The slope is taken at the old state. $\tanh'$ belongs to the value that $\tanh$ has just returned.",
        ),
        Mistake(
            "no slope", lambda x, h, W, U, b: U, r"This would be right for a linear RNN. What does $\tanh$ contribute?"
        ),
        Mistake(
            "slope of the argument",
            lambda x, h, W, U, b: (1 - (W @ x + U @ h + b) ** 2)[:, None] * U,
            r"The slope of $\tanh$ was written as one minus the square of its *argument*. It takes its *value*.",
        ),
        Mistake(
            "by the input",
            lambda x, h, W, U, b: (1 - np.tanh(W @ x + U @ h + b) ** 2)[:, None] * W,
            "This is the derivative by the input $x_t$, not by the state.",
        ),
    ),
)


def _lstm_inputs(rng):
    i, f, o = rng.uniform(0.05, 0.95, size=(3, D))
    gates = rec.LSTMGates(i, f, np.tanh(rng.normal(size=D)), o)
    return rng.normal(size=D), gates, rng.normal(size=(4 * D, D))


def lstm_block(c, gates, U):
    i, f, c_hat, _ = gates
    U_i, U_f, U_c, _ = np.split(U, 4)
    through_i = (c_hat * i * (1 - i))[:, None] * U_i
    through_f = (c * f * (1 - f))[:, None] * U_f
    through_c_hat = (i * (1 - c_hat**2))[:, None] * U_c
    return through_i + through_f + through_c_hat


def _lstm_block_of_the_whole(c, gates, U):
    return rec.lstm_jacobian(rec.lstm_slopes(gates, c), U)[: len(c), len(c) :]


def _lstm_block_of_diagonals(c, gates, U):
    d = len(c)
    slopes = gates.c_hat * gates.i * (1 - gates.i), c * gates.f * (1 - gates.f), gates.i * (1 - gates.c_hat**2)
    return np.hstack([np.diag(slope) for slope in slopes]) @ U[: 3 * d]


def _lstm_block_with(c, gates, U, i=None, f=None, c_hat=None):
    """The block with the slope of one gate or several replaced."""
    slopes = rec.lstm_slopes(gates, c)
    pairs = zip((i, f, c_hat), (slopes.i, slopes.f, slopes.c_hat), np.split(U, 4)[:3], strict=True)
    return sum((own if other is None else other)[:, None] * block for other, own, block in pairs)


def _lstm_block_on_the_columns(c, gates, U):
    slopes = rec.lstm_slopes(gates, c)
    pairs = zip((slopes.i, slopes.f, slopes.c_hat), np.split(U, 4)[:3], strict=True)
    return sum(slope * block for slope, block in pairs)


LSTM_BLOCK = Exercise(
    id="1.6",
    title="How the output of an LSTM reaches its cell",
    question=r"""
    Write the upper right block $M = \partial c_t/\partial h_{t-1}$ of the LSTM's state Jacobian, a $d \times d$
    matrix. Here $c_t = f \circ c_{t-1} + i \circ \hat c$, and $i$, $f$ and $\hat c$ depend on $h_{t-1}$ through their
    blocks of $U$. `c` is $c_{t-1}$; `gates` has the entries `i, f, c_hat, o`; `U` of shape $(4d, d)$ holds
    $U_i, U_f, U_c, U_o$, one below the other.
    """,
    inputs=_lstm_inputs,
    reference=lstm_block,
    because=r"""With $c_{t-1}$ held, $h_{t-1}$ acts through three pre-activations. Their slopes are
    $\hat c\,i(1-i)$, $c_{t-1}f(1-f)$ and $i(1-\hat c^2)$, so
    $M = \mathrm{diag}(\hat c\,i(1-i))U_i + \mathrm{diag}(c_{t-1}f(1-f))U_f + \mathrm{diag}(i(1-\hat c^2))U_c$.""",
    hints=(
        "Hold $c_{t-1}$ still. Through which of the four gates does $h_{t-1}$ act on $c_t$?",
        r"There is a term for each of $i$, $f$ and $\hat c$: what the gate is multiplied with, times the gate's own "
        r"slope ($\sigma' = \sigma(1-\sigma)$, $\tanh' = 1-\tanh^2$), on the rows of its block of $U$.",
    ),
    accepted=(_lstm_block_of_the_whole, _lstm_block_of_diagonals),
    mistakes=(
        Mistake(
            "i and f swapped",
            lambda c, gates, U: lstm_block(c, gates, np.concatenate([np.split(U, 4)[k] for k in (1, 0, 2, 3)])),
            "The blocks of the input and the forget gate have changed places. The question says how they are ordered.",
        ),
        Mistake(
            "factors swapped",
            lambda c, gates, U: _lstm_block_with(
                c, gates, U, i=c * gates.i * (1 - gates.i), f=gates.c_hat * gates.f * (1 - gates.f)
            ),
            r"The input gate does not multiply the old cell state, nor the forget gate the candidate.",
        ),
        Mistake(
            "new cell state",
            lambda c, gates, U: lstm_block(gates.f * c + gates.i * gates.c_hat, gates, U),
            "The forget gate multiplies the cell state *before* the step. Here it is the one after.",
        ),
        Mistake(
            "candidate without slope",
            lambda c, gates, U: _lstm_block_with(c, gates, U, c_hat=gates.i),
            r"The candidate is a $\tanh$ of its pre-activation, and its slope is missing.",
        ),
        Mistake(
            "candidate without gate",
            lambda c, gates, U: _lstm_block_with(c, gates, U, c_hat=1 - gates.c_hat**2),
            "The candidate does not enter the cell as it is. What is it multiplied with?",
        ),
        Mistake(
            "forget gate left out",
            lambda c, gates, U: _lstm_block_with(c, gates, U, f=0 * c),
            "Two of three terms are there. The share that is kept depends on $h_{t-1}$, too.",
        ),
        Mistake(
            "path from the cell",
            lambda c, gates, U: lstm_block(c, gates, U) * (gates.o * (1 - np.tanh(c) ** 2)),
            "This carries on to the old cell state through $h_{t-1} = o \\circ \\tanh c_{t-1}$. "
            "The block is the derivative by $h_{t-1}$ itself.",
        ),
        Mistake(
            "with the cell's own share",
            lambda c, gates, U: lstm_block(c, gates, U) + np.diag(gates.f),
            "The forget gate on the diagonal is the share of the old *cell*. This block is about the old output.",
        ),
        Mistake(
            "slopes on the columns",
            _lstm_block_on_the_columns,
            "The slopes multiply the columns of the blocks here. They belong to the *new* state, on the rows.",
        ),
    ),
)


def _gru_inputs(rng):
    r, z = rng.uniform(0.05, 0.95, size=(2, D))
    return np.tanh(rng.normal(size=D)), rec.GRUGates(r, z, np.tanh(rng.normal(size=D))), rng.normal(size=(3 * D, D))


def other_gru(h, gates, U):
    r, z, h_hat = gates
    kept = rec.GRUGates(r, 1 - z, h_hat)
    return rec.gru_jacobian(rec.gru_slopes(kept, h), rec.flip_update_gate(U))


def _other_gru_written_out(h, gates, U):
    r, z, h_hat = gates
    U_r, U_z, U_h = np.split(U, 3)
    inside = np.diag(r) + (h * r * (1 - r))[:, None] * U_r
    return np.diag(1 - z) + ((h_hat - h) * z * (1 - z))[:, None] * U_z + (z * (1 - h_hat**2))[:, None] * (U_h @ inside)


def _other_gru_column_by_column(h, gates, U):
    (r, z, h_hat), (U_r, U_z, U_h) = gates, np.split(U, 3)
    columns = []
    for e in np.eye(len(h)):  # the derivative of each gate in the direction e, then the product rule
        dz = z * (1 - z) * (U_z @ e)
        dr = r * (1 - r) * (U_r @ e)
        dh_hat = (1 - h_hat**2) * (U_h @ (dr * h + r * e))
        columns.append((1 - z) * e - dz * h + dz * h_hat + z * dh_hat)
    return np.stack(columns, axis=1)


def _other_gru_with(h, gates, U, **change):
    kept = gates._replace(z=1 - gates.z)
    slopes = rec.gru_slopes(kept, h)
    return rec.gru_jacobian(slopes._replace(**change), rec.flip_update_gate(U))


OTHER_GRU = Exercise(
    id="1.7",
    title="The GRU of the other convention",
    question=r"""
    The library's GRU keeps the share $z$: $h_t = z \circ h_{t-1} + (1-z) \circ \hat h$. Others *write* the share $z$:
    $h_t = (1-z) \circ h_{t-1} + z \circ \hat h$. Write the Jacobian $\partial h_t/\partial h_{t-1}$ of the latter,
    either by hand or with `rec.gru_slopes(gates, h)`, `rec.gru_jacobian(slopes, U)` and `rec.flip_update_gate(U)`.
    `h` is $h_{t-1}$; `gates` is a named tuple with the entries `r, z, h_hat` and the $z$ of the *other* convention
    (`gates._replace(z=…)` makes a changed copy);
    $\hat h = \tanh(W_hx_t + U_h(r \circ h_{t-1}) + b_h)$; `U` of shape $(3d, d)$ holds $U_r, U_z, U_h$.
    """,
    inputs=_gru_inputs,
    reference=other_gru,
    because=r"""$1 - \sigma(a) = \sigma(-a)$: the other GRU is ours with the update gate $1-z$ and the sign of
    $U_z$ turned. Written out:
    $\mathrm{diag}(1-z) + \mathrm{diag}((\hat h-h)z(1-z))U_z +
    \mathrm{diag}(z(1-\hat h^2))\,U_h[\mathrm{diag}(r) + \mathrm{diag}(h\,r(1-r))U_r]$.""",
    hints=(
        r"By hand: the product rule on $(1-z) \circ h + z \circ \hat h$, where $z$, $r$, $\hat h$ all depend on $h$. "
        r"With the library: $1 - \sigma(a) = \sigma(-a)$, so one sign turns one convention into the other.",
        "By hand there are a term for what is kept, one through $z$ and one through the candidate, in which $r$ occurs "
        "twice. With the library give `gru_slopes` the share that *our* GRU would keep, and `gru_jacobian` the flipped "
        "`U`; both are needed.",
    ),
    accepted=(_other_gru_written_out, _other_gru_column_by_column),
    mistakes=(
        Mistake(
            "keep and write swapped",
            lambda h, gates, U: rec.gru_jacobian(rec.gru_slopes(gates, h), U),
            "This is the Jacobian of the library's own convention. Here $z$ is the share that is *written*.",
        ),
        Mistake(
            "weights not flipped",
            lambda h, gates, U: rec.gru_jacobian(rec.gru_slopes(gates._replace(z=1 - gates.z), h), U),
            "The gate is turned, and its weights are not. Where do they enter the derivative?",
        ),
        Mistake(
            "gate not turned",
            lambda h, gates, U: rec.gru_jacobian(rec.gru_slopes(gates, h), rec.flip_update_gate(U)),
            "The weights are turned, but `gates.z` is still taken for the share that is kept.",
        ),
        Mistake(
            "reset gate held",
            lambda h, gates, U: _other_gru_with(h, gates, U, r=0 * h),
            "The reset gate depends on $h_{t-1}$ as well. Its path, through $U_r$, is missing.",
        ),
        Mistake(
            "update gate held",
            lambda h, gates, U: _other_gru_with(h, gates, U, z=0 * h),
            "The update gate depends on $h_{t-1}$ as well. Its path, through $U_z$, is missing.",
        ),
        Mistake(
            "reset after",
            lambda h, gates, U: rec.gru_reset_after_jacobian(
                rec.gru_slopes(gates._replace(z=1 - gates.z), h), rec.flip_update_gate(U)
            ),
            "Here the reset gate multiplies the rows of $U_h$. It acts on $h_{t-1}$ *before* $U_h$ does.",
        ),
        Mistake(
            "candidate without slope",
            lambda h, gates, U: _other_gru_with(h, gates, U, h_hat=gates.z),
            r"The candidate is a $\tanh$ of its pre-activation, and its slope is missing.",
        ),
    ),
)


def edge_of_growth(g):
    return math.log(4 / g - 1)


def _edge_as_logit(g):
    f = 1 - g / 4
    return np.log(f) - np.log1p(-f)


def _edge_by_bisection(g):
    """The bias at which the largest eigenvalue of the whole Jacobian at the zero state is 1."""
    U, zero, low, high = np.full((4, 1), g), np.zeros(1), -20.0, 20.0
    for _ in range(60):
        b = (low + high) / 2
        gates = rec.lstm_gates(zero, zero, np.zeros((4, 1)), U, np.array([0.0, b, 0.0, 0.0]))
        grows = np.abs(np.linalg.eigvals(rec.lstm_jacobian(rec.lstm_slopes(gates, zero), U))).max() > 1
        low, high = (low, b) if grows else (b, high)
    return b


EDGE_OF_GROWTH = Exercise(
    id="1.8",
    title="When does an LSTM at rest begin to grow?",
    question=r"""
    An LSTM with a single unit sits at the zero state, without input. All its recurrent weights are $g$, with
    $0 < g < 1$, and all its biases are 0 but the forget gate's, which is $b$. At which $b$ does a small change of the
    state neither grow nor shrink? Then think: where is this point for a GRU with the bias $b$ at its update gate?
    """,
    inputs=lambda rng: (float(rng.uniform(0.1, 0.9)),),
    reference=edge_of_growth,
    because=r"""At rest $\hat c = c = h = 0$ and $i = o = \tfrac12$, so a step multiplies a change by
    $\sigma(b) + \tfrac14 g$. It is 1 where $\sigma(b) = 1 - \tfrac g4$, at $b = \ln(\tfrac4g - 1)$. A GRU
    multiplies by $z + \tfrac12(1-z)g$, which is below 1 for every $b$ if $g < 2$, above 1 for every $b$ if $g > 2$.""",
    hints=(
        "What remains of the four terms when the candidate, the cell and the output are all zero?",
        r"A step multiplies a small change by $f + i\,o\,g$. Put in $i$ and $o$, set it to 1, and solve for the bias.",
    ),
    accepted=(_edge_as_logit, _edge_by_bisection),
    mistakes=(
        Mistake("gate", lambda g: 1 - g / 4, r"This is the forget gate. The bias is what $\sigma$ turns into it."),
        Mistake("sign", lambda g: -edge_of_growth(g), "With this bias the gate is shut where it should be open."),
        Mistake(
            "output gate left out",
            lambda g: math.log(2 / g - 1),
            "The candidate reaches the cell through one gate. How does the old cell state reach the candidate?",
        ),
        Mistake(
            "input gate open",
            lambda g: math.log(1 / g - 1),
            "Only the forget gate has a bias. What is a gate without one at the zero state?",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# clipping


def _clip_inputs(rng):
    gradients = [rng.normal(size=shape) for shape in ((D, D_X), (D, D), (D,))]
    norm = np.sqrt(sum((g * g).sum() for g in gradients))
    return gradients, float(norm * rng.uniform(0.2, 1.5))


def clip_together(gradients, threshold):
    norm = math.sqrt(sum(float((g * g).sum()) for g in gradients))
    factor = min(1.0, threshold / norm)
    return [factor * g for g in gradients]


def _clip_with_a_branch(gradients, threshold):
    norm = np.linalg.norm([np.linalg.norm(g) for g in gradients])
    if norm <= threshold:
        return gradients
    for g in gradients:
        g *= threshold / norm
    return gradients


def _clip_in_one_piece(gradients, threshold):
    flat = rec.clip_norm(np.concatenate([g.ravel() for g in gradients]), threshold)
    pieces = np.split(flat, np.cumsum([g.size for g in gradients])[:-1])
    return tuple(piece.reshape(g.shape) for piece, g in zip(pieces, gradients, strict=True))


def _rescaled(gradients, factor):
    return [factor * g for g in gradients]


CLIP_TOGETHER = Exercise(
    id="1.9",
    title="Clip all parameters together",
    question=r"""
    A network has several parameters, and `gradients` is the list of their gradients. Clip them by their *global* norm:
    the list, taken as one long vector, shall become no longer than `threshold` and keep its direction. Return a list
    of arrays of the same shapes.
    """,
    inputs=_clip_inputs,
    reference=clip_together,
    because=r"""The norm of the whole is $\|g\| = \sqrt{\sum_k \|g_k\|^2}$. One factor, $\min(1, \tau/\|g\|)$, for
    all parameters keeps the direction; the minimum leaves a short gradient as it is.""",
    hints=(
        "How long is the vector that one gets by writing all gradients one after the other?",
        "One norm, one factor for all arrays, and the factor is never above 1.",
    ),
    accepted=(_clip_with_a_branch, _clip_in_one_piece),
    mistakes=(
        Mistake(
            "each by itself",
            lambda gradients, threshold: [rec.clip_norm(g, threshold) for g in gradients],
            "Each array is clipped by its own norm. That turns the gradient as a whole.",
        ),
        Mistake(
            "by value",
            lambda gradients, threshold: [rec.clip_value(g, threshold) for g in gradients],
            "This clips entry by entry: by value, not by norm.",
        ),
        Mistake(
            "always rescaled",
            lambda gradients, threshold: _rescaled(gradients, threshold / _norm(gradients)),
            "Long gradients come out right, but short ones are made *longer*. Clipping only shortens.",
        ),
        Mistake(
            "squared norm",
            lambda gradients, threshold: _rescaled(gradients, min(1, threshold / _norm(gradients) ** 2)),
            "The sum of squares is not yet the norm.",
        ),
        Mistake(
            "sum of norms",
            lambda gradients, threshold: _rescaled(gradients, min(1, threshold / sum(map(np.linalg.norm, gradients)))),
            "The norms of the parts are added here. The norm of the whole is shorter (Pythagoras).",
        ),
        Mistake(
            "unit length",
            lambda gradients, _: _rescaled(gradients, 1 / _norm(gradients)),
            "What became of the threshold?",
        ),
        Mistake("nothing done", lambda gradients, threshold: gradients, "The gradients come back as they were."),
    ),
    several=True,
)


def _norm(gradients):
    return float(np.linalg.norm([np.linalg.norm(g) for g in gradients]))


# ---------------------------------------------------------------------------------------------------------------
# sizes and transients


def equal_width():
    lstm = 4 * (512 * 512 + 512 * 512 + 512)
    # 3 (d² + 512 d + d) = lstm, a quadratic equation in d
    return (-513 + math.sqrt(513**2 + 4 * lstm / 3)) / 2


def _equal_width_by_search():
    def parameters(gates, d_x, d):
        return gates * d * (d_x + d + 1)

    return min(range(1, 2000), key=lambda d: abs(parameters(3, 512, d) - parameters(4, 512, 512)))


EQUAL_WIDTH = Exercise(
    id="1.10",
    title="A fair comparison of GRU and LSTM",
    question=r"""
    A GRU has three blocks of weights (two gates and the candidate), an LSTM four, each with its own $W$, $U$ and one
    bias. An LSTM has inputs of width $d_x = 512$ and a state of width $d = 512$. How wide must the state of a GRU with
    the *same inputs* be, to have as many parameters? Three digits suffice.
    """,
    reference=equal_width,
    because=r"""A block of width $d$ has $d\,d_x + d^2 + d$ parameters.
    $3(d^2 + 513\,d) = 4(512^2 + 513 \cdot 512) = 2\,099\,200$ gives $d = 618.4$.""",
    hints=(
        "How many parameters has one block, as a function of $d_x$ and $d$?",
        "Three blocks of the unknown width equal four of width 512. Since $d_x$ stays, this is a quadratic equation.",
    ),
    accepted=(_equal_width_by_search, lambda: np.roots([3, 3 * 513, -2_099_200]).max()),
    mistakes=(
        Mistake(
            "proportional",
            512 * 4 / 3,
            "This would be right if parameters grew in proportion to the width. But $U$ grows with its square.",
        ),
        Mistake(
            "input forgotten",
            512 * math.sqrt(4 / 3),
            "This would be right if $W$ grew like $U$. But the inputs stay as wide as they are.",
        ),
        Mistake(
            "inverted", 384, "A GRU of this width is smaller than one of width 512, which has fewer parameters already."
        ),
        Mistake("same width", 512, "At the same width a GRU has only three quarters of the parameters."),
    ),
    tolerance=2e-3,
)


STEPS = 10_000
"""So many powers are looked at in the last exercise."""


def transient():
    return np.array([[0.98, 8.0], [0.0, 0.98]])


def _transient_of_two_eigenvalues():
    return np.array([[0.995, 0.0], [5.0, 0.97]])


def _transient_that_turns():
    turn, stretch = 0.05, np.diag([150.0, 1.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return stretch @ (0.99 * rotation) @ np.linalg.inv(stretch)


def _longest_power(U):
    """The largest spectral norm among the first powers of U."""
    powers = rec.jacobian_products(np.broadcast_to(U, (STEPS, *U.shape)))
    return rec.spectral_norm(powers).max()


TRANSIENT = OpenExercise(
    id="1.11",
    title="Large before it vanishes",
    question=rf"""
    Find a real $2 \times 2$ matrix $U$ whose spectral radius is below 1 and whose spectral norm $\|U\|_2$ is at most
    10, such that $\|U^t\|_2 > 100$ for some $t \le {STEPS}$. A linear RNN with this $U$ forgets everything in the end,
    and yet its gradients explode on the way. Then think: which matrices can never do this?
    """,
    reference=transient,
    because=r"""$\begin{pmatrix} a & k \\ 0 & a \end{pmatrix}^t =
    \begin{pmatrix} a^t & t\,k\,a^{t-1} \\ 0 & a^t \end{pmatrix}$.
    The corner grows with $t$ before $a^t$ wins; its peak is about $k/(e\,(1-a))$ near $t = 1/(1-a)$. For a normal
    matrix ($UU^\top = U^\top U$) $\|U^t\|_2$ is the spectral radius to the power $t$, so it can never do this.""",
    hints=(
        "What must be special about the eigenvectors, if the eigenvalues are small and the powers large all the same?",
        "Write down the powers of a triangular matrix with equal diagonal entries $a$ and the corner $k$. When is the "
        "corner of $U^t$ largest?",
    ),
    accepted=(_transient_of_two_eigenvalues, _transient_that_turns),
    mistakes=(
        Requirement(
            "spectral radius",
            [[1.0, 5.0], [0.0, 1.0]],
            "The spectral radius is not below 1: this never decays.",
            holds=lambda U: bool(np.abs(np.linalg.eigvals(U)).max() < 1),
        ),
        Requirement(
            "norm of U",
            [[0.5, 1000.0], [0.0, 0.5]],
            "The norm of $U$ itself is above 10. The growth shall come from many steps, not from one.",
            holds=lambda U: bool(rec.spectral_norm(U) <= 10),
        ),
        Requirement(
            "normal",
            [[0.99, 0.0], [0.0, 0.99]],
            r"This matrix is normal, $UU^\top = U^\top U$. Its eigenvectors are orthogonal, and its powers shrink.",
            holds=lambda U: not np.allclose(U @ U.T, U.T @ U),
        ),
        Requirement(
            "too short",
            [[0.9, 5.0], [0.0, 0.9]],
            "The powers of this matrix stay below 100. How does the peak depend on the eigenvalues, and on the rest?",
            holds=lambda U: bool(_longest_power(U) > 100),
        ),
    ),
)


EXERCISES = (
    FORGETTING_STEPS,
    BIAS_FOR_MEMORY,
    TANH_BOUND,
    FIXED_POINT_MULTIPLIER,
    STEP_JACOBIAN,
    LSTM_BLOCK,
    OTHER_GRU,
    EDGE_OF_GROWTH,
    CLIP_TOGETHER,
    EQUAL_WIDTH,
    TRANSIENT,
)
"""All exercises of the chapter, easy to open-ended."""
