"""Four keys that matter among random ones, under four scale laws."""

from pathlib import Path

from minilib.entropy_views import draw_planted
from minilib.views import figure

figure(
    draw_planted,
    alt="The planted weight falls from near 1 to 0 with 1/√d, more slowly with log n, and stays at 1 with ln n.",
).save(Path(__file__).with_suffix(".svg"))
