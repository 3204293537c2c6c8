r"""RoFormer and RoFormerV2 on numbers: what an untrained encoder makes of its tokens, sub-layer by sub-layer."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .arrays import exact_gelu, relu
from .attention import attention_weights, merge_heads, split_heads
from .depth import cosine, moments, relative_size, truncation_correction
from .layernorm import layer_norm, rms_norm
from .roformer import BranchSizes, v2_std
from .rope import rope, rope_angles

LIKE = np.zeros(1)


class Deviations(NamedTuple):
    """Of the four matrices of attention, which are d × d, of W_1, which is f × d, and of W_2, which is d × f."""

    attention: float
    W_1: float
    W_2: float


def plain_deviations(d: int, inner: int, layers: int) -> Deviations:
    """0.02 for all, whatever the sizes: BERT and the first version."""
    return Deviations(0.02, 0.02, 0.02)


def v2_deviations(d: int, inner: int, layers: int) -> Deviations:
    """:func:`minilib.roformer.v2_std` of each fan-in."""
    return Deviations(*(v2_std(fan_in, layers) for fan_in in (d, d, inner)))


def ported_deviations(d: int, inner: int, layers: int) -> Deviations:
    r"""The same rule with two mistakes of ports to PyTorch: the first axis taken for the fan-in, and no truncation.

    There a weight is (out, in), so the fan-in of $W_1$ is taken to be f and that of $W_2$ to be d; and the factor that
    makes up for the truncation is kept where nothing is cut off.
    """
    return Deviations(*(truncation_correction() * v2_std(rows, layers) for rows in (d, inner, d)))


class Kind(NamedTuple):
    """A way to start: the deviations, the activation and the norm."""

    deviations: Callable[[int, int, int], Deviations]
    phi: Callable[[np.ndarray], np.ndarray]
    norm: Callable[[np.ndarray], np.ndarray]


KINDS: Mapping[str, Kind] = {
    "V1, 0.02": Kind(plain_deviations, exact_gelu, layer_norm),
    "V2": Kind(v2_deviations, relu, rms_norm),
    "V2, as ported": Kind(ported_deviations, relu, rms_norm),
}
"""RoFormer as it starts, RoFormerV2, and RoFormerV2 in a port with two mistakes."""


def branch_sizes(kind: Kind, d: int, inner: int, layers: int, seen: float = 1.0, alike: float = 0.0) -> BranchSizes:
    r"""$\sigma^2 d\,\sqrt{\rho + \frac{1-\rho}n}$ and $\sigma_2\sqrt{f\,E\,\varphi(\sigma_1\sqrt d\,\varepsilon)^2}$.

    What sub-layers add to tokens of root mean square 1, as :func:`minilib.roformer.v2_branches`, for any deviations
    and any activation: $\sigma$ of attention, $\sigma_1, \sigma_2$ of $W_1, W_2$, $\varepsilon \sim N(0, 1)$.
    """
    s = kind.deviations(d, inner, layers)
    square = float(moments(kind.phi, LIKE, s.W_1 * math.sqrt(d)).square)
    mean = math.sqrt(alike + (1 - alike) / seen)
    return BranchSizes(s.attention**2 * d * mean, s.W_2 * math.sqrt(inner * square))


class Start(NamedTuple):
    r"""Branch over skip of each of the 2L sub-layers, and the mean cosine with $x_0$ of all 2L + 1 states."""

    ratios: tuple[float, ...]
    cosines: tuple[float, ...]


@functools.lru_cache(maxsize=32)
def start(
    kind: str, layers: int = 6, d: int = 384, heads: int = 6, n: int = 128, alike: float = 0.5, seed: int = 0
) -> Start:
    """Run an untrained encoder, f = 4d, on n tokens whose cosines with each other are `alike`; a kind of KINDS."""
    how, rng = KINDS[kind], np.random.default_rng(seed)
    stds, angles = how.deviations(d, 4 * d, layers), rope_angles(n, d // heads, np.zeros(1, np.float32))
    noise = rng.standard_normal((n + 1, d), np.float32)
    x = how.norm(math.sqrt(alike) * noise[0] + math.sqrt(1 - alike) * noise[1:])
    first, ratios, cosines, up = x, [], [1.0], (4 * d, d)
    for _ in range(layers):
        W_q, W_k, W_v, W_o = stds.attention * rng.standard_normal((4, d, d), np.float32)
        W_1, W_2 = (s * rng.standard_normal(shape, np.float32) for s, shape in ((stds.W_1, up), (stds.W_2, up[::-1])))
        for attends in (True, False):
            added = _attention(x, W_q, W_k, W_v, heads, angles) @ W_o.T if attends else how.phi(x @ W_1.T) @ W_2.T
            ratios.append(float(relative_size(added, x)))
            x = how.norm(x + added)
            cosines.append(float(cosine(x, first).mean()))
    return Start(tuple(ratios), tuple(cosines))


def _attention(
    x: np.ndarray, W_q: np.ndarray, W_k: np.ndarray, W_v: np.ndarray, heads: int, angles: np.ndarray
) -> np.ndarray:
    q, k = (rope(split_heads(x @ W.T, heads), angles) for W in (W_q, W_k))
    return merge_heads(attention_weights(q, k) @ split_heads(x @ W_v.T, heads))
