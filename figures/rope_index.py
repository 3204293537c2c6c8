"""The bound by Abel's summation at each distance, and where it rises."""

from pathlib import Path

from minilib.rope_views import draw_index
from minilib.views import figure

figure(
    draw_index,
    alt="The index falls from half the number of planes, steeply at first and in waves from distance 12 or 19 on.",
).save(Path(__file__).with_suffix(".svg"))
