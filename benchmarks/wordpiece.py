"""Our tokenizer against that of Hugging Face, which is written in Rust, on the reference texts that come with Python.

Both have the same vocabulary, learned from these texts, and must return the same numbers and places. Ours remembers
the pieces of a word, so it is timed twice: with all words in its memory, and with an empty one at each start. Only
where we find the places of pieces does the peer find them, too.
"""

from __future__ import annotations

import dataclasses
import os
from pydoc_data import topics

from minilib.wordpiece import Tokenizer, count_words, train_vocabulary

from . import Row, in_turn

PEER = "tokenizers.BertWordPieceTokenizer"


def run(quick: bool) -> list[Row]:
    """Encode the texts, half a million characters, and learn a vocabulary from their words."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers

    rounds, size = (3, 1000) if quick else (9, 4000)
    texts = sorted(topics.topics.values())
    ours = Tokenizer(train_vocabulary(count_words(texts), size))
    theirs = tokenizers.Tokenizer.from_str(tokenizers.BertWordPieceTokenizer(dict(ours.numbers)).to_str())
    for text, want in zip(texts, theirs.encode_batch(texts), strict=True):
        assert ours.encode_with_offsets(text) == (want.ids, want.offsets), text

    def empty() -> None:
        fresh = dataclasses.replace(ours)
        for text in texts:
            fresh.encode(text)

    def learn() -> None:
        peer = tokenizers.BertWordPieceTokenizer()
        peer.train_from_iterator(texts, size, min_frequency=1, show_progress=False)

    times = in_turn(
        lambda: [ours.encode(text) for text in texts],
        empty,
        lambda: theirs.encode_batch_fast(texts),
        lambda: [ours.encode_with_offsets(text) for text in texts],
        lambda: theirs.encode_batch(texts),
        rounds=rounds,
    )
    learned = in_turn(lambda: train_vocabulary(count_words(texts), size), learn, rounds=3)
    return [
        Row("encode", times[0], peer=PEER, peers=times[2], aim=2),
        Row("encode, the memory empty", times[1], peer=PEER, peers=times[2], aim=1),
        Row("encode with offsets", times[3], peer=PEER, peers=times[4], aim=0.5),
        Row(f"learn {size:,} pieces", learned[0], peer=PEER, peers=learned[1], aim=0.3),
    ]
