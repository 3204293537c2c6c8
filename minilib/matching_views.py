"""Drawings of the six matching tasks: how decision lines part, what a blind model can do, what telling the task costs.

Ways are drawn in the order in which they are given, and always with the look of their name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import matching as tasks
from .bert import BERT_SIZES
from .matching_numpy import SCORES, WAYS, kinds_of, scores, trained
from .views import drawing, explore

LOOKS = {
    "none": ("0.3", "-", "o"),
    "token": ("C4", (0, (1, 1)), "P"),
    "heads": ("C1", "--", "s"),
    "table": ("C6", (0, (5, 1)), "X"),
    "beta": ("C2", "-.", "^"),
    "gamma": ("C3", ":", "v"),
    "full": ("C0", "-", "D"),
    "models": ("C5", (0, (3, 1, 1, 1)), "*"),
}
"""Colour, line and marker of each way to tell the task."""

STEPS = 100
"""Steps of a training in the widget."""

# ---------------------------------------------------------------------------------------------------------------
# one score, two strictnesses


@drawing(panels=(1, 3), size=(12, 4))
def draw_lines(
    axes: Any,
    way: str = "full",
    loose: float = 0.3,
    strict: float = 0.7,
    turned: bool = False,
    k: int = 8,
    step: int = STEPS,
) -> dict[str, float]:
    r"""Two tasks on one score: what each answers after `step` steps, the accuracy until then, and who has a gradient.

    Task A says yes above `loose`, task B above `strict`, or below it if `turned`. Grey: where they contradict.
    """
    story = trained((loose, strict), way, k, turned, STEPS)
    kinds = kinds_of(story.labels)
    _answers(axes[0], story, (loose, strict), step)
    best, at = tasks.best_blind_accuracy(kinds), np.arange(STEPS + 1)
    axes[1].axhline(best, color="0.4", linewidth=1)
    axes[1].plot(at, story.accuracy, color="C0")
    axes[1].plot([step], [story.accuracy[step]], color="C0", marker="o")
    axes[1].set(xlim=(-5, STEPS + 5), ylim=(0, 1.05), xlabel="step", ylabel="accuracy; grey: best without the task")
    for values, name, look in (
        (story.matrices, "both W", ("C0", "-", "o")),
        (story.conditions, "c", ("C1", "--", "s")),
    ):
        axes[2].plot(at, values, color=look[0], linestyle=look[1], label=name)
        axes[2].plot([step], [values[step]], color=look[0], marker=look[2])
    axes[2].set(xlim=(-5, STEPS + 5), ylim=(0, 0.3), xlabel="step", ylabel="norm of the gradient")
    axes[2].legend(loc="upper right")
    first, second = story.accuracies(step)
    crossing = story.crossings(step)
    return {
        "accuracy of A": first,
        "accuracy of B": second,
        "accuracy of both": story.accuracy[step],
        "best without the task": best,
        "loss": story.loss[step],
        "least loss without the task": tasks.best_blind_loss(kinds),
        "A changes its answer at": crossing[0],
        "B changes its answer at": crossing[1],
        "gradient of both W": story.matrices[step],
        "gradient of c": story.conditions[step],
        "numbers that tell the task": story.parameters,
    }


def _answers(axes: Any, story: Any, thresholds: tuple[float, float], step: int) -> None:
    """Probability of yes against the score, for both tasks."""
    contradict = story.labels[0] != story.labels[1]
    ends = np.flatnonzero(np.diff(contradict, prepend=False, append=False)) / SCORES
    for left, right in ends.reshape(-1, 2):
        axes.axvspan(left, right, color="0.9", linewidth=0)
    for name, p, threshold, look in zip("AB", story.p[step], thresholds, (("C0", "-"), ("C1", "--")), strict=True):
        axes.plot(scores(), p, color=look[0], linestyle=look[1], label=f"task {name}")
        axes.axvline(threshold, color=look[0], linewidth=0.8, linestyle=look[1])
    axes.set(xlim=(0, 1), ylim=(-0.05, 1.05), xlabel="score s of a pair", ylabel="probability of yes")
    axes.legend(loc="upper left")


def explore_lines() -> Any:
    """The widget of the chapter: two strictnesses on one score, and the ways to tell them apart."""
    return explore(
        draw_lines,
        alt="Left: what the two tasks answer at each score, grey where they contradict. Middle: accuracy until this "
        "step, and the best of a model that knows no task. Right: gradients of the two matrices and of the condition.",
        labels={
            "way": "way to tell the task",
            "loose": "threshold of A",
            "strict": "threshold of B",
            "turned": "B says yes below",
            "k": "features k of c",
            "step": "step",
        },
        presets={
            "the first step": {"step": 0},
            "one step later": {"step": 1},
            "no task": {"way": "none"},
            "a wide band": {"loose": 0.1, "strict": 0.9, "way": "none"},
            "shift only": {"way": "beta"},
            "shift only, B reversed": {"way": "beta", "turned": True},
            "scale only, B reversed": {"way": "gamma", "turned": True},
        },
        way=list(WAYS),
        loose=(0.05, 0.95, 0.05),
        strict=(0.05, 0.95, 0.05),
        turned=bool,
        k=(1, 32),
        step=(0, STEPS),
    )


@drawing(panels=(1, 2), size=(11, 4.5))
def draw_blind(axes: Any, seeds: int = 3) -> dict[str, float]:
    r"""Accuracy and loss against the width of the contested band: laws of what is blind to the task, and trainings.

    Lines are laws, points are means over seeds. Right: the loss, and how small it can be, $\delta \ln 2$.
    """
    left, right = axes
    widths, numbers = np.linspace(0, 0.8, 9), {}
    ends, pairs = np.array([0.0, 0.9]), [(round(0.5 - w / 2, 2), round(0.5 + w / 2, 2)) for w in widths]
    left.plot(ends, 1 - ends / 2, color="0.3", label="law: best, task unknown")
    left.plot(ends, 0.5 + ends / 2, color="0.3", linestyle="--", label="the same, B reversed")
    for (way, turned), (color, marker, name) in SERIES.items():
        runs = [[trained(pair, way, turned=turned, seed=s) for s in range(seeds)] for pair in pairs]
        means = [float(np.mean([run.accuracy[-1] for run in some])) for some in runs]
        left.plot(widths, means, color=color, marker=marker, linestyle="none", label=name)
        numbers |= {f"{name}: accuracy, width {w:.1f}": means[round(10 * w)] for w in (0.4, 0.8)}
        if not turned:
            losses = [float(np.mean([run.loss[-1] for run in some])) for some in runs]
            right.plot(widths, losses, color=color, marker=marker, linestyle="none", label=name)
            numbers |= {f"{name}: loss, width {w:.1f}": losses[round(10 * w)] for w in (0.4, 0.8)}
    right.plot(ends, ends * np.log(2), color="0.3", label="law: least, task unknown")
    left.set(xlim=(-0.03, 0.9), ylim=(0, 1.05), xlabel="width δ of the contested band", ylabel="accuracy")
    right.set(xlim=(-0.03, 0.9), ylim=(-0.02, 0.7), xlabel="width δ of the contested band", ylabel="loss (nats)")
    left.legend(loc="lower left", ncols=1, fontsize=9)
    right.legend(loc="upper left")
    return numbers


SERIES = {
    ("none", False): ("0.3", "o", "task unknown"),
    ("full", False): ("C0", "D", "condition of both"),
    ("beta", True): ("C2", "^", "condition of the shift, B reversed"),
    ("gamma", True): ("C3", "v", "condition of the scale, B reversed"),
}
"""Ways in :func:`draw_blind`, and whether B is reversed: colour, marker and name."""

# ---------------------------------------------------------------------------------------------------------------
# what it costs


@drawing(size=(7.5, 4.5))
def draw_costs(axes: Any, encoder: str = "BERT base, uncased", k: int = 128) -> dict[str, float]:
    """Parameters that each way adds to an encoder with one head, against the number of tasks."""
    sizes, numbers = BERT_SIZES[encoder], np.unique(np.geomspace(2, 1024, 41).round().astype(int))
    costs = [tasks.task_parameters(sizes, int(T), k) for T in numbers]
    for name in ("models", "full", "table", "heads", "token"):
        color, line, marker = LOOKS[name]
        look = {"color": color, "linestyle": line, "marker": marker, "markevery": 8}
        axes.plot(numbers, [cost[name] for cost in costs], label=COSTS[name], **look)
    axes.set(xscale="log", yscale="log", xlim=(2, 1024), ylim=(5e2, 2e11), xlabel="tasks T")
    axes.set_ylabel("parameters added")
    axes.set_xticks([2, 6, 32, 128, 1024], ["2", "6", "32", "128", "1024"])
    axes.minorticks_off()
    axes.legend(loc="upper left", ncols=2)
    six = tasks.task_parameters(sizes, 6, k)
    more = (cost["table"] > cost["full"] for cost in (tasks.task_parameters(sizes, T, k) for T in range(1, 10 * k)))
    crossing = 1 + list(more).index(True)
    return {f"{COSTS[name]}, six tasks": six[name] for name in COSTS} | {"a table costs more from T =": crossing}


COSTS = {
    "models": "a model for each",
    "full": "conditional LayerNorm",
    "table": "a table of offsets",
    "heads": "a head for each",
    "token": "a token for each",
}

# ---------------------------------------------------------------------------------------------------------------
# what it brings


@drawing(size=(9, 4.5))
def draw_scores(axes: Any, scores: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """F1 of the contest for each way, a point for each seed and a bar at their mean, in groups of runs.

    ``scores[group][way]`` are those of the seeds.
    """
    numbers, ways = {}, list(dict.fromkeys(way for group in scores.values() for way in group))
    width = 0.8 / len(scores)
    for g, (group, found) in enumerate(scores.items()):
        offset = (g + 0.5) * width - 0.4
        for way, values in found.items():
            at, mean = ways.index(way) + offset, float(np.mean(values))
            axes.plot([at - 0.4 * width, at + 0.4 * width], [mean, mean], color=f"C{g}", linewidth=2.5)
            numbers[f"{group}: {way}"] = mean
        points = [(ways.index(way) + offset, value) for way, values in found.items() for value in values]
        marker = "os^D"[g]
        axes.plot(*zip(*points, strict=True), color=f"C{g}", marker=marker, markersize=5, linestyle="none", label=group)
    axes.set(xlim=(-0.6, len(ways) - 0.4), ylim=(0.58, 0.9), ylabel="F1 of the contest", xlabel="way to tell the task")
    axes.set_xticks(range(len(ways)), [way.replace(" ", "\n") for way in ways])
    axes.legend(loc="lower left")
    return numbers


@drawing(size=(8, 4.2))
def draw_differences(axes: Any, intervals: Mapping[str, tuple[float, float, float]]) -> dict[str, float]:
    """Differences of F1 between two ways that answered the same pairs: low end, mean and high end of each interval."""
    names = list(intervals)
    for row, name in enumerate(names):
        low, mean, high = intervals[name]
        color = "C0" if low > 0 or high < 0 else "0.5"
        axes.plot([low, high], [row, row], color=color, linewidth=2)
        axes.plot([mean], [row], color=color, marker="o" if color == "C0" else "s")
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set(xlim=(-0.04, 0.1), ylim=(len(names) - 0.5, -0.5), xlabel="difference of F1", ylabel="")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylabel("first way less second way")
    axes.grid(axis="y", visible=False)
    return {name: intervals[name][1] for name in names}
