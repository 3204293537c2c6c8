r"""What depth does to a signal: gains of activations, initialisation, residual stacks, and the update of one step.

A layer maps m inputs to n outputs, $y = Wx$; `fan_in` is m, `fan_out` is n. Expectations are over a standard normal
variable $\varepsilon$. A residual stack has N layers of two sub-layers each (attention and feed-forward), so l counts
its 2N sub-layers; $x_0$ goes in, $x_l$ comes out of sub-layer l.

Sources: Su Jianlin, Scientific Spaces 8620 (moments, initialisation), 8978 and 8994 (updates and depth); LeCun et al.
1998, Glorot & Bengio 2010, He et al. 2015 (initialisation); Wang et al. 2022 (DeepNet).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float

from .arrays import Array, expect_shape, gelu, namespace, relu, sigmoid, silu

# ---------------------------------------------------------------------------------------------------------------
# activations


def leaky_relu(x: Float[Array, "*shape"], slope: float = 0.01) -> Float[Array, "*shape"]:
    r"""$\max(x, 0) + a\min(x, 0)$ with the slope $a$. Maas, Hannun & Ng 2013."""
    xp = namespace(x=x)
    return xp.clip(x, min=0) + slope * xp.clip(x, max=0)


def squared_relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\max(x, 0)^2$. So et al. 2021 (Primer)."""
    return relu(x) ** 2


def elu(x: Float[Array, "*shape"], alpha: float = 1.0) -> Float[Array, "*shape"]:
    r"""$x$ for $x > 0$, else $\alpha(e^x - 1)$. Clevert, Unterthiner & Hochreiter 2015."""
    xp = namespace(x=x)
    return relu(x) + alpha * xp.expm1(xp.clip(x, max=0))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""The solution of: mean 0 and second moment 1 under a standard normal input."""


def selu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\lambda\,\mathrm{elu}_\alpha(x)$ with the one $(\lambda, \alpha)$ that keeps N(0, 1) at mean 0, variance 1.

    Klambauer et al. 2017.
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|})$; the second form does not overflow."""
    xp = namespace(x=x)
    return relu(x) + xp.log1p(xp.exp(-xp.abs(x)))


def mish(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$x\tanh(\mathrm{softplus}(x))$. Misra 2019."""
    return x * namespace(x=x).tanh(softplus(x))


def tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\tanh x$."""
    return namespace(x=x).tanh(x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": relu,
    "leaky relu": leaky_relu,
    "gelu": gelu,
    "swish": silu,
    "mish": mish,
    "elu": elu,
    "selu": selu,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "relu²": squared_relu,
}
"""The activations of the chapter by name."""


# ---------------------------------------------------------------------------------------------------------------
# moments


def gaussian_mean(f: Callable[[Array], Array], like: Float[Array, "*any"]) -> Float[Array, ""]:
    r"""$E[f(\varepsilon)] = \int_0^\infty \bigl(f(x)+f(-x)\bigr)\,\tfrac{e^{-x^2/2}}{\sqrt{2\pi}}\,dx$ by quadrature.

    $\varepsilon \sim N(0, 1)$; the result has the library, precision and device of `like`.

    With $x = e^{t - e^{-t}}$ the integrand vanishes doubly exponentially at both ends, so that 128 equal steps in t
    give twelve digits in float64 wherever f is smooth on each side of 0; a kink *at* 0 costs nothing. A kink or jump
    elsewhere costs about as much as it moves f within one step. Takahasi & Mori 1974.
    """
    xp = namespace(like=like)
    t = xp.linspace(-3.8, 2.6, 129, dtype=like.dtype, device=like.device)
    inner = xp.exp(-t)
    x = xp.exp(t - inner)
    density = xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return xp.sum((f(x) + f(-x)) * density * x * (1 + inner)) * 0.05


class Moments(NamedTuple):
    r"""$\mu = E[\varphi(\varepsilon)]$ and $\nu^2 = E[\varphi(\varepsilon)^2]$."""

    mean: Array
    square: Array


def moments(phi: Callable[[Array], Array], like: Float[Array, "*any"], std: float | Float[Array, ""] = 1.0) -> Moments:
    r"""$\mu = E[\varphi(s\varepsilon)]$ and $\nu^2 = E[\varphi(s\varepsilon)^2]$, s = `std`; see :func:`gaussian_mean`.

    Mind that $\nu$ is the root mean square and not the standard deviation $\sqrt{\nu^2 - \mu^2}$.
    """
    if not std >= 0:
        raise ValueError(f"std must be non-negative, got {std}")
    return Moments(gaussian_mean(lambda x: phi(std * x), like), gaussian_mean(lambda x: phi(std * x) ** 2, like))


def gain(phi: Callable[[Array], Array], like: Float[Array, "*any"]) -> Float[Array, ""]:
    r"""$g = 1/\sqrt{E[\varphi(\varepsilon)^2]}$: $g\,\varphi$ returns mean square 1 where N(0, 1) comes in.

    Not what ``torch.nn.init.calculate_gain`` returns for tanh (5/3), sigmoid (1) and SELU (3/4).
    """
    return namespace(like=like).sqrt(1 / moments(phi, like).square)


def signal_squares(
    phi: Callable[[Array], Array], weight_gain: float, depth: int, like: Float[Array, "*any"]
) -> Float[Array, "{depth}+1"]:
    r"""$q_{l+1} = g^2\,E[\varphi(\sqrt{q_l}\,\varepsilon)^2]$, $q_0 = 1$: mean squares along a deep chain.

    For wide layers $y = W\varphi(x)$ with $W_{ij} \sim N(0, g^2/\mathrm{fan\_in})$. Poole et al. 2016.
    """
    xp = namespace(like=like)
    _expect_count("depth", depth, 0)
    q = [xp.ones((), dtype=like.dtype, device=like.device)]
    for _ in range(depth):
        q.append(weight_gain**2 * moments(phi, like, xp.sqrt(q[-1])).square)
    return xp.stack(q)


# ---------------------------------------------------------------------------------------------------------------
# initialisation


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight in PyTorch's layout (out, in, *kernel); the kernel's size multiplies both."""
    _expect_weight(shape)
    size = math.prod(shape[2:])
    return shape[1] * size, shape[0] * size


def fans_keras(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight in the layout of Keras and JAX, (*kernel, in, out)."""
    _expect_weight(shape)
    size = math.prod(shape[:-2])
    return shape[-2] * size, shape[-1] * size


def _expect_weight(shape: tuple[int, ...]) -> None:
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"fans are those of a weight with two axes or more, none empty; got shape {tuple(shape)}")


def lecun_std(fan_in: int) -> float:
    r"""$\sqrt{1/m}$: keeps the mean square of a linear layer, $E[y^2] = m\,E[w^2]\,E[x^2]$. LeCun et al. 1998.

    The rule asks for weights of mean 0; of the inputs it asks nothing, not even mean 0.
    """
    _expect_count("fan_in", fan_in)
    return math.sqrt(1 / fan_in)


def he_std(fan_in: int) -> float:
    r"""$\sqrt{2/m}$: keeps the mean square through relu, which halves it. He et al. 2015."""
    _expect_count("fan_in", fan_in)
    return math.sqrt(2 / fan_in)


def xavier_std(fan_in: int, fan_out: int) -> float:
    r"""$\sqrt{2/(m+n)}$: between $1/m$ for the signal and $1/n$ for the gradient. Glorot & Bengio 2010."""
    _expect_count("fan_in", fan_in)
    _expect_count("fan_out", fan_out)
    return math.sqrt(2 / (fan_in + fan_out))


def uniform_bound(std: float) -> float:
    r"""$\sqrt3\,\sigma$: a uniform variable on $\pm$ it has the standard deviation $\sigma$."""
    return math.sqrt(3) * std


def truncated_variance(limit: float = 2.0) -> float:
    r"""$1 - 2c\,\phi(c)/(2\Phi(c)-1)$: variance of N(0, 1) cut off at $\pm c$; 0.7737 at $c$ = `limit` = 2.

    $\phi$ and $\Phi$ are the normal density and distribution function.
    """
    if not limit > 0:
        raise ValueError(f"limit must be positive, in standard deviations before truncation, got {limit}")
    if limit < 1e-2:
        return limit * limit * (1 / 3 - 2 * limit * limit / 45)  # the formula would be a difference of equal numbers
    density = math.exp(-limit * limit / 2) / math.sqrt(2 * math.pi)
    return 1 - 2 * limit * density / math.erf(limit / math.sqrt(2))


def truncation_correction(limit: float = 2.0) -> float:
    r"""$1/\sqrt{\gamma}$, $\gamma$ of :func:`truncated_variance`; 1.1368 at 2: ask for so much more.

    To *have* the standard deviation $\sigma$ after truncation at $\pm c s$, draw from N(0, s²) with $s$ = this times
    $\sigma$.
    """
    return 1 / math.sqrt(truncated_variance(limit))


def gram_error(W: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
    r"""$\frac1{n^2}\|W^\top W - I\|_F^2$: mean square entry by which the columns of $W$ miss being orthonormal."""
    xp = namespace(W=W)
    E = W.mT @ W - xp.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    return xp.mean(E * E, axis=(-2, -1))


def expected_gram_error(m: int, n: int) -> float:
    r"""$\frac{n+1}{n\,m}$: the expectation of :func:`gram_error` for an m × n matrix with entries from N(0, 1/m).

    An entry off the diagonal has variance $1/m$, one on it $2/m$: a wide random matrix is nearly orthogonal.
    """
    _expect_count("m", m)
    _expect_count("n", n)
    return (n + 1) / (n * m)


# ---------------------------------------------------------------------------------------------------------------
# residual stacks: the signal


def identity_share(ratio: float, depth: int) -> float:
    r"""$(1+r^2)^{-l/2}$: weight that $x_0$ has left in $x_l$ along the skips of $x_{l+1} = \mathrm{Norm}(x_l + F_l)$.

    `ratio` r is $\mathrm{rms}(F_l)/\mathrm{rms}(x_l)$, `depth` l counts sub-layers. The branches are taken as
    orthogonal to the skip, so that each norm divides by $\sqrt{1+r^2}$. At r = 1 it is $2^{-l/2}$.
    """
    _expect_stack(ratio, depth)
    return (1 + ratio * ratio) ** (-depth / 2)


def pre_norm_square(ratio: float, depth: int) -> float:
    r"""$1 + l\,r^2$: mean square of $x_l$ where $x_{l+1} = x_l + F_l(\mathrm{Norm}(x_l))$, $F_l \perp x_l$ of rms r."""
    _expect_stack(ratio, depth)
    return 1 + depth * ratio * ratio


def pre_norm_cosine(ratio: float, depth: int) -> float:
    r"""$1/\sqrt{1 + l\,r^2}$: cosine of $x_l$ and $x_0$ in a pre-norm stack; see :func:`pre_norm_square`."""
    return 1 / math.sqrt(pre_norm_square(ratio, depth))


def pre_norm_step(ratio: float, depth: int) -> float:
    r"""$r/\sqrt{1 + l\,r^2} \approx 1/\sqrt l$: size of the branch that follows $x_l$ relative to $x_l$.

    The deeper the layer, the less it changes: depth is diluted into width (Su, Scientific Spaces 9009).
    """
    return ratio * pre_norm_cosine(ratio, depth)


def orthogonal_growth(ratio: float, depth: int) -> float:
    r"""$(1+\epsilon^2)^{l/2}$: growth of the norm over l steps $x + \epsilon F$ with $F \perp x$, $\|F\| = \|x\|$.

    With $\epsilon = 1/\sqrt l$ it stays below $\sqrt e$, where numbers of one sign would grow to $(1+\epsilon)^l$.
    """
    _expect_stack(ratio, depth)
    return (1 + ratio * ratio) ** (depth / 2)


def rms(x: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
    r"""$\sqrt{\frac1d\sum_i x_i^2}$ over the features, the last axis."""
    xp = namespace(x=x)
    return xp.sqrt(xp.mean(x * x, axis=-1))


def cosine(x: Float[Array, "*#batch d"], y: Float[Array, "*#batch d"]) -> Float[Array, "*batch"]:
    r"""$x\cdot y/(\|x\|\,\|y\|)$ over the features; NaN where one of them is 0."""
    xp = namespace(x=x, y=y)
    expect_shape("y", y, (x.shape[-1],), "both have the same features")
    return xp.mean(x * y, axis=-1) / (rms(x) * rms(y))


def relative_size(part: Float[Array, "*shape d"], whole: Float[Array, "*shape d"]) -> Float[Array, ""]:
    r"""$\|P\|_F/\|X\|_F$, all tokens together: a branch against its skip, or an update against what it updates."""
    xp = namespace(part=part, whole=whole)
    expect_shape("part", part, tuple(whole.shape), "both have one entry for each token and feature")
    return xp.sqrt(xp.sum(part * part) / xp.sum(whole * whole))


# ---------------------------------------------------------------------------------------------------------------
# residual stacks: the update


class Scales(NamedTuple):
    r"""$x_{l+1} = \mathrm{Norm}(\alpha x_l + F_l(x_l))$ with weights multiplied by $\lambda$ at initialisation.

    $\alpha$ is on the *skip*. In DeepNet's words $\lambda$ is $\beta$.
    """

    alpha: float
    lam: float


class Rule(NamedTuple):
    r"""$\alpha = (2N)^a$ and $\lambda = (2N)^b$, N layers of two sub-layers: the exponents a and b."""

    a: float
    b: float

    def at(self, layers: int) -> Scales:
        """The scales of a stack of so many layers, each of two sub-layers."""
        _expect_count("layers", layers)
        return Scales((2 * layers) ** self.a, (2 * layers) ** self.b)


RULES: dict[str, Rule] = {
    "plain": Rule(0.0, 0.0),
    "SGD": Rule(1 / 4, -1 / 4),
    "Adam": Rule(1 / 2, -1 / 2),
    "LAMB": Rule(0.0, -1 / 2),
}
r"""For each optimiser, scales that keep the first step's change of the loss independent of depth (Su 8994).

A gradient by a weight of the branch is $O(\lambda/\alpha)$, a branch $O(\lambda^2/\alpha)$ of its skip. Over 2N
sub-layers SGD changes the loss by $2N(\lambda/\alpha)^2$, Adam by $2N\lambda/\alpha$, and LAMB, whose steps are
proportional to the weights, by $2N\lambda^2/\alpha$; each is set to 1. That fixes one number of two. SGD and Adam take
$\alpha\lambda = 1$, LAMB $\alpha = 1$.
"""


def increment_exponent(optimizer: str, rule: Rule) -> float:
    r"""$p$ in $|\Delta L| \propto \eta N^p$ for the first step: $1+2(b-a)$ SGD, $1+(b-a)$ Adam, $1+2b-a$ LAMB."""
    a, b = rule
    exponents = {"SGD": 1 + 2 * (b - a), "Adam": 1 + (b - a), "LAMB": 1 + 2 * b - a}
    if optimizer not in exponents:
        raise ValueError(f"optimizer must be one of {', '.join(exponents)}, got {optimizer!r}")
    return exponents[optimizer]


def power_exponent(x: Float[Array, "n"], y: Float[Array, "n"]) -> Float[Array, ""]:
    r"""$p$ of the least squares line $\log y = p\log x + c$: the exponent of a power law $y \propto x^p$."""
    xp = namespace(x=x, y=y)
    expect_shape("y", y, (x.shape[0],), "there is one value for each point")
    u, v = xp.log(x), xp.log(y)
    u = u - xp.mean(u)
    return xp.sum(u * v) / xp.sum(u * u)


def deepnorm(layers: int) -> Scales:
    r"""$\alpha = (2N)^{1/4}$ and $\beta = (8N)^{-1/4}$ of an encoder alone or a decoder alone with N layers.

    $\beta$ multiplies Xavier's gain for the feed-forward, value and output matrices; queries and keys keep gain 1.
    Wang et al. 2022.
    """
    _expect_count("layers", layers)
    return Scales((2 * layers) ** 0.25, (8 * layers) ** -0.25)


def deepnorm_encoder(encoder_layers: int, decoder_layers: int) -> Scales:
    r"""$\alpha = 0.81(N^4M)^{1/16}$ and $\beta = 0.87(N^4M)^{-1/16}$ of the encoder beside a decoder.

    N is `encoder_layers`, M is `decoder_layers`.
    """
    _expect_count("encoder_layers", encoder_layers)
    _expect_count("decoder_layers", decoder_layers)
    root = (encoder_layers**4 * decoder_layers) ** (1 / 16)
    return Scales(0.81 * root, 0.87 / root)


def deepnorm_decoder(layers: int) -> Scales:
    r"""$\alpha = (3M)^{1/4}$ and $\beta = (12M)^{-1/4}$ of a decoder that looks at an encoder: M layers of three."""
    _expect_count("layers", layers)
    return Scales((3 * layers) ** 0.25, (12 * layers) ** -0.25)


def _expect_count(name: str, value: int, least: int = 1) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _expect_stack(ratio: float, depth: int) -> None:
    _expect_count("depth", depth, 0)
    if not ratio >= 0:
        raise ValueError(f"ratio must be non-negative, branch over skip in root mean square, got {ratio}")
