"""Trained maps of six kinds of self-attention on one word, from the stored measurements."""

import json
from pathlib import Path

from minilib.synthesizer_views import draw_trained_maps
from minilib.views import figure

stored = Path(__file__).parents[1] / "results" / "synthesizer_g2p.json"
figure(
    draw_trained_maps,
    alt="Standard attention has stripes and diagonals; trained tables have a diagonal next to the letter itself.",
    records=json.loads(stored.read_text(encoding="utf-8"))["records"],
).save(Path(__file__).with_suffix(".svg"))
