"""Where the 109 million numbers of BERT-base are."""

from pathlib import Path

from minilib.bert_views import draw_sizes
from minilib.views import figure

figure(
    draw_sizes,
    alt="BERT-base: 24 million numbers in the embeddings, 85 in the blocks, half a million each in pooler and head.",
).save(Path(__file__).with_suffix(".svg"))
