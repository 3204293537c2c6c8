"""What telling the task costs in parameters, against the number of tasks."""

from pathlib import Path

from minilib.matching_views import draw_costs
from minilib.views import figure

figure(
    draw_costs,
    alt="Conditional LayerNorm stays near 4.9 million; a table of offsets crosses it at 129 tasks; heads and tokens "
    "cost a thousand times less at six tasks.",
).save(Path(__file__).with_suffix(".svg"))
