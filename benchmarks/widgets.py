"""From a moved slider to the new picture: our widgets against ``ipywidgets.interact`` with ``plt.show()``.

Both run in a real kernel, one after the other with the same drawing, the same controls and the same values: each
control over its whole range, the others at their defaults. What is kept from one value to the next inside the library
is thrown away before each sweep, so that every value is new.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minilib

from . import Row

LIMIT, AIM = 50, 5


def found() -> dict[str, Callable[[], Any]]:
    """Every function ``explore_…`` in a module ``…_views`` of the library, by its full name."""
    stems = [module.name for module in pkgutil.iter_modules(minilib.__path__) if module.name.endswith("_views")]
    modules = [importlib.import_module(f"minilib.{stem}") for stem in stems]
    return {f"{m.__name__}.{name}": getattr(m, name) for m in modules for name in dir(m) if name.startswith("explore_")}


class Interact:
    """The same drawing and controls under ``interact``, as far as :func:`minilib.views.latency` looks at a widget."""

    error = None

    def __init__(self, explorer: Any) -> None:
        import ipywidgets
        import matplotlib
        import matplotlib.pyplot as plt

        from minilib.views import STYLE

        def show(**values: Any) -> None:
            with matplotlib.rc_context(dict(STYLE)):
                _, axes = plt.subplots(*explorer.draw.panels, figsize=explorer.draw.size, layout="constrained")
                explorer.draw(axes, **values)
                plt.show()

        self.controls, self.defaults = explorer.controls, explorer.defaults
        for control in self.controls.values():
            control.unobserve_all("value")
        self.widget = ipywidgets.interactive(show, **self.controls)
        self.widget.update()

    def set(self, **values: Any) -> None:
        for name, value in values.items():
            self.controls[name].value = value


def _forget() -> None:
    """Empty all caches of the library."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("minilib")]
    for thing in (thing for module in modules for thing in vars(module).values()):
        if hasattr(thing, "cache_clear"):
            thing.cache_clear()


def sweep(name: str, points: int, rounds: int) -> dict[str, list[float]]:
    """Run inside the kernel: the times of both, in turn."""
    from minilib.views import latency

    make, times = found()[name], {"ours": [], "peers": []}
    sides = {"ours": make(), "peers": Interact(make())}
    for _ in range(rounds):
        for side, widget in sides.items():
            _forget()
            times[side] += latency(widget, points, clock=time.process_time)
    return times


def in_kernel(code: str) -> str:
    """Run a cell in a new kernel with one thread, and return what it prints."""
    import nbformat
    from nbclient import NotebookClient

    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    NotebookClient(nb, timeout=1800, kernel_name="python3").execute(env=surroundings, stderr=subprocess.DEVNULL)
    return "".join(o.text for o in nb.cells[0].outputs if o.get("name") == "stdout")


def run(quick: bool) -> list[Row]:
    """Sweep every widget of the library."""
    points, rounds, rows = (5, 1, []) if quick else (17, 3, [])
    for name in found():
        code = (
            f"import json\nfrom benchmarks.widgets import sweep\nprint(json.dumps(sweep({name!r}, {points}, {rounds})))"
        )
        times = json.loads(in_kernel(code))
        ours, peers = (statistics.quantiles(times[side], n=20, method="inclusive")[-1] for side in ("ours", "peers"))
        middle, median = (statistics.median(times[side]) for side in ("ours", "peers"))
        note = f"medians {middle:.0f} and {median:.0f} ms"
        rows.append(Row(f"{name}, 95th percentile", ours, LIMIT, "ipywidgets.interact", peers, AIM, note))
    return rows
