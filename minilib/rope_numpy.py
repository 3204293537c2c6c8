r"""Rotary positions on numbers: many queries and keys, and their products at many distances, all at once."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from .rope import decay_bound, rope_angles


def planes(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    r"""$h_j = (q_{2j} + \mathrm i\,q_{2j+1})\,\overline{(k_{2j} + \mathrm i\,k_{2j+1})}$, the product in each plane."""
    return (q[..., 0::2] + 1j * q[..., 1::2]) * (k[..., 0::2] - 1j * k[..., 1::2])


def products(q: np.ndarray, k: np.ndarray, distances: np.ndarray, base: float = 10_000.0) -> np.ndarray:
    r"""$(R_m q)\cdot(R_n k) = \mathrm{Re}\sum_j h_j e^{\mathrm i(m-n)\theta_j}$ at all m − n of `distances`.

    `q` and `k` have the shape (…, d), the result has one more axis of distances in place of d.
    """
    turns = np.exp(1j * rope_angles(np.asarray(distances), q.shape[-1], q, base))
    return (planes(q, k) @ turns.T).real


class Cloud(NamedTuple):
    """Rows of queries and keys of norm about √d."""

    q: np.ndarray
    k: np.ndarray


@functools.lru_cache(maxsize=8)
def _sheets(count: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, count, d))


def cloud(count: int, d: int, alike: float = 1.0, behind: float = 0.0, base: float = 10_000.0, seed: int = 0) -> Cloud:
    r"""$q \sim N(0, I)$ and $k = R_s\,(c\,q + \sqrt{1-c^2}\,\varepsilon)$ with $c$ = `alike`, $s$ = `behind`.

    The query and the key share the direction c, once the key is turned back. A key made so answers a query that stands
    s places after it.
    """
    q, noise = _sheets(count, d, seed)
    k = alike * q + np.sqrt(1 - alike * alike) * noise
    turn = np.exp(1j * behind * rope_angles(2, d, q, base)[1])
    turned = (k[..., 0::2] + 1j * k[..., 1::2]) * turn
    return Cloud(q, np.stack([turned.real, turned.imag], -1).reshape(k.shape))


def shares_of_bound(q: np.ndarray, k: np.ndarray, distances: np.ndarray, base: float = 10_000.0) -> np.ndarray:
    r"""How much of the bound is reached: $|q^\top R_m k| \,/\, \bigl(\max_i|h_{i+1}-h_i|\,\sum_j|S_j|\bigr)$."""
    h = planes(q, k)
    step = np.abs(np.diff(h, append=0)).max(-1)
    d, at = q.shape[-1], np.asarray(distances, dtype=float)
    return np.abs(products(q, k, distances, base)) / (step[..., None] * d / 2 * decay_bound(at, d, base))


@functools.lru_cache(maxsize=256)
def first_rise(d: int, base: float = 10_000.0, longest: int = 4096) -> int:
    """The smallest distance at which :func:`minilib.rope.decay_bound` is above its value one before; 0 if none is."""
    reach = 64
    while reach <= longest:
        rises = np.flatnonzero(np.diff(decay_bound(np.arange(reach + 1.0), d, base)) > 0)
        if len(rises):
            return int(rises[0]) + 1
        reach *= 4
    return 0
