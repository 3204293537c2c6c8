"""What the follow-ups multiply the standard scores by."""

from pathlib import Path

from minilib.entropy_views import draw_follow_ups
from minilib.views import figure

figure(
    draw_follow_ups,
    alt="Qwen, YaRN and Llama 4 stay at 1 up to some length, log n lies below 1 there; beyond it all rise.",
).save(Path(__file__).with_suffix(".svg"))
