"""How much entropy a scale takes away from random keys, and where the linear law is a chord."""

from pathlib import Path

from minilib.entropy_views import draw_chord
from minilib.views import figure

figure(
    draw_chord,
    alt="The exact curve leaves zero as a parabola and meets the line at 1 only; at 1/√d half a nat is missing.",
).save(Path(__file__).with_suffix(".svg"))
