"""What tests of formulas share: the same numbers from every array library, of its own type and its precision."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np


def assert_same(ours: Iterable[Any], theirs: Iterable[Any], xp: ModuleType, rtol: float, atol: float = 0.0) -> None:
    """NumPy's arrays and those of `xp` hold the same numbers, and the latter are arrays of `xp`."""
    for a, b in zip(ours, theirs, strict=True):
        assert type(b) is type(xp.asarray([0.0])), type(b)
        np.testing.assert_allclose(np.asarray(b), a, rtol=rtol, atol=atol)


def assert_float32(found: Iterable[Any], xp: ModuleType) -> None:
    """Nothing has become float64 on the way."""
    for a in found:
        assert a.dtype == xp.float32, a.dtype
