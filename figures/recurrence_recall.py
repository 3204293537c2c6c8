"""Which cells learn to remember, and what their Jacobian said beforehand, from the stored measurements."""

from pathlib import Path

from minilib.recurrence_views import draw_recall
from minilib.stored import records
from minilib.views import figure

figure(
    draw_recall,
    alt="Runs whose first input had a gain below 1e-4 stay at chance; between 1e-3 and 1 most learn.",
    records=records("recurrence_memory", steps=600),
).save(Path(__file__).with_suffix(".svg"))
