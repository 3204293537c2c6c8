"""How far the divergence of two masks is twice what dropout adds to the loss."""

from pathlib import Path

from minilib.r_drop_views import draw_twice
from minilib.views import figure

figure(
    draw_twice,
    alt="Two for small weights at any rate; for large weights between 1 and beyond 6, also at a rate of 0.001.",
).save(Path(__file__).with_suffix(".svg"))
