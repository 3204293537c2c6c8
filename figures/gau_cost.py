"""What two gated attention units cost against one layer of attention and feed-forward."""

from pathlib import Path

from minilib.gau_views import draw_cost
from minilib.views import figure

figure(
    draw_cost,
    alt="Two GAU need more multiplications at every length, and keep fewer numbers only beyond 1280 tokens.",
).save(Path(__file__).with_suffix(".svg"))
