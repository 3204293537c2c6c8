"""A head on a frozen encoder, after 300 steps, knows which token stands there, and hardly guesses a hidden one."""

import json
from pathlib import Path

from minilib.bert_views import draw_frozen
from minilib.views import figure

stored = Path(__file__).parents[1] / "results" / "bert_frozen.json"
figure(
    draw_frozen,
    alt="After 300 steps shown tokens are named to 95 percent at all layers, hidden ones hardly above frequency.",
    records=json.loads(stored.read_text(encoding="utf-8"))["records"],
).save(Path(__file__).with_suffix(".svg"))
