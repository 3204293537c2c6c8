r"""Norms that follow a condition, as torch modules.

:class:`ConditionalLayerNorm` is an ``nn.LayerNorm`` with two more matrices. It can take the place of the norms of a
network that exists, :func:`make_conditional`, whatever the network is; then the condition reaches all of them at once:

    norms = make_conditional(encoder, 128)
    with conditioned(encoder, c):
        h = encoder(ids)

Sources: Su Jianlin, Scientific Spaces 7124; Peebles & Xie 2023 (adaLN-Zero).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .arrays import silu
from .layernorm import adaptive_residual, conditional_rms_norm, film, followed

STD = 0.02
"""The standard deviation with which the narrow layer in front of the two matrices is drawn."""


class ConditionalLayerNorm(nn.LayerNorm):
    r"""$y = (\gamma + W_\gamma c) \circ \hat x + (\beta + W_\beta c)$.

    It is :func:`minilib.layernorm.conditional_layer_norm`. $\gamma$ = `weight` and $\beta$ = `bias` as in
    ``nn.LayerNorm``; W_gamma and W_beta (d, k) begin at 0, so that at first the condition changes nothing. Without
    `scale` or without `shift` there is no such matrix. With `hidden` a narrow layer $h = \varphi(W_h c)$, linear unless
    `phi` is given, stands before both.
    """

    def __init__(
        self,
        d: int,
        k: int,
        eps: float = 1e-5,
        *,
        scale: bool = True,
        shift: bool = True,
        hidden: int | None = None,
        phi: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if min(d, k, k if hidden is None else hidden) < 1:
            raise ValueError(f"d, k and hidden count features, at least 1 of each; got {d}, {k} and {hidden}")
        super().__init__(d, eps)
        self.k, self.phi = k, phi
        self.W_h = None if hidden is None else nn.Parameter(torch.empty(hidden, k))
        # Parameters, not nn.Linear: what draws all linear maps of a network anew must leave these at 0.
        width = k if hidden is None else hidden
        self.W_gamma = nn.Parameter(torch.empty(d, width)) if scale else None
        self.W_beta = nn.Parameter(torch.empty(d, width)) if shift else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for name in ("W_gamma", "W_beta"):
            # The parent calls this before they are there.
            if isinstance(W := getattr(self, name, None), Tensor):
                nn.init.zeros_(W)
        if isinstance(W := getattr(self, "W_h", None), Tensor):
            nn.init.normal_(W, std=STD)

    def extra_repr(self) -> str:
        parts = [name for name in ("W_gamma", "W_beta", "W_h") if getattr(self, name) is not None]
        return f"{self.normalized_shape[0]}, k={self.k}, eps={self.eps:g}, {', '.join(parts) or 'no matrix'}"

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Normalise `x` (…, d) under `c` (…, k), which has the first axes of x: (B, k) for (B, n, d)."""
        if c is None:
            raise ValueError("there is no condition: call norm(x, c), or the network inside `with conditioned(…)`")
        if c.shape[-1] != self.k:
            raise ValueError(f"c must have {self.k} features on its last axis, got shape {tuple(c.shape)}")
        if self.W_h is not None:
            c = F.linear(c, self.W_h)
            c = c if self.phi is None else self.phi(c)
        # torch's kernel for the normalisation alone, the rest as in the formula.
        normalised = F.layer_norm(x, self.normalized_shape, eps=self.eps)
        return film(normalised, followed(c, self.weight, self.W_gamma), followed(c, self.bias, self.W_beta))


class ConditionalRMSNorm(nn.Module):
    r"""$y = (\gamma + W_\gamma c) \circ x/\mathrm{rms}(x)$, $\gamma$ = 1 and $W_\gamma$ = 0 at first."""

    def __init__(self, d: int, k: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.W_gamma = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d, k))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Normalise `x` (…, d) under `c` (…, k), which has the first axes of x."""
        return conditional_rms_norm(x, c, self.weight, self.W_gamma, self.eps)


class AdaptiveResidual(nn.Module):
    r"""$x + g(c) \circ F((1 + s(c)) \circ \hat x + b(c))$ with $(s, b, g) = W\,\mathrm{silu}(c) + w$, all 0 at first.

    A block of adaLN-Zero around a branch F: :func:`minilib.layernorm.adaptive_residual`.
    """

    def __init__(self, branch: nn.Module, d: int, k: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.branch, self.eps = branch, eps
        self.W, self.w = nn.Parameter(torch.zeros(3 * d, k)), nn.Parameter(torch.zeros(3 * d))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map `x` (…, d) to the same shape under `c` (…, k), which has the first axes of x."""
        scale, shift, gate = F.linear(silu(c), self.W, self.w).chunk(3, -1)
        return adaptive_residual(x, self.branch, scale, shift, gate, self.eps)


# ---------------------------------------------------------------------------------------------------------------
# a condition for a network that exists


def make_conditional(
    network: nn.Module, k: int, *, scale: bool = True, shift: bool = True, hidden: int | None = None
) -> list[ConditionalLayerNorm]:
    r"""Put a :class:`ConditionalLayerNorm` in the place of every ``nn.LayerNorm`` of `network`, and return them.

    Each keeps the $\gamma$ and the $\beta$ that it takes over, as the same parameters, so that the network computes
    what it did. A norm that stands in several places stays one. Raises ValueError where there is none, or one without
    $\gamma$ and $\beta$ or over several axes.
    """
    # parent._modules, since named_children() would show what stands in two places once.
    places = [
        (parent, name, norm)
        for parent in network.modules()
        for name, norm in parent._modules.items()
        if isinstance(norm, nn.LayerNorm)
    ]
    made = {norm: _around(norm, k, scale=scale, shift=shift, hidden=hidden) for _, _, norm in places}
    for parent, name, norm in places:
        setattr(parent, name, made[norm])
    if not made:
        raise ValueError(f"{type(network).__name__} has no nn.LayerNorm inside that could follow a condition")
    return list(made.values())


def _around(norm: nn.LayerNorm, k: int, **options: bool | int | None) -> ConditionalLayerNorm:
    if isinstance(norm, ConditionalLayerNorm):
        raise ValueError("this network follows a condition already; make it conditional once")
    if norm.bias is None or len(norm.normalized_shape) > 1:
        raise ValueError(f"a norm over one axis with gamma and beta is needed, got {norm}")
    mine = ConditionalLayerNorm(norm.normalized_shape[0], k, norm.eps, **options)
    mine = mine.to(norm.weight.device, norm.weight.dtype).train(norm.training)
    mine.weight, mine.bias = norm.weight, norm.bias
    return mine


@contextmanager
def conditioned(network: nn.Module, c: Tensor) -> Iterator[None]:
    """Inside, every :class:`ConditionalLayerNorm` of `network` is called with the condition `c` (B, k).

    The way back, which may come after the block, leads to c, too. Raises ValueError where nothing follows a condition.
    """
    norms = [module for module in network.modules() if isinstance(module, ConditionalLayerNorm)]
    if not norms:
        raise ValueError(f"nothing in {type(network).__name__} follows a condition; call make_conditional first")
    handles = [norm.register_forward_pre_hook(lambda _, args: (args[0], c)) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
