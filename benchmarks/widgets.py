"""From a moved slider to the new picture: our widgets against ``ipywidgets.interact`` with ``plt.show()``.

Both run in a real kernel, one after the other with the same drawing, the same controls and the same values: each
control over its whole range, the others at their defaults. What is kept from one value to the next inside the library
is thrown away before each sweep, so that every value is new.
"""

from __future__ import annotations

import ast
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


def in_kernel(code: str, expression: str, limit: float = 1200) -> str:
    """Run a cell in a new kernel with one thread, and return what an expression is after it, as ``repr`` shows it.

    Raises RuntimeError if the cell fails or the kernel dies, TimeoutError if there is no answer within `limit` seconds.
    Not by nbclient: it answers each output of ``interact`` on the socket on which it awaits the cell's reply, behind
    the back of its event loop, and now and then waits for ever for a reply that is there. Nor is the result printed: of
    thousands of messages with pictures the last may be lost.
    """
    from jupyter_client.manager import start_new_kernel

    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    manager, client = start_new_kernel(kernel_name="python3", env=surroundings, stderr=subprocess.DEVNULL)
    try:
        asked = client.execute(code, user_expressions={"asked": expression}, allow_stdin=False)
        told = _reply(manager, client, asked, limit)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    for part in (told, told.get("user_expressions", {}).get("asked", told)):
        if part["status"] != "ok":
            raise RuntimeError(f"the cell failed with {part.get('ename')}: {part.get('evalue')}\n{code}")
    return told["user_expressions"]["asked"]["data"]["text/plain"]


def _reply(manager: Any, client: Any, asked: str, limit: float) -> dict[str, Any]:
    """Wait for the reply, as a browser would taking whatever is shown meanwhile."""
    import zmq

    poller, deadline = zmq.Poller(), time.monotonic() + limit
    for channel in (client.shell_channel, client.iopub_channel):
        poller.register(channel.socket, zmq.POLLIN)
    while time.monotonic() < deadline:
        ready = dict(poller.poll(1000))
        if client.iopub_channel.socket in ready:
            client.get_iopub_msg(timeout=1)
        if client.shell_channel.socket in ready:
            message = client.get_shell_msg(timeout=1)
            if message["parent_header"].get("msg_id") == asked:
                return message["content"]
        if not ready and not manager.is_alive():
            raise RuntimeError("the kernel died")
    raise TimeoutError(f"the kernel did not answer within {limit:g} s")


def measured(name: str, points: int, rounds: int, limit: float) -> dict[str, list[float]]:
    """The times of one widget in a kernel of its own; a kernel that does not answer is given one more try."""
    code = f"import json\nfrom benchmarks.widgets import sweep\ntimes = sweep({name!r}, {points}, {rounds})"
    for last in (False, True):
        try:
            return json.loads(ast.literal_eval(in_kernel(code, "json.dumps(times)", limit)))
        except TimeoutError as error:
            if last:
                raise TimeoutError(f"{name}: {error}, twice") from error
    raise AssertionError("unreachable")


def run(quick: bool) -> list[Row]:
    """Sweep every widget of the library."""
    points, rounds, limit, rows = (5, 1, 240, []) if quick else (17, 3, 1200, [])
    for name in found():
        times = measured(name, points, rounds, limit)
        ours, peers = (statistics.quantiles(times[side], n=20, method="inclusive")[-1] for side in ("ours", "peers"))
        middle, median = (statistics.median(times[side]) for side in ("ours", "peers"))
        note = f"medians {middle:.0f} and {median:.0f} ms"
        rows.append(Row(f"{name}, 95th percentile", ours, LIMIT, "ipywidgets.interact", peers, AIM, note))
    return rows
