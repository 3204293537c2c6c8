"""How the first step's change of the loss grows with depth under each rule, from the stored measurements."""

from pathlib import Path

from minilib.depth import RULES
from minilib.depth_views import draw_exponents
from minilib.stored import records
from minilib.views import figure

runs = records("depth_increment", phi="relu")
figure(
    draw_exponents,
    alt="Each rule is flat for the optimiser it was made for; plain stacks grow in proportion to depth for all three.",
    layers=runs[0]["config"]["layers"],
    increments={
        optimizer: {
            rule: [r["result"][optimizer.lower()] for r in runs if r["config"]["rule"] == rule] for rule in RULES
        }
        for optimizer in ("SGD", "Adam", "LAMB")
    },
).save(Path(__file__).with_suffix(".svg"))
