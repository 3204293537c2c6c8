"""Branch against skip of each block, and the move of the first step, at 24 layers, from the stored measurements."""

from pathlib import Path

from minilib.depth_views import draw_layers
from minilib.stored import records
from minilib.views import figure

chosen = records("gau_warmup", layers=24, rate=1e-3, seed=0, ratio=None, warm_up=0, steps=200)
runs = {r["config"]["unit"]: r["result"] for r in chosen}
figure(
    draw_layers,
    alt="DeepNorm's branches are smallest; the first step moves its output least. Post-LN has the largest of both.",
    ratios={unit: result["ratios"][0] for unit, result in runs.items()},
    moves={unit: result["moves"][0] for unit, result in runs.items()},
).save(Path(__file__).with_suffix(".svg"))
