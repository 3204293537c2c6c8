"""What figures, widgets and listings promise."""

from __future__ import annotations

import io
import subprocess
import sys
import time

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from minilib import views  # noqa: E402
from minilib.views import drawing, explore, figure, latency, show  # noqa: E402

X = np.linspace(0, 1, 101)


@drawing(size=(5, 3))
def wave(axes, frequency=2.0, power=1, shape="sin", filled=False):
    """A drawing with a control of each kind."""
    y = getattr(np, shape)(2 * np.pi * frequency * X) ** power
    axes.plot(X, y, label=shape)
    if filled:
        axes.fill_between(X, y)
    axes.set(xlim=(0, 1), ylim=(-1.2, 1.2), xlabel="time", ylabel="height")
    return {"mean square": float((y**2).mean()), "shape": shape}


RANGES = {"frequency": (0.5, 5.0), "power": (1, 3), "shape": ["sin", "cos"], "filled": bool}


def widget(draw=wave, **more):
    return explore(draw, alt="a wave", **(RANGES if draw is wave else {}) | more)


# ---------------------------------------------------------------------------------------------------------------
# figures


def test_a_figure_is_the_same_in_every_process():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_views import wave; from minilib.views import figure; "
        "sys.stdout.buffer.write(figure(wave, alt='a & b').svg.encode())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 5_000


def test_a_figure_carries_its_description_and_its_numbers(tmp_path):
    picture = figure(wave, alt="a wave of height < 1", frequency=3.0)
    data, metadata = picture._repr_mimebundle_()
    assert 'role="img" aria-label="a wave of height &lt; 1"' in data["image/svg+xml"]
    assert metadata["image/svg+xml"]["alt"] == "a wave of height < 1"
    assert data["text/plain"] == "a wave of height < 1\n  mean square: 0.495\n  shape: sin"
    picture.save(tmp_path / "wave.svg")
    assert (tmp_path / "wave.svg").read_text(encoding="utf-8") == picture.svg


def test_a_figure_is_opaque_and_carries_no_date():
    svg = figure(wave, alt="a wave").svg
    assert "fill: #ffffff" in svg
    assert "date" not in svg


def test_the_style_leaves_no_trace_in_the_global_settings():
    before = dict(matplotlib.rcParams)
    figure(wave, alt="a wave")
    widget().set(frequency=3.0)
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_drawing_without_a_layout_is_told_how_to_get_one():
    with pytest.raises(ValueError, match="decorate it with @drawing"):
        figure(lambda axes: {}, alt="nothing")


def test_several_panels_arrive_row_by_row():
    @drawing(panels=(2, 3))
    def grid(axes):
        return {"panels": len(axes)}

    assert figure(grid, alt="six").numbers == {"panels": 6}


# ---------------------------------------------------------------------------------------------------------------
# listings


def test_a_listing_is_the_source_under_its_full_name():
    data = show(views.drawing)._repr_mimebundle_()
    assert data["text/plain"].startswith("# minilib.views.drawing\ndef drawing(")
    assert "<code>minilib.views.drawing</code>" in data["text/html"]
    with pytest.raises(ValueError, match="written in Python"):
        show(len)


# ---------------------------------------------------------------------------------------------------------------
# widgets


def test_each_control_is_labelled_and_starts_at_the_default():
    e = widget()
    assert {n: c.description for n, c in e.controls.items()} == {n: n for n in RANGES}
    assert e.values == {"frequency": 2.0, "power": 1, "shape": "sin", "filled": False}
    assert (
        explore(wave, alt="a", labels={"power": "exponent p"}, power=(1, 3)).controls["power"].description
        == "exponent p"
    )


@pytest.mark.parametrize("change", [{"frequency": 4.0}, {"power": 3}, {"shape": "cos"}, {"filled": True}])
def test_a_control_changes_the_picture_and_the_numbers_to_what_the_drawing_says(change):
    e = widget()
    before = e.png
    for name, value in change.items():
        e.controls[name].value = value
    assert e.png != before
    assert e.numbers == figure(wave, alt="a wave", **change).numbers
    assert f"{e.numbers['mean square']:.3g}" in e._read_out.value


def test_a_logarithmic_slider_of_whole_numbers_gives_whole_numbers():
    @drawing()
    def count(axes, n=10):
        return {"n": n}

    e = explore(count, alt="n", n=(1, 1000, "log"))
    e.controls["n"].value = 99.7
    assert e.numbers == {"n": 100}


def test_presets_and_reset_set_all_controls_and_draw_once():
    drawn = []

    @drawing()
    def counted(axes, a=1.0, b=2):
        drawn.append((a, b))
        return {}

    e = explore(counted, alt="c", presets={"both": {"a": 3.0, "b": 5}}, a=(0.0, 9.0), b=(0, 9))
    drawn.clear()
    e.preset("both")
    e.set(**e.defaults)
    assert drawn == [(3.0, 5), (1.0, 2)]


def test_a_failing_drawing_shows_its_message_in_place_of_the_picture_and_recovers():
    @drawing()
    def fragile(axes, n=1):
        if n == 3:
            raise ZeroDivisionError("n must <not> be 3")
        axes.plot([0, n], [0, 1])
        return {"n": n}

    e = explore(fragile, alt="f", n=(1, 5))
    e.controls["n"].value = 3
    assert isinstance(e.error, ZeroDivisionError)
    assert "ZeroDivisionError: n must &lt;not&gt; be 3" in e._message.value
    assert (e.png, e.numbers, e._read_out.value, e._image.layout.display) == (b"", {}, "", "none")
    e.controls["n"].value = 4
    assert (e.error, e._message.value, e._image.layout.display) == (None, "", None)
    assert e.numbers == {"n": 4}
    assert e.png == fresh(fragile, n=4)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"speed": (0, 1)}, "no parameter 'speed'; it has frequency"),
        ({"frequency": (3.0, 5.0)}, r"default 2.0 lies outside the range 3.0 … 5.0"),
        ({"shape": ["cos", "tan"]}, "default 'sin' is not among"),
        ({"power": 3}, "a range is"),
    ],
)
def test_a_range_that_does_not_fit_is_refused(ranges, message):
    with pytest.raises(ValueError, match=message):
        explore(wave, alt="a wave", **ranges)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no control named speed; there are frequency"):
        widget().set(speed=1)
    with pytest.raises(ValueError, match="no control named speed"):
        widget(presets={"fast": {"speed": 2}})


def test_a_drawing_without_defaults_cannot_become_a_widget():
    @drawing()
    def needy(axes, n):
        return {}

    with pytest.raises(ValueError, match="'n' of needy needs a default"):
        explore(needy, alt="n", n=(1, 2))


def test_without_a_kernel_there_is_still_the_first_picture_and_its_numbers():
    data, metadata = widget()._repr_mimebundle_()
    assert data["image/svg+xml"] == figure(wave, alt="a wave").svg
    assert data["text/plain"] == "a wave\n  mean square: 0.495\n  shape: sin"
    assert metadata["image/svg+xml"]["alt"] == "a wave"
    assert "application/vnd.jupyter.widget-view+json" in data


# ---------------------------------------------------------------------------------------------------------------
# the cached background


def fresh(draw, **parameters):
    return views._Canvas(draw).render(**parameters)[0]


def everything(axes, kind="line", level=1.0):
    """One kind of artist after the other over the same axes."""
    if kind == "line":
        axes.plot(X, level * X, label="line")
        axes.axhline(0.5, color="0.6")
        axes.legend(loc="upper left")
    elif kind == "bars":
        axes.bar([0.2, 0.5, 0.8], [level, 0.5, 0.2], width=0.2)
        axes.text(0.5, 0.7, f"{level:.1f}")
    elif kind == "image":
        axes.imshow(level * np.outer(X, X), extent=(0, 1, 0, 1), vmin=0, vmax=2, aspect="auto")
    elif kind == "mesh":
        axes.pcolormesh(X[::10], X[::20], level * np.outer(X[::20], X[::10])[:-1, :-1], vmin=0, vmax=2)
    elif kind == "scatter":
        axes.scatter(X, np.abs(np.sin(9 * level * X)), s=9, clip_on=False)
        axes.fill_between(X, 0, level / 3 * X, alpha=0.5)
    elif kind == "log":
        axes.stairs(10 ** (-level * X[:-1]), X, baseline=1e-9, fill=True)
        axes.set_yscale("log")
        axes.set_ylim(1e-3, 2)
    axes.grid(kind not in ("image", "mesh"))
    axes.set(xlim=(0, 1), xlabel="x", title=kind)
    return {"level": level}


KINDS = ["line", "bars", "image", "mesh", "scatter", "log"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("panels", [(1, 1), (1, 2)])
def test_a_picture_over_the_cached_background_is_the_fresh_picture_bit_by_bit(kind, panels):
    @drawing(panels=panels)
    def draw(axes, level=1.0):
        for one in axes if isinstance(axes, tuple) else (axes,):
            everything(one, kind, level)
        return {}

    canvas = views._Canvas(draw)
    canvas.render(level=0.4)
    for level in (0.5, 1.7, 0.6):
        assert canvas.render(level=level)[0] == fresh(draw, level=level)


def test_a_picture_is_what_matplotlib_itself_would_draw():
    for kind in KINDS:

        @drawing()
        def draw(axes, level=1.0, kind=kind):
            return everything(axes, kind, level)

        canvas = views._Canvas(draw)
        ours = canvas.render(level=1.3)[0]
        canvas.figure.canvas.draw()
        assert views._png(canvas.figure.canvas.buffer_rgba()) == ours, kind


def plain(draw, **parameters):
    """The picture on matplotlib's own axes."""
    with matplotlib.rc_context(dict(views.STYLE)):
        made, axes = views._blank(draw)
        made.set_dpi(views.DPI)
        draw(axes, **parameters)
        made.canvas.draw()
        return views._png(made.canvas.buffer_rgba())


@drawing(panels=(1, 2), size=(7, 3.3))
def labelled(axes, n=3, level=1.0, look=False):
    """Ticks at places, with words, with a look of their own, small ones and none; a spine set off; no grid."""
    left, right = axes
    words = {"rotation": 30, "fontsize": 8} if look else {}
    left.plot(X, level * X)
    left.set_xticks(np.arange(n) / n, [f"{k} of {n}" for k in range(n)], **words)
    left.set(xlim=(0, 1), ylim=(1e-3, 2), yscale="log", ylabel="height")
    left.spines["left"].set_position(("outward", 4))
    right.bar(range(n), [level] * n)
    right.set(xlim=(-1, 9), ylim=(0, 3), yticks=[0, 0.5, 3])
    right.set_xticks([0.5, 1.5], minor=True)
    right.tick_params(axis="y", length=0, labelcolor="C1")
    right.grid(False)
    right.set_title("bars")
    return {"n": n}


def test_quick_axes_look_like_all_others():
    canvas = views._Canvas(labelled)
    for parameters in ({}, {"n": 5}, {"look": True}, {"n": 5, "look": True}, {}):
        assert canvas.render(**parameters)[0] == plain(labelled, **parameters), parameters
    for kind in KINDS:

        @drawing()
        def draw(axes, level=1.0, kind=kind):
            return everything(axes, kind, level)

        assert fresh(draw, level=1.3) == plain(draw, level=1.3), kind


def test_words_of_ticks_that_follow_a_control_are_drawn_anew():
    canvas = views._Canvas(named := drawing()(lambda axes, word="one": axes.set_xticks([0, 1], ["none", word]) or {}))
    for word in ("one", "two"):
        assert canvas.render(word=word)[0] == fresh(named, word=word) == plain(named, word=word)


def test_a_redrawing_makes_no_tick(monkeypatch):
    """They are dear: with them a redrawing takes twice as long."""
    made = []
    for kind in (matplotlib.axis.XTick, matplotlib.axis.YTick):
        start = kind.__init__
        monkeypatch.setattr(kind, "__init__", lambda *a, start=start, **k: (made.append(1), start(*a, **k))[1])
    canvas = views._Canvas(labelled)
    canvas.render(level=0.5)
    assert made
    made.clear()
    canvas.render(level=0.7)
    assert len(made) == 2  # of the minor ticks, which are given at once


LEGENDS = {
    "in a corner": {"loc": "upper right"},
    "best": {},
    "in columns": {"loc": "lower center", "ncols": 2, "fontsize": 8},
    "framed": {"loc": "center left", "frameon": True},
    "titled": {"loc": "center", "title": "curves"},
    "outside": {"loc": "upper left", "bbox_to_anchor": (0.5, 0.9)},
}


@pytest.mark.parametrize("options", LEGENDS.values(), ids=LEGENDS)
def test_a_legend_over_moving_data_is_drawn_as_if_for_the_first_time(options):
    @drawing(size=(5, 3.1))
    def draw(axes, level=1.0, name="wave", color="C0"):
        axes.plot(X, 0.5 + 0.5 * np.sin(9 * level * X), color="C3", linewidth=6, label=f"{name} $x^2$")
        axes.fill_between(X, 0, level * X, alpha=0.5, label="area")
        axes.plot(X, X, linestyle="--", color=color, label="two\nlines" if name == "long" else "line")
        axes.legend(**options, labelcolor="linecolor" if color == "C1" else None)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        return {}

    canvas = views._Canvas(draw)
    settings = [{"level": level} for level in (1.0, 1.2, 0.3, 0.3, 1.2)]
    settings += [{"name": "other"}, {"color": "C1"}, {"name": "long"}, {"name": "long", "level": 0.8}, {}]
    for parameters in settings:
        assert canvas.render(**parameters)[0] == plain(draw, **parameters), parameters


def test_words_over_unchanged_pixels_are_not_drawn_again(monkeypatch):
    drawn, draw = [], matplotlib.text.Text.draw
    canvas = views._Canvas(wave_with_legend := drawing()(lambda axes, y=0.1: below(axes, y)))
    for y in (0.1, 0.2):
        canvas.render(y=y)
    monkeypatch.setattr(matplotlib.text.Text, "draw", lambda self, *a, **k: (drawn.append(1), draw(self, *a, **k)))
    canvas.render(y=0.3)
    assert not drawn
    assert canvas.render(y=0.9)[0] == plain(wave_with_legend, y=0.9)
    assert drawn


def below(axes, y):
    axes.plot(X, np.full(len(X), y), label="level")
    axes.legend(loc="upper right")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return {}


def test_the_picture_of_a_widget_holds_the_very_pixels():
    from PIL import Image

    canvas = views._Canvas(wave)
    shown = Image.open(io.BytesIO(canvas.render(frequency=3.0)[0]))
    shown.load()
    assert (shown.format, shown.size) == ("PNG", (480, 288))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(canvas.figure.canvas.buffer_rgba()))


def test_changing_decor_between_kinds_leaves_nothing_behind():
    @drawing()
    def draw(axes, kind="line", level=1.0):
        return everything(axes, kind, level)

    e = explore(draw, alt="e", kind=KINDS, level=(0.1, 2.0))
    for kind in [*KINDS, *reversed(KINDS)]:
        e.set(kind=kind, level=0.7)
        assert e.png == fresh(draw, kind=kind, level=0.7), kind


def test_axes_of_the_drawings_own_making_do_not_pile_up():
    @drawing()
    def barred(axes, level=1.0):
        axes.figure.colorbar(axes.imshow(level * np.outer(X, X)))
        return {}

    canvas = views._Canvas(barred)
    for level in (0.3, 0.9):
        png = canvas.render(level=level)[0]
        assert len(canvas.figure.axes) == 2
        assert png == fresh(barred, level=level)


def test_only_a_new_decor_costs_a_full_drawing(monkeypatch):
    full = []
    plain = views._Canvas._draw_decor
    monkeypatch.setattr(views._Canvas, "_draw_decor", lambda self: (full.append(1), plain(self)))
    e = widget()
    for frequency in (1.0, 2.5, 4.0):
        e.controls["frequency"].value = frequency
    assert len(full) == 1


def test_latency_drives_every_control_over_its_whole_range():
    seen = []

    @drawing()
    def record(axes, a=1.0, b=2, c="x"):
        seen.append((a, b, c))
        return {}

    times = latency(explore(record, alt="r", a=(0.0, 4.0), b=(0, 8), c=["x", "y"]), points=5)
    assert {0.0, 4.0} <= {a for a, _, _ in seen}
    assert {0, 8} <= {b for _, b, _ in seen}
    assert {"x", "y"} == {c for _, _, c in seen}
    assert len(times) == 5 + 5 + 2
    assert all(t >= 0 for t in times)


def test_latency_tries_no_value_that_a_reader_cannot_reach():
    @drawing()
    def record(axes, a=1.0, b=8, c=16):
        return {}

    e = explore(record, alt="r", a=(0.0, 1.0, 0.25), b=(8, 250, 8), c=(4, 64, "log"))
    values = {name: views._sweep(control, 6) for name, control in e.controls.items()}
    assert values["a"] == [0.0, 0.25, 0.5, 0.5, 0.75, 1.0]
    assert all(value % 8 == 0 for value in values["b"][:-1])
    assert (values["b"][0], values["b"][-1]) == (8, 248)
    assert (np.log2(values["c"]) * 16 % 1 == 0).all()


def test_drawing_data_alone_is_several_times_faster_than_drawing_all():
    canvas = views._Canvas(wave)

    def seconds(reset):
        times = []
        for k in range(9):
            canvas.decor = None if reset else canvas.decor
            start = time.process_time()
            canvas.render(frequency=1.0 + 0.1 * k)
            times.append(time.process_time() - start)
        return float(np.median(times))

    seconds(False)
    assert seconds(True) > 2 * seconds(False)
