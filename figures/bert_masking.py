"""How the share of masked tokens scatters if whole words are chosen, and what the network sees in their place."""

from pathlib import Path

from minilib.bert_views import draw_masking
from minilib.views import figure

figure(
    draw_masking,
    alt="The share of chosen tokens scatters about 0.15, with whole words more than with single tokens.",
    length=2.0,
).save(Path(__file__).with_suffix(".svg"))
