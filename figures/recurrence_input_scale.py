"""Gain per step of untrained cells against the scale of their input."""

from pathlib import Path

from minilib.recurrence_views import draw_input_scale
from minilib.views import figure

figure(
    draw_input_scale,
    alt="The tanh RNN falls from 1 to 0.4; gated cells depend on the input less; the LSTM with bias 4 starts at 1.2.",
).save(Path(__file__).with_suffix(".svg"))
