r"""The gated attention unit and FLASH as torch modules: parameters, and the formulas of :mod:`minilib.gau`.

Neither has a residual connection or a norm of its own: put it into a block of :mod:`minilib.depth_torch`. There is no
bias. Source: Hua et al. 2022; Su Jianlin, Scientific Spaces 8934 and 9052.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import gau as unit
from .depth_torch import truncated_normal_
from .rope import rope_angles


class _Gated(nn.Module):
    """Parameters W = [W_u; W_v; W_z], W_o, gamma and beta, and their initialisation."""

    parts: int

    def __init__(
        self,
        d: int,
        e: int | None = None,
        s: int = 128,
        *,
        kernel: str = "relu2/ns",
        rotary: bool = True,
        init: str = "LeCun",
        lam: float = 1.0,
        truncated: bool = False,
    ) -> None:
        super().__init__()
        e = 2 * d if e is None else e
        _expect_widths(d, e, s, rotary)
        self.kernel_name, self.init = kernel, init
        self.kernel, self._stds = _choose("kernel", kernel, unit.KERNELS), _choose("init", init, unit.INITS)
        if not lam >= 0:
            raise ValueError(f"lam must be non-negative, it multiplies the weights; got {lam}")
        self.d, self.e, self.s, self.rotary, self.lam, self.truncated = d, e, s, rotary, lam, truncated
        self.W, self.W_o = nn.Parameter(torch.empty(2 * e + s, d)), nn.Parameter(torch.empty(d, e))
        self.gamma, self.beta = (nn.Parameter(torch.empty(self.parts, s)) for _ in range(2))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Draw the four matrices with the standard deviations of `init` times `lam`; $\gamma = 1$, $\beta = 0$."""
        draw = truncated_normal_ if self.truncated else lambda W, std: nn.init.normal_(W, std=std)
        weights = *self.W.split((self.e, self.e, self.s)), self.W_o
        for W, std in zip(weights, self._stds(self.d, self.e, self.s).scaled(self.lam), strict=True):
            if std > 0:
                draw(W, std)
            else:
                W.zero_()
        nn.init.ones_(self.gamma)
        nn.init.zeros_(self.beta)

    def extra_repr(self) -> str:
        return f"d={self.d}, e={self.e}, s={self.s}, kernel={self.kernel_name!r}, rotary={self.rotary}"

    def _angles(self, x: Tensor) -> Tensor | None:
        if x.ndim < 2 or x.shape[-2] == 0 or x.shape[-1] != self.d:
            raise ValueError(f"x must have shape (…, n, {self.d}) with n ≥ 1 tokens, got {tuple(x.shape)}")
        return rope_angles(x.shape[-2], self.s, x) if self.rotary else None


def _choose(what: str, name: str, known: dict) -> object:
    if name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def _expect_widths(d: int, e: int, s: int, rotary: bool) -> None:
    if min(d, e, s) < 1:
        raise ValueError(f"d, e and s need at least one feature, got d = {d}, e = {e}, s = {s}")
    if rotary and s % 2:
        raise ValueError(f"rotary needs an even s, since two features make a plane; got s = {s}")


class GAU(_Gated):
    r"""$O = (U \circ AV)\,W_o$: :func:`minilib.gau.gau`, one head of width `s`, values of width `e` (2d).

    `kernel` names one of :data:`minilib.gau.KERNELS`, `init` one of :data:`minilib.gau.INITS`; `lam` multiplies all
    weights at the start, `truncated` draws them from a normal cut off at ±2 deviations: GAU-α starts with LeCun,
    truncated, and `lam` = L^(−1/3) for L units. `rotary` turns q and k by their positions.
    """

    parts = 2

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `x` (…, n, d) to the same shape; `mask` (…, n, n) is True where a token may look. NaN goes through."""
        return unit.gau(x, self.W, self.W_o, self.gamma, self.beta, self.kernel, mask, self._angles(x))

    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The matrix A, (…, n, n), that :meth:`forward` uses."""
        z = unit.gau_parts(x, self.W, self.s).z
        q, k = unit.queries_keys(z, self.gamma, self.beta, self._angles(x))
        return self.kernel(q, k, mask)


class FLASH(_Gated):
    r"""$O = (U \circ \hat V)\,W_o$: :func:`minilib.gau.flash`, quadratic inside a chunk, linear across.

    A chunk has `chunk` tokens; with `causal` no token sees a later one. The other options are those of :class:`GAU`.
    """

    parts = 4

    def __init__(
        self, d: int, e: int | None = None, s: int = 128, *, chunk: int = 256, causal: bool = False, **options: Any
    ) -> None:
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1 token, got {chunk}")
        super().__init__(d, e, s, **options)
        self.chunk, self.causal = chunk, causal

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, chunk={self.chunk}, causal={self.causal}"

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Map `x` (…, n, d) to the same shape; `real` (…, n) is False at padding. Any length n will do."""
        options = self.chunk, self.causal, real, self._angles(x), self.kernel
        return unit.flash(x, self.W, self.W_o, self.gamma, self.beta, *options)
