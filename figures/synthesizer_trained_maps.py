"""Trained maps of six kinds of self-attention on one word, from the stored measurements."""

from pathlib import Path

from minilib.stored import records
from minilib.synthesizer_views import draw_trained_maps
from minilib.views import figure

figure(
    draw_trained_maps,
    alt="Standard attention has stripes and diagonals; trained tables have a diagonal next to the letter itself.",
    records=records("synthesizer_g2p"),
).save(Path(__file__).with_suffix(".svg"))
