"""Which cells learn to remember, and what their Jacobian said beforehand, from the stored measurements."""

import json
from pathlib import Path

from minilib.recurrence_views import draw_recall
from minilib.views import figure

stored = Path(__file__).parents[1] / "results" / "recurrence_memory.json"
records = json.loads(stored.read_text(encoding="utf-8"))["records"]
figure(
    draw_recall,
    alt="Runs whose first input had a gain below 1e-4 stay at chance; between 1e-3 and 1 most learn.",
    records=[r for r in records if r["config"]["steps"] == 600],
).save(Path(__file__).with_suffix(".svg"))
