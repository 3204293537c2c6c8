r"""Rotary position embedding: queries and keys are turned by angles that grow with the position.

Two features at a time are the coordinates of a point in a plane, and position m turns the j-th plane by the angle
$m\theta_j$. A product of a query at m with a key at n then knows m − n only. Two layouts are in use, and weights
trained with one are useless with the other: neighbouring features make a plane (:func:`rope`, the paper's; GPT-J,
RoFormer), or feature j and feature j + d/2 do (:func:`rope_halves`; GPT-NeoX, and LLaMA as transformers holds it).
:func:`halves_order` leads from the one to the other. Nothing in an array tells its layout, so mixing them raises no
error: the products come out wrong.

Only queries and keys are turned, in full or in part (:func:`partial_rope`), each head by the angles of its own width.

Sources: Su Jianlin, Scientific Spaces 8265; Su et al. 2021, RoFormer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Float, Int

from .arrays import Array, at_least_float32, chunks, expect_shape, namespace, positions, running_sum

# ---------------------------------------------------------------------------------------------------------------
# angles


def _expect_base(d: int, base: float) -> None:
    if d < 2 or d % 2:
        raise ValueError(f"d must be even and positive, since two features make a plane; got {d}")
    if not base > 0:
        raise ValueError(f"base must be positive, got {base}")


def _theta(d: int, like: Array, base: float) -> Array:
    """The angle by which each plane turns from one position to the next, shape (d/2,), float32 at least."""
    _expect_base(d, base)
    xp = namespace(like=like)
    return xp.exp(xp.astype(positions(d // 2, like), at_least_float32(like)) * (-2 * math.log(base) / d))


def rope_angles(
    n: int | Int[Array, "n"], d: int, like: Float[Array, "*any"], base: float = 10_000.0
) -> Float[Array, "n d_2"]:
    r"""$m\theta_j$ with $\theta_j = \mathrm{base}^{-2j/d}$ for positions m and planes j = 0 … d/2 − 1, shape (n, d/2).

    `n` is a length, or an integer array of positions. The angles are float32 at least, on the device of `like`:
    bfloat16 cannot count past 256, float16 not past 2048, and in float32 an angle is off by some $10^{-7}m$. Raises
    ValueError if d is not even and positive or base not above 0.
    """
    theta = _theta(d, like, base)
    m = namespace(theta=theta).astype(positions(n, like) if isinstance(n, int) else n, theta.dtype)
    return m[:, None] * theta


def wavelengths(d: int, base: float = 10_000.0) -> list[float]:
    r"""$2\pi/\theta_j = 2\pi\,\mathrm{base}^{2j/d}$: positions in which each of the d/2 planes turns once."""
    _expect_base(d, base)
    return [2 * math.pi * base ** (2 * j / d) for j in range(d // 2)]


# ---------------------------------------------------------------------------------------------------------------
# the turn


def _cos_sin(x: Array, angles: Array) -> tuple[Array, Array]:
    """Cosines and sines, rounded to the dtype of x only after they are computed."""
    xp = namespace(x=x, angles=angles)
    n, planes = angles.shape[-2:]
    why = f"the angles are of {n} positions and {planes} planes; rope_angles(n, d, x) makes those of x"
    expect_shape("x", x, (n, 2 * planes), why)
    return xp.astype(xp.cos(angles), x.dtype), xp.astype(xp.sin(angles), x.dtype)


def rope(x: Float[Array, "*batch n d"], angles: Float[Array, "n d_2"]) -> Float[Array, "*batch n d"]:
    r"""$(u, v) \to (u\cos\alpha_j - v\sin\alpha_j,\; v\cos\alpha_j + u\sin\alpha_j)$ for $u = x_{2j}$, $v = x_{2j+1}$.

    `angles` $\alpha$ come from :func:`rope_angles`. Neighbouring features make a plane. As whole vectors it is x times
    the cosines plus x with its neighbours swapped times the sines, the first of each two with a minus. Su et al. 2021,
    equation 34.
    """
    xp, (cos, sin) = namespace(x=x), _cos_sin(x, angles)
    pairs = xp.reshape(x, (*x.shape[:-1], -1, 2))
    u, v = chunks(pairs, 2)
    # Two products of whole vectors, which lie side by side in memory: four of every second feature take longer.
    y = pairs * xp.stack([cos, cos], axis=-1) + xp.concat([v, u], axis=-1) * xp.stack([-sin, sin], axis=-1)
    return xp.reshape(y, tuple(x.shape))


def rope_halves(x: Float[Array, "*batch n d"], angles: Float[Array, "n d_2"]) -> Float[Array, "*batch n d"]:
    r"""As :func:`rope`, but feature j and feature j + d/2 make a plane: the layout of GPT-NeoX."""
    (cos, sin), (u, v) = _cos_sin(x, angles), chunks(x, 2)
    return namespace(x=x).concat([u * cos - v * sin, v * cos + u * sin], axis=-1)


def halves_order(d: int) -> list[int]:
    r"""$P = (0, 2, …, d-2, 1, 3, …, d-1)$: ``x[..., P]`` has in the layout of halves the planes of neighbours in x.

    ``rope_halves(x[..., P], angles)`` is ``rope(x, angles)[..., P]``. Weights change their layout when the rows of
    $W_q$ and $W_k$ that belong to one head, and their biases, are put in this order. Products stay as they are.
    """
    _expect_base(d, 1.0)
    return [*range(0, d, 2), *range(1, d, 2)]


def partial_rope(
    x: Float[Array, "*batch n d"],
    angles: Float[Array, "n planes"],
    turn: Callable[[Array, Array], Array] = rope,
) -> Float[Array, "*batch n d"]:
    r"""$[R_m x_{:r};\; x_{r:}]$: only the first r features are turned, twice as many as there are `angles`.

    The others compare what is there wherever it is. `turn` is the layout: GPT-J turns so with :func:`rope`, GPT-NeoX,
    a quarter of each head, with :func:`rope_halves`.
    """
    r = 2 * angles.shape[-1]
    if r > x.shape[-1]:
        raise ValueError(f"{r // 2} planes need {r} features, got {x.shape[-1]}; make the angles of a smaller width")
    return namespace(x=x, angles=angles).concat([turn(x[..., :r], angles), x[..., r:]], axis=-1)


# ---------------------------------------------------------------------------------------------------------------
# linear attention


def _expect_features(q: Array, k: Array, v: Array) -> None:
    namespace(q=q, k=k, v=v)
    expect_shape("k", k, (v.shape[-2], q.shape[-1]), "it has the features of q, and one row for each of the values")


def linear_rotary_attention(
    q: Float[Array, "*batch n d"],
    k: Float[Array, "*batch n d"],
    v: Float[Array, "*batch n e"],
    angles: Float[Array, "n d_2"],
) -> Float[Array, "*batch n e"]:
    r"""$o_i = \dfrac{\sum_j (R_i q_i)\cdot(R_j k_j)\,v_j}{\sum_j q_i\cdot k_j}$, in time that grows with n.

    `q` and `k` are features that are positive, such as elu(·) + 1. Turned, they may have a negative product, so the
    denominator is left as it was: it stays positive, but the weights need not sum to 1. Su et al. 2021, equation 19.
    """
    _expect_features(q, k, v)
    xp = namespace(q=q)
    total = q @ xp.sum(k, axis=-2, keepdims=True).mT
    return rope(q, angles) @ (rope(k, angles).mT @ v) / total


def linear_rotary_weights(
    q: Float[Array, "*batch n d"], k: Float[Array, "*batch n d"], angles: Float[Array, "n d_2"]
) -> Float[Array, "*batch n n"]:
    r"""The n × n matrix by which :func:`linear_rotary_attention` multiplies the values: to look at, and to check it."""
    _expect_features(q, k, k)
    return rope(q, angles) @ rope(k, angles).mT / namespace(q=q).sum(q @ k.mT, axis=-1, keepdims=True)


# ---------------------------------------------------------------------------------------------------------------
# what a distance does


def mean_product(distance: Float[Array, "*shape"], d: int, base: float = 10_000.0) -> Float[Array, "*shape"]:
    r"""$E\langle q, R_m q\rangle = 2\sum_j \cos(m\theta_j)$ for $q \sim N(0, I_d)$ and m = `distance`.

    It falls because the query and the key are the same vector. For independent q and k the mean is 0 and the variance
    d at every distance: nothing decays.
    """
    xp = namespace(distance=distance)
    return 2 * xp.sum(xp.cos(distance[..., None] * _theta(d, distance, base)), axis=-1)


def decay_bound(distance: Float[Array, "*shape"], d: int, base: float = 10_000.0) -> Float[Array, "*shape"]:
    r"""$\frac2d\sum_{j=1}^{d/2}|S_j|$ with $S_j = \sum_{i<j} e^{\mathrm i m\theta_i}$, m = `distance`: an upper bound.

    With $h_i$ the product of q and k in plane i as complex numbers, and $h_{d/2} = 0$, Abel's summation gives
    $|q^\top R_m k| \le \max_i|h_{i+1} - h_i|\,\sum_j |S_j|$. It is $\frac{d/2+1}{2}$ at 0, goes down on the whole but
    not from each distance to the next, and is far above what it bounds. Su et al. 2021, section 3.4.3.
    """
    xp = namespace(distance=distance)
    angles = distance[..., None] * _theta(d, distance, base)
    real, imaginary = (running_sum(f(angles)) for f in (xp.cos, xp.sin))
    return xp.mean(xp.sqrt(real * real + imaginary * imaginary), axis=-1)
