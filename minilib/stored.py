"""What the long trainings measured: the records in ``results/``, which the notebooks and figures draw.

``python -m experiments`` makes them, one for each run of an experiment: its `config`, with the seed; its `result`; and
its `provenance`, with which versions, on what kind of machine and in how many seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "results"


def records(name: str, **config: Any) -> list[dict[str, Any]]:
    """The records of an experiment whose configurations have these values, in the order of its grid.

    Raises ValueError for a name without a file, and for a value that no run had: a figure of nothing would be drawn.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise ValueError(f"there is no results/{name}.json, which a checkout of the project has; there is {there}")
    found = json.loads(path.read_text(encoding="utf-8"))["records"]
    for field, value in config.items():
        found = [record for record in found if field in record["config"] and record["config"][field] == value]
        if not found:
            raise ValueError(f"no run of {name} has {field} = {value!r}, together with what comes before it: {config}")
    return found


def results(name: str, **config: Any) -> list[dict[str, Any]]:
    """The `result` of each of the :func:`records`."""
    return [record["result"] for record in records(name, **config)]
