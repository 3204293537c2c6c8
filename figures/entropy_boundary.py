"""A key whose score stands out by a multiple of ln n: the boundary at one."""

from pathlib import Path

from minilib.entropy_views import draw_boundary
from minilib.views import figure

figure(
    draw_boundary,
    alt="The larger n, the steeper the weight rises from 0 to 1 about κ = 1, and the entropy falls there.",
).save(Path(__file__).with_suffix(".svg"))
