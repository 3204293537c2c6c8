"""With which power of a factor on all weights the output of a gated attention unit shrinks."""

from pathlib import Path

from minilib.gau_views import draw_exponent
from minilib.views import figure

figure(
    draw_exponent,
    alt="The exponent is 9 to 10 near scale 1, falls to 8 at a quarter and to 7 below one sixteenth.",
).save(Path(__file__).with_suffix(".svg"))
