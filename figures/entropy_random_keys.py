"""Entropy over random keys under four scale laws."""

from pathlib import Path

from minilib.entropy_views import draw_random_keys
from minilib.views import figure

figure(
    draw_random_keys,
    alt="1/√d runs half a nat below ln n, log n bends off, √log n is nearly flat from 512 on, ln n stays near one nat.",
).save(Path(__file__).with_suffix(".svg"))
