"""One turn as a matrix in both layouts, and the permutation between them."""

from pathlib import Path

from minilib.rope_views import draw_layouts
from minilib.views import figure

figure(
    draw_layouts,
    alt="Neighbours: two-by-two blocks along the diagonal. Halves: three diagonals. P: the permutation.",
).save(Path(__file__).with_suffix(".svg"))
