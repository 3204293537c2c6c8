"""Two strictnesses on one score after 15 steps: the decision lines part as soon as the condition has a gradient."""

from pathlib import Path

from minilib.matching_views import draw_lines
from minilib.views import figure

figure(
    draw_lines,
    alt="Left: the answers of the two tasks change at different scores. Middle: the accuracy has passed the best that "
    "can be had without the task. Right: the gradient of the condition begins at exactly 0.",
    step=15,
).save(Path(__file__).with_suffix(".svg"))
