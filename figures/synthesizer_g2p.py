"""Spelling to sound with each kind of self-attention, from the stored measurements."""

import json
from pathlib import Path

from minilib.synthesizer_views import draw_speller
from minilib.views import figure

stored = Path(__file__).parents[1] / "results" / "synthesizer_g2p.json"
figure(
    draw_speller,
    alt="With positions all variants spell nearly as well, and none at all worst; without, standard attention fails.",
    records=json.loads(stored.read_text(encoding="utf-8"))["records"],
).save(Path(__file__).with_suffix(".svg"))
