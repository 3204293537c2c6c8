r"""Rotary position embedding: queries and keys are turned by angles that grow with the position.

Two features at a time are the coordinates of a point in a plane, and position m turns the j-th plane by the angle
$m\theta_j$. A product of a query at m with a key at n then knows m − n only. Two layouts are in use, and weights
trained with one are useless with the other: neighbouring features make a plane (:func:`rope`, the paper's; GPT-J,
RoFormer), or feature j and feature j + d/2 do (:func:`rope_halves`; LLaMA, GPT-NeoX).

Sources: Su Jianlin, Scientific Spaces 8265; Su et al. 2021, RoFormer.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int

from .arrays import Array, at_least_float32, expect_shape, namespace, positions


def rope_angles(
    n: int | Int[Array, "n"], d: int, like: Float[Array, "*any"], base: float = 10_000.0
) -> Float[Array, "n d_2"]:
    r"""$m\theta_j$ with $\theta_j = \mathrm{base}^{-2j/d}$ for positions m and planes j = 0 … d/2 − 1, shape (n, d/2).

    `n` is a length, or an integer array of positions. The angles are float32 at least, on the device of `like`:
    bfloat16 cannot count past 256. Raises ValueError if d is not even and positive or base not above 0.
    """
    if d < 2 or d % 2:
        raise ValueError(f"d must be even and positive, since two features make a plane; got {d}")
    if not base > 0:
        raise ValueError(f"base must be positive, got {base}")
    xp = namespace(like=like)
    dtype = at_least_float32(like)
    m = xp.astype(positions(n, like) if isinstance(n, int) else n, dtype)
    theta = xp.exp(xp.astype(positions(d // 2, like), dtype) * (-2 * math.log(base) / d))
    return m[:, None] * theta


def _turned(x1: Array, x2: Array, angles: Array) -> tuple[Array, Array]:
    """Turn the points (x1, x2), cosines and sines rounded to the points' dtype only after they are computed."""
    xp = namespace(x=x1, angles=angles)
    cos, sin = xp.astype(xp.cos(angles), x1.dtype), xp.astype(xp.sin(angles), x1.dtype)
    return x1 * cos - x2 * sin, x1 * sin + x2 * cos


def _expect_planes(x: Array, angles: Array) -> None:
    n, planes = angles.shape[-2:]
    expect_shape("x", x, (n, 2 * planes), f"the angles are of {n} positions and {planes} planes")


def rope(x: Float[Array, "*batch n d"], angles: Float[Array, "n d_2"]) -> Float[Array, "*batch n d"]:
    r"""$(u, v) \to (u\cos\alpha_j - v\sin\alpha_j,\; u\sin\alpha_j + v\cos\alpha_j)$ for $u = x_{2j}$, $v = x_{2j+1}$.

    `angles` $\alpha$ come from :func:`rope_angles`. Neighbouring features make a plane. Su et al. 2021, equation 34.
    """
    _expect_planes(x, angles)
    y1, y2 = _turned(x[..., ::2], x[..., 1::2], angles)
    return namespace(x=x).reshape(namespace(x=x).stack([y1, y2], axis=-1), tuple(x.shape))


def rope_halves(x: Float[Array, "*batch n d"], angles: Float[Array, "n d_2"]) -> Float[Array, "*batch n d"]:
    r"""As :func:`rope`, but feature j and feature j + d/2 make a plane: the layout of LLaMA and GPT-NeoX."""
    _expect_planes(x, angles)
    half = x.shape[-1] // 2
    return namespace(x=x).concat(list(_turned(x[..., :half], x[..., half:], angles)), axis=-1)
