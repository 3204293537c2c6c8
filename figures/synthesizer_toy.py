"""Copying and retrieving after training, for each kind of score, from the stored measurements."""

from pathlib import Path

from minilib.stored import records
from minilib.synthesizer_views import draw_toy
from minilib.views import figure

figure(
    draw_toy,
    alt="Without positions random scores copy, standard and dense do not. Only what looks at tokens retrieves.",
    records=records("synthesizer_toy"),
).save(Path(__file__).with_suffix(".svg"))
