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

from . import Row, growth

NAMES = (
    "imports",
    "jacobians",
    "scans",
    "attention",
    "synthesizer",
    "gau",
    "wordpiece",
    "rope",
    "bert",
    "layernorm",
    "r_drop",
    "widgets",
)
PEERS = ("x-transformers", "FLASH-pytorch", "transformers", "tokenizers", "rotary-embedding-torch")
PACKAGES = ("minilib", "numpy", "torch", "matplotlib", "ipywidgets", *PEERS)
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
        length = "" if row.n is None else f", n = {row.n}"
        line = f"{'✓' if row.reached else '✗'} {row.what}{length}: {row.ours:.3g} ms"
        if row.limit is not None:
            line += f" (at most {row.limit:g})"
        if row.ratio is not None:
            line += f"; {row.peer} {row.peers:.3g} ms; {row.ratio:.3g} times as fast{_at_least(row.aim)}"
        if row.memory_ratio is not None:
            line += f"; {row.memory:.3g} and {row.peers_memory:.3g} MB{_at_least(row.memory_aim)}"
        lines.append(line + (f"; {row.note}" if row.note else ""))
    return "\n".join(lines)


def _at_least(aim: float | None) -> str:
    return "" if aim is None else f" (at least {aim:g})"


def as_slopes(found: Sequence[dict[str, Any]]) -> str:
    """One line for each comparison at several lengths."""
    line = "  {what}: time as n^{ours:.2f}, memory as n^{memory:.2f}; {peer}: n^{peers:.2f}, n^{peers_memory:.2f}"
    return "\n".join(line.format(**slopes) for slopes in found)


def as_record(row: Row) -> dict[str, Any]:
    """A row with its ratio, all numbers to the three digits that such timings are worth."""
    ratios = {"ratio": row.ratio, "memory_ratio": row.memory_ratio}
    return _three_digits(row._asdict() | ratios | {"reached": row.reached})


def _three_digits(values: dict[str, Any]) -> dict[str, Any]:
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
    os.environ |= {"OMP_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "99"}  # the profiler tells of each start and stop
    records = {}
    for name in options.names or NAMES:
        start = time.perf_counter()
        rows = importlib.import_module(f"benchmarks.{name}").run(options.quick)
        slopes = growth(rows)
        print("\n".join(filter(None, (as_table(rows), as_slopes(slopes)))), flush=True)
        print(f"  [{name}: {time.perf_counter() - start:.0f} s]", flush=True)
        records[name] = {"provenance": provenance(), "rows": [as_record(row) for row in rows]}
        if slopes:
            records[name]["growth"] = [_three_digits(one) for one in slopes]
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
