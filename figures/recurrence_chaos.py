"""Where a tanh network without input becomes chaotic, from the stored measurements."""

from pathlib import Path

import numpy as np

from minilib.recurrence_views import draw_lyapunov
from minilib.stored import records
from minilib.views import figure

runs = records("recurrence_chaos")
rates = {d: np.array([r["result"]["rates"] for r in runs if r["config"]["width"] == d]) for d in (16, 300)}
figure(
    draw_lyapunov,
    alt="One unit never has a positive exponent; 300 units have one at every gain above 1.",
    gains=runs[0]["result"]["gains"],
    rates=rates,
).save(Path(__file__).with_suffix(".svg"))
