r"""How does the first step's change of the loss grow with depth, for each optimiser and each rule of scales?

A post-norm stack of N layers, two feed-forward sub-layers each, at its initialisation and on random data. To first
order a step of rate $\eta$ changes the loss by $\eta\|g\|^2$ (SGD), $\eta\|g\|_1$ (Adam's first step, the signs of the
gradient) or $\eta\sum_W \mathrm{rms}(W)\|g_W\|_1$ (LAMB's). The theory of Su 8994 predicts a power of N for each pair
of an optimiser and a rule; the slopes of the logarithms over five depths are the measured exponents.

Relu with He's initialisation passes the mean square on both forwards and backwards. Tanh with the same weights does
not: a branch returns 0.79 of a signal's mean square and 0.93 of a gradient's, which plain stacks compound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from minilib.arrays import relu
from minilib.depth import RULES, power_exponent
from minilib.depth_torch import Increments, increments, probe_stack

PHI: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "tanh": torch.tanh}


@dataclass(frozen=True)
class Config:
    """One rule, all depths: the layers, the width, and how many random vectors make the loss."""

    rule: str
    phi: str
    seed: int
    layers: tuple[int, ...] = (4, 8, 16, 32, 64)
    d: int = 64
    batch: int = 64


def grid(quick: bool) -> list[Config]:
    """Every rule with both activations and five seeds; or, quick, once each with two depths, narrow."""
    if quick:
        return [Config(rule, phi, 0, layers=(1, 2), d=8, batch=4) for rule, phi in product(RULES, PHI)]
    return [Config(rule, phi, seed) for phi, rule, seed in product(PHI, RULES, range(5))]


def run(config: Config) -> dict[str, list[float] | float]:
    """Return the increments of each optimiser at each depth, and the exponents of their power laws."""
    found = [measure(config, layers) for layers in config.layers]
    depths = torch.tensor(config.layers, dtype=torch.float64)
    result: dict[str, list[float] | float] = {}
    for optimizer, values in zip(Increments._fields, zip(*found, strict=True), strict=True):
        exponent = power_exponent(depths, torch.tensor(values, dtype=torch.float64)).item()
        result[optimizer] = [float(f"{value:.4g}") for value in values]
        result[f"{optimizer}_exponent"] = round(exponent, 3)
    return result


def measure(config: Config, layers: int) -> Increments:
    """The increments of a fresh stack, and half the squared distance to random targets as the loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        stack = probe_stack(layers, RULES[config.rule].at(layers), config.d, PHI[config.phi])
        x, target = torch.randn(2, config.batch, config.d)
    x = torch.nn.functional.layer_norm(x, (config.d,))
    loss = (stack(x) - target).square().sum(-1).mean() / 2
    return increments(loss, [p for block in stack.blocks for p in block.sublayer.parameters()])
