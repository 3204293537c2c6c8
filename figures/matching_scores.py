"""What telling the task brings, how little it matters how, and what two thresholds do: F1 of all stored runs."""

from pathlib import Path

from minilib.matching_views import draw_scores
from minilib.stored import records
from minilib.views import figure

GROUPS = {
    "frozen vectors": ("matching_frozen", {"size": 1.0}),
    "three epochs": ("matching_full", {"epochs": 3}),
    "six epochs": ("matching_full", {"epochs": 6}),
}
scores = {}
for group, (name, config) in GROUPS.items():
    scores[group] = {"none": [], "one number": [], "two numbers": []}
    for record in records(name, **config):
        scores[group].setdefault(record["config"]["way"], []).append(record["result"]["f1"])
        if record["config"]["way"] == "none":
            scores[group]["one number"].append(record["result"]["thresholds"]["one"]["f1"])
            scores[group]["two numbers"].append(record["result"]["thresholds"]["two"]["f1"])
figure(
    draw_scores,
    alt="In each group the way without the task lies 0.07 below all that tell it, and the same networks read with two "
    "thresholds lie among those; six models with a sixth of the steps each reach 0.60 with the whole encoder.",
    scores=scores,
).save(Path(__file__).with_suffix(".svg"))
