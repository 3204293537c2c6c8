r"""Entropy of attention, and the laws by which its scale may follow the length.

A query with scores $s_j$ over n keys has the weights $a = \mathrm{softmax}(s)$ and the entropy
$\mathcal H = -\sum_j a_j \ln a_j$ (in nats): 0 if it looks at one key, $\ln n$ if at all alike. $e^{\mathcal H}$ is the
number of keys that it looks at, so to speak.

A **scale law** is a function law(n, d) that returns $\lambda$ in $s_j = \lambda\, q\cdot k_j$, where n is the number of
keys that a query can see and d the number of features of a head. n is a number, or an array of floats where it differs
between rows (:func:`minilib.attention.visible_keys`). Give another base or constant by ``functools.partial``. Where
n = 1 the logarithmic laws return 0 and nothing is lost: a single key has weight 1 under any scale.

Sources: Su Jianlin, Scientific Spaces 8823 and 9034 (log n); Derrida 1981 (random energies); papers at each law.
"""

from __future__ import annotations

import math
from numbers import Real

from jaxtyping import Bool, Float

from .arrays import Array, at_least_float32, namespace, relu, softmax
from .attention import expect_mask, masked_softmax

# ---------------------------------------------------------------------------------------------------------------
# entropy


def distribution_entropy(a: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    r"""$\mathcal H = -\sum_j a_j \ln a_j$ along the last axis, with $0 \ln 0 = 0$; a row of zeros has 0.

    Summed in float32 at least.
    """
    xp = namespace(a=a)
    p = xp.astype(a, at_least_float32(a), copy=False)
    # The logarithm of 1, not of 0: where() alone would keep the value clean and make the gradient NaN.
    h = -xp.sum(p * xp.log(xp.where(p > 0, p, xp.ones_like(p))), axis=-1)
    return xp.astype(h, a.dtype) + 0.0  # −0 becomes 0


def attention_entropy(
    scores: Float[Array, "*batch n m"], mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*batch n"]:
    r"""Entropy of each row of :func:`minilib.attention.masked_softmax`; 0 for a row without any admitted key.

    No score is too large. A score of −∞ adds nothing; +∞ or NaN makes the entropy of its row NaN.
    """
    return distribution_entropy(masked_softmax(scores, mask))


def power_weights(
    scores: Float[Array, "*batch n m"], power: int = 2, mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*batch n m"]:
    r"""$a_{ij} = \mathrm{relu}(s_{ij})^p / \sum_l \mathrm{relu}(s_{il})^p$; a row without a positive score is 0.

    Multiplying all scores by one number changes nothing, so no scale can steer the entropy. Source: Scientific Spaces
    9019.
    """
    xp, r = namespace(scores=scores), relu(scores)
    if mask is not None:
        expect_mask(mask, scores)
        r = xp.where(mask, r, xp.zeros_like(r))
    # By the largest score first, so that no power overflows.
    top = xp.max(r, axis=-1, keepdims=True)
    r = (r / xp.where(top > 0, top, xp.ones_like(top))) ** power
    total = xp.sum(r, axis=-1, keepdims=True)
    return r / xp.where(total > 0, total, xp.ones_like(total))


# ---------------------------------------------------------------------------------------------------------------
# scale laws

Length = float | Float[Array, "*any"]
"""A number of keys, or an array of them."""


def _log(x: Length) -> Length:
    return math.log(x) if isinstance(x, Real) else namespace(n=x).log(x)


def _at_least(x: Length, least: float) -> Length:
    return max(x, least) if isinstance(x, Real) else namespace(n=x).clip(x, min=least)


def _expect_length(n: Length, d: int, base: float = 2.0) -> None:
    # Of arrays the values are not looked at, as everywhere.
    if isinstance(n, Real) and not n >= 1:
        raise ValueError(f"n counts the keys that a query can see, at least 1; got {n}")
    if d < 1:
        raise ValueError(f"d must be at least 1 feature, got {d}")
    if not base > 1:
        raise ValueError(f"base, the length at which the law equals 1/√d, must be above 1, got {base}")


def standard_scale(n: Length, d: int) -> float:
    r"""$\lambda = 1/\sqrt d$, whatever the length. Vaswani et al. 2017."""
    _expect_length(n, d)
    return 1 / math.sqrt(d)


def log_scale(n: Length, d: int, base: float = 512.0) -> Length:
    r"""$\lambda = \log_b n / \sqrt d$, equal to $1/\sqrt d$ at n = b = `base`. Scientific Spaces 8823."""
    _expect_length(n, d, base)
    return _log(n) / (math.log(base) * math.sqrt(d))


def clamped_log_scale(n: Length, d: int, base: float = 512.0, shortest: float = 16.0) -> Length:
    r"""$\lambda = \log_b \max(n, 16)/\sqrt d$: :func:`log_scale`, kept from flattening short inputs. bert4keras."""
    _expect_length(n, d)
    return log_scale(_at_least(n, shortest), d, base)


def ln_scale(n: Length, d: int) -> Length:
    r"""$\lambda = \ln n / \sqrt d$, equal to $1/\sqrt d$ at n = e only. Chiang & Cholak 2022."""
    return log_scale(n, d, math.e)


def sqrt_log_scale(n: Length, d: int, base: float = 512.0) -> Length:
    r"""$\lambda = \sqrt{\max(0, 1 + 2\ln(n/b))}\,/\sqrt d$, equal to $1/\sqrt d$ at n = b = `base`.

    It holds $\ln n - \beta^2/2$ constant, the entropy of random scores of standard deviation $\beta = \lambda\sqrt d$.
    """
    _expect_length(n, d, base)
    return _at_least(1 + 2 * (_log(n) - math.log(base)), 0.0) ** 0.5 / math.sqrt(d)


def ssmax_scale(n: Length, d: int, s: float | Float[Array, "*heads"] = 1.0) -> float | Float[Array, "*each"]:
    r"""$\lambda = s \ln n/\sqrt d$, so that $a_j \propto n^{s z_j}$ for the scores $z$ of the standard scale.

    s is learnt, one for each head (:class:`minilib.entropy_torch.SSMax`). Nakanishi 2025.
    """
    _expect_length(n, d)
    return s * _log(n) / math.sqrt(d)


def yarn_scale(n: Length, d: int, base: float = 4096.0) -> Length:
    r"""$\lambda = (1 + 0.1 \ln(n/b))^2/\sqrt d$ for n beyond the training length b = `base`. Peng et al. 2023, YaRN.

    The factor $1 + 0.1\ln(n/b)$ is applied to queries and to keys there, hence the square.
    """
    _expect_length(n, d, base)
    return (1 + 0.1 * _log(_at_least(n / base, 1.0))) ** 2 / math.sqrt(d)


def qwen_scale(n: Length, d: int, base: float = 2048.0) -> Length:
    r"""$\lambda = \max(1, \log_b n)/\sqrt d$, n being the position counted from 1: nothing changes below the training
    length b = `base`. Qwen 2023.
    """
    _expect_length(n, d, base)
    return _at_least(_log(n) / math.log(base), 1.0) / math.sqrt(d)


def llama4_scale(n: Length, d: int, step: float = 8192.0, rate: float = 0.1) -> Length:
    r"""$\lambda = (1 + 0.1 \ln(1 + \lfloor n/8192\rfloor))/\sqrt d$, n being the position counted from 1.

    A staircase in n, used in the layers without positions. Llama 4, 2025.
    """
    _expect_length(n, d)
    steps = math.floor(n / step) if isinstance(n, Real) else namespace(n=n).floor(n / step)
    return (1 + rate * _log(1 + steps)) / math.sqrt(d)


# ---------------------------------------------------------------------------------------------------------------
# theory, in numbers: keys in random directions


def saddle(lam: float) -> float:
    r"""$c^* = \frac{\sqrt{1+4\lambda^2}-1}{2\lambda}$: the cosine between a query and the keys that count, for large d.

    It maximises $\lambda s + \tfrac12 \ln(1-s^2)$, and is written so that $\lambda = 0$ gives 0.
    """
    return 2 * lam / (1 + math.sqrt(1 + 4 * lam * lam))


def sphere_entropy_limit(n: float, d: int, lam: float) -> float:
    r"""$\mathcal H = \ln n + \tfrac d2 \ln(1 - c^{*2})$ for keys uniform on a sphere of radius $\sqrt d$, up to o(d).

    At $\lambda = 1$ it is $\ln n - \tfrac d2 \ln\varphi = \ln n - 0.2406\,d$ with the golden ratio $\varphi$. The sum
    over keys is replaced by n times its mean, which fails where the result would be negative.
    """
    _expect_length(n, d)
    # 1 − s² = 2/(1 + √(1 + 4λ²)), without the cancellation
    return math.log(n) + d / 2 * math.log(2 / (1 + math.sqrt(1 + 4 * lam * lam)))


def _sphere_series(d: int, kappa: float) -> tuple[float, float]:
    r"""$\ln \mathbb E\,e^{\kappa c}$ and $\kappa\,\frac{\mathrm d}{\mathrm d\kappa}$ of it, c the cosine to a uniform
    direction: the logarithm of the series' sum, and the mean of 2k under its terms.
    """
    mode = (math.hypot(d / 2, kappa) - d / 2) / 2
    ks = range(int(mode + 12 * math.sqrt(mode + 1)) + 40)
    half = math.log(kappa / 2) if kappa else -math.inf
    logs = [2 * k * half + math.lgamma(d / 2) - math.lgamma(k + 1) - math.lgamma(k + d / 2) if k else 0.0 for k in ks]
    top = max(logs)
    weights = [math.exp(log - top) for log in logs]
    total = math.fsum(weights)
    return top + math.log(total), math.fsum(2 * k * w for k, w in zip(ks, weights, strict=True)) / total


def sphere_entropy(n: float, d: int, lam: float) -> float:
    r"""$\mathcal H = \ln n + \ln \mathbb E\,e^{\kappa c} - \kappa\,\frac{\mathrm d}{\mathrm d\kappa}\ln \mathbb E\,
    e^{\kappa c}$, $\kappa = \lambda d$: :func:`sphere_entropy_limit` for every d.

    c is the cosine to a uniform direction in d dimensions, and $\mathbb E\,e^{\kappa c} = \sum_k
    \frac{\Gamma(d/2)}{k!\,\Gamma(k+d/2)} (\kappa/2)^{2k}$, a series of positive terms (a Bessel function but for a
    factor). Exact, up to replacing the sum over keys by n times its mean.
    """
    _expect_length(n, d)
    log_mean, slope = _sphere_series(d, abs(lam) * d)
    return math.log(n) + log_mean - slope


def mean_field_entropy(n: float, scores: Float[Array, "*batch m"]) -> Float[Array, "*batch"]:
    r"""$\mathcal H = \ln n + \ln\langle e^{s}\rangle - \langle s\,e^{s}\rangle/\langle e^{s}\rangle$ for n keys whose
    scores are distributed like the m given ones, brackets being means over these; for n = m it is their entropy.
    """
    _expect_length(n, 1)
    return distribution_entropy(softmax(scores)) + math.log(n / scores.shape[-1])


# ---------------------------------------------------------------------------------------------------------------
# theory, in numbers: random energies


def freezing_scale(n: float) -> float:
    r"""$\beta_c = \sqrt{2\ln n}$: n normal scores of a larger standard deviation are ruled by a few. Derrida 1981."""
    _expect_length(n, 1)
    return math.sqrt(2 * math.log(n))


def random_energy_entropy(n: float, beta: float) -> float:
    r"""$\max(0, \ln n - \beta^2/2)$: the entropy of n independent normal scores of standard deviation `beta`, n → ∞.

    At finite n a frozen row keeps about one nat, and the corner at $\beta_c$ is round. Derrida 1981.
    """
    _expect_length(n, 1)
    return max(0.0, math.log(n) - beta * beta / 2)


def random_energy_log_sum(n: float, beta: float) -> float:
    r"""$\ln\sum_j e^{\beta z_j}$ of n normal numbers $z_j$, n → ∞: $\ln n + \beta^2/2$, but $\beta\beta_c$ beyond
    $\beta_c$. Derrida 1981.
    """
    critical = freezing_scale(n)
    return math.log(n) + beta * beta / 2 if beta < critical else beta * critical


# ---------------------------------------------------------------------------------------------------------------
# theory, in numbers: keys that matter


def _expect_planted(n: float, planted: float) -> None:
    if not 0 < planted < n:
        raise ValueError(f"planted must be some of the n = {n} keys but not all, got {planted}")


def planted_probability(n: float, gap: float, planted: float = 1.0) -> float:
    r"""$p = \frac{k e^{\Delta}}{k e^{\Delta} + n - k}$: the weight of k = `planted` keys, whose scores lie
    $\Delta$ = `gap` above those of the n − k others.
    """
    _expect_planted(n, planted)
    return _share(gap - math.log((n - planted) / planted))


def _share(x: float) -> float:
    """The logistic function, without overflow."""
    return 0.5 * (1 + math.tanh(x / 2))


def planted_gap(n: float, p: float, planted: float = 1.0) -> float:
    r"""$\Delta = \ln\frac{p}{1-p} + \ln\frac{n-k}{k}$: the gap at which k = `planted` keys get the weight p.

    It grows with ln n: the inverse of :func:`planted_probability`. For p = 1/2 and one key, ln(n − 1).
    """
    _expect_planted(n, planted)
    if not 0 < p < 1:
        raise ValueError(f"p must lie strictly between 0 and 1, got {p}")
    return math.log(p / (1 - p)) + math.log((n - planted) / planted)


def _two_parts(p: float, inside: float, outside: float) -> float:
    """Entropy of a distribution of two parts, the first of weight p, from the entropies within the parts."""
    choice = -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)
    return choice + p * inside + (1 - p) * outside


def planted_entropy(n: float, gap: float, planted: float = 1.0) -> float:
    r"""$\mathcal H = -p\ln\frac pk - (1-p)\ln\frac{1-p}{n-k}$ with the p of :func:`planted_probability`."""
    p = planted_probability(n, gap, planted)
    return _two_parts(p, math.log(planted), math.log(n - planted))


def noisy_planted_probability(n: float, beta: float, gap: float, planted: float = 1.0) -> float:
    r"""As :func:`planted_probability`, where the others' scores are normal with standard deviation `beta`, n → ∞.

    Below freezing the gap needed for p = 1/2 is $\ln n + \beta^2/2$ instead of ln n.
    """
    _expect_planted(n, planted)
    return _share(math.log(planted) + gap - random_energy_log_sum(n - planted, beta))


def noisy_planted_entropy(n: float, beta: float, gap: float, planted: float = 1.0) -> float:
    r"""Entropy of k = `planted` keys at the score `gap` among n − k normal ones of standard deviation `beta`, n → ∞."""
    p = noisy_planted_probability(n, beta, gap, planted)
    return _two_parts(p, math.log(planted), random_energy_entropy(n - planted, beta))
