r"""At which gain does a tanh network without input become chaotic, and how fast does it explode then?

The network $h_t = \tanh(g\,U h_{t-1})$ with Gaussian U of variance 1/d is left to itself, and the growth rate of a
small perturbation is measured. A chaotic trajectory differs from machine to machine in its last digits and therefore,
after a while, in all of them; so the averages are measured once and stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from minilib.recurrence_numpy import top_lyapunov_exponent

GAINS = tuple(g / 8 for g in range(2, 25))


@dataclass(frozen=True)
class Config:
    """One matrix of width d, scaled to all the gains in turn; `warm_up` steps are not counted."""

    width: int
    seed: int
    steps: int = 2000
    warm_up: int = 500


def grid(quick: bool) -> list[Config]:
    """Two widths, five seeds; or one tiny network."""
    if quick:
        return [Config(width=3, seed=0, steps=7, warm_up=2)]
    return [Config(*what) for what in product((16, 300), range(5))]


def run(config: Config) -> dict[str, list[float]]:
    """Return the top Lyapunov exponent for each of the gains, in nats a step."""
    rates = top_lyapunov_exponent(GAINS, config.width, steps=config.steps, warm_up=config.warm_up, seed=config.seed)
    return {"gains": list(GAINS), "rates": [round(float(rate), 5) for rate in rates]}
