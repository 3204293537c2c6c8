"""What ``import minilib`` costs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from . import Row

HEAVY = ("numpy", "torch", "matplotlib", "ipywidgets", "array_api_compat", "jaxtyping")
CODE = f"""
import json, sys, time
start = time.process_time()
import minilib
spent = 1e3 * (time.process_time() - start)
print(json.dumps([spent, [name for name in {HEAVY} if name in sys.modules]]))
"""


def fresh() -> tuple[float, list[str]]:
    """Milliseconds of the import in a new interpreter, and which heavy packages it drew in."""
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, text=True).stdout
    spent, drawn_in = json.loads(said)
    return spent, drawn_in


def run(quick: bool) -> list[Row]:
    """Time the import in new interpreters."""
    seen = [fresh() for _ in range(3 if quick else 9)]
    drawn_in = ", ".join(seen[0][1]) or "nothing heavy"
    return [Row("import minilib", statistics.median(spent for spent, _ in seen), limit=50, note=f"imports {drawn_in}")]
