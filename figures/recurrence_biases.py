"""What untrained cells pass back over fifty steps."""

from pathlib import Path

from minilib.recurrence_views import draw_biases
from minilib.views import figure

figure(
    draw_biases,
    alt="At bias 0 the LSTM vanishes like the tanh RNN; at bias 4 it grows while the GRU stays below 1.",
).save(Path(__file__).with_suffix(".svg"))
