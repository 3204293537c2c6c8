"""The matrices of a causal unit, of causal FLASH and of FLASH in both directions."""

from pathlib import Path

from minilib.gau_views import draw_chunks
from minilib.views import figure

figure(
    draw_chunks,
    alt="A full lower triangle; a lower triangle with brighter blocks; a full matrix with four brighter blocks.",
).save(Path(__file__).with_suffix(".svg"))
