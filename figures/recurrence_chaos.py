"""Where a tanh network without input becomes chaotic, from the stored measurements."""

import json
from pathlib import Path

import numpy as np

from minilib.recurrence_views import draw_lyapunov
from minilib.views import figure

stored = Path(__file__).parents[1] / "results" / "recurrence_chaos.json"
records = json.loads(stored.read_text(encoding="utf-8"))["records"]
rates = {d: np.array([r["result"]["rates"] for r in records if r["config"]["width"] == d]) for d in (16, 300)}
figure(
    draw_lyapunov,
    alt="One unit never has a positive exponent; 300 units have one at every gain above 1.",
    gains=records[0]["result"]["gains"],
    rates=rates,
).save(Path(__file__).with_suffix(".svg"))
