"""Who may look at whom in an encoder, a language model, UniLM and a permuted language model."""

from pathlib import Path

from minilib.bert_views import draw_masks
from minilib.views import figure

figure(
    draw_masks,
    alt="Encoder: all squares filled. LM: a triangle. UniLM: a full square and a triangle. Permutation: scattered.",
).save(Path(__file__).with_suffix(".svg"))
