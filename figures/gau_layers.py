"""Branch against skip of each block, and the move of the first step, at 24 layers, from the stored measurements."""

import json
from pathlib import Path

from minilib.depth_views import draw_layers
from minilib.views import figure

stored = Path(__file__).parents[1] / "results" / "gau_warmup.json"
records = json.loads(stored.read_text(encoding="utf-8"))["records"]
chosen = {"layers": 24, "rate": 1e-3, "seed": 0, "ratio": None, "warm_up": 0, "steps": 200}
runs = {r["config"]["unit"]: r["result"] for r in records if chosen.items() <= r["config"].items()}
figure(
    draw_layers,
    alt="DeepNorm's branches are smallest; the first step moves its output least. Post-LN has the largest of both.",
    ratios={unit: result["ratios"][0] for unit, result in runs.items()},
    moves={unit: result["moves"][0] for unit, result in runs.items()},
).save(Path(__file__).with_suffix(".svg"))
