"""What the drawings of six matching tasks promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments, rows_of

from minilib import matching_views as pictures
from minilib.bert import BERT_SIZES
from minilib.matching import best_blind_accuracy, best_blind_loss, task_parameters
from minilib.matching_numpy import kinds_of, labels_of, trained

GIVEN = {
    "draw_blind": {"seeds": 1},
    "draw_scores": {
        "scores": {
            "one": {"none": [0.7, 0.72], "heads": [0.8, 0.81], "full": [0.81, 0.82]},
            "two": {"none": [0.75], "full": [0.85]},
        }
    },
    "draw_differences": {"intervals": {"full less none": (0.05, 0.07, 0.09), "full less heads": (-0.01, 0.0, 0.01)}},
}
"""Arguments of the drawings that have no defaults, made up, and of the one that takes long."""

LOOKS, LEAST_NUMBERS = ("linestyle", "marker"), 2

MAY_BE_NONE = ("gradient of", "A changes", "B changes")
"""Not every way has a condition, and an answer may be the same at every score."""

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found.get_ydata()


# ---------------------------------------------------------------------------------------------------------------
# the numbers and the curves


@pytest.mark.parametrize("setting", [{}, {"way": "none", "step": 7}, {"way": "beta", "turned": True, "strict": 0.5}])
def test_the_lines_are_those_of_the_training_and_the_laws_those_of_the_formulas(setting):
    settings = {"way": "full", "loose": 0.3, "strict": 0.7, "turned": False, "k": 8, "step": 100} | setting
    way, loose, strict, turned, k, step = settings.values()
    story = trained((loose, strict), way, k, turned, 100)
    got = picture(pictures.draw_lines, **settings).numbers
    kinds = kinds_of(labels_of((loose, strict), turned))
    assert got["accuracy of both"] == story.accuracy[step]
    assert (got["accuracy of A"], got["accuracy of B"]) == tuple(story.accuracies(step))
    assert got["best without the task"] == best_blind_accuracy(kinds)
    assert got["least loss without the task"] == best_blind_loss(kinds)
    answers, accuracy, gradients = drawn(pictures.draw_lines, **settings)
    np.testing.assert_array_equal(line(answers, "task B"), story.p[step, 1])
    np.testing.assert_array_equal(accuracy.lines[1].get_ydata(), story.accuracy)
    np.testing.assert_array_equal(line(gradients, "c"), story.conditions)


def test_the_drawing_of_the_laws_shows_trainings_on_them():
    got = picture(pictures.draw_blind).numbers
    for width in (0.4, 0.8):
        assert got[f"task unknown: accuracy, width {width}"] == pytest.approx(1 - width / 2)
        assert got[f"task unknown: loss, width {width}"] > width * math.log(2)
        assert got[f"condition of both: accuracy, width {width}"] > 0.98
        assert got[f"condition of the scale, B reversed: accuracy, width {width}"] > 0.98
        assert got[f"condition of the shift, B reversed: accuracy, width {width}"] < 0.95


def test_the_drawing_of_costs_shows_the_counts():
    got, sizes = picture(pictures.draw_costs).numbers, BERT_SIZES["BERT base, uncased"]
    assert got["conditional LayerNorm, six tasks"] == 4_915_968
    assert got["a table of offsets, six tasks"] == 230_400
    crossing = int(got["a table costs more from T ="])
    for T, larger in ((crossing, True), (crossing - 1, False)):
        costs = task_parameters(sizes, T)
        assert (costs["table"] > costs["full"]) == larger


def test_the_drawing_of_scores_shows_means_and_every_seed():
    got = picture(pictures.draw_scores).numbers
    assert got == pytest.approx(
        {"one: none": 0.71, "one: heads": 0.805, "one: full": 0.815, "two: none": 0.75, "two: full": 0.85}
    )
    (axes,) = drawn(pictures.draw_scores)
    assert len(line(axes, "one")) == 6
    assert [text.get_text() for text in axes.get_xticklabels()] == ["none", "heads", "full"]


def test_the_drawing_of_differences_marks_those_that_are_not_zero():
    got = picture(pictures.draw_differences).numbers
    assert got == {"full less none": 0.07, "full less heads": 0.0}
    (axes,) = drawn(pictures.draw_differences)
    assert axes.lines[0].get_color() != axes.lines[2].get_color()


# ---------------------------------------------------------------------------------------------------------------
# the widget


def test_the_presets_show_what_the_chapter_says_of_them():
    explorer = pictures.explore_lines()

    def seen(preset, **more):
        explorer.preset(preset)
        explorer.set(**explorer.values | more)
        return dict(explorer.numbers)

    first, second = seen("the first step"), seen("one step later")
    assert first["gradient of c"] == 0 < first["gradient of both W"]
    assert second["gradient of c"] > 0.05
    assert seen("no task")["accuracy of both"] == pytest.approx(0.8)
    assert seen("a wide band")["accuracy of both"] == pytest.approx(0.6)
    assert seen("shift only")["accuracy of both"] > 0.99
    assert seen("shift only, B reversed")["accuracy of both"] == pytest.approx(0.7)
    assert seen("scale only, B reversed")["accuracy of both"] > 0.99
    assert seen("one step later", k=32)["gradient of c"] != second["gradient of c"]


def test_what_does_not_exist_is_said_to_be_none():
    explorer = pictures.explore_lines()
    explorer.preset("no task")
    assert "  gradient of c: none" in rows_of(explorer)
