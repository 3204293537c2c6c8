r"""Deep residual stacks as torch modules: initialisation, four ways of adding a branch, and measures layer by layer.

A stack is a list of sub-layers, any modules that keep the shape (*batch, n, d), each in a residual block:

    post-norm    LN(α x + F(x))      Vaswani et al. 2017 with α = 1; DeepNorm (Wang et al. 2022) with α > 1
    pre-norm     x + F(LN(x))        Baevski & Auli 2019; one more LN after the last block
    ReZero       x + a F(x)          a is trained from 0; Bachlechner et al. 2020

Each block can show its two addends, so what the stack does at each depth is measured on the modules that are trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .arrays import relu
from .depth import Scales, cosine, fans, relative_size, rms, truncation_correction, uniform_bound

# ---------------------------------------------------------------------------------------------------------------
# initialisation


def truncated_normal_(weight: Tensor, std: float, limit: float = 2.0) -> Tensor:
    r"""Draw from a normal distribution cut off at `limit` times its own deviation, so that the result *has* `std`.

    Two pitfalls lie here. A normal cut off at ±2σ has only 0.8796 σ, so σ is `std` times 1.1368. And the bounds of
    ``torch.nn.init.trunc_normal_`` are absolute numbers, ±2 unless given: with std = 0.02 they cut off nothing.
    """
    sigma = std * truncation_correction(limit)
    return nn.init.trunc_normal_(weight, std=sigma, a=-limit * sigma, b=limit * sigma)


MODES: dict[str, Callable[[int, int], float]] = {
    "fan_in": lambda m, n: m,
    "fan_out": lambda m, n: n,
    "fan_avg": lambda m, n: (m + n) / 2,
}
DISTRIBUTIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "normal": lambda weight, std: nn.init.normal_(weight, std=std),
    "truncated_normal": truncated_normal_,
    "uniform": lambda weight, std: nn.init.uniform_(weight, -uniform_bound(std), uniform_bound(std)),
}


def variance_scaling_(
    weight: Tensor, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
) -> Tensor:
    r"""Fill with mean 0 and variance `scale`/fan. LeCun: (1, "fan_in"), He: (2, "fan_in"), Xavier: (1, "fan_avg").

    The layout is PyTorch's, (out, in, *kernel): a matrix from a framework with (in, out) has its fans swapped, which
    nothing would tell for a square one. Raises ValueError for an unknown mode or distribution.
    """
    if mode not in MODES or distribution not in DISTRIBUTIONS or not scale > 0:
        raise ValueError(
            f"expected a scale > 0, a mode of {', '.join(MODES)} and a distribution of {', '.join(DISTRIBUTIONS)}; "
            f"got {scale}, {mode!r}, {distribution!r}"
        )
    return DISTRIBUTIONS[distribution](weight, (scale / MODES[mode](*fans(tuple(weight.shape)))) ** 0.5)


@torch.no_grad()
def xavier_(module: nn.Module, gain: float = 1.0, unscaled: Sequence[str] = ()) -> nn.Module:
    r"""Draw the weight of every ``nn.Linear`` in `module` from $N(0, g^2\,\tfrac{2}{m+n})$; its bias becomes 0.

    A linear map whose name is in `unscaled` has g = 1, the others g = `gain`: with DeepNorm's $\beta$ as gain and the
    queries' and keys' maps unscaled, ``xavier_(stack, beta, ("W_q", "W_k"))``, this is DeepNorm's initialisation.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            own = 1.0 if name.rpartition(".")[2] in unscaled else gain
            variance_scaling_(part.weight, own**2, "fan_avg", "normal")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module


# ---------------------------------------------------------------------------------------------------------------
# sub-layers and blocks


class FeedForward(nn.Module):
    r"""$F(x) = W_2\,\varphi(W_1 x + b_1) + b_2$, relu unless `phi` is given; Xavier's initialisation."""

    def __init__(self, d: int, width: int, phi: Callable[[Tensor], Tensor] = relu, bias: bool = True) -> None:
        super().__init__()
        self.W_1, self.W_2, self.phi = nn.Linear(d, width, bias), nn.Linear(width, d, bias), phi
        xavier_(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.W_2(self.phi(self.W_1(x)))


class Terms(NamedTuple):
    """The two addends of a residual block, as they are added."""

    skip: Tensor
    branch: Tensor


class _Block(nn.Module):
    """A sub-layer with its residual connection; `mask` reaches it if its forward has a parameter of that name."""

    def __init__(self, sublayer: nn.Module) -> None:
        super().__init__()
        self.sublayer = sublayer
        self._masked = "mask" in inspect.signature(sublayer.forward).parameters

    def branch(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.sublayer(x, mask=mask) if self._masked else self.sublayer(x)

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Terms:
        return Terms(x, self.branch(x, mask))

    def close(self, total: Tensor) -> Tensor:
        return total

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        skip, branch = self.terms(x, mask)
        return self.close(skip + branch)


class PostNorm(_Block):
    r"""$\mathrm{LN}(\alpha x + F(x))$."""

    def __init__(self, sublayer: nn.Module, norm: nn.Module, alpha: float = 1.0) -> None:
        super().__init__(sublayer)
        self.norm, self.alpha = norm, alpha

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Terms:
        return Terms(self.alpha * x, self.branch(x, mask))

    def close(self, total: Tensor) -> Tensor:
        return self.norm(total)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class PreNorm(_Block):
    r"""$x + F(\mathrm{LN}(x))$."""

    def __init__(self, sublayer: nn.Module, norm: nn.Module) -> None:
        super().__init__(sublayer)
        self.norm = norm

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Terms:
        return Terms(x, self.branch(self.norm(x), mask))


class ReZero(_Block):
    r"""$x + a\,F(x)$ with a trained scalar $a$ that starts at 0: the stack starts as the identity."""

    def __init__(self, sublayer: nn.Module) -> None:
        super().__init__(sublayer)
        self.a = nn.Parameter(torch.zeros(()))

    def terms(self, x: Tensor, mask: Tensor | None = None) -> Terms:
        return Terms(x, self.a * self.branch(x, mask))


class ResidualStack(nn.Module):
    """`sublayers` in residual blocks one after the other: `kind` is "post", "pre" or "rezero".

    `alpha` multiplies the skips of a post-norm stack; `norm` makes the norm of a width. A pre-norm stack ends with a
    norm of its own, without which its output would grow with the depth. Raises ValueError for another kind, for no
    sub-layer, and for an `alpha` where there is none.
    """

    def __init__(
        self,
        sublayers: Iterable[nn.Module],
        d: int,
        kind: str = "post",
        alpha: float = 1.0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        blocks = {
            "post": lambda f: PostNorm(f, norm(d), alpha),
            "pre": lambda f: PreNorm(f, norm(d)),
            "rezero": ReZero,
        }
        if kind not in blocks or (kind != "post" and alpha != 1):
            raise ValueError(
                f"kind must be one of {', '.join(blocks)}, and alpha 1 unless it is post; got {kind!r}, alpha = {alpha}"
            )
        self.blocks = nn.ModuleList(blocks[kind](sublayer) for sublayer in sublayers)
        if not self.blocks:
            raise ValueError("a stack needs at least one sub-layer, got none")
        self.norm = norm(d) if kind == "pre" else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

    def trace(self, x: Tensor, mask: Tensor | None = None) -> Trace:
        """As ``forward``, and keep what passes every depth; gradients stay on."""
        states, terms = [x], []
        for block in self.blocks:
            terms.append(block.terms(states[-1], mask))
            states.append(block.close(terms[-1].skip + terms[-1].branch))
        return Trace(states, terms, self.norm(states[-1]))


class Trace(NamedTuple):
    """States $x_0 … x_L$, the addends of each of the L blocks, and the output of the stack."""

    states: list[Tensor]
    terms: list[Terms]
    output: Tensor


# ---------------------------------------------------------------------------------------------------------------
# measures


class Signal(NamedTuple):
    r"""$\mathrm{rms}(x_l)$ and $\cos(x_l, x_0)$ for l = 0 … L, means over tokens; branch over skip of each block."""

    rms: list[float]
    cosine: list[float]
    ratio: list[float]


@torch.no_grad()
def signal(trace: Trace) -> Signal:
    """What has become of the signal at each depth."""
    first = trace.states[0]
    return Signal(
        [rms(x).mean().item() for x in trace.states],
        [cosine(x, first).mean().item() for x in trace.states],
        [relative_size(branch, skip).item() for skip, branch in trace.terms],
    )


class Gradients(NamedTuple):
    r"""Norms of $\partial L/\partial x_l$ for l = 0 … L, and of the gradient by each block's parameters."""

    states: list[float]
    blocks: list[float]


def gradients(stack: ResidualStack, trace: Trace, loss: Tensor) -> Gradients:
    """Norms at each depth of the gradient of `loss`, which was computed from ``trace.output``; no .grad is written."""
    if not trace.states[0].requires_grad:
        raise ValueError("the stack's input must require a gradient; call x.requires_grad_() before stack.trace(x)")
    parameters = [list(block.parameters()) for block in stack.blocks]
    wanted = [*trace.states, *(p for block in parameters for p in block)]
    found = iter(torch.autograd.grad(loss, wanted, materialize_grads=True))
    norms = [next(found).norm().item() for _ in trace.states]
    return Gradients(norms, [nn.utils.get_total_norm([next(found) for _ in block]).item() for block in parameters])


@torch.no_grad()
def updates(before: Trace, after: Trace) -> list[float]:
    r"""$\|x'_l - x_l\|/\|x_l\|$ for l = 0 … L: how far one step of an optimiser has moved the signal at each depth.

    Both traces are those of the same batch, before and after the step.
    """
    return [relative_size(y - x, x).item() for x, y in zip(before.states, after.states, strict=True)]


# ---------------------------------------------------------------------------------------------------------------
# the increment of the first step


class Increments(NamedTuple):
    r"""$|\Delta L|/\eta$ to first order for one step of SGD, Adam and LAMB."""

    sgd: float
    adam: float
    lamb: float


def increments(loss: Tensor, parameters: Iterable[Tensor]) -> Increments:
    r"""$\|g\|^2$, $\|g\|_1$ and $\sum_W \mathrm{rms}(W)\,\|g_W\|_1$: what the first step takes off the loss, per rate.

    With $\Delta\theta = -\eta g$ (SGD), $-\eta\,\mathrm{sign}(g)$ (Adam's first step, without $\epsilon$) and
    $-\eta\,\mathrm{rms}(W)\,\mathrm{sign}(g_W)$ matrix by matrix (LAMB's).
    """
    parameters = list(parameters)
    pairs = list(zip(parameters, torch.autograd.grad(loss, parameters), strict=True))
    return Increments(
        sum(g.square().sum().item() for _, g in pairs),
        sum(g.abs().sum().item() for _, g in pairs),
        sum((p.detach().square().mean().sqrt() * g.abs().sum()).item() for p, g in pairs),
    )


def probe_stack(layers: int, scales: Scales, d: int = 64, phi: Callable[[Tensor], Tensor] = relu) -> ResidualStack:
    r"""A post-norm stack of 2·`layers` feed-forward sub-layers at $\alpha$, He's initialisation times $\lambda$.

    Two matrices a sub-layer and no bias: the branch is $O(\lambda^2)$, as in :data:`minilib.depth.RULES`.
    """
    sublayers = [FeedForward(d, d, phi, bias=False) for _ in range(2 * layers)]
    for sublayer in sublayers:
        for linear, scale in ((sublayer.W_1, 1.0), (sublayer.W_2, 2.0)):
            variance_scaling_(linear.weight.detach(), scale * scales.lam**2, distribution="normal")
    return ResidualStack(sublayers, d, "post", scales.alpha)
