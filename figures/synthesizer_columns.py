"""Why one of two factors must be transposed: which pairs of their entries occur."""

from pathlib import Path

from minilib.synthesizer_views import draw_columns
from minilib.views import figure

figure(
    draw_columns,
    alt="Tiled, half of the pairs of 4 and 6 entries occur twice and half never; interleaved, each pair occurs once.",
).save(Path(__file__).with_suffix(".svg"))
