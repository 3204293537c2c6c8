r"""Normalisation over the features of a token, centred (LayerNorm) or not (RMSNorm), and under a condition.

Features are the last axis; every vector along it is normalised by its own statistics, so that neither the batch nor
the length plays a part.

A **condition** c, a vector for each sample, chooses the scale and the shift after a normalisation:
$$y = \gamma(c) \circ \hat x + \beta(c), \qquad \hat x = (x - \mu)/\sigma.$$
All methods of the second half are this line. They differ in what $\mu$ and $\sigma$ are taken over, in how $\gamma(c)$
and $\beta(c)$ are made, and in where they begin: :data:`RELATIVES`. A condition has the first axes of x and is the same
for all tokens of its sample: c of shape (B, k) for x of shape (B, n, d) or (B, d), or (k,) for all of them.

Sources: Ba, Kiros & Hinton 2016 (LayerNorm); Zhang & Sennrich 2019 (RMSNorm); Su Jianlin, Scientific Spaces 7124
(conditional LayerNorm); the others at their rows of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float

from .arrays import Array, expect_shape, namespace


def _affine(y: Array, gamma: Array | None, beta: Array | None) -> Array:
    given = {name: a for name, a in (("gamma", gamma), ("beta", beta)) if a is not None}
    namespace(x=y, **given)
    for name, a in given.items():
        expect_shape(name, a, (y.shape[-1],), f"it has one entry for each of the {y.shape[-1]} features")
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def _expect_features(x: Array, eps: float) -> None:
    if x.ndim < 1 or x.shape[-1] == 0:
        raise ValueError(f"x must have at least one feature on its last axis, got shape {tuple(x.shape)}")
    if not eps >= 0:
        raise ValueError(f"eps must be non-negative, got {eps}")


def _standardised(x: Array, axis: int | tuple[int, ...], eps: float) -> Array:
    r"""$(x - \bar x)/\sqrt{\overline{(x - \bar x)^2} + \epsilon}$, bars: means over `axis`."""
    xp = namespace(x=x)
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=axis, keepdims=True) + eps)


def layer_norm(
    x: Float[Array, "*batch d"],
    gamma: Float[Array, "d"] | None = None,
    beta: Float[Array, "d"] | None = None,
    eps: float = 1e-5,
) -> Float[Array, "*batch d"]:
    r"""$y = \gamma \circ (x - \bar x)/\sqrt{\overline{(x - \bar x)^2} + \epsilon} + \beta$, bars: means over features.

    $\gamma = 1$ and $\beta = 0$ unless given. The variance is the mean of squares over d, not over d − 1, and
    $\epsilon$ stands under the root. A vector of equal features becomes $\beta$. Ba, Kiros & Hinton 2016.
    """
    namespace(x=x)
    _expect_features(x, eps)
    return _affine(_standardised(x, -1, eps), gamma, beta)


def rms_norm(
    x: Float[Array, "*batch d"], gamma: Float[Array, "d"] | None = None, eps: float = 1e-6
) -> Float[Array, "*batch d"]:
    r"""$y = \gamma \circ x/\sqrt{\overline{x^2} + \epsilon}$: LayerNorm without the centring. Zhang & Sennrich 2019."""
    xp = namespace(x=x)
    _expect_features(x, eps)
    return _affine(x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + eps), gamma, None)


# ---------------------------------------------------------------------------------------------------------------
# scale and shift that follow a condition


def _beside(x: Array, a: Array, name: str) -> Array:
    """`a` of shape (*lead, d) with an axis of length 1 for each axis of `x` (*lead, *tokens, d) that it has not."""
    lead = tuple(a.shape[:-1])
    if a.ndim > x.ndim or lead != tuple(x.shape[: len(lead)]) or a.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"{name} must have the first axes of x and its {x.shape[-1]} features, one vector for all tokens of a "
            f"sample; got {tuple(a.shape)} for x of shape {tuple(x.shape)}"
        )
    return namespace(x=x).reshape(a, (*lead, *(1,) * (x.ndim - a.ndim), a.shape[-1]))


def film(
    x: Float[Array, "*tokens d"], gamma: Float[Array, "*any d"] | None, beta: Float[Array, "*some d"] | None
) -> Float[Array, "*tokens d"]:
    r"""$y = \gamma \circ x + \beta$ with a $\gamma$ and a $\beta$ for each sample; None leaves it out.

    Feature-wise linear modulation. Raises ValueError unless each has the first axes of x, and its features. Perez et
    al. 2018.
    """
    given = {name: a for name, a in (("gamma", gamma), ("beta", beta)) if a is not None}
    namespace(x=x, **given)
    beside = {name: _beside(x, a, name) for name, a in given.items()}
    y = x if gamma is None else x * beside["gamma"]
    return y if beta is None else y + beside["beta"]


def followed(c: Float[Array, "*lead k"], base: Float[Array, "d"], W: Float[Array, "d k"] | None) -> Array:
    r"""$\gamma(c) = \gamma + W c$, shape (*lead, d): `base`, and what the condition adds; without W the base alone."""
    if W is None:
        return base
    namespace(c=c, base=base, W=W)
    expect_shape("W", W, (base.shape[0], c.shape[-1]), "it maps a condition to the features")
    return base + c @ W.T


def conditional_layer_norm(
    x: Float[Array, "*tokens d"],
    c: Float[Array, "*lead k"],
    gamma: Float[Array, "d"],
    beta: Float[Array, "d"],
    W_gamma: Float[Array, "d k"] | None = None,
    W_beta: Float[Array, "d k"] | None = None,
    eps: float = 1e-5,
) -> Float[Array, "*tokens d"]:
    r"""$y = (\gamma + W_\gamma c) \circ \hat x + (\beta + W_\beta c)$, $\hat x$ the normalised x: Su 7124.

    With both W at 0 it is :func:`layer_norm`, whatever c: a trained network can be given a condition and computes the
    same at first. $\gamma$ and $\beta$ are biases of the two maps already, so these have none. A narrow layer in
    between is a condition of its own, $\varphi(W_h c)$. Raises ValueError unless c has the first axes of x.
    """
    return film(layer_norm(x, eps=eps), followed(c, gamma, W_gamma), followed(c, beta, W_beta))


def conditional_rms_norm(
    x: Float[Array, "*tokens d"],
    c: Float[Array, "*lead k"],
    gamma: Float[Array, "d"],
    W_gamma: Float[Array, "d k"],
    eps: float = 1e-6,
) -> Float[Array, "*tokens d"]:
    r"""$y = (\gamma + W_\gamma c) \circ x/\mathrm{rms}(x)$: for networks whose norms neither centre nor shift."""
    return film(rms_norm(x, eps=eps), followed(c, gamma, W_gamma), None)


class ConditionalGradients(NamedTuple):
    """What a loss says to each part of :func:`conditional_layer_norm`; c has a row for each sample."""

    gamma: Array
    beta: Array
    W_gamma: Array
    W_beta: Array
    c: Array


def conditional_gradients(
    x: Float[Array, "batch n d"],
    c: Float[Array, "batch k"],
    W_gamma: Float[Array, "d k"],
    W_beta: Float[Array, "d k"],
    g: Float[Array, "batch n d"],
    eps: float = 1e-5,
) -> ConditionalGradients:
    r"""$\partial W_\gamma = \sum_b G_b c_b^\top$, $\partial W_\beta = \sum_b H_b c_b^\top$, $\partial c_b =
    W_\gamma^\top G_b + W_\beta^\top H_b$, from g, the gradient with respect to y.

    $G_b = \sum_i g_{bi} \circ \hat x_{bi}$ and $H_b = \sum_i g_{bi}$ sum over the tokens of a sample. Where both W are
    0 the condition has no gradient at all, and they have one unless c is 0, too: c moves from the second step on.
    """
    xp = namespace(x=x, c=c, W_gamma=W_gamma, W_beta=W_beta, g=g)
    expect_shape("g", g, tuple(x.shape), "it is the gradient of what comes out")
    G, H = xp.sum(g * layer_norm(x, eps=eps), axis=1), xp.sum(g, axis=1)
    return ConditionalGradients(xp.sum(G, axis=0), xp.sum(H, axis=0), G.T @ c, H.T @ c, G @ W_gamma + H @ W_beta)


# ---------------------------------------------------------------------------------------------------------------
# its relatives


def batch_norm(x: Float[Array, "*batch d"], eps: float = 1e-5) -> Float[Array, "*batch d"]:
    r"""$\hat x$ of each feature over all samples and tokens of the batch. Ioffe & Szegedy 2015."""
    _expect_features(x, eps)
    if x.ndim < 2:
        raise ValueError(f"x must have an axis to average over besides its features, got shape {tuple(x.shape)}")
    return _standardised(x, tuple(range(x.ndim - 1)), eps)


def instance_norm(x: Float[Array, "*batch n d"], eps: float = 1e-5) -> Float[Array, "*batch n d"]:
    r"""$\hat x$ of each feature over the tokens of one sample. Ulyanov, Vedaldi & Lempitsky 2016."""
    _expect_features(x, eps)
    return _standardised(x, -2, eps)


def conditional_batch_norm(
    x: Float[Array, "*tokens d"],
    gamma: Float[Array, "d"],
    beta: Float[Array, "d"],
    delta_gamma: Float[Array, "*lead d"],
    delta_beta: Float[Array, "*lead d"],
    eps: float = 1e-5,
) -> Float[Array, "*tokens d"]:
    r"""$y = (\gamma + \Delta\gamma(c)) \circ \hat x + (\beta + \Delta\beta(c))$, $\hat x$ by :func:`batch_norm`.

    There $\gamma, \beta$ are those of a trained network and stay; a small network makes the differences. De Vries et
    al. 2017.
    """
    return film(batch_norm(x, eps), gamma + delta_gamma, beta + delta_beta)


def adain(
    x: Float[Array, "*batch n d"], style: Float[Array, "*batch m d"], eps: float = 1e-5
) -> Float[Array, "*batch n d"]:
    r"""$y = \sigma(s)\,\hat x + \mu(s)$: x takes on mean and deviation of each feature from a `style` s of any length.

    $\hat x$ by :func:`instance_norm`; nothing is learned. Huang & Belongie 2017.
    """
    xp = namespace(x=x, style=style)
    expect_shape("style", style, (None, x.shape[-1]), "it has the features of x")
    mean = xp.mean(style, axis=-2)
    deviation = xp.sqrt(xp.mean((style - mean[..., None, :]) ** 2, axis=-2) + eps)
    return film(instance_norm(x, eps), deviation, mean)


def adaptive_residual(
    x: Float[Array, "*tokens d"],
    branch: Callable[[Array], Array],
    scale: Float[Array, "*lead d"],
    shift: Float[Array, "*lead d"],
    gate: Float[Array, "*lead d"],
    eps: float = 1e-6,
) -> Float[Array, "*tokens d"]:
    r"""$x + g(c) \circ F\bigl((1 + s(c)) \circ \hat x + b(c)\bigr)$: adaLN-Zero, where g, s and b begin at 0.

    So each block begins as the identity, not as what it computed before. Peebles & Xie 2023 (DiT).
    """
    namespace(x=x, scale=scale, shift=shift, gate=gate)
    return x + _beside(x, gate, "gate") * branch(film(layer_norm(x, eps=eps), 1 + scale, shift))


class Relative(NamedTuple):
    r"""How a method fills in $y = \gamma(c) \circ \hat x + \beta(c)$, and what its network computes at the start."""

    name: str
    normalise: Callable[[Array], Array]
    over: str
    gamma: str
    beta: str
    start: str
    source: str


def _as_it_is(x: Array) -> Array:
    return x


RELATIVES = (
    Relative(
        "conditional BatchNorm",
        batch_norm,
        "samples and tokens",
        "γ + MLP(c)",
        "β + MLP(c)",
        "nearly what it computed before",
        "de Vries et al. 2017",
    ),
    Relative("AdaIN", instance_norm, "tokens", "σ(c)", "μ(c)", "depends on c", "Huang & Belongie 2017"),
    Relative("FiLM", _as_it_is, "", "1 + W_γ c", "W_β c", "depends on c", "Perez et al. 2018"),
    Relative(
        "conditional LayerNorm",
        layer_norm,
        "features",
        "γ + W_γ c",
        "β + W_β c",
        "what it computed before",
        "Su Jianlin, Scientific Spaces 7124",
    ),
    Relative(
        "adaLN-Zero", layer_norm, "features", "1 + s(c), and a gate g(c)", "b(c)", "the identity", "Peebles & Xie 2023"
    ),
    Relative("AdaptiveLayerNorm", layer_norm, "features", "1 + W_γ c", "0", "plain LayerNorm", "x-transformers"),
)
"""Methods by the year. FiLM stands after whatever normalisation there is."""
