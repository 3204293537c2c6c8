r"""The gated attention unit on numbers: what an untrained one makes of white noise, beside what the formulas say."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from . import gau
from .arrays import silu
from .depth import gaussian_mean, moments
from .layernorm import rms_norm
from .rope import rope_angles

LIKE = np.zeros(1)


class Start(NamedTuple):
    """What an untrained unit does: the corner of A, mean diagonal entry, mean rest of a row, rms(O)."""

    corner: np.ndarray
    diagonal: float
    rest: float
    rms: float


def _noise(rows: int, columns: int, seed: int) -> np.ndarray:
    """White noise: a corner of a larger sheet where that will do, so that a widget need not draw numbers anew."""
    return _sheet(max(rows, 512), max(columns, 768), seed)[:rows, :columns]


@functools.lru_cache(maxsize=16)
def _sheet(rows: int, columns: int, seed: int) -> np.ndarray:
    # float32: for a picture, and twice as fast
    return np.random.default_rng([abs(seed), seed < 0]).standard_normal((rows, columns), np.float32)


@functools.lru_cache(maxsize=64)
def start(
    n: int = 512,
    d: int = 768,
    s: int = 128,
    init: str = "LeCun",
    kernel: str = "relu2/ns",
    lam: float = 1.0,
    rotary: bool = False,
    seed: int = 0,
    columns: int = 48,
    rows: int = 128,
) -> Start:
    r"""Run a unit at initialisation, e = 2d, on `n` tokens of white noise; `init` and `kernel` by their names.

    All weights are multiplied by `lam`. Of the 2d columns of U and V only `columns` are computed and of the queries at
    most `rows`, evenly spread, since all are alike; $W_o$ counts by its gain $\sqrt e\,\sigma_o$. `corner` is A up to
    its 32nd row and column.
    """
    stds = gau.INITS[init](d, 2 * d, s).scaled(lam)
    x = rms_norm(_noise(n, d, seed))  # as a norm passes tokens on
    W = _noise(2 * columns + s, d, ~seed)
    std = np.repeat(np.array(stds[:3], dtype=np.float32), [columns, columns, s])
    u, v, z = gau.gau_parts(x, W * std[:, None], s)
    q, k = gau.queries_keys(z, np.ones((2, s), np.float32), None, rope_angles(n, s, x) if rotary else None)
    at = np.linspace(0, n - 1, min(n, rows)).round().astype(int)
    A, corner = gau.KERNELS[kernel](q[at], k, None), gau.KERNELS[kernel](q[:32], k, None)[:, :32]
    corner.setflags(write=False)  # the cache hands the same array to everyone
    on = float(A[np.arange(len(at)), at].mean())
    rms = gau.gains(stds, d, 2 * d).o * math.sqrt(np.mean(np.square(u[at] * (A @ v), dtype=np.float64)))
    return Start(corner, on, float(A.sum(dtype=np.float64)) / len(at) - on, rms)


@functools.lru_cache(maxsize=512)
def _swish(gain: float) -> tuple[float, float, float]:
    """Mean, mean square and mean fourth power of swish for normal inputs of this deviation."""
    mean, square = moments(silu, LIKE, gain)
    return float(mean), float(square), float(gaussian_mean(lambda x: silu(gain * x) ** 4, LIKE))


class Predicted(NamedTuple):
    """Mass of a row, rms(O) from it, and the essay's rms(O), NaN under softmax, of which the essay does not speak."""

    mass: gau.Mass
    rms: float
    essay: float


@functools.lru_cache(maxsize=512)
def predicted(
    n: int = 512,
    d: int = 768,
    s: int = 128,
    init: str = "LeCun",
    kernel: str = "relu2/ns",
    lam: float = 1.0,
    rotary: bool = False,
) -> Predicted:
    r"""What the formulas of :mod:`minilib.gau` say about :func:`start`.

    The essay's value is that for LeCun's initialisation times the gains, $g_u g_v g_z^4 g_o$, as if swish were
    homogeneous; with all weights times $\lambda$ that is its $\lambda^7$.
    """
    g = gau.gains(gau.INITS[init](d, 2 * d, s).scaled(lam), d, 2 * d)
    (_, square, fourth), (v_mean, v_square, _) = _swish(g.z), _swish(g.v)
    share = s / n if kernel == "relu2/n2" else 1.0
    mass = _mass(n, d, s, kernel, rotary, g.z)
    scatter = 0.0 if kernel.startswith("softmax") else gau.row_scatter(s, square, fourth)
    mass = gau.Mass(share * mass.diagonal, share * mass.rest)
    rms = gau.output_rms(mass, v_mean, v_square, _swish(g.u)[1], g.o, scatter)
    essay = share * gau.essay_rms(n, s, _swish(1.0)[1]) * g.u * g.v * g.z**4 * g.o
    return Predicted(mass, rms, math.nan if kernel.startswith("softmax") else essay)


def _mass(n: int, d: int, s: int, kernel: str, rotary: bool, gain: float) -> gau.Mass:
    mean, square, _ = _swish(gain)
    overlap, cosines = gau.swish_overlap(gain, d), _cosines(n, s) if rotary else None
    if kernel.startswith("softmax"):
        scale = math.log(n) / math.log(512) if kernel == "softmax-log" else 1.0
        if rotary:
            return gau.rotary_softmax_mass(cosines, s, mean, square, scale, overlap)
        return gau.softmax_mass(n, s, mean, square, scale, overlap)
    if rotary:
        return gau.rotary_mass(cosines, s, mean, square, overlap)
    return gau.squared_relu_mass(n, s, mean, square, overlap)


def _cosines(n: int, s: int) -> np.ndarray:
    return np.cos(rope_angles(n, s, LIKE)).mean(-1)
