"""What the scores cost: weights and multiplications against the length."""

from pathlib import Path

from minilib.synthesizer_views import draw_cost
from minilib.views import figure

figure(
    draw_cost,
    alt="Weights: random crosses QKᵀ at N = 256, 1000 times as many at 8192. Products: half as many at any length.",
).save(Path(__file__).with_suffix(".svg"))
