"""What a model can do that does not know the task: laws and trained heads, against the width of the contested band."""

from pathlib import Path

from minilib.matching_views import draw_blind
from minilib.views import figure

figure(
    draw_blind,
    alt="Left: heads that do not know the task lie on 1 − δ/2; with a condition accuracy is 1. With B reversed a "
    "condition of the shift lies on ½ + δ/2, one of the scale at 1. Right: losses without it lie just above δ ln 2.",
).save(Path(__file__).with_suffix(".svg"))
