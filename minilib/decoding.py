r"""From probabilities to a text: the best continuation, the best of several, or one drawn at random.

A network gives $\log p(x_t \mid x_{<t})$ for each of V tokens, and $\log p(x) = \sum_t \log p(x_t \mid x_{<t})$. A
search for the most probable text takes a `step`: a function from rows of ids, all of one length, to their
log-probabilities (B, V). A text ends with the id `end`, or when it has grown by `longest` tokens.

Logits are turned into others before a token is drawn: those that are left out become −∞. Randomness is an argument:
`noise` is uniform in [0, 1).

Sources: Wu et al. 2016 (length penalty), Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), Gumbel 1954.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float, Int

from .arrays import Array, at_least_float32, namespace, running_sum, softmax

Step = Callable[[list[tuple[int, ...]]], Array]
"""From B rows of ids, all of one length, to the log-probabilities (B, V) of the next token."""

# ---------------------------------------------------------------------------------------------------------------
# what may be drawn


def tempered(logits: Float[Array, "*batch V"], temperature: float) -> Float[Array, "*batch V"]:
    r"""$z/T$, so that $p_i \propto p_i^{1/T}$: sharper for T below 1, flatter above; T → 0 leaves the best."""
    namespace(logits=logits)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, got {temperature}; for the most probable token call greedy")
    return logits * (1 / temperature)


def _ranks(logits: Array) -> tuple[Array, Array]:
    """The order of the logits from the largest down, of equals the first id first, and the place of each in it."""
    xp = namespace(logits=logits)
    order = xp.argsort(logits, axis=-1, descending=True)
    return order, xp.argsort(order, axis=-1)


def _kept(logits: Array, keep: Array) -> Array:
    xp = namespace(logits=logits)
    return xp.where(keep, logits, xp.full_like(logits, -math.inf))


def keep_top_k(logits: Float[Array, "*batch V"], k: int) -> Float[Array, "*batch V"]:
    r"""$z_i$ for the k largest, −∞ for the others: exactly k stay, of equals the first; all, where V ≤ k."""
    if k < 1:
        raise ValueError(f"k is a number of tokens to keep, at least 1; got {k}")
    return _kept(logits, _ranks(logits)[1] < k)


def keep_top_p(logits: Float[Array, "*batch V"], p: float) -> Float[Array, "*batch V"]:
    r"""$z_i$ where $\sum_{j\ \text{before}\ i} p_j < p$, −∞ elsewhere: the fewest largest whose mass reaches p.

    The token that reaches p is kept, so at least one always is. After :func:`keep_top_k` the mass is that of what was
    left, so the two do not commute. Masses are summed in float32 at least; p = 1 keeps all, whatever the rounding.
    """
    if not 0 < p <= 1:
        raise ValueError(f"p is a share of the probability, above 0 and at most 1; got {p}")
    xp = namespace(logits=logits)
    order, rank = _ranks(logits)
    mass = softmax(xp.astype(xp.take_along_axis(logits, order, axis=-1), at_least_float32(logits)))
    before = xp.concat([xp.zeros_like(mass[..., :1]), running_sum(mass[..., :-1])], axis=-1)
    return _kept(logits, xp.take_along_axis((before < p) | (p == 1), rank, axis=-1))


# ---------------------------------------------------------------------------------------------------------------
# drawing


def gumbel(noise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$g = -\ln(-\ln u)$: noise of the distribution function $e^{-e^{-g}}$ from uniform u; finite for 0 and 1, too."""
    xp = namespace(noise=noise)
    info = xp.finfo(noise.dtype)
    inside = xp.clip(noise, min=info.smallest_normal, max=1 - info.eps / 2)
    return -xp.log(-xp.log(inside))


def sample(logits: Float[Array, "*#batch V"], noise: Float[Array, "*#batch V"]) -> Int[Array, "*batch"]:
    r"""$\arg\max_i\,(z_i + g_i)$ with :func:`gumbel` noise: i comes out with probability $\mathrm{softmax}(z)_i$.

    For $z_i + g_i$ has the distribution function $\exp(-e^{z_i - g})$, and the product over the others, integrated with
    the density of i, gives $e^{z_i}/\sum_j e^{z_j}$. What is −∞ is never drawn.
    """
    xp = namespace(logits=logits, noise=noise)
    wide = at_least_float32(logits)
    return xp.argmax(xp.astype(logits, wide) + xp.astype(gumbel(noise), wide), axis=-1)


# ---------------------------------------------------------------------------------------------------------------
# texts


class Hypothesis(NamedTuple):
    """A text, its log-probability, and the score by which a search ranks it."""

    ids: tuple[int, ...]
    log_probability: float
    score: float


def _predicted(step: Step, rows: list[tuple[int, ...]]) -> Array:
    log_p = step(rows)
    xp = namespace(log_p=log_p)
    if log_p.ndim != 2 or log_p.shape[0] != len(rows):
        raise ValueError(
            f"step must return shape ({len(rows)}, V), a row for each of its rows; got {tuple(log_p.shape)}"
        )
    if not float(xp.max(log_p)) < 1e-3:
        raise ValueError(f"step must return log-probabilities, at most 0, got {float(xp.max(log_p))}; take log softmax")
    return log_p


def _extended(text: Hypothesis, token: int, log_p: float, begun: int, length_penalty: float) -> Hypothesis:
    """One token more; of a text that began with so many, the penalty counts those that were added."""
    ids, total = (*text.ids, token), text.log_probability + log_p
    return Hypothesis(ids, total, total / (len(ids) - begun) ** length_penalty)


def _grown(step: Step, start: Sequence[int], end: int, longest: int, pick: Callable[[Array, int], Array]) -> Hypothesis:
    """Add the token that `pick` takes out of the log-probabilities (V,) at each time, up to `end`."""
    text = Hypothesis(tuple(start), 0.0, 0.0)
    for t in range(longest):
        log_p = _predicted(step, [text.ids])[0, :]
        token = int(pick(log_p, t))
        text = _extended(text, token, float(log_p[token]), len(start), 0.0)
        if token == end:
            break
    return text


def greedy(step: Step, start: Sequence[int], end: int, longest: int) -> Hypothesis:
    r"""$x_t = \arg\max_x \log p(x \mid x_{<t})$: the best token each time, which need not make the best text."""
    _expect_longest(longest)
    return _grown(step, start, end, longest, lambda log_p, t: namespace(log_p=log_p).argmax(log_p))


def sampled(step: Step, start: Sequence[int], end: int, noise: Float[Array, "T V"]) -> Hypothesis:
    r"""$x_t \sim p(\cdot \mid x_{<t})$ by :func:`sample`, up to T tokens: a text comes out with its probability.

    Temperature, top-k and top-p belong into `step`; log-probabilities that are cut need not sum to 1.
    """
    namespace(noise=noise)
    return _grown(step, start, end, noise.shape[0], lambda log_p, t: sample(log_p, noise[t, :]))


def beam_search(
    step: Step, start: Sequence[int], end: int, beams: int, longest: int, length_penalty: float = 0.0
) -> list[Hypothesis]:
    r"""$\log p(x)/T^\alpha$ is the score, $\alpha$ = `length_penalty`: the best `beams` texts found, the best first.

    Each time all texts in the beam that have not ended get one token more, and the best `beams` of these and of the
    ended ones stay. T counts the added tokens, with `end`. At α = 0 every token costs, so short texts are favoured;
    α = 1 is the mean per token. One beam is :func:`greedy`; $V^{T-1}$ beams find the best text of at most T tokens.
    Wu et al. 2016 divide by $((5 + T)/6)^\alpha$ instead.
    """
    _expect_longest(longest)
    if beams < 1 or length_penalty < 0:
        raise ValueError(f"beams must be at least 1 and length_penalty at least 0, got {beams} and {length_penalty}")
    texts, begun = [Hypothesis(tuple(start), 0.0, 0.0)], len(start)
    for _ in range(longest):
        live = [text for text in texts if len(text.ids) == begun or text.ids[-1] != end]
        if not live:
            break
        ended = [text for text in texts if text not in live]
        texts = ended + _extensions(step, live, beams, begun, length_penalty)
        texts = sorted(texts, key=lambda text: -text.score)[:beams]
    return texts


def _extensions(step: Step, live: list[Hypothesis], beams: int, begun: int, penalty: float) -> list[Hypothesis]:
    """Of each text the best extensions, no more than could stay; none of probability 0."""
    log_p = _predicted(step, [text.ids for text in live])
    best = namespace(log_p=log_p).argsort(log_p, axis=-1, descending=True)[:, :beams]
    tokens = [[int(best[b, i]) for i in range(best.shape[-1])] for b in range(len(live))]
    found = [
        _extended(text, token, float(log_p[b, token]), begun, penalty)
        for b, text in enumerate(live)
        for token in tokens[b]
    ]
    return [text for text in found if text.log_probability > -math.inf]


def _expect_longest(longest: int) -> None:
    if longest < 1:
        raise ValueError(f"longest is the number of tokens that a text may grow by, at least 1; got {longest}")
