r"""Dropout twice: one sample goes through the network with two dropout masks, and the two answers are to agree.

The logits z and w of the two passes stand for $p = \mathrm{softmax}(z)$, $q = \mathrm{softmax}(w)$. R-Drop's loss is
$$L = -\log p_y - \log q_y + \alpha J, \qquad
J = \tfrac12\,[\mathrm{KL}(p\|q) + \mathrm{KL}(q\|p)] = \tfrac12 \sum_i (p_i - q_i)(\log p_i - \log q_i).$$
Each term of the last sum is at least 0, so J can be computed to full precision, however near or far the two are.

A network under dropout is many networks, its *sub-models*, one for each mask. The formulas of the second half take the
logits of K of them, (…, K, C), with their `weights` $\omega$ (K,), which sum to 1; with :func:`dropout_masks` and
:func:`mask_probabilities` they are all there are, and the result is exact. $\rho$ = `rate` is the share of units that
dropout takes away. Classes are the last axis everywhere, C of them. Randomness is an argument.

Sources: Liang et al. 2021 (R-Drop); Su Jianlin, Scientific Spaces 8496; Gao, Yao & Chen 2021 (SimCSE); Wager, Wang &
Liang 2013 (dropout as a penalty); Baldi & Sadowski 2013 (averages of sub-models).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from .arrays import Array, expect_shape, namespace, positions, softmax
from .bert import unit

# ---------------------------------------------------------------------------------------------------------------
# how far two answers are apart


def _expect_answers(**logits: Array) -> None:
    namespace(**logits)
    shapes = [tuple(z.shape) for z in logits.values()]
    if not shapes[0] or shapes[0][-1] == 0 or len(set(shapes)) > 1:
        found = " and ".join(map(str, shapes))
        raise ValueError(f"{' and '.join(logits)} must have one shape (…, C) with C ≥ 1 classes last, got {found}")


def log_probabilities(z: Float[Array, "*batch C"]) -> Float[Array, "*batch C"]:
    r"""$\log p_i = (z_i - m) - \log\sum_j e^{z_j - m}$ with $m = \max_j z_j$: nothing overflows, −∞ stays −∞.

    A row of nothing but −∞, or with +∞ or NaN in it, becomes NaN.
    """
    xp = namespace(z=z)
    _expect_answers(z=z)
    below = z - xp.max(z, axis=-1, keepdims=True)
    return below - xp.log(xp.sum(xp.exp(below), axis=-1, keepdims=True))


def _log_ratio(a: Array, b: Array, where: Array) -> Array:
    """a − b where a class counts; elsewhere both may be −∞, whose difference is nothing."""
    xp = namespace(a=a, b=b)
    nothing = xp.zeros_like(a)
    return xp.where(where, a, nothing) - xp.where(where, b, nothing)


def kl_divergence(z: Float[Array, "*batch C"], w: Float[Array, "*batch C"]) -> Float[Array, "*batch"]:
    r"""$\mathrm{KL}(p\|q) = \sum_i p_i (\log p_i - \log q_i)$ from the logits z of p and w of q.

    A class of $p_i = 0$ adds nothing; one that q excludes by −∞ and p does not makes it ∞. Its terms have
    both signs: of two answers that are close it keeps fewer digits than :func:`symmetric_kl`.
    """
    xp = namespace(z=z, w=w)
    _expect_answers(z=z, w=w)
    a, b = log_probabilities(z), log_probabilities(w)
    p = xp.exp(a)
    return xp.sum(p * _log_ratio(a, b, p > 0), axis=-1)


def symmetric_kl(z: Float[Array, "*batch C"], w: Float[Array, "*batch C"]) -> Float[Array, "*batch"]:
    r"""$J = \tfrac12[\mathrm{KL}(p\|q) + \mathrm{KL}(q\|p)] = \tfrac12\sum_i (p_i - q_i)(\log p_i - \log q_i) \ge 0$.

    No term is negative, so nothing cancels: the relative error is that of the logits' differences. A logit may be as
    large as its precision allows; −∞ excludes a class, and in both passes it adds nothing.
    """
    xp = namespace(z=z, w=w)
    _expect_answers(z=z, w=w)
    a, b = log_probabilities(z), log_probabilities(w)
    p, q = xp.exp(a), xp.exp(b)
    return 0.5 * xp.sum((p - q) * _log_ratio(a, b, p + q > 0), axis=-1)


def symmetric_kl_gradient(z: Float[Array, "*batch C"], w: Float[Array, "*batch C"]) -> Float[Array, "*batch C"]:
    r"""$\frac{\partial J}{\partial z} = \tfrac12\bigl[p \circ (\log\tfrac pq - \mathrm{KL}(p\|q)) + p - q\bigr]$.

    By symmetry that for w is the same with the two exchanged. Both passes are pulled, neither is held fixed.
    """
    xp = namespace(z=z, w=w)
    _expect_answers(z=z, w=w)
    a, b = log_probabilities(z), log_probabilities(w)
    p, q = xp.exp(a), xp.exp(b)
    surplus = _log_ratio(a, b, p > 0) - kl_divergence(z, w)[..., None]
    return 0.5 * (p * surplus + p - q)


def quadratic_kl(z: Float[Array, "*batch C"], delta: Float[Array, "*batch C"]) -> Float[Array, "*batch"]:
    r"""$\tfrac12\,\delta^\top F \delta$ with $F = \mathrm{diag}(p) - pp^\top$: half the variance of $\delta_i$ under p.

    $\mathrm{KL}(z\|z+\delta)$ and J of $(z, z+\delta)$ are both this, up to $O(\delta^3)$.
    """
    xp = namespace(z=z, delta=delta)
    _expect_answers(z=z, delta=delta)
    p = softmax(z)
    centred = delta - xp.sum(p * delta, axis=-1, keepdims=True)
    return 0.5 * xp.sum(p * centred**2, axis=-1)


# ---------------------------------------------------------------------------------------------------------------
# losses


def cross_entropy(z: Float[Array, "*batch C"], labels: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""$-\log p_y$ with $p = \mathrm{softmax}(z)$; it sees no other class but through the sum that is 1."""
    xp = namespace(z=z)
    _expect_answers(z=z)
    if not xp.isdtype(labels.dtype, "integral") or tuple(labels.shape) != tuple(z.shape[:-1]):
        raise ValueError(
            f"labels must be integers, one for each row of z, shape {tuple(z.shape[:-1])}; "
            f"got {tuple(labels.shape)} of {labels.dtype}"
        )
    classes, flat = z.shape[-1], xp.reshape(labels, (-1,))
    if flat.shape[0] and not 0 <= int(xp.min(flat)) <= int(xp.max(flat)) < classes:
        raise ValueError(
            f"labels must lie between 0 and {classes - 1}, got {int(xp.min(flat))} to {int(xp.max(flat))}; "
            "give padding any class, and leave it out by token_mean"
        )
    return -xp.take_along_axis(log_probabilities(z), labels[..., None], axis=-1)[..., 0]


def _expect_alpha(alpha: float) -> None:
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha weighs the divergence, non-negative and finite, got {alpha}")


def r_drop_loss(
    z: Float[Array, "*batch C"], w: Float[Array, "*batch C"], labels: Int[Array, "*batch"], alpha: float
) -> Float[Array, "*batch"]:
    r"""$L = -\log p_y - \log q_y + \alpha J$ of each sample: the loss of the paper. Liang et al. 2021."""
    _expect_alpha(alpha)
    _expect_answers(z=z, w=w)
    return cross_entropy(z, labels) + cross_entropy(w, labels) + alpha * symmetric_kl(z, w)


def general_loss(
    divergence: Callable[[Array, Array], Array], y: Array, f: Array, g: Array, alpha: float
) -> Float[Array, "*batch"]:
    r"""$D(y, f) + D(y, g) + \tfrac\alpha2[D(g, f) + D(f, g)]$ for any measure D of a difference; Su 8496.

    With KL of a one-hot target it is :func:`r_drop_loss`, with the square :func:`regression_loss`.
    """
    _expect_alpha(alpha)
    return divergence(y, f) + divergence(y, g) + 0.5 * alpha * (divergence(g, f) + divergence(f, g))


def regression_loss(
    f: Float[Array, "*batch"], g: Float[Array, "*batch"], y: Float[Array, "*batch"], alpha: float
) -> Float[Array, "*batch"]:
    r"""$(f-y)^2 + (g-y)^2 + \alpha(f-g)^2$, whose mean over masks is $2\,[\text{bias}^2 + (1+\alpha)\,\text{var}]$.

    bias and variance are those of the sub-models at y. So here $\alpha$ weighs dropout's variance, exactly.
    """
    namespace(f=f, g=g, y=y)
    if not tuple(f.shape) == tuple(g.shape) == tuple(y.shape):
        raise ValueError(
            f"f, g and y must have one shape, got {tuple(f.shape)}, {tuple(g.shape)} and {tuple(y.shape)}; "
            "else each target would meet each answer"
        )
    return general_loss(lambda a, b: (a - b) ** 2, y, f, g, alpha)


def token_mean(values: Float[Array, "*batch n"], real: Bool[Array, "*batch n"]) -> Float[Array, ""]:
    r"""$\sum_{bi} r_{bi}\,v_{bi} / \sum_{bi} r_{bi}$: the mean over real tokens; whatever stands at padding is nothing.

    Raises ValueError if a sample is nothing but padding: it says nothing, and its own mean would be 0/0.
    """
    xp = namespace(values=values)
    if real.dtype != xp.bool or tuple(real.shape) != tuple(values.shape):
        raise ValueError(
            f"real must be boolean, one flag for each value, shape {tuple(values.shape)}; "
            f"got {tuple(real.shape)} of {real.dtype}"
        )
    if not bool(xp.all(xp.any(real, axis=-1))):
        raise ValueError("a sample is nothing but padding; leave it out of the batch")
    number = xp.sum(xp.astype(real, values.dtype))
    return xp.sum(xp.where(real, values, xp.zeros_like(values))) / number


# ---------------------------------------------------------------------------------------------------------------
# two layouts of a doubled batch


def _expect_even(y: Array) -> None:
    if y.ndim < 1 or y.shape[0] % 2 or not y.shape[0]:
        raise ValueError(
            f"a doubled batch holds each sample twice, so an even number of rows; got shape {tuple(y.shape)}: unpaired"
        )


def consecutive_pairs(y: Array) -> tuple[Array, Array]:
    r"""$(y_0, y_2, \dots)$ and $(y_1, y_3, \dots)$: each sample is followed by its double, as in the essay's code."""
    _expect_even(y)
    return y[::2, ...], y[1::2, ...]


def halves(y: Array) -> tuple[Array, Array]:
    r"""$(y_0, \dots, y_{B-1})$ and $(y_B, \dots, y_{2B-1})$: the batch behind itself, as in the official code."""
    _expect_even(y)
    half = y.shape[0] // 2
    return y[:half, ...], y[half:, ...]


def _expect_pairs(y: Array, first: Array, second: Array) -> None:
    """The two passes are of the same samples, as far as their labels tell."""
    xp = namespace(y=y)
    different = int(xp.sum(xp.astype(first != second, xp.int64)))
    if different:
        raise ValueError(
            f"unpaired batch: the labels of {different} of {first.shape[0]} pairs differ, so the two passes are not of "
            "the same samples. Double the batch after it was shuffled, each sample followed by itself"
        )


def essay_loss(y: Float[Array, "rows C"], labels: Int[Array, "rows"], alpha: float) -> Float[Array, ""]:
    r"""$\overline{-\log p_y} + \tfrac\alpha4\,\overline{\mathrm{KL}(p\|q) + \mathrm{KL}(q\|p)}$ over consecutive pairs.

    The first mean is over 2B rows, so this is half the mean of :func:`r_drop_loss`, with the same $\alpha$. Su 8496.
    """
    _expect_alpha(alpha)
    xp, (z, w) = namespace(y=y), consecutive_pairs(y)
    _expect_pairs(y, *consecutive_pairs(labels))
    return xp.mean(cross_entropy(y, labels)) + alpha / 4 * xp.mean(kl_divergence(z, w) + kl_divergence(w, z))


class Convention(NamedTuple):
    r"""A program's loss, $c\,\overline{\mathrm{CE}_1 + \mathrm{CE}_2} + k\,\alpha\,\overline J$, bars: means over B.

    c = `entropies`, and k = `divergence`, or B times that where the program sums J over the batch but not the entropies
    (`summed`). `alpha` is the one that it has, None where there is no default.
    """

    name: str
    entropies: float
    divergence: float
    summed: bool
    alpha: float | None
    source: str

    def effective(self, batch: int, alpha: float | None = None) -> float:
        r"""$\alpha k/c$: the $\alpha$ of the paper's formula that gives the same minimum, at B = `batch` samples."""
        alpha = self.alpha if alpha is None else alpha
        if batch < 1 or alpha is None:
            raise ValueError(f"{self.name} needs a batch of at least 1 and an alpha, got {batch} and {alpha}")
        return alpha * self.divergence * (batch if self.summed else 1) / self.entropies

    def loss(self, z: Array, w: Array, labels: Array, alpha: float | None = None) -> Array:
        """What the program minimises, from the logits (B, C) of both passes."""
        xp = namespace(z=z, w=w)
        return self.entropies * xp.mean(r_drop_loss(z, w, labels, self.effective(z.shape[0], alpha)))


_OFFICIAL = "github.com/dropreg/R-Drop, "
CONVENTIONS = (
    Convention("paper", 1, 1, False, None, "Liang et al. 2021, the loss of section 2"),
    Convention("essay", 0.5, 0.5, False, 4.0, "github.com/bojone/r-drop, iflytek.py"),
    Convention("translation", 1, 1, False, 5.0, _OFFICIAL + "fairseq_src/examples/translation_rdrop"),
    Convention("readme", 0.5, 1, True, None, _OFFICIAL + "README.md"),
    Convention("BERT", 1, 1, True, 0.5, _OFFICIAL + "huggingface_transformer_src, BertForSequenceClassification"),
    Convention("ViT", 1, 2, True, 0.3, _OFFICIAL + "vit_src/models/modeling.py"),
)
r"""Six versions of the loss, of papers and programs: the effective weight of J is $\alpha$ in three of them,
$\alpha B$ in one and $2\alpha B$ in two, where it grows with the batch."""

# ---------------------------------------------------------------------------------------------------------------
# sub-models


def _expect_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"rate is the share that dropout takes away, at least 0 and below 1; got {rate}")


def dropout_masks(n: int, like: Array) -> Float[Array, "masks n"]:
    r"""All $2^n$ masks of n units, 1 where a unit is kept: row k holds the binary digits of k, the lowest first."""
    if not 1 <= n <= 20:
        raise ValueError(f"n units have 2ⁿ masks, n from 1 to 20; got {n}: draw some masks instead")
    bits = (positions(2**n, like)[:, None] >> positions(n, like)[None, :]) & 1
    return namespace(like=like).astype(bits, like.dtype)


def mask_probabilities(masks: Float[Array, "*batch n"], rate: float) -> Float[Array, "*batch"]:
    r"""$\prod_j (1-\rho)^{m_j}\,\rho^{1-m_j}$: how often dropout draws a mask."""
    _expect_rate(rate)
    xp = namespace(masks=masks)
    return xp.prod(masks * (1 - rate) + (1 - masks) * rate, axis=-1)


def sub_model_logits(
    x: Float[Array, "*batch n"], W: Float[Array, "C n"], b: Float[Array, "C"], masks: Float[Array, "K n"], rate: float
) -> Float[Array, "*batch K C"]:
    r"""$z^{(k)} = W\,(m^{(k)} \circ x)/(1-\rho) + b$: softmax regression with dropout on its input, K masks."""
    _expect_rate(rate)
    namespace(x=x, W=W, b=b, masks=masks)
    for name, a, shape in (("W", W, (b.shape[0], x.shape[-1])), ("masks", masks, (None, x.shape[-1]))):
        expect_shape(name, a, shape, f"it fits inputs of {x.shape[-1]} features and {b.shape[0]} classes")
    return (x[..., None, :] * (masks / (1 - rate))) @ W.T + b


def _mean(values: Array, weights: Array) -> Array:
    """The weighted mean over the sub-models, the second last axis."""
    xp = namespace(values=values, weights=weights)
    expect_shape("weights", weights, (values.shape[-2],), "there is one for each sub-model")
    return xp.sum(values * weights[:, None], axis=-2)


def arithmetic_mean(z: Float[Array, "*batch K C"], weights: Float[Array, "K"]) -> Float[Array, "*batch C"]:
    r"""$\bar p = \sum_k \omega_k\,p^{(k)}$ with $p^{(k)} = \mathrm{softmax}(z^{(k)})$: "model averaging"."""
    return _mean(softmax(z), weights)


def geometric_mean(z: Float[Array, "*batch K C"], weights: Float[Array, "K"]) -> Float[Array, "*batch C"]:
    r"""$\tilde p = \mathrm{softmax}\bigl(\sum_k \omega_k z^{(k)}\bigr) \propto \prod_k (p^{(k)})^{\omega_k}$.

    For :func:`sub_model_logits` over all masks it is softmax(Wx + b), the network without dropout, exactly.
    """
    return softmax(_mean(z, weights))


def implicit_penalty(z: Float[Array, "*batch K C"], weights: Float[Array, "K"]) -> Float[Array, "*batch"]:
    r"""$\sum_k \omega_k(-\log p^{(k)}_y) + \log\tilde p_y = -\log\sum_i \prod_k (p^{(k)}_i)^{\omega_k} \ge 0$.

    By so much the sub-models' cross-entropy lies above that of their geometric mean $\tilde p$, whatever the label y
    is: a penalty that no label enters, 0 if and only if all of them agree. Where $\tilde p$ is the network without
    dropout, see :func:`geometric_mean`, it is what dropout adds to the loss. Wager et al. 2013.
    """
    xp = namespace(z=z)
    a = _mean(log_probabilities(z), weights)
    top = xp.max(a, axis=-1, keepdims=True)
    return -(top[..., 0] + xp.log(xp.sum(xp.exp(a - top), axis=-1)))


def expected_symmetric_kl(z: Float[Array, "*batch K C"], weights: Float[Array, "K"]) -> Float[Array, "*batch"]:
    r"""$\mathbb E J = \sum_i \mathrm{Cov}_k\bigl(p^{(k)}_i, \log p^{(k)}_i\bigr)$ for two masks drawn independently.

    That is K terms in place of K², for finite logits. The two masks may by chance be the same one. Of K random masks
    with weights 1/K it is on average too small by the factor 1 − 1/K, since it pairs each mask with itself, too.
    """
    xp = namespace(z=z)
    a = log_probabilities(z)
    centred = a - _mean(a, weights)[..., None, :]
    return xp.sum(_mean(xp.exp(a) * centred, weights), axis=-1)


def averaging_gap(
    z: Float[Array, "*batch K C"], weights: Float[Array, "K"], off: Float[Array, "*batch C"]
) -> Float[Array, "*batch"]:
    r"""$\max_i |\bar p_i - \mathrm{softmax}(z_{\mathrm{off}})_i|$: averages against one pass without dropout."""
    xp = namespace(z=z, off=off)
    return xp.max(xp.abs(arithmetic_mean(z, weights) - softmax(off)), axis=-1)


# ---------------------------------------------------------------------------------------------------------------
# to second order


def input_dropout_covariance(
    x: Float[Array, "*batch n"], W: Float[Array, "C n"], rate: float
) -> Float[Array, "*batch C C"]:
    r"""$\Sigma = \tfrac{\rho}{1-\rho}\,W\,\mathrm{diag}(x^2)\,W^\top$: that of :func:`sub_model_logits`, exactly."""
    _expect_rate(rate)
    namespace(x=x, W=W)
    expect_shape("W", W, (None, x.shape[-1]), f"its columns belong to an input of {x.shape[-1]} features")
    return rate / (1 - rate) * ((W * (x**2)[..., None, :]) @ W.T)


def fisher_trace(z: Float[Array, "*batch C"], Sigma: Float[Array, "*batch C C"]) -> Float[Array, "*batch"]:
    r"""$\mathrm{tr}(F\Sigma) = \sum_i p_i\Sigma_{ii} - p^\top\Sigma p$ with $F = \mathrm{diag}(p) - pp^\top$.

    With $\Sigma$ the covariance of the logits under dropout, around z, $\mathbb EJ \approx \mathrm{tr}(F\Sigma)$ and
    :func:`implicit_penalty` $\approx \tfrac12\mathrm{tr}(F\Sigma)$: the first is twice the second, where one unit
    moves the logits little, and all of them together do. A small rate cures the second only: a unit is then missing
    seldom, but moves the logits as far as before.
    """
    xp = namespace(z=z, Sigma=Sigma)
    expect_shape("Sigma", Sigma, (z.shape[-1], z.shape[-1]), "it is a covariance of the logits")
    p = softmax(z)
    within = xp.sum((Sigma @ p[..., None])[..., 0] * p, axis=-1)
    return xp.sum(p * xp.linalg.diagonal(Sigma), axis=-1) - within


def second_order_mean(z: Float[Array, "*batch C"], Sigma: Float[Array, "*batch C C"]) -> Float[Array, "*batch C"]:
    r"""$\bar p_i \approx p_i + \tfrac{p_i}2\,[\Sigma_{ii} - 2(\Sigma p)_i + 2p^\top\Sigma p - \sum_j p_j\Sigma_{jj}]$.

    The arithmetic mean of the sub-models around z. So its distance from p shrinks with $\Sigma$, as J does.
    """
    xp = namespace(z=z, Sigma=Sigma)
    expect_shape("Sigma", Sigma, (z.shape[-1], z.shape[-1]), "it is a covariance of the logits")
    p, own = softmax(z), xp.linalg.diagonal(Sigma)
    mixed = (Sigma @ p[..., None])[..., 0]
    both = xp.sum(p * (2 * mixed - own), axis=-1, keepdims=True)
    return p + 0.5 * p * (own - 2 * mixed + both)


def equivalent_rate(rate: float, alpha: float) -> float:
    r"""$\rho' = \frac{(1+\alpha)\rho}{1+\alpha\rho}$, so $\tfrac{\rho'}{1-\rho'} = (1+\alpha)\tfrac{\rho}{1-\rho}$.

    To second order R-Drop at the rate $\rho$ is $2\,[\mathrm{CE} + \tfrac12(1+\alpha)\,\mathrm{tr}(F\Sigma)]$, and
    $\Sigma$ goes with the odds of the rate: plain dropout at $\rho'$ has the same penalty, if dropout is on the input
    of softmax regression alone. Of deeper networks it says nothing.
    """
    _expect_rate(rate)
    _expect_alpha(alpha)
    return (1 + alpha) * rate / (1 + alpha * rate)


def equivalent_alpha(rate: float, higher: float) -> float:
    r"""$\alpha = \tfrac{\rho'}{1-\rho'}\big/\tfrac{\rho}{1-\rho} - 1$ with $\rho'$ = `higher`.

    The inverse of :func:`equivalent_rate`.
    """
    _expect_rate(rate)
    _expect_rate(higher)
    if not 0 < rate <= higher:
        raise ValueError(
            f"R-Drop at a rate > 0 only adds to dropout, so higher must be at least rate; got {rate} and {higher}"
        )
    return higher * (1 - rate) / ((1 - higher) * rate) - 1


# ---------------------------------------------------------------------------------------------------------------
# SimCSE


def simcse_logits(v: Float[Array, "rows d"], scale: float = 20.0) -> Float[Array, "rows rows"]:
    r"""$s_{ij} = \lambda\cos(v_i, v_j)$, −∞ on the diagonal; $\lambda$ = `scale` is $1/\tau$ of the paper's 0.05."""
    if not 0 < scale < math.inf:
        raise ValueError(f"scale multiplies cosines, positive and finite, got {scale}; a temperature is 1/scale")
    _expect_even(v)
    if v.ndim != 2 or v.shape[0] < 4:
        raise ValueError(f"v must hold at least two pairs of vectors, (2B, d) with B ≥ 2, got {tuple(v.shape)}")
    xp, u = namespace(v=v), unit(v)
    same = positions(v.shape[0], v)[:, None] == positions(v.shape[0], v)[None, :]
    s = scale * (u @ u.T)
    return xp.where(same, xp.full_like(s, -math.inf), s)


def simcse_loss(v: Float[Array, "rows d"], scale: float = 20.0) -> Float[Array, ""]:
    r"""$-\overline{\log\mathrm{softmax}(s_i)_{i'}}$, $i'$ the other of the pair: to find one's double among 2B − 1.

    `v` holds consecutive pairs, the vectors of a text under two dropout masks: R-Drop's two passes, where no label is
    needed and what is compared are vectors. Gao et al. 2021 compare with B vectors instead, those of the second pass.
    """
    xp, i = namespace(v=v), positions(v.shape[0], v)
    return xp.mean(cross_entropy(simcse_logits(v, scale), i + 1 - 2 * (i % 2)))
