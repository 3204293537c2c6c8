"""The slope of one tanh step, and where a tanh unit settles by itself."""

from pathlib import Path

from minilib.recurrence_views import draw_tanh_step
from minilib.views import figure

figure(
    draw_tanh_step,
    alt="Left: each slope rises with the weight, peaks at 0.4477/h, falls. Right: the multiplier at rest peaks at 1.",
).save(Path(__file__).with_suffix(".svg"))
