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
            "These are the planes of LLaMA, features j and j + d/2. Which two make a plane here?",
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
            "angle in degrees",
            lambda x, m, base: turned(x, m * math.pi / 180, base),
            "The angle was taken for degrees; it is in radians.",
        ),
    ),
)


def longest_wavelength(d, base):
    slowest = base ** (-(d - 2) / d)
    return 2 * math.pi / slowest


LONGEST = Exercise(
    id="6.2",
    title="The slowest plane",
    question=r"""
    A head has `d` features, and its planes turn by $\theta_j = \mathrm{base}^{-2j/d}$ radians from one position to the
    next. After how many positions has the *slowest* of them turned once?
    """,
    inputs=lambda rng: (2 * int(rng.integers(2, 65)), float(rng.uniform(100, 1e6))),
    reference=longest_wavelength,
    because=r"""There are d/2 planes, so the last is j = d/2 − 1 and θ = base^(−(d−2)/d). A whole turn is 2π, so it
    takes 2π base^((d−2)/d) positions: 47,117 for d = 64 and base 10,000.""",
    hints=("What is the largest $j$?", "How many radians are a whole turn, and how many come with each position?"),
    accepted=(
        lambda d, base: turns.wavelengths(d, base)[-1],
        lambda d, base: max(2 * np.pi * base ** (np.arange(0, d, 2) / d)),
    ),
    mistakes=(
        Mistake("one plane too many", lambda d, base: 2 * math.pi * base, "Close. Planes are counted from 0."),
        Mistake(
            "no turn",
            lambda d, base: longest_wavelength(d, base) / (2 * math.pi),
            "After so many positions it has turned by one radian.",
        ),
        Mistake("fastest", lambda d, base: 2 * math.pi, "This is the fastest plane."),
        Mistake(
            "planes for features",
            lambda d, base: 2 * math.pi * base ** ((d / 2 - 1) / d),
            "The exponent is half of what it should be. Look at the 2 in it.",
        ),
        Mistake(
            "speed",
            lambda d, base: base ** (-(d - 2) / d),
            "This is its angle per position.",
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
    Its rows are those of `heads` heads, one head after the other. Put the rows in an order in which the same network
    may be run by a program that takes features $j$ and $j + d_h/2$ of each head for a plane, $d_h$ being the width of
    a head.
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
        Mistake("independent", lambda *_: 0.0, "So it is for $c = 0$."),
    ),
)


def looks_back(q, s, base):
    angles = s * base ** (-2 * np.arange(len(q) // 2) / len(q))
    cos, sin = np.cos(angles), np.sin(angles)
    k = np.empty(len(q))
    k[0::2] = q[0::2] * cos - q[1::2] * sin
    k[1::2] = q[0::2] * sin + q[1::2] * cos
    return k


def _looks_back_as_complex_numbers(q, s, base):
    k = (q[0::2] + 1j * q[1::2]) * np.exp(1j * s * base ** (-np.arange(0, len(q), 2) / len(q)))
    return np.stack([k.real, k.imag], -1).ravel()


def _looks_back_by_the_library(q, s, base):
    return turns.rope(q[None], _angles(q, s, base))[0]


LOOKS_BACK = Exercise(
    id="6.5",
    title="A head that looks back",
    question=r"""
    A query vector `q` is given, the same at every position, and turned there: $R_m q$. Find the key vector $k$, as
    long as $q$, that answers it best *from s positions before*: the product $(R_m q)\cdot(R_n k)$ shall be as large as
    any key of that length can make it, at $m - n = s$. Neighbouring features make a plane, and
    $\theta_j = \mathrm{base}^{-2j/d}$.
    """,
    inputs=lambda rng: (rng.normal(size=D), int(rng.integers(1, 30)), float(rng.uniform(10, 1000))),
    reference=looks_back,
    because=r"""Among vectors of one length the product is largest where both point the same way:
    $R_n k = R_m q$, so $k = R_{m-n}\,q = R_s\,q$. A linear map can do that to all queries, so a head of attention can
    learn to look s positions back, and rotary positions do not stop it from preferring what is far away.""",
    hints=(
        "Among all vectors of one length, which has the largest product with a given one?",
        "It must *be* the turned query once it is turned itself. What is left to turn?",
    ),
    accepted=(_looks_back_as_complex_numbers, _looks_back_by_the_library),
    mistakes=(
        Mistake(
            "looks ahead",
            lambda q, s, base: looks_back(q, -s, base),
            "This key answers best to a query that stands s positions *before* it.",
        ),
        Mistake("not turned", lambda q, s, base: q, "This one answers best at distance 0."),
        Mistake(
            "halves",
            lambda q, s, base: turns.rope_halves(q[None], _angles(q, s, base))[0],
            "Right in the other layout. Here neighbours make a plane.",
        ),
        Mistake(
            "worst",
            lambda q, s, base: -looks_back(q, s, base),
            "The length is right and so is the line. With this sign the product is as small as can be.",
        ),
        Mistake(
            "one angle",
            lambda q, s, base: looks_back(q, s, 1.0),
            "Each plane turns at its own speed.",
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
    ),
    tolerance=1e-3,
)


def own_logit(e, d):
    return math.sqrt(d) * np.linalg.norm(e)


def _own_logit_step_by_step(e, d):
    h = e / np.sqrt(np.mean(e**2))
    return h @ e


def _own_logit_of_the_norm(e, d):
    return rms_norm(e, eps=0.0) @ e


OWN_LOGIT = Exercise(
    id="6.8",
    title="A model that has learned nothing guesses the input",
    question=r"""
    Think of a RoFormerV2 whose blocks change nothing. A piece has the row `e` of the table, of `d` features; leave out
    the segments. Its token is $h = e / \mathrm{rms}(e)$, and the logits are the products of $h$ with the rows of the
    same table. What is the logit of the piece *itself*?
    """,
    inputs=lambda rng: (lambda d: (rng.normal(0, 0.1, size=d), d))(int(rng.integers(8, 64))),
    reference=own_logit,
    because=r"""rms(e) = ‖e‖/√d, so h = √d e/‖e‖ and h·e = √d ‖e‖. The scale of the table has gone from the input and is
    all there in the logits: with entries of deviation $1/\sqrt{Ld}$ the logit is about √(d/L), while those of other
    pieces scatter around 0 by $1/\sqrt L$. So an untrained model does not guess evenly: it bets on its input.""",
    hints=(
        "Write the root mean square of $e$ by its length.",
        "$h$ points in the direction of $e$. How long is it?",
    ),
    accepted=(_own_logit_step_by_step, _own_logit_of_the_norm),
    mistakes=(
        Mistake("not normalised", lambda e, d: e @ e, "This is $e\\cdot e$. The token has been normalised."),
        Mistake("unit length", lambda e, d: np.linalg.norm(e), "A root mean square of 1 is not a length of 1."),
        Mistake("twice normalised", lambda e, d: float(d), "The row of the table in the logits is not normalised."),
        Mistake("root mean square", lambda e, d: np.sqrt(np.mean(e**2)), "This is what the row is divided by."),
        Mistake("squared length of the token", lambda e, d: math.sqrt(d), "This is the length of the token alone."),
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
    follows each. Which share of the input is left along the skips after all $2L$ sub-layers?
    """,
    inputs=lambda rng: (int(rng.integers(1, 40)),),
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
            "Somewhere the product does not grow from one distance to the next.",
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
    LONGEST,
    OTHER_LAYOUT,
    MEAN,
    LOOKS_BACK,
    PARAMETERS,
    SAMPLER,
    OWN_LOGIT,
    SHARE_LEFT,
    RISING,
)
