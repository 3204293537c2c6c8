"""How much better each method is than plain dropout on two English tasks, from the stored measurements."""

from pathlib import Path

from minilib.claims import half_width
from minilib.r_drop_views import draw_paired, gains
from minilib.stored import records
from minilib.views import figure

METHODS = {
    "R-Drop": "R-Drop",
    "two masks": "two masks",
    "rate 0.2": "none at 0.2",
    "rate 0.36": "dropout",
    "rate 0.1, twice": "none, twice",
    "rate 0.36, twice": "dropout, twice",
    "FGM": "FGM",
    "gradient penalty": "penalty",
}
runs = records("r_drop_text")
figure(
    draw_paired,
    alt="R-Drop is better than plain dropout on both tasks, FGM and the gradient penalty more so; more dropout, once.",
    differences={
        title: {name: gains(runs, own, "none", task=task) for name, own in METHODS.items()}
        for title, task in (("film critics", "rotten"), ("20 Newsgroups", "news"))
    },
    half_width=half_width,
    against="dropout 0.1",
).save(Path(__file__).with_suffix(".svg"))
