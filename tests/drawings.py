"""What tests of drawings share: a drawing as a picture, its panels, the ends of a control, a read-out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any, NamedTuple

from minilib import views


class Arguments(NamedTuple):
    """Arguments of drawings by their names: what has no default, made up, and less where a default takes long."""

    given: Mapping[str, Mapping[str, Any]]

    def picture(self, draw: Callable, **parameters: Any) -> views.Picture:
        return views.figure(draw, alt="a drawing", **self.given.get(draw.__name__, {}) | parameters)

    def panels(self, draw: Callable, **parameters: Any) -> list[Any]:
        """The panels of a drawing, with all that it has put on them."""
        canvas = views._Canvas(draw)
        canvas.render(**self.given.get(draw.__name__, {}) | parameters)
        return canvas.figure.axes


def named_lines(axes: Any) -> list[Any]:
    """The lines of a panel that a legend would name."""
    return [line for line in axes.lines if not line.get_label().startswith("_")]


def extremes(control: Any) -> list[Any]:
    """The settings at the ends of a control; of a row of buttons all."""
    if hasattr(control, "options"):
        return list(control.options)
    if not hasattr(control, "min"):
        return [True, False]
    ends = [control.min, control.max]
    return [control.base**e for e in ends] if hasattr(control, "base") else ends


def rows_of(explorer: views.Explorer) -> list[str]:
    """The read-out as a reader sees it."""
    cells = re.findall(r"<th[^>]*>(.*?)</th><td[^>]*><b>(.*?)</b>", explorer._read_out.value)
    return [f"  {unescape(label)}: {unescape(value)}" for label, value in cells]
