"""A head on a frozen encoder, after 300 steps, knows which token stands there, and hardly guesses a hidden one."""

from pathlib import Path

from minilib.bert_views import draw_frozen
from minilib.stored import records
from minilib.views import figure

figure(
    draw_frozen,
    alt="After 300 steps shown tokens are named to 95 percent at all layers, hidden ones hardly above frequency.",
    records=records("bert_frozen"),
).save(Path(__file__).with_suffix(".svg"))
