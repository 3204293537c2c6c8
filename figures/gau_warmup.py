"""At which depth and learning rate does each stack learn without warm-up, from the stored measurements."""

import math
from pathlib import Path

from minilib.depth_views import draw_heat_map
from minilib.stored import records
from minilib.views import figure

runs = records("gau_warmup", ratio=None, warm_up=0, seed=0, steps=200)
losses = {}
for config, result in ((r["config"], r["result"]) for r in runs):
    ended = result["loss"] if result["diverged"] is None else math.nan
    losses.setdefault(config["unit"], {})[config["layers"], config["rate"]] = ended
figure(
    draw_heat_map,
    alt="Post-LN learns at 6 layers only; the two GAUs, DeepNorm and Pre-LN learn at every depth from 6 to 48.",
    losses=losses,
    best=2.3,
    worst=runs[0]["result"]["unigram"],
).save(Path(__file__).with_suffix(".svg"))
