"""The loss of a masked language model before its first step, against the deviation of its logits."""

from pathlib import Path

from minilib.bert_views import draw_first_loss
from minilib.views import figure

figure(
    draw_first_loss,
    alt="The measured loss follows ln V + s²/2 up to three deviations and falls below where the largest logit rules.",
).save(Path(__file__).with_suffix(".svg"))
