r"""Does a masked language model trained at length 64 read longer texts better if its scale grows with log n?

A small Transformer with rotary positions fills in masked words of newsgroup postings (15 % of the known words, each
shown as a mask). It is trained at length 64 and tested at 64 to 1024 on the very same masked words: the first 1024
words of held-out postings (others for each seed), cut into pieces of each length. Two laws are trained: the standard
scale (Attention-O of the essay) and $\log_{512} n/\sqrt d$ (Attention-E), which at n = 64 is two thirds of the standard
scale. Each network is also tested with the other kind of growth: $\log_{64} n/\sqrt d$ equals the standard scale at 64
and grows beyond, and "held" keeps the two thirds.

A longer text means two new things at once: more keys, and distances that were never seen in training. Two controls take
them apart. "near": every word sees only those less than 64 words away, so neither is new. "clipped": every word sees
all others, but a distance beyond 63 counts as 63, so that only the number of keys is new.

Source: Scientific Spaces 8823; for the clipped distances Su 2023, ReRoPE.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from minilib import corpora
from minilib.attention import attention_weights, masked_softmax, merge_heads, split_heads, visible_keys
from minilib.attention_torch import Law, MultiHeadAttention
from minilib.entropy import distribution_entropy, log_scale, standard_scale
from minilib.rope import rope, rope_angles
from minilib.training import Config as Training
from minilib.training import Cosine, generator, train

LENGTH = 64
LENGTHS = (64, 128, 256, 512, 1024)
UNKNOWN = 0
SHARE = 0.15
"""How many of the known words are masked."""


@dataclass(frozen=True)
class Config:
    """One run: the law of the training, the network, and how it is trained (Adam, cosine rate, clipped at norm 1)."""

    law: str
    seed: int
    d: int = 64
    heads: int = 4
    layers: int = 2
    words: int = 2000
    batch: int = 32
    steps: int = 1000
    rate: float = 3e-3
    postings: int = 12
    lengths: tuple[int, ...] = LENGTHS


LAWS: dict[str, Law] = {
    "standard": standard_scale,
    "log 64": partial(log_scale, base=64.0),
    "log 512": partial(log_scale, base=512.0),
    "held": lambda n, d: log_scale(LENGTH, d, base=512.0),
}

TESTED = {
    trained: [*product((trained, other), ("all", "clipped")), (trained, "near")]
    for trained, other in (("standard", "log 64"), ("log 512", "held"))
}
"""For each law of the training the tests: a law that equals it at n = 64, and what a word sees."""


def grid(quick: bool) -> list[Config]:
    """Both laws, three seeds; or, quick, each once, tiny."""
    if quick:
        tiny = {"d": 8, "heads": 2, "words": 50, "batch": 2, "steps": 3, "postings": 1, "lengths": (64, 256)}
        return [Config(law, seed=0, **tiny) for law in TESTED]
    return [Config(law, seed) for seed, law in product(range(3), TESTED)]


# ---------------------------------------------------------------------------------------------------------------
# text


@dataclass(frozen=True)
class Text:
    """Words as numbers: the training postings in one row, and the first 1024 words of each long held-out posting.

    Number 0 is every word that is not among the most frequent; the mask has the number after the last word.
    """

    training: Tensor
    held_out: Tensor


@cache
def text(words: int) -> Text:
    """The postings, with a vocabulary of the `words` − 1 most frequent words of the training part."""
    training = [posting.split() for posting in corpora.newsgroups("train")]
    counts = Counter(word for posting in training for word in posting)
    number = {word: k for k, (word, _) in enumerate(counts.most_common(words - 1), 1)}
    longest = max(LENGTHS)
    long = [p[:longest] for p in map(str.split, corpora.newsgroups("test")) if len(p) >= longest]
    row = [number.get(word, UNKNOWN) for posting in training for word in posting]
    return Text(torch.tensor(row), torch.tensor([[number.get(word, UNKNOWN) for word in p] for p in long]))


def masked(x: Tensor, source: torch.Generator) -> Tensor:
    """Where a word is masked: a random share of the known ones."""
    return (torch.rand(x.shape, generator=source) < SHARE) & (x != UNKNOWN)


def batch(config: Config, k: int) -> tuple[Tensor, Tensor]:
    """Pieces of the training text of length 64 (they may cross from one posting to the next), and their masks."""
    source, row = generator(config.seed, k), text(config.words).training
    start = torch.randint(len(row) - LENGTH, (config.batch, 1), generator=source)
    x = row[start + torch.arange(LENGTH)]
    return x, masked(x, source)


# ---------------------------------------------------------------------------------------------------------------
# network


class Block(nn.Module):
    """Attention and two dense layers, each on normalised input and added to it (Pre-LN)."""

    def __init__(self, d: int, heads: int, law: Law) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d, heads, scale=law, rotary=True)
        self.dense = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.norm_a, self.norm_d = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_a(x))
        return x + self.dense(self.norm_d(x))


class Reader(nn.Module):
    """Embeddings, blocks, and a linear map to the words at the masked places."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words, law = config.words, LAWS[config.law]
        self.embedding = nn.Embedding(self.words + 1, config.d)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(config.d))
        self.blocks = nn.ModuleList(Block(config.d, config.heads, law) for _ in range(config.layers))
        self.norm, self.head = nn.LayerNorm(config.d), nn.Linear(config.d, self.words)

    def embed(self, x: Tensor, mask: Tensor) -> Tensor:
        # Small weights times √d, as in Vaswani et al.: Adam's steps, which know no scale, move the words faster.
        return self.embedding(x.masked_fill(mask, self.words)) * math.sqrt(self.embedding.embedding_dim)

    def name(self, h: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.norm(h[mask]))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Logits for the masked words, (number of them, words)."""
        h = self.embed(x, mask)
        for block in self.blocks:
            h = block(h)
        return self.name(h, mask)


def build(config: Config) -> Reader:
    """The network before training; the same seed gives the same weights, whatever the law."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Reader(config)


def loss(model: Reader, b: tuple[Tensor, Tensor]) -> Tensor:
    x, mask = b
    return nn.functional.cross_entropy(model(x, mask), x[mask])


# ---------------------------------------------------------------------------------------------------------------
# what a word sees


def look(attention: MultiHeadAttention, x: Tensor, law: Law, sight: str) -> tuple[Tensor, Tensor]:
    """Output and weights of the attention under another law and another sight: "all", "near" or "clipped"."""
    q, k, v = (split_heads(W(x), attention.heads) for W in (attention.W_q, attention.W_k, attention.W_v))
    n, d = q.shape[-2:]
    if sight == "clipped":
        a = masked_softmax(clipped_scores(q * law(n, d), k))
    else:
        angles, mask = rope_angles(n, d, q), near(n) if sight == "near" else None
        seen = n if mask is None else visible_keys(mask, k)
        a = attention_weights(rope(q, angles), rope(k, angles), mask, law(seen, d))
    return attention.W_o(merge_heads(a @ v)), a


def distances(n: int) -> Tensor:
    """How far key j lies to the left of query i: i − j."""
    i = torch.arange(n)
    return i[:, None] - i


def near(n: int) -> Tensor:
    return distances(n).abs() < LENGTH


def clipped_scores(q: Tensor, k: Tensor) -> Tensor:
    r"""$q_i^\top R_{\delta}\,k_j$ with the distance $\delta = j - i$ clipped to −63 … 63, R the rotation of RoPE."""
    n, far = q.shape[-2], LENGTH - 1
    angles = rope_angles(n, q.shape[-1], q)
    # A key at 0 seen from position 63, and one at 63 seen from 0: the farthest to the left and to the right.
    farthest = rope_angles(torch.full((n,), far), q.shape[-1], q)
    within, left, right = rope(q, angles) @ rope(k, angles).mT, rope(q, farthest) @ k.mT, q @ rope(k, farthest).mT
    to_left = distances(n)
    return torch.where(to_left > far, left, torch.where(to_left < -far, right, within))


# ---------------------------------------------------------------------------------------------------------------
# training and test


def run(config: Config) -> dict[str, Any]:
    """Train, and return what each test found.

    `tested` holds for each "law, sight" the `accuracy` and `loss` on the masked words, one for each of `lengths`, and
    the `entropy` of the attention, a mean for each layer. `unigram` is the accuracy of always naming the most frequent
    word of the training text.
    """
    model, known = build(config), text(config.words)
    settings = Training(config.steps, Cosine(config.rate, config.steps, warm_up=config.steps // 20), seed=config.seed)
    train(model, loss, partial(batch, config), settings)
    x = known.held_out[config.seed * config.postings :][: config.postings]
    mask = masked(x, generator(config.seed, -1))
    common = known.training[known.training != UNKNOWN].mode().values
    tested = {
        f"{law}, {sight}": score(model, x, mask, LAWS[law], sight, config.lengths) for law, sight in TESTED[config.law]
    }
    unigram = (x[mask] == common).double().mean().item()
    return {"lengths": list(config.lengths), "unigram": round(unigram, 4), "tested": tested}


def score(
    model: Reader, x: Tensor, mask: Tensor, law: Law, sight: str, lengths: tuple[int, ...]
) -> dict[str, list[Any]]:
    """Accuracy, cross-entropy and entropy per layer at each length."""
    found = [_score(model, x.view(-1, n), mask.view(-1, n), law, sight) for n in lengths]
    return {what: [one[what] for one in found] for what in found[0]}


@torch.no_grad()
def _score(model: Reader, x: Tensor, mask: Tensor, law: Law, sight: str) -> dict[str, Any]:
    right, total, entropy = 0, 0.0, torch.zeros(len(model.blocks))
    for some, hidden in zip(x.split(_pieces(x)), mask.split(_pieces(x)), strict=True):
        h = model.embed(some, hidden)
        for k, block in enumerate(model.blocks):
            out, a = look(block.attention, block.norm_a(h), law, sight)
            h = h + out
            h = h + block.dense(block.norm_d(h))
            entropy[k] += distribution_entropy(a).mean() * len(some) / len(x)
        logits = model.name(h, hidden)
        right += (logits.argmax(-1) == some[hidden]).sum().item()
        total += nn.functional.cross_entropy(logits, some[hidden], reduction="sum").item()
    number = mask.sum().item()
    return {
        "accuracy": round(right / number, 4),
        "loss": round(total / number, 4),
        "entropy": [round(one, 3) for one in entropy.tolist()],
    }


def _pieces(x: Tensor) -> int:
    """So many rows at a time that their weights take little memory."""
    return math.ceil(2048 / x.shape[1])
