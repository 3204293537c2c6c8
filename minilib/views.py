"""Figures, widgets and source listings: how the course shows things.

A drawing is a function ``draw(axes, **parameters)``: it adds artists to the axes, sets limits and labels, and returns
the numbers shown, label by label. :func:`figure` makes a picture of it for notebooks and slides, :func:`explore` a
widget with a control for each parameter. Both call the same function, so that they cannot disagree.
"""

from __future__ import annotations

import base64
import inspect
import io
import math
import struct
import time
import types
import zlib
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.offsetbox import PackerBase, TextArea
from matplotlib.transforms import Bbox

Numbers = Mapping[str, float | str]

DPI = 96
"""Dots per inch of a bitmap."""

# Okabe & Ito 2008: eight colours that the common forms of colour blindness keep apart; yellow is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

STYLE = types.MappingProxyType(
    {
        # Grid and ticks lie under the data; the widget's cached background relies on it.
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.labelsize": 11,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",
        "font.size": 10.5,
        "grid.color": "0.92",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "savefig.facecolor": "white",
        "svg.fonttype": "path",
        "svg.hashsalt": "open box",
    }
)
"""The house style. It is applied around each drawing and never left behind in matplotlib's global settings."""


def drawing(panels: tuple[int, int] = (1, 1), size: tuple[float, float] = (7, 4)) -> Callable[[Callable], Callable]:
    """Give a drawing its layout: rows and columns of panels, width and height in inches.

    With one panel the function receives the axes itself, with more a tuple of axes, row by row.
    """

    def attach(draw: Callable) -> Callable:
        draw.panels, draw.size = panels, size
        return draw

    return attach


def _blank(draw: Callable, kind: type[Axes] = Axes) -> tuple[Figure, Any]:
    if not hasattr(draw, "panels"):
        raise ValueError(
            f"{draw.__name__} has no layout; decorate it with @drawing(panels=(rows, columns), size=(w, h))"
        )
    made = Figure(figsize=draw.size, layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(*draw.panels, squeeze=False, subplot_kw={"axes_class": kind}).ravel()
    return made, axes[0] if len(axes) == 1 else tuple(axes)


def _text(value: float | str) -> str:
    """Three significant digits: what a reader compares, and what is stable between machines."""
    if isinstance(value, str):
        return value
    return "none" if math.isnan(value) else f"{value:.3g}"


def _as_lines(alt: str, numbers: Numbers) -> str:
    return "\n".join([alt, *(f"  {label}: {_text(value)}" for label, value in numbers.items())])


# ---------------------------------------------------------------------------------------------------------------
# figures


class Picture:
    """A finished drawing: an SVG that is the same on every run, with alternative text, and the numbers it shows.

    A notebook gets a PNG as well, since JupyterLab shows no SVG in a notebook that it does not trust yet.
    """

    def __init__(self, svg: str, png: bytes, alt: str, numbers: Numbers) -> None:
        self.svg, self.png, self.alt, self.numbers = svg, png, alt, dict(numbers)

    def save(self, path: str | Path) -> None:
        """Write the SVG, the very text that a notebook shows."""
        Path(path).write_text(self.svg, encoding="utf-8")

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        data = {"image/svg+xml": self.svg, "image/png": base64.b64encode(self.png).decode()}
        described = {kind: {"alt": self.alt} for kind in data}
        return data | {"text/plain": _as_lines(self.alt, self.numbers)}, described


def figure(draw: Callable[..., Numbers], *, alt: str, **parameters: Any) -> Picture:
    """Draw once, at the drawing's own defaults where `parameters` says nothing; `alt` says what is to be seen."""
    with matplotlib.rc_context(dict(STYLE)):
        made, axes = _blank(draw)
        numbers = draw(axes, **parameters)
        text = io.StringIO()
        made.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        made.set_dpi(DPI)
        made.canvas.draw()
    return Picture(_described(text.getvalue(), alt), _small_png(made.canvas.buffer_rgba()), alt, numbers)


def _described(svg: str, alt: str) -> str:
    """Put the description where screen readers look for it, and drop the prologue that HTML does not want."""
    start = svg.index("<svg")
    end = svg.index(">", start)
    label = f' role="img" aria-label="{escape(alt)}"><title>{escape(alt)}</title>'
    return svg[start:end] + label + svg[end + 1 :]


# ---------------------------------------------------------------------------------------------------------------
# source listings


class Listing:
    """Source text under its full name, coloured where the notebook can show colours."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        code = highlight(self.source, PythonLexer(), HtmlFormatter(noclasses=True, style="default"))
        html = f"<details open><summary><code>{escape(self.name)}</code></summary>{code}</details>"
        return {"text/html": html, "text/plain": f"# {self.name}\n{self.source}"}


def show(thing: Callable | type) -> Listing:
    """Show the source of a function or class as it stands in the library."""
    try:
        source = inspect.getsource(inspect.unwrap(thing))
    except (TypeError, OSError):
        raise ValueError(f"show needs a function or class written in Python, got {thing!r}") from None
    return Listing(f"{thing.__module__}.{thing.__qualname__}", source)


# ---------------------------------------------------------------------------------------------------------------
# widgets


class _NoneYet:
    """A list of ticks that starts empty."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, axis: Any, owner: type | None = None) -> Any:
        return self if axis is None else vars(axis).setdefault(self.name, [])


class _LateTicks:
    """An axis without ticks until its decor is drawn: matplotlib makes some at each clearing, half of a redrawing."""

    majorTicks, minorTicks = _NoneYet(), _NoneYet()
    placing = False

    def set_ticks(self, ticks: Any, labels: Any = None, *, minor: bool = False, **look: Any) -> Any:
        self.placing = not (minor or look)  # places and words alone are kept by the locator and the formatter
        try:
            return super().set_ticks(ticks, labels, minor=minor, **look)
        finally:
            self.placing = False

    def reset_ticks(self) -> None:
        """Leaves the clip path, of which only ticks make use."""
        for name in ("majorTicks", "minorTicks"):
            vars(self).pop(name, None)

    def get_major_ticks(self, numticks: int | None = None) -> list[Any]:
        return [] if self.placing else super().get_major_ticks(numticks)

    def _get_tick(self, major: bool) -> Any:
        tick = super()._get_tick(major)
        tick.set_clip_path(self.axes.patch)
        return tick


class _XAxis(_LateTicks, XAxis):
    pass


class _YAxis(_LateTicks, YAxis):
    pass


class _Panel(Axes):
    """Axes that look like all others and are cleared several times as fast."""

    def _init_axis(self) -> None:
        self.xaxis, self.yaxis = _XAxis(self, clear=False), _YAxis(self, clear=False)
        for name, axis in (("bottom", self.xaxis), ("top", self.xaxis), ("left", self.yaxis), ("right", self.yaxis)):
            self.spines[name].register_axis(axis)

    def clear(self) -> None:
        super().clear()
        for spine in self.spines.values():
            spine.get_position()  # sets it; done later, it would throw away the ticks made until then


class _Canvas:
    """Draws the same figure again and again, quickly.

    Nearly all the time of a full drawing goes into ticks, labels and layout. So these, the decor, are kept as a bitmap.
    As long as a new drawing asks for the same decor, only its data, the spines and the legend are drawn over it, and
    the words of a legend only where the data below them have changed. The result is the same to the last bit, as long
    as no data lies under the grid: images do, so switch the grid off there.
    """

    def __init__(self, draw: Callable[..., Numbers]) -> None:
        self.draw = draw
        with matplotlib.rc_context(dict(STYLE)):
            self._start()

    def _start(self) -> None:
        self.figure, self.axes = _blank(self.draw, _Panel)
        self.figure.set_dpi(DPI)
        self.decor: Any = None
        self.background: Any = None

    def render(self, **parameters: Any) -> tuple[bytes, dict[str, float | str]]:
        """Return the picture as PNG, and the numbers shown."""
        with matplotlib.rc_context(dict(STYLE)):
            panels = self._clean()
            numbers = self.draw(self.axes, **parameters)
            decor = self._describe_decor()
            if decor != self.decor or self.figure.axes != panels:
                self._draw_decor()
                self.decor = decor
            self._draw_data()
            return _png(self.figure.canvas.buffer_rgba()), dict(numbers)

    def _clean(self) -> list[Any]:
        panels = list(self.axes) if isinstance(self.axes, tuple) else [self.axes]
        if self.figure.axes != panels:  # a colour bar or the like was added, and nothing undoes its layout
            self._start()
            return self._clean()
        for axes in panels:
            axes.clear()
        return panels

    def _foreground(self) -> list[tuple[Any, Any]]:
        """What is drawn afresh each time, in the order in which matplotlib would draw it."""
        found = []
        for axes in self.figure.axes:
            still = {axes.patch, axes.title, axes._left_title, axes._right_title, axes.xaxis, axes.yaxis}
            moving = [a for a in axes.get_children() if a not in still and a.get_visible()]
            found += [(axes, a) for a in sorted(moving, key=lambda a: a.get_zorder())]
        return found

    def _describe_decor(self) -> list[Any]:
        def axis(a: Any) -> tuple:
            locator, formatter = a.get_major_locator(), a.get_major_formatter()
            places = tuple(getattr(locator, "locs", ()))
            fixed = places, tuple(formatter.format_ticks(places)) if places else ()
            return (
                a.get_view_interval().tolist(),
                a.get_scale(),
                a.label.get_text(),
                type(locator),
                fixed,
                a.get_visible(),
            )

        def panel(axes: Any) -> tuple:
            axes._unstale_viewLim()
            titles = axes.title, axes._left_title, axes._right_title
            frame = axes.get_aspect(), axes.axison, axes.get_facecolor(), axes.get_visible()
            return axis(axes.xaxis), axis(axes.yaxis), [t.get_text() for t in titles], frame

        return [panel(axes) for axes in self.figure.axes] + [t.get_text() for t in self.figure.texts]

    def _draw_decor(self) -> None:
        hidden = [artist for _, artist in self._foreground()]
        for artist in hidden:
            artist.set_visible(False)
        for axes in self.figure.axes:
            # The layout engine starts from where the axes are, and must not remember the last decor.
            if axes.get_subplotspec() is not None:
                axes._set_position(axes.get_subplotspec().get_position(self.figure))
        self.figure.canvas.draw()
        for artist in hidden:
            artist.set_visible(True)
        self.background = self.figure.canvas.copy_from_bbox(self.figure.bbox)
        self.legends: dict[Any, list[Any]] = {}

    def _draw_data(self) -> None:
        self.figure.canvas.restore_region(self.background)
        for axes in self.figure.axes:
            axes.apply_aspect()
        for axes, artist in self._foreground():
            if isinstance(artist, Legend):
                self._draw_legend(axes, artist)
            else:
                axes.draw_artist(artist)

    def _draw_legend(self, axes: Any, legend: Legend) -> None:
        """To find the places of a legend's parts takes longer than to draw them, and drawing is mostly its words."""
        box = legend.get_children()[0]
        shape = self.figure.axes.index(axes), legend._loc, legend.get_bbox_to_anchor().bounds, _shape(box)
        parts = _parts(box)
        if shape in self.legends:
            for part, (place, word) in zip(parts, self.legends[shape], strict=True):
                part.set_offset(place)
                word.draw(part) if word else part.draw(self.figure.canvas.get_renderer())
        else:
            axes.draw_artist(legend)
            one_line = not any("\n" in text.get_text() for text in legend.get_texts())
            if one_line and legend._loc != 0 and not legend.get_frame_on():  # the best place depends on the data
                canvas = self.figure.canvas
                words = (_Word(part, canvas) if isinstance(part, TextArea) else None for part in parts)
                if len(self.legends) > 50:  # their words follow a control
                    self.legends.clear()
                self.legends[shape] = [(part.get_offset(), word) for part, word in zip(parts, words, strict=True)]


class _Word:
    """Words that stay where they are: over the same pixels as before, they are the same pixels as before."""

    def __init__(self, part: TextArea, canvas: FigureCanvasAgg) -> None:
        reach = part.get_window_extent(canvas.get_renderer()).padded(4)  # for strokes that leave the box of their word
        self.canvas, self.box = canvas, Bbox.intersection(reach, canvas.figure.bbox) or canvas.figure.bbox
        self.below = self.drawn = None

    def draw(self, part: TextArea) -> None:
        below = bytes(memoryview(self.canvas.copy_from_bbox(self.box)))
        if below == self.below:
            self.canvas.restore_region(self.drawn)
        else:
            part.draw(self.canvas.get_renderer())
            self.below, self.drawn = below, self.canvas.copy_from_bbox(self.box)


def _parts(box: Any) -> list[Any]:
    """The words and samples of a legend."""
    if isinstance(box, PackerBase):
        return [part for child in box.get_visible_children() for part in _parts(child)]
    return [box]


def _shape(box: Any) -> tuple:
    """All that a legend's layout and its words depend on."""
    if isinstance(box, PackerBase):
        packed = type(box), box.pad, box.sep, box.width, box.height, box.mode, box.align, box.get_visible()
        return *packed, *(_shape(child) for child in box.get_children())
    if isinstance(box, TextArea):
        text = box.get_children()[0]
        return box.get_text(), text.get_fontproperties(), text.get_color(), text.get_alpha(), box.get_visible()
    return box.width, box.height, box.xdescent, box.ydescent, box.get_visible()


def _png(rgba: Any) -> bytes:
    """Compressed weakly, in half of Pillow's least time: from a widget to the browser it is not far."""
    height, width, _ = rgba.shape
    pixels = rgba.cast("B", (height * width * 4,))
    rows = b"".join(b"\0" + pixels[k : k + 4 * width] for k in range(0, len(pixels), 4 * width))  # 0: as they are
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")
    packed = (struct.pack(">I4s", len(c), name) + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _small_png(rgba: Any) -> bytes:
    """For what is stored."""
    from PIL import Image

    out = io.BytesIO()
    picture = Image.frombuffer("RGBA", (rgba.shape[1], rgba.shape[0]), rgba, "raw", "RGBA", 0, 1)
    picture.convert("RGB").save(out, format="png", compress_level=9)
    return out.getvalue()


class Explorer:
    """A widget: one control for each parameter of a drawing, presets, reset, the picture and its numbers as text."""

    def __init__(
        self,
        draw: Callable[..., Numbers],
        *,
        alt: str,
        ranges: Mapping[str, Any],
        presets: Mapping[str, Mapping[str, Any]],
        labels: Mapping[str, str],
    ) -> None:
        import ipywidgets

        self.draw, self.alt, self.defaults = draw, alt, _defaults(draw, ranges)
        self.presets = {name: self._checked(values) for name, values in presets.items()}
        self._default_picture = figure(draw, alt=alt, **self.defaults)
        self._canvas, self._held, self.error = _Canvas(draw), False, None
        self.controls = {
            name: _control(labels.get(name, name.replace("_", " ")), spec, self.defaults[name])
            for name, spec in ranges.items()
        }
        self._exact = {n: isinstance(spec, tuple) and isinstance(spec[0], int) for n, spec in ranges.items()}
        self._image, self._message = ipywidgets.Image(format="png"), ipywidgets.HTML()
        self._read_out = ipywidgets.HTML()
        self.widget = self._assemble(ipywidgets)
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        self._show(*self._canvas.render(**self.defaults))

    def _assemble(self, ipywidgets: Any) -> Any:
        buttons = [ipywidgets.Button(description="Reset", tooltip="Back to the first settings")]
        buttons[0].on_click(lambda _: self.set(**self.defaults))
        for name in self.presets:
            button = ipywidgets.Button(description=name, layout={"width": "auto"})
            button.on_click(lambda _, name=name: self.preset(name))
            buttons.append(button)
        wrap = {"flex_flow": "row wrap", "width": "100%"}
        parts = [
            ipywidgets.HBox(buttons, layout=wrap),
            ipywidgets.HBox(list(self.controls.values()), layout=wrap),
            self._image,
            self._message,
            self._read_out,
        ]
        return ipywidgets.VBox(parts).add_class("explorer")

    @property
    def values(self) -> dict[str, Any]:
        """The parameters as the controls stand."""
        return {n: round(c.value) if self._exact[n] else c.value for n, c in self.controls.items()}

    @property
    def png(self) -> bytes:
        """The picture shown, empty if the drawing failed."""
        return bytes(self._image.value)

    def set(self, **values: Any) -> None:
        """Move several controls and draw once."""
        values = self._checked(values)
        self._held = True
        try:
            for name, value in values.items():
                self.controls[name].value = value
        finally:
            self._held = False
        self._refresh()

    def preset(self, name: str) -> None:
        """Move all controls to a preset: its own values, the defaults elsewhere."""
        self.set(**self.defaults | self.presets[name])

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        unknown = set(values) - set(self.defaults)
        if unknown:
            raise ValueError(f"no control named {', '.join(sorted(unknown))}; there are {', '.join(self.defaults)}")
        return dict(values)

    def _changed(self, _: Any) -> None:
        if not self._held:
            self._refresh()

    def _refresh(self) -> None:
        try:
            png, numbers = self._canvas.render(**self.values)
        except Exception as error:  # whatever it is, the reader must see it, not a stale picture
            self._canvas.decor, self.error, self.numbers = None, error, {}
            self._image.value, self._image.layout.display = b"", "none"
            words = escape(f"{type(error).__name__}: {error}")
            self._message.value = f'<pre role="alert" style="color:#a00">The drawing failed.\n{words}</pre>'
            self._read_out.value = ""
        else:
            self._show(png, numbers)

    def _show(self, png: bytes, numbers: dict[str, float | str]) -> None:
        self.numbers = numbers
        if self.error is not None:
            self.error, self._message.value, self._image.layout.display = None, "", None
        self._image.value = png
        rows = "".join(
            f"<tr><th scope='row' style='text-align:left;font-weight:normal;padding-right:1.5em'>{escape(label)}</th>"
            f"<td style='text-align:right'><b>{escape(_text(value))}</b></td></tr>"
            for label, value in numbers.items()
        )
        self._read_out.value = (
            f"<table role='status' aria-live='polite'><caption>{escape(self.alt)}</caption>{rows}</table>"
        )

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = dict(self.widget._repr_mimebundle_(**options))
        # For readers without a kernel: the picture and the numbers of the first settings.
        default, metadata = self._default_picture._repr_mimebundle_()
        return bundle | default, metadata


def explore(
    draw: Callable[..., Numbers],
    *,
    alt: str,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
    **ranges: Any,
) -> Explorer:
    """Make a widget of a drawing: a control for each parameter named in `ranges`, starting at the drawing's defaults.

    ``(low, high)`` is a slider of whole numbers if both are, ``(low, high, step)`` one with that step,
    ``(low, high, "log")`` a logarithmic one; a list of words is a row of buttons, ``bool`` a check box. `presets` maps
    a name to the values that it sets, all others going to their defaults. Raises ValueError if a range does not fit.
    """
    return Explorer(draw, alt=alt, ranges=ranges, presets=presets or {}, labels=labels or {})


def _defaults(draw: Callable, ranges: Mapping[str, Any]) -> dict[str, Any]:
    parameters = dict(list(inspect.signature(draw).parameters.items())[1:])
    for name in ranges:
        if name not in parameters:
            raise ValueError(f"{draw.__name__} has no parameter {name!r}; it has {', '.join(parameters)}")
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty:
            raise ValueError(f"parameter {name!r} of {draw.__name__} needs a default, from which the widget starts")
    return {name: parameters[name].default for name in ranges}


def _log_limits(low: float, high: float) -> dict[str, float]:
    """Sixteen steps an octave between powers of two, else fifty a decade; a browser moves a value to the next step."""
    if all(math.log2(end).is_integer() for end in (low, high)):
        return {"base": 2.0, "min": math.log2(low), "max": math.log2(high), "step": 1 / 16}
    return {"base": 10.0, "min": math.log10(low), "max": math.log10(high), "step": 0.02}


def _control(label: str, spec: Any, value: Any) -> Any:
    import ipywidgets

    look = {"description": label, "style": {"description_width": "11em"}, "layout": {"width": "26em"}}
    if spec is bool:
        return ipywidgets.Checkbox(value=value, indent=True, **look)
    if isinstance(spec, list):
        if value not in spec:
            raise ValueError(f"{label}: the default {value!r} is not among {spec}")
        # Not a drop-down menu: JupyterLab takes its arrow keys and letters for commands of its own.
        look |= {"style": look["style"] | {"button_width": "auto"}, "layout": {"width": "auto"}}
        # The class puts the label before the buttons, as with the other controls.
        return ipywidgets.ToggleButtons(options=spec, value=value, **look).add_class("widget-inline-hbox")
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise ValueError(
            f"{label}: a range is (low, high), (low, high, step), (low, high, 'log'), a list or bool, got {spec!r}"
        )
    low, high, step = (*spec, None)[:3]
    if not low <= value <= high:
        raise ValueError(f"{label}: the default {value} lies outside the range {low} … {high}")
    if step == "log":
        kind, limits = ipywidgets.FloatLogSlider, _log_limits(low, high)
        return kind(value=value, readout_format=".3g", **limits, **look)
    if isinstance(low, int) and isinstance(high, int):
        return ipywidgets.IntSlider(value=value, min=low, max=high, step=step or 1, **look)
    return ipywidgets.FloatSlider(value=value, min=low, max=high, step=step or (high - low) / 100, **look)


def latency(explorer: Explorer, points: int = 9, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Drive each control over its whole range, the others at their defaults; milliseconds from change to picture."""
    times = []
    for name, control in explorer.controls.items():
        explorer.set(**explorer.defaults)
        for value in _sweep(control, points):
            start = clock()
            control.value = value
            times.append(1e3 * (clock() - start))
            if explorer.error is not None:
                raise RuntimeError(f"the drawing failed at {name} = {value}") from explorer.error
    explorer.set(**explorer.defaults)
    return times


def _sweep(control: Any, points: int) -> list[Any]:
    if hasattr(control, "options"):
        return list(control.options)
    if not hasattr(control, "min"):
        return [True, False]
    steps = (control.max - control.min) / control.step  # a browser sets no value between them
    values = [min(control.min + round(k / (points - 1) * steps) * control.step, control.max) for k in range(points)]
    if hasattr(control, "base"):
        values = [control.base**v for v in values]
    return [type(control.value)(v) for v in values]
