"""What attention and its relatives cost against the length, from the stored benchmarks."""

import json
from pathlib import Path

from minilib.attention_views import Cost, draw_cost
from minilib.views import figure

STORED = json.loads((Path(__file__).parents[1] / "results" / "benchmarks.json").read_text(encoding="utf-8"))


def cost(benchmark: str, what: str, peer: str, side: str = "") -> Cost:
    """One side of a comparison, `side` empty for ours, "peers" for the other."""
    rows = [row for row in STORED[benchmark]["rows"] if (row["what"], row["peer"]) == (what, peer)]
    time, memory = (side, f"{side}_memory") if side else ("ours", "memory")
    return Cost([row["n"] for row in rows], [row[time] for row in rows], [row[memory] for row in rows])


HELD, FUSED = "standard attention, scores held", "standard attention, fused"
figure(
    draw_cost,
    alt=(
        "Fused attention needs memory in proportion to the length, as FLASH does; all that hold n × n scores need its "
        "square at last. In time only FLASH grows in proportion."
    ),
    costs={
        "attention, scores held": cost("synthesizer", "random synthesizer", HELD, "peers"),
        "attention, fused": cost("synthesizer", "random synthesizer", FUSED, "peers"),
        "dense synthesizer": cost("synthesizer", "dense synthesizer", FUSED),
        "random synthesizer": cost("synthesizer", "random synthesizer", FUSED),
        "GAU": cost("gau", "GAU, forward and backward", "flash_pytorch.GAU"),
        "FLASH": cost("gau", "FLASH, forward and backward", "flash_pytorch.FLASH"),
    },
).save(Path(__file__).with_suffix(".svg"))
