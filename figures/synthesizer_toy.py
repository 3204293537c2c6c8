"""Copying and retrieving after training, for each kind of score, from the stored measurements."""

import json
from pathlib import Path

from minilib.synthesizer_views import draw_toy
from minilib.views import figure

stored = Path(__file__).parents[1] / "results" / "synthesizer_toy.json"
figure(
    draw_toy,
    alt="Without positions random scores copy, standard and dense do not. Only what looks at tokens retrieves.",
    records=json.loads(stored.read_text(encoding="utf-8"))["records"],
).save(Path(__file__).with_suffix(".svg"))
