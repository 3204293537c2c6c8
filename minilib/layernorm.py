r"""Normalisation over the features of one token: centred (LayerNorm) or not (RMSNorm).

Features are the last axis; every vector along it is normalised by its own statistics, so that neither the batch nor
the length plays a part. Sources: Ba, Kiros & Hinton 2016 (LayerNorm); Zhang & Sennrich 2019 (RMSNorm).
"""

from __future__ import annotations

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
    xp = namespace(x=x)
    _expect_features(x, eps)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    return _affine(centred / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps), gamma, beta)


def rms_norm(
    x: Float[Array, "*batch d"], gamma: Float[Array, "d"] | None = None, eps: float = 1e-6
) -> Float[Array, "*batch d"]:
    r"""$y = \gamma \circ x/\sqrt{\overline{x^2} + \epsilon}$: LayerNorm without the centring. Zhang & Sennrich 2019."""
    xp = namespace(x=x)
    _expect_features(x, eps)
    return _affine(x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + eps), gamma, None)
