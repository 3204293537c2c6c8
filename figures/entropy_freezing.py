"""How n random scores freeze as their standard deviation grows."""

from pathlib import Path

from minilib.entropy_views import draw_freezing
from minilib.views import figure

figure(
    draw_freezing,
    alt="Measured entropies follow the parabola at first and level off near one nat beyond the freezing point.",
).save(Path(__file__).with_suffix(".svg"))
