"""What every drawing and every widget of the course promises.

The tests of an idea's drawings, e.g. tests/test_entropy_views.py, may say GIVEN (see `drawings.Arguments`), LOOKS (the
properties that tell lines apart), LEAST_NUMBERS (of a drawing), and MAY_BE_NONE (how the labels of those numbers of a
widget begin that need not exist).
"""

from __future__ import annotations

import importlib
import inspect
import math
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments, extremes, named_lines, rows_of

from minilib import views
from minilib.views import figure


class Drawing(NamedTuple):
    """A drawing, made-up arguments, how its lines differ, and how many numbers it shows at least."""

    draw: object
    arguments: Arguments
    looks: tuple[str, ...]
    numbers: int


DRAWINGS, WIDGETS = [], []
for path in sorted(Path(views.__file__).parent.glob("*_views.py")):
    module, own = importlib.import_module(f"minilib.{path.stem}"), importlib.import_module(f"test_{path.stem}")
    looks = getattr(own, "LOOKS", ("linestyle", "marker", "linewidth"))
    for name, f in vars(module).items():
        label = f"{path.stem.removesuffix('_views')}-{name}"
        if name.startswith("draw_"):
            one = Drawing(f, Arguments(getattr(own, "GIVEN", {})), looks, getattr(own, "LEAST_NUMBERS", 2))
            DRAWINGS.append(pytest.param(one, id=label))
        elif name.startswith("explore_"):
            WIDGETS.append(pytest.param((f, getattr(own, "MAY_BE_NONE", ())), id=label))

each_drawing = pytest.mark.parametrize("one", DRAWINGS)
each_widget = pytest.mark.parametrize("widget", WIDGETS)


@pytest.fixture(scope="module", params=DRAWINGS)
def drawn(request):
    """A drawing, drawn once for all that look at its panels."""
    return request.param, request.param.arguments.panels(request.param.draw)


# ---------------------------------------------------------------------------------------------------------------
# drawings


@each_drawing
def test_a_drawing_runs_at_its_defaults_and_shows_finite_numbers(one):
    needed = [n for n, p in list(inspect.signature(one.draw).parameters.items())[1:] if p.default is p.empty]
    given = {n: one.arguments.given[one.draw.__name__][n] for n in needed}
    numbers = figure(one.draw, alt="a drawing", **given).numbers
    assert len(numbers) >= one.numbers
    for label, value in numbers.items():
        assert math.isfinite(value), label


@each_drawing
def test_a_drawing_is_the_same_every_time(one):
    assert one.arguments.picture(one.draw).svg == one.arguments.picture(one.draw).svg


def test_every_panel_labels_both_axes(drawn):
    for axes in drawn[1]:
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_every_panel_sets_its_limits_itself(drawn):
    """Else the limits follow the data, two settings cannot be compared, and a widget draws its decor each time."""
    for axes in drawn[1]:
        assert not axes.get_autoscalex_on(), axes.get_xlabel()
        assert not axes.get_autoscaley_on(), axes.get_ylabel()


def test_lines_can_be_told_apart_without_their_colours(drawn):
    for axes in drawn[1]:
        lines = named_lines(axes)
        looks = {tuple(getattr(line, f"get_{look}")() for look in drawn[0].looks) for line in lines}
        assert len(looks) == len(lines), [line.get_label() for line in lines]


def test_a_panel_of_several_lines_names_each_in_its_legend(drawn):
    for axes in drawn[1]:
        names = {line.get_label() for line in named_lines(axes)}
        if len(named_lines(axes)) > 1:
            assert {text.get_text() for text in axes.get_legend().texts} >= names


def test_no_grid_lies_over_an_image(drawn):
    """The widget keeps the grid in a bitmap below its data, and would draw an image over it."""
    for axes in drawn[1]:
        if axes.images:
            assert not any(line.get_visible() for line in (*axes.get_xgridlines(), *axes.get_ygridlines()))


# ---------------------------------------------------------------------------------------------------------------
# widgets


@pytest.fixture(scope="module", params=WIDGETS)
def made(request):
    make, may_be_none = request.param
    return make(), may_be_none


def test_every_knob_of_the_drawing_is_a_control_that_a_reader_can_name(made):
    explorer, _ = made
    assert list(explorer.controls) == list(inspect.signature(explorer.draw).parameters)[1:]
    named = [control.description for control in explorer.controls.values()]
    assert len(set(named)) == len(named)
    assert explorer.alt.endswith(".")


def test_the_defaults_and_all_presets_are_steps_of_their_sliders(made):
    """A browser moves other values to the next step, sooner or later, and then the numbers are those of another."""
    explorer, _ = made
    for values in [explorer.defaults, *(explorer.defaults | preset for preset in explorer.presets.values())]:
        for name, control in explorer.controls.items():
            if hasattr(control, "min"):
                place = math.log(values[name], control.base) if hasattr(control, "base") else values[name]
                steps = (place - control.min) / control.step
                assert steps == pytest.approx(round(steps), abs=1e-6) or place == control.max, (name, values[name])


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_no_corner_of_the_controls_makes_the_drawing_fail(made, data):
    explorer, may_be_none = made
    corner = {name: data.draw(st.sampled_from(extremes(c)), name) for name, c in explorer.controls.items()}
    explorer.set(**corner)
    assert explorer.error is None
    numbers = {n: v for n, v in explorer.numbers.items() if not n.startswith(may_be_none)}
    assert all(math.isfinite(v) for v in numbers.values()), numbers


def test_the_read_out_says_the_same_as_the_figure_at_both_ends_of_all_controls(made):
    explorer, _ = made
    ends = [{name: extremes(c)[end] for name, c in explorer.controls.items()} for end in (0, -1)]
    for values in [explorer.defaults, *ends]:
        explorer.set(**values)
        text = figure(explorer.draw, alt=explorer.alt, **explorer.values)._repr_mimebundle_()[0]["text/plain"]
        assert [explorer.alt, *rows_of(explorer)] == text.splitlines()
        assert explorer.png == views._Canvas(explorer.draw).render(**explorer.values)[0]


@each_widget
def test_no_setting_of_a_widget_moves_its_axes(widget, monkeypatch):
    full, plain = [], views._Canvas._draw_decor
    monkeypatch.setattr(views._Canvas, "_draw_decor", lambda self: (full.append(1), plain(self)))
    explorer = widget[0]()
    for name, control in explorer.controls.items():
        for value in extremes(control):
            explorer.set(**explorer.defaults | {name: value})
    for name in explorer.presets:
        explorer.preset(name)
        assert explorer.error is None
    assert len(full) == 1
