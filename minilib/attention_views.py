"""Drawings of what attention costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .views import drawing


class Cost(NamedTuple):
    """Milliseconds and peak megabytes of one pass at each length."""

    lengths: Sequence[int]
    milliseconds: Sequence[float]
    megabytes: Sequence[float]


MARKS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))


@drawing(panels=(1, 2), size=(11, 4.4))
def draw_cost(axes: Any, costs: Mapping[str, Cost]) -> dict[str, float]:
    """Time and peak memory against the length on log axes, with the slope of the line fitted through the points."""
    times = {name: (cost.lengths, cost.milliseconds) for name, cost in costs.items()}
    memories = {name: (cost.lengths, cost.megabytes) for name, cost in costs.items()}
    numbers = {f"{name}: slope of time": slope for name, slope in _lines(axes[0], times).items()}
    numbers |= {f"{name}: slope of memory": slope for name, slope in _lines(axes[1], memories).items()}
    axes[0].set_ylabel("time of one pass (ms)")
    axes[1].set_ylabel("peak memory of one pass (MB)")
    return numbers


def _lines(axes: Any, curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> dict[str, float]:
    """Draw the points and a straight line through them; the slopes by name."""
    slopes = {}
    for k, (name, (lengths, values)) in enumerate(curves.items()):
        slope, height = np.polyfit(np.log(lengths), np.log(values), 1)
        style = {"color": f"C{k}", "marker": MARKS[k], "markersize": 5}
        axes.plot(lengths, values, linestyle="none", **style)
        axes.plot(lengths, np.exp(height) * np.power(lengths, slope), color=f"C{k}", linestyle=DASHES[k], linewidth=1)
        axes.plot([], [], linestyle=DASHES[k], linewidth=1, label=f"{name}: $n^{{{slope:.2f}}}$", **style)
        slopes[name] = float(slope)
    low, high = (pick(pick(values) for _, values in curves.values()) for pick in (min, max))
    # Room above for the legend.
    axes.set(xscale="log", yscale="log", xlim=(min(lengths) / 1.3, 1.3 * max(lengths)), ylim=(low / 1.5, 12 * high))
    axes.set_xticks(list(lengths), [str(n) for n in lengths])
    axes.minorticks_off()
    axes.set_xlabel("number of tokens n")
    axes.legend(fontsize=8, loc="upper left")
    return slopes
