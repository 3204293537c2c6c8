"""One sentence through every kind of score, before and after a word is touched."""

from pathlib import Path

from minilib.synthesizer_views import draw_maps
from minilib.views import figure

figure(
    draw_maps,
    alt="Changing one word moves all rows of dot-product attention, one row of each dense variant, none of the random.",
).save(Path(__file__).with_suffix(".svg"))
