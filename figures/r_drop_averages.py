"""Which mean of all sub-models is the network without dropout: behind a softmax layer, and behind a hidden layer."""

from pathlib import Path

from minilib.r_drop_views import draw_averages
from minilib.views import figure

figure(
    draw_averages,
    alt="A softmax layer: the geometric mean is the network without dropout. A hidden relu layer: neither mean is.",
).save(Path(__file__).with_suffix(".svg"))
