r"""The exercises of the chapter on rotary positions and RoFormerV2, from one turn to a head to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import math

import numpy as np

from . import roformer as rof
from . import rope as turns
from .depth import identity_share, truncated_variance, truncation_correction
from .exercises import Exercise, Mistake, OpenExercise, Requirement
from .layernorm import rms_norm

D = 10
"""Width of the random vectors: five planes, an odd number."""

# ---------------------------------------------------------------------------------------------------------------
# the turn


def turned(x, m, base):
    d = len(x)
    y = np.empty(d)
    for j in range(d // 2):
        angle = m * base ** (-2 * j / d)
        u, v = x[2 * j], x[2 * j + 1]
        y[2 * j] = u * math.cos(angle) - v * math.sin(angle)
        y[2 * j + 1] = u * math.sin(angle) + v * math.cos(angle)
    return y


def _turned_as_complex_numbers(x, m, base):
    points = (x[0::2] + 1j * x[1::2]) * np.exp(1j * m * base ** (-np.arange(0, len(x), 2) / len(x)))
    return np.column_stack([points.real, points.imag]).ravel()


def _angles(x, m, base):
    return turns.rope_angles(np.array([m]), len(x), x, base)


def _with_angles_laid_out(x, m, base, spread):
    """Turned as neighbours, by angles that `spread` puts on the features."""
    angles = spread(m * base ** (-np.arange(0, len(x), 2) / len(x)), 2)
    return x * np.cos(angles) + np.column_stack([-x[1::2], x[0::2]]).ravel() * np.sin(angles)


def _with_features_of_halves(x, m, base):
    angles, half = np.repeat(m * base ** (-np.arange(0, len(x), 2) / len(x)), 2), len(x) // 2
    return x * np.cos(angles) + np.concatenate([-x[half:], x[:half]]) * np.sin(angles)


def _with_its_first_overwritten(x, m, base):
    y = x.copy()
    for j in range(len(x) // 2):
        angle = m * base ** (-2 * j / len(x))
        y[2 * j] = y[2 * j] * math.cos(angle) - y[2 * j + 1] * math.sin(angle)
        y[2 * j + 1] = y[2 * j] * math.sin(angle) + y[2 * j + 1] * math.cos(angle)
    return y


def _turned_by_the_library(x, m, base):
    return turns.rope(x[None], _angles(x, m, base))[0]


TURNED = Exercise(
    id="6.1",
    title="Turn a vector",
    question=r"""
    Turn `x`, a vector of an even number d of features, as RoFormer turns a query at position `m`. Plane $j$, counted
    from 0, has the features $2j$ and $2j+1$ as its coordinates and is turned by the angle $m\,\theta_j$ with
    $\theta_j = \mathrm{base}^{-2j/d}$, from the first axis towards the second.
    """,
    inputs=lambda rng: (rng.normal(size=D), int(rng.integers(1, 50)), float(rng.uniform(10, 1000))),
    reference=turned,
    because=r"""A turn by α takes (u, v) to (u cos α − v sin α, u sin α + v cos α), in every plane with an angle of its
    own. As complex numbers u + iv it is a product with exp(iα).""",
    hints=(
        "Take one plane first. What does a turn do to the point (1, 0)? And to (0, 1)?",
        "Read each two neighbours as a complex number, and multiply it by a number of modulus 1.",
    ),
    accepted=(_turned_as_complex_numbers, _turned_by_the_library),
    mistakes=(
        Mistake(
            "halves",
            lambda x, m, base: turns.rope_halves(x[None], _angles(x, m, base))[0],
            "These are the planes of GPT-NeoX, features j and j + d/2. Which two make a plane here?",
        ),
        Mistake(
            "other way",
            lambda x, m, base: turned(x, -m, base),
            "Lengths are right, but the turn goes the other way round. Check it with the point (1, 0).",
        ),
        Mistake(
            "slow by half",
            lambda x, m, base: turned(x, m, math.sqrt(base)),
            "The planes slow down too gently: the exponent of the base is that of the question only if j counts planes "
            "and d features.",
        ),
        Mistake(
            "one angle",
            lambda x, m, base: turned(x, m, 1.0),
            "All planes are turned by the same angle. Each has its own.",
        ),
        Mistake(
            "angles tiled",
            lambda x, m, base: _with_angles_laid_out(x, m, base, np.tile),
            "The features are paired as neighbours and the angles as halves. Each angle belongs to two neighbours.",
        ),
        Mistake(
            "features of halves",
            _with_features_of_halves,
            "The angles are paired as neighbours and the features as halves: two layouts mixed.",
        ),
        Mistake(
            "overwritten",
            _with_its_first_overwritten,
            "The second line uses the first coordinate after it was turned. Keep the old one.",
        ),
        Mistake(
            "angle in degrees",
            lambda x, m, base: turned(x, m * math.pi / 180, base),
            "The angle was taken for degrees; it is in radians.",
        ),
        Mistake(
            "counted from 1",
            lambda x, m, base: turned(x, m * base ** (-2 / len(x)), base),
            "Each plane is turned as the next one should be. From which number does $j$ count?",
        ),
        Mistake(
            "base forgotten",
            lambda x, m, base: turned(x, m, 10_000.0),
            "This is right for the base 10,000. Here the base is an argument.",
        ),
        Mistake(
            "not put back",
            lambda x, m, base: turned(x, m, base)[turns.halves_order(len(x))],
            "The numbers are right and their places are not: all first coordinates stand before all second ones. Put "
            "each plane's two beside each other again.",
        ),
    ),
)


def base_for_length(n, d):
    return (n / (2 * math.pi)) ** (d / (d - 2))


def _base_step_by_step(n, d):
    speed = 2 * np.pi / n  # radians that the slowest plane may turn by in each position
    last = d // 2 - 1
    return speed ** (-d / (2 * last))


BASE = Exercise(
    id="6.2",
    title="A base for long texts",
    question=r"""
    A head has `d` features, at least 4, and its planes turn by $\theta_j = \mathrm{base}^{-2j/d}$ radians from one
    position to the next. For texts of `n` tokens you want the *slowest* plane to turn exactly once from the first
    token to position `n`. Which base do you take? (A real number, not rounded.)
    """,
    inputs=lambda rng: (int(rng.integers(200, 100_000)), 2 * int(rng.integers(2, 65))),
    reference=base_for_length,
    because=r"""There are d/2 planes, so the last is j = d/2 − 1, with θ = base^(−(d−2)/d). It turns once in n positions
    if nθ = 2π, so base = (n/2π)^(d/(d−2)). For d = 64 and n = 47,117 that is 10,000, for a million tokens 234,000.""",
    hints=(
        "Which is the slowest plane, and by how much does it turn in n positions?",
        "Write the condition with the base as the unknown, and solve it for the base. Mind that planes count from 0.",
    ),
    accepted=(
        _base_step_by_step,
        lambda n, d: np.exp(d * np.log(n / 2 / np.pi) / (d - 2)),
    ),
    mistakes=(
        Mistake(
            "one plane too many",
            lambda n, d: n / (2 * math.pi),
            "Close. There is no plane d/2: planes are counted from 0.",
        ),
        Mistake(
            "one token less",
            lambda n, d: base_for_length(n - 1, d),
            "Positions count from 0: the slowest plane shall be round at position n, not at the last token.",
        ),
        Mistake(
            "no turn",
            lambda n, d: n ** (d / (d - 2)),
            "With this base the slowest plane turns by one radian. How many are a whole turn?",
        ),
        Mistake(
            "degrees",
            lambda n, d: (n / 360) ** (d / (d - 2)),
            "The angles are in radians, not in degrees.",
        ),
        Mistake(
            "upside down",
            lambda n, d: (n / (2 * math.pi)) ** ((d - 2) / d),
            "The exponent stands upside down. Try your base: how often does the slowest plane turn?",
        ),
        Mistake(
            "planes for features",
            lambda n, d: (n / (2 * math.pi)) ** (2 * d / (d - 2)),
            "The exponent is twice what it should be. Look at the 2 in the angle.",
        ),
        Mistake(
            "turn times",
            lambda n, d: (n * 2 * math.pi) ** (d / (d - 2)),
            "One plane does turn so slowly, but it needs far more than n positions. Where does the turn belong?",
        ),
        Mistake(
            "below 1",
            lambda n, d: (2 * math.pi / n) ** (d / (d - 2)),
            "With a base below 1 later planes turn faster, not more slowly.",
        ),
    ),
)


def other_layout(W, heads):
    rows = np.split(W, heads)
    return np.concatenate([part[[*range(0, len(part), 2), *range(1, len(part), 2)]] for part in rows])


def _other_layout_by_axes(W, heads):
    split = W.reshape(heads, -1, 2, W.shape[-1])
    return split.transpose(0, 2, 1, 3).reshape(W.shape)


def _other_layout_by_the_library(W, heads):
    width = len(W) // heads
    order = [h * width + place for h in range(heads) for place in turns.halves_order(width)]
    return W[order]


OTHER_LAYOUT = Exercise(
    id="6.3",
    title="From one layout to the other",
    question=r"""
    `W` is the weight of the queries, of shape (out, in), of a network whose planes are made of neighbouring features.
    Its rows are those of `heads` heads, one head after the other. Reorder the rows so that a program which makes its
    planes of features $j$ and $j + d_h/2$ of each head computes the same; $d_h$ is the width of a head.
    """,
    inputs=lambda rng: (rng.normal(size=(18, 5)), 3) if rng.integers(2) else (rng.normal(size=(20, 7)), 2),
    reference=other_layout,
    because=r"""Within each head the even rows come first, then the odd ones. Keys must be put in the same order, and
    biases too; products of queries with keys stay as they are, since both are permuted alike.""",
    hints=(
        "Where does the other program look for the two features of plane 0? And of plane 1?",
        "First coordinates fill the first half of a head, second coordinates the other half. Treat heads one by one.",
    ),
    accepted=(_other_layout_by_axes, _other_layout_by_the_library),
    mistakes=(
        Mistake(
            "heads mixed",
            lambda W, heads: other_layout(W, 1),
            "This would be right for one head. Here rows have wandered from one head into another.",
        ),
        Mistake(
            "inverse",
            lambda W, heads: np.concatenate([p[np.argsort(turns.halves_order(len(p)))] for p in np.split(W, heads)]),
            "This is the way back, from halves to neighbours.",
        ),
        Mistake("unchanged", lambda W, heads: W, "The network would run, and compute something else."),
        Mistake(
            "order of heads",
            lambda W, heads: np.concatenate(np.split(W, heads)[::-1]),
            "The heads may stay in their order; it is the rows inside a head that move.",
        ),
        Mistake(
            "turned round",
            lambda W, heads: np.concatenate([np.concatenate([p[1::2], p[0::2]]) for p in np.split(W, heads)]),
            "Nearly: the coordinates of each plane are swapped, which turns it the other way.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# what a distance does


def mean_at_distance(m, d, base, c):
    theta = base ** (-2 * np.arange(d // 2) / d)
    return 2 * c * np.cos(m * theta).sum()


def _mean_as_a_trace(m, d, base, c):
    angles = np.broadcast_to(turns.rope_angles(np.array([m]), d, np.zeros(1), base), (d, d // 2))
    return c * np.trace(turns.rope(np.eye(d), angles))


def _mean_by_the_library(m, d, base, c):
    return c * turns.mean_product(np.array(float(m)), d, base)


MEAN = Exercise(
    id="6.4",
    title="The mean product at a distance",
    question=r"""
    The features of a query $q$ are independent and standard normal. A key shares the part $c$ of it:
    $k = c\,q + \sqrt{1-c^2}\,\varepsilon$, with $\varepsilon$ standard normal and independent of $q$. What is the
    expectation of $(R_{m}q)\cdot(R_0 k)$, at distance $m$? Each of the $d/2$ planes turns by
    $\theta_j = \mathrm{base}^{-2j/d}$.
    """,
    inputs=lambda rng: (
        int(rng.integers(1, 300)),
        2 * int(rng.integers(4, 40)),
        10_000.0,
        float(rng.uniform(-0.9, 0.9)),
    ),
    reference=mean_at_distance,
    because=r"""ε contributes nothing on average. In each plane the mean product of a point with itself, turned by α, is
    its mean squared length times cos α, and that is 2. So the mean is 2c Σ cos(mθ): its decay is that of what query
    and key share, and with c = 0 there is none.""",
    hints=(
        r"What does the part with $\varepsilon$ contribute on average?",
        r"For the rest take one plane. What is the product of a point with itself, turned by an angle $\alpha$?",
    ),
    accepted=(_mean_as_a_trace, _mean_by_the_library),
    mistakes=(
        Mistake(
            "one for two", lambda *a: mean_at_distance(*a) / 2, "How long is the square of a point with *two* features?"
        ),
        Mistake(
            "no share",
            lambda m, d, base, c: mean_at_distance(m, d, base, 1.0),
            "This would be the mean if the key were the query itself.",
        ),
        Mistake(
            "no distance",
            lambda m, d, base, c: c * d,
            "Right at distance 0. What does the turn do?",
        ),
        Mistake(
            "c squared",
            lambda m, d, base, c: mean_at_distance(m, d, base, c * c),
            "How often does $c$ enter? The query has no factor.",
        ),
        Mistake(
            "sines",
            lambda m, d, base, c: 2 * c * np.sin(m * base ** (-2 * np.arange(d // 2) / d)).sum(),
            "At distance 0 this is 0, though the query meets itself there.",
        ),
        Mistake(
            "noise added",
            lambda m, d, base, c: mean_at_distance(m, d, base, c + math.sqrt(1 - c * c)),
            "The noise has mean 0. What does it add to a mean?",
        ),
        Mistake(
            "modulus",
            lambda m, d, base, c: 2 * c * abs(np.exp(1j * m * base ** (-2 * np.arange(d // 2) / d)).sum()),
            "This is the modulus of the complex sum. Only its real part is the product.",
        ),
        Mistake("independent", lambda *_: 0.0, "So it is for $c = 0$."),
        Mistake(
            "over d",
            lambda m, d, base, c: mean_at_distance(m, d, base, c) / d,
            "This is the share that the pictures draw. What is asked for is the product itself.",
        ),
    ),
)


def _turned_key(q, s, base):
    angles = s * base ** (-2 * np.arange(len(q) // 2) / len(q))
    k = np.empty(len(q))
    k[0::2] = q[0::2] * np.cos(angles) - q[1::2] * np.sin(angles)
    k[1::2] = q[0::2] * np.sin(angles) + q[1::2] * np.cos(angles)
    return k


def looks_at_two(q, s, t, base):
    z, theta = q[0::2] + 1j * q[1::2], base ** (-np.arange(0, len(q), 2) / len(q))
    best = z * (np.exp(1j * s * theta) + np.exp(1j * t * theta))
    k = np.column_stack([best.real, best.imag]).ravel()
    return k * np.linalg.norm(q) / np.linalg.norm(k)


def _looks_at_two_with_cosines(q, s, t, base):
    both = _turned_key(q, s, base) + _turned_key(q, t, base)
    return both * math.sqrt((q @ q) / (both @ both))


def _with_planes_of_their_old_length(q, s, t, base):
    best = looks_at_two(q, s, t, base)
    z, old = best[0::2] + 1j * best[1::2], np.abs(q[0::2] + 1j * q[1::2])
    z = z / np.abs(z) * old
    return np.column_stack([z.real, z.imag]).ravel()


def _looks_at_two_by_the_library(q, s, t, base):
    both = turns.rope(np.stack([q, q]), turns.rope_angles(np.array([s, t]), len(q), q, base)).sum(0)
    return both / np.sqrt(np.sum(both**2)) * np.sqrt(np.sum(q**2))


LOOKS_AT_TWO = Exercise(
    id="6.5",
    title="A head that looks at two places",
    question=r"""
    A query vector `q` is given, the same at every position, and turned there: $R_m q$. Section 5 found the key that
    answers it best from one distance. Now it shall answer at *two*: find the key $k$ with the same norm as $q$ for
    which the sum of the products $(R_m q)\cdot(R_n k)$ at $m - n = s$ and at $m - n = t$ is as large as such a key can
    make it. Neighbouring features make a plane, and $\theta_j = \mathrm{base}^{-2j/d}$.
    """,
    inputs=lambda rng: (
        rng.normal(size=D),
        int(rng.integers(1, 10)),
        int(rng.integers(12, 30)),
        float(rng.uniform(10, 1000)),
    ),
    reference=looks_at_two,
    because=r"""The sum of the two products is k · (R_s q + R_t q), and among vectors of one length the largest product
    with a given one has the one that points along it. So k is R_s q + R_t q, brought to the length of q. In a slow
    plane the two nearly agree; in a fast plane they may cancel, and then the key puts little there. One head cannot
    have both places in full: that is what more heads are for.""",
    hints=(
        "The sum of two products with $k$ is one product with $k$. With which vector?",
        "Among all vectors of one length, which has the largest product with a given one?",
    ),
    accepted=(_looks_at_two_with_cosines, _looks_at_two_by_the_library),
    mistakes=(
        Mistake(
            "looks ahead",
            lambda q, s, t, base: looks_at_two(q, -s, -t, base),
            "This key answers best to a query that stands *before* it.",
        ),
        Mistake(
            "plane by plane",
            _with_planes_of_their_old_length,
            "Each plane has its old length. The best key puts more into planes where both places agree.",
        ),
        Mistake("not turned", lambda q, s, t, base: q, "This one answers best at distance 0."),
        Mistake(
            "first place only",
            lambda q, s, t, base: _turned_key(q, s, base),
            "The best key for the distance s alone. What about t?",
        ),
        Mistake(
            "second place only",
            lambda q, s, t, base: _turned_key(q, t, base),
            "The best key for the distance t alone. What about s?",
        ),
        Mistake(
            "in the middle",
            lambda q, s, t, base: _turned_key(q, (s + t) / 2, base),
            "This is the best key for the distance in the middle. A fast plane may point the other way there.",
        ),
        Mistake(
            "a mean",
            lambda q, s, t, base: (_turned_key(q, s, base) + _turned_key(q, t, base)) / 2,
            "The direction is right, the norm is not.",
        ),
        Mistake(
            "a sum",
            lambda q, s, t, base: _turned_key(q, s, base) + _turned_key(q, t, base),
            "The direction is right. How long is it?",
        ),
        Mistake(
            "length 1",
            lambda q, s, t, base: looks_at_two(q / np.linalg.norm(q), s, t, base),
            "The direction is right, and the norm is 1. It should be that of q.",
        ),
        Mistake(
            "halves",
            lambda q, s, t, base: (lambda k: k * np.linalg.norm(q) / np.linalg.norm(k))(
                turns.rope_halves(np.stack([q, q]), turns.rope_angles(np.array([s, t]), len(q), q, base)).sum(0)
            ),
            "Right in the other layout. Here neighbours make a plane.",
        ),
        Mistake(
            "worst",
            lambda q, s, t, base: -looks_at_two(q, s, t, base),
            "The norm is right and so is the line. With this sign the sum is as small as can be.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# the second version


def parameters(vocabulary, d, layers):
    embedding = (vocabulary + 2) * d
    attention, feed = 4 * d * d, 2 * d * 4 * d
    return embedding + layers * (attention + feed)


PARAMETERS = Exercise(
    id="6.6",
    title="All there is",
    question=r"""
    How many numbers does a RoFormerV2 hold, head for masked words included? `vocabulary` pieces, two segments, tokens
    of width `d`, `layers` layers with four square matrices in the attention and a feed-forward layer that is four
    times as wide inside. There are no biases, no gains in the norms and no table of positions, and the logits are
    products with the table of the pieces.
    """,
    inputs=lambda rng: (int(rng.integers(1000, 20000)), 64 * int(rng.integers(1, 17)), int(rng.integers(1, 25))),
    reference=parameters,
    because=r"""Two tables, (V + 2) d, and 12 d² for each layer: four d × d, and two of d × 4d. For V = 12,000, d = 768
    and 12 layers that is 94,152,192.""",
    hints=("Two tables and six matrices a layer.", "A feed-forward layer has two matrices. What are their sizes?"),
    accepted=(
        lambda vocabulary, d, layers: vocabulary * d + 2 * d + 12 * layers * d**2,
        lambda vocabulary, d, layers: rof.RoformerSizes(vocabulary, d, layers, 1, 4 * d).total(rof.V2),
    ),
    mistakes=(
        Mistake(
            "untied",
            lambda V, d, L: parameters(V, d, L) + V * d,
            "The table of the pieces is counted twice; the logits use the same one.",
        ),
        Mistake("no segments", lambda V, d, L: parameters(V - 2, d, L), "Which table is missing?"),
        Mistake(
            "positions",
            lambda V, d, L: parameters(V + 512, d, L),
            "A table of 512 positions is counted, and there is none.",
        ),
        Mistake(
            "one matrix inside",
            lambda V, d, L: (V + 2) * d + 8 * L * d * d,
            "The feed-forward layer leads into its width and back again.",
        ),
        Mistake(
            "biases",
            lambda V, d, L: parameters(V, d, L) + 9 * d * L,
            "Biases are counted too.",
        ),
        Mistake(
            "gains",
            lambda V, d, L: parameters(V, d, L) + (2 * L + 1) * d,
            "A gain is counted for each norm, and there is none.",
        ),
        Mistake(
            "gains and offsets",
            lambda V, d, L: parameters(V, d, L) + 2 * (2 * L + 1) * d,
            "Gains and offsets of the norms are counted, and there are none.",
        ),
        Mistake(
            "a head",
            lambda V, d, L: parameters(V, d, L) + d * d,
            "A dense layer of the head is counted. RoFormerV2 has none.",
        ),
        Mistake(
            "bias of the logits",
            lambda V, d, L: parameters(V, d, L) + V,
            "A bias for each piece is counted. The logits are products and nothing else.",
        ),
        Mistake("one layer", lambda V, d, L: parameters(V, d, 1), "How many layers are there?"),
    ),
    tolerance=1e-6,
)


def sampler_std(shape, layers):
    _, into = shape
    left = truncated_variance()  # of a standard normal cut off at two deviations
    return 1 / math.sqrt(layers * into * left)


def _sampler_std_by_the_library(shape, layers):
    return truncation_correction() * rof.v2_std(shape[1], layers)


SAMPLER = Exercise(
    id="6.7",
    title="What to tell the sampler",
    question=r"""
    RoFormerV2 starts with weights of the deviation $L^{-1/2}/\sqrt{\text{fan-in}}$ for $L$ layers. You have a weight of
    PyTorch, of `shape` (out, in), and a sampler that draws from a normal distribution of deviation $s$ and throws away
    what lies beyond $\pm 2s$, which leaves 0.7737 of the variance. Which $s$ do you give it? Four digits suffice.
    """,
    inputs=lambda rng: ((int(rng.integers(100, 900)), int(rng.integers(1000, 4000))), int(rng.integers(2, 25))),
    reference=sampler_std,
    because=r"""Each output adds up `shape[1]` products, so that is the fan-in. What the sampler returns has variance
    0.7737 s², which shall be 1/(L fan-in), so s = 1.1368/√(L fan-in).""",
    hints=("How many products does one output of this weight add up?", "Set 0.7737 s² equal to the wanted variance."),
    accepted=(_sampler_std_by_the_library, lambda shape, layers: 1.13685 * (layers * shape[-1]) ** -0.5),
    mistakes=(
        Mistake(
            "fan-out",
            lambda shape, layers: sampler_std(shape[::-1], layers),
            "The formula was made for weights of shape (in, out). Which axis is the fan-in here?",
        ),
        Mistake(
            "not corrected",
            lambda shape, layers: rof.v2_std(shape[1], layers),
            "That would be right if nothing were thrown away.",
        ),
        Mistake(
            "twice the layers",
            lambda shape, layers: sampler_std(shape, 2 * layers),
            "This is a rule of chapter 4, for 2L sub-layers. Here it is L.",
        ),
        Mistake(
            "depth forgotten",
            lambda shape, layers: sampler_std(shape, 1),
            "Where is the number of layers?",
        ),
        Mistake(
            "cube root",
            lambda shape, layers: sampler_std(shape, 1) * layers ** (-1 / 3),
            "This power of the depth is that of GAU-α, whose branch multiplies three such matrices.",
        ),
        Mistake(
            "wrong direction",
            lambda shape, layers: rof.v2_std(shape[1], layers) * math.sqrt(truncated_variance()),
            "This is what comes out if the wanted deviation is asked for.",
        ),
        Mistake("fixed", lambda shape, layers: 0.02, "This is BERT's, whatever the size."),
        Mistake(
            "root forgotten",
            lambda shape, layers: rof.v2_std(shape[1], layers) / truncated_variance(),
            "Divided by what is left of the *variance*. A deviation is asked for.",
        ),
        Mistake(
            "fan-out, not corrected",
            lambda shape, layers: rof.v2_std(shape[0], layers),
            "Two things at once: the axis of the fan-in, and what the cut takes away.",
        ),
    ),
    tolerance=5e-3,
)


def own_logit(e, s):
    x = e + s
    return math.sqrt(len(e)) * (x @ e) / np.linalg.norm(x)


def _own_logit_step_by_step(e, s):
    h = (e + s) / np.sqrt(np.mean((e + s) ** 2))
    return h @ e


def _own_logit_of_the_norm(e, s):
    return rms_norm(e + s, eps=0.0) @ e


OWN_LOGIT = Exercise(
    id="6.8",
    title="A model that has learned nothing guesses the input",
    question=r"""
    Think of a RoFormerV2 whose blocks change nothing. A piece has the row `e` of the table, its segment the vector `s`,
    both of d features. Their sum, divided by its root mean square, is the token, and the logits are the products of
    the token with the rows of the table of pieces. What is the logit of the piece *itself*? The two need not be
    orthogonal, nor equally long.
    """,
    inputs=lambda rng: (lambda d: tuple(rng.normal(0, 0.1, size=(2, d)) * [[1], [1.5]]))(int(rng.integers(8, 64))),
    reference=own_logit,
    because=r"""h = √d (e + s)/‖e + s‖, so h·e = √d (e + s)·e/‖e + s‖. If the two are orthogonal and equally long, as
    at the start, that is √d ‖e‖/√2: with entries of deviation $1/\sqrt{Ld}$ about √(d/2L), while the logits of other
    pieces scatter around 0 by $1/\sqrt L$. So an untrained model does not guess evenly: it bets on its input.""",
    hints=(
        "Write the root mean square of the sum by its length.",
        "The token points in the direction of the sum. How long is it, and what is its product with $e$ alone?",
    ),
    accepted=(_own_logit_step_by_step, _own_logit_of_the_norm),
    mistakes=(
        Mistake(
            "centred",
            lambda e, s: (e + s - np.mean(e + s)) / np.std(e + s) @ e,
            "This norm does not centre.",
        ),
        Mistake("not normalised", lambda e, s: (e + s) @ e, "The token has been normalised."),
        Mistake(
            "no segment",
            lambda e, s: math.sqrt(len(e)) * np.linalg.norm(e),
            "So it would be without a segment. It takes its share of the token.",
        ),
        Mistake(
            "segment in the table",
            lambda e, s: math.sqrt(len(e)) * np.linalg.norm(e + s),
            "The logit is a product with the row of the table, and there the segment is not added.",
        ),
        Mistake(
            "unit length",
            lambda e, s: (e + s) @ e / np.linalg.norm(e + s),
            "A root mean square of 1 is not a length of 1.",
        ),
        Mistake(
            "twice normalised",
            lambda e, s: math.sqrt(len(e)) * (e + s) @ e / np.linalg.norm(e + s) / np.sqrt(np.mean(e**2)),
            "The row of the table in the logits is not normalised.",
        ),
        Mistake(
            "normalised apart",
            lambda e, s: (rms_norm(e, eps=0.0) + rms_norm(s, eps=0.0)) @ e,
            "Piece and segment are added first, and the sum is normalised.",
        ),
        Mistake(
            "as if orthogonal",
            lambda e, s: math.sqrt(len(e)) * (e @ e) / math.sqrt(e @ e + s @ s),
            "Right if $e\\cdot s = 0$, as it nearly is in a wide network. Here it is not.",
        ),
        Mistake(
            "as at the start",
            lambda e, s: math.sqrt(len(e) / 2) * np.linalg.norm(e),
            "Right for two orthogonal vectors of one length, as at the start. Here they may be any.",
        ),
        Mistake("length of the token", lambda e, s: math.sqrt(len(e)), "This is the length of the token alone."),
    ),
)


def share_left(layers):
    attention, feed = 1 / layers, 1 / (math.sqrt(2) * layers)
    return ((1 + attention**2) * (1 + feed**2)) ** (-layers / 2)


def _share_left_by_the_library(layers):
    return rof.v2_identity_share(layers)


def _share_left_step_by_step(layers):
    share = 1.0
    for _ in range(layers):
        for size in (1 / layers, 0.5**0.5 / layers):
            share /= np.hypot(1, size)
    return share


SHARE_LEFT = Exercise(
    id="6.9",
    title="The deeper, the nearer to the identity",
    question=r"""
    In a RoFormerV2 of $L$ layers each matrix starts with the factor $\lambda = L^{-1/2}$. To tokens of size 1 the
    attention adds $W_o W_v x$, take it for a token that looks at itself alone, and the feed-forward layer
    $W_2\,\mathrm{relu}(W_1 x)$; relu halves the mean square. All branches are orthogonal to their skips, and a norm
    follows each. Which share of the input, as a length, is left along the skips after all $2L$ sub-layers? (It is also
    the cosine of the last state with the input.)
    """,
    inputs=lambda rng: (int(rng.integers(2, 40)),),
    reference=share_left,
    because=r"""Two factors λ make branches of size 1/L and, with relu, 1/(√2 L). A norm divides by √(1 + r²). So the
    share is ((1 + 1/L²)(1 + 1/(2L²)))^(−L/2), about 1 − 3/(4L). It rises with the depth.""",
    hints=(
        r"How large is a branch behind two matrices, each of which multiplies the size by $\lambda$?",
        r"By how much does a norm divide $x + F$ if $F$ is orthogonal to $x$ and has the size $r$?",
    ),
    accepted=(_share_left_by_the_library, _share_left_step_by_step),
    mistakes=(
        Mistake(
            "one factor",
            lambda L: ((1 + 1 / L) * (1 + 1 / (2 * L))) ** (-L / 2),
            "Two matrices lie on each branch. This has the factor of one.",
        ),
        Mistake(
            "relu forgotten",
            lambda L: identity_share(1 / L, 2 * L),
            "What does relu leave of the mean square?",
        ),
        Mistake(
            "for deep stacks",
            lambda L: 1 - 3 / (4 * L),
            "Right for deep stacks. Give the product itself.",
        ),
        Mistake(
            "attention only",
            lambda L: identity_share(1 / L, L),
            "There are two sub-layers in each layer.",
        ),
        Mistake(
            "sizes add up",
            lambda L: ((1 + 1 / L) * (1 + 1 / (math.sqrt(2) * L))) ** -L,
            "This adds the sizes as if branch and skip pointed the same way. They are orthogonal.",
        ),
        Mistake(
            "squares kept",
            lambda L: ((1 + 1 / L**2) * (1 + 0.5 / L**2)) ** -L,
            "This is the share of the square. Take the root.",
        ),
        Mistake(
            "relu takes a half",
            lambda L: ((1 + 1 / L**2) * (1 + 0.25 / L**2)) ** (-L / 2),
            "Relu halves the mean *square*. Here it has halved the size.",
        ),
        Mistake(
            "one layer",
            lambda L: ((1 + 1 / L**2) * (1 + 0.5 / L**2)) ** -0.5,
            "This is the share that one layer leaves. How many are there?",
        ),
        Mistake(
            "plain stack",
            lambda L: identity_share(1.0, 2 * L),
            "This is a stack whose branches are as large as their skips.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# to invent

FAR = np.arange(9)
"""Distances of the last exercise."""


def _products(pair):
    """Products of the first row as a query with the second as a key, at distances 0 to 8; d = 8 and base 10,000."""
    angles = turns.rope_angles(9, 8, pair)
    query = turns.rope(np.broadcast_to(pair[0], (9, 8)), angles)
    return query @ pair[1]


def rising():
    q = np.array([0.0, 0, 1, 0, 0, 0, 0, 0])
    angle = 0.8  # eight positions of the second plane
    k = np.array([0.0, 0, math.cos(angle), math.sin(angle), 0, 0, 0, 0])
    return np.stack([q, k])


def _rising_by_cancelling():
    q = np.array([0.0, 0, 1, 0, 1, 0, 0, 0])
    k = np.array([0.0, 0, -1, 0, 1, 0, 0, 0])
    return np.stack([q, k]) / math.sqrt(2)


def _rising_by_the_library():
    q = np.zeros((1, 8))
    q[0, 2:6] = 0.5
    return np.concatenate([q, turns.rope(q, turns.rope_angles(np.array([9]), 8, q))])


RISING = OpenExercise(
    id="6.10",
    title="Farther is better",
    question=r"""
    It is often said that with rotary positions the product of a query and a key decays with their distance. Find a
    query and a key of 8 features, an array of shape (2, 8), each of length at most 1, whose product
    $(R_m q)\cdot(R_n k)$ *grows* from each distance $m - n = 0, 1, \dots, 8$ to the next, by at least 0.1 in all, and
    is never below $-0.01$. Neighbours make planes, the base is 10,000, so the planes turn by 1, 0.1, 0.01 and 0.001
    each position. Then think: what does the theorem on decay really bound?
    """,
    reference=rising,
    because=r"""Put both into the second plane, which turns by 0.8 in eight positions, and turn the key ahead by that
    angle: the product is cos(0.1(m − n) − 0.8) and grows until distance 8. Or let two planes cancel at distance 0. The
    theorem bounds the absolute value from above by something that itself falls only on the whole, and these products
    are far below it.""",
    hints=(
        "Use one plane only. Which is too fast, and which too slow, for eight positions?",
        "In one plane the product is a cosine of the distance. Where must it have its crest?",
    ),
    accepted=(_rising_by_cancelling, _rising_by_the_library),
    mistakes=(
        Requirement(
            "too long",
            np.repeat([[2.0], [2.0]], 8, axis=1),
            "One of the two is longer than 1.",
            lambda pair: bool((np.linalg.norm(pair, axis=-1) <= 1 + 1e-9).all()),
        ),
        Requirement(
            "not rising",
            np.eye(8)[[2, 2]],
            "Somewhere the product does not grow from one distance to the next. In a slow plane it grows if the crest "
            "lies ahead, at 8 or beyond: is the key turned the right way? A plane that turns by a whole radian at each "
            "position cannot grow eight times in a row.",
            lambda pair: bool((np.diff(_products(pair)) > 0).all()),
        ),
        Requirement(
            "too little",
            np.stack([np.eye(8)[6], np.eye(8)[7]]),
            "It grows, but by less than 0.1 in all.",
            lambda pair: bool(np.ptp(_products(pair)) >= 0.1),
        ),
        Requirement(
            "negative",
            np.stack([np.eye(8)[2], -np.eye(8)[2]]),
            "It grows, but from below 0. Shift it, so that it is never negative.",
            lambda pair: bool((_products(pair) >= -0.01).all()),
        ),
    ),
)

EXERCISES = (
    TURNED,
    BASE,
    OTHER_LAYOUT,
    MEAN,
    LOOKS_AT_TWO,
    PARAMETERS,
    SAMPLER,
    OWN_LOGIT,
    SHARE_LEFT,
    RISING,
)
