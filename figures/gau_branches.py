"""Is it the small branch? Training curves at 24 layers with the branches as they are, and set, from the stored runs."""

from pathlib import Path

from minilib.depth_views import draw_curves
from minilib.stored import records
from minilib.views import figure

runs = records("gau_warmup", layers=24, rate=1e-3, steps=200)
NAMED = {
    ("GAU relu²", None, "", 0): "GAU",
    ("GAU relu²", 1.0, "skip", 0): "GAU, branch 1 by the skip",
    ("GAU relu²", 1.0, "weights", 0): "GAU, branch 1 by weights",
    ("Post-LN", None, "", 0): "Post-LN",
    ("Post-LN", 0.1, "skip", 0): "Post-LN, branch 0.1 by the skip",
    ("Post-LN", 0.1, "weights", 0): "Post-LN, branch 0.1 by weights",
    ("Post-LN", None, "", 100): "Post-LN, warm-up",
}
curves = {name: [] for name in NAMED.values()}
for r in runs:
    config = r["config"]
    name = NAMED.get((config["unit"], config["ratio"], config["by"], config["warm_up"]))
    if name and config["seed"] < 3:
        curves[name].append(r["result"]["losses"])
        steps = r["result"]["steps"]
figure(
    draw_curves,
    alt="Branches of 0.1 take Post-LN below the bigram loss; branches of 1 keep the GAU near the unigram loss.",
    steps=steps,
    curves=curves,
    levels={name: runs[0]["result"][name] for name in ("unigram", "bigram")},
).save(Path(__file__).with_suffix(".svg"))
