"""Run benchmarks, print a table and write what was measured as JSON."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import Row

NAMES = ("imports", "jacobians", "scans", "widgets")
PACKAGES = ("minilib", "numpy", "torch", "matplotlib", "ipywidgets")
RESULTS = Path(__file__).parents[1] / "results" / "benchmarks.json"


def provenance() -> dict[str, Any]:
    """Versions and the class of the machine; nothing that tells whose machine it was."""
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {"python": platform.python_version(), **versions, "machine": machine}


def as_table(rows: Sequence[Row]) -> str:
    """One line for each comparison, the aim last."""
    lines = []
    for row in rows:
        line = f"{'✓' if row.reached else '✗'} {row.what}: {row.ours:.3g} ms"
        if row.limit is not None:
            line += f" (at most {row.limit:g})"
        if row.ratio is not None:
            line += f"; {row.peer} {row.peers:.3g} ms; {row.ratio:.3g} times as fast (at least {row.aim:g})"
        lines.append(line + (f"; {row.note}" if row.note else ""))
    return "\n".join(lines)


def as_record(row: Row) -> dict[str, Any]:
    """A row with its ratio, all numbers to the three digits that such timings are worth."""
    values = row._asdict() | {"ratio": row.ratio, "reached": row.reached}
    return {name: float(f"{v:.3g}") if isinstance(v, float) else v for name, v in values.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all if none is given")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, shorter sequences; written only where --into says"
    )
    parser.add_argument("--into", type=Path, metavar="FILE", help="write to FILE instead of results/benchmarks.json")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    records = {}
    for name in options.names or NAMES:
        start = time.perf_counter()
        rows = importlib.import_module(f"benchmarks.{name}").run(options.quick)
        print(as_table(rows), flush=True)
        print(f"  [{name}: {time.perf_counter() - start:.0f} s]", flush=True)
        records[name] = {"provenance": provenance(), "rows": [as_record(row) for row in rows]}
    if options.into or not options.quick:
        _write(options.into or RESULTS, records)
    return 0


def _write(path: Path, records: dict[str, Any]) -> None:
    """Replace what was measured now, keep the rest."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(old | records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
