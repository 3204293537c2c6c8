"""Six matching tasks out of real news: {short, long} × {short, long} × {loose A, strict B}, each pair with its label.

A report of BBC News has two short texts, its headline and its first sentence, and two long ones, the halves of what
follows. "Short-short" compares headline and first sentence, "short-long" the headline and the second half,
"long-long" the two halves. A pair is of one of three kinds:

    same       both texts are of one report                        a match for A, a match for B
    sibling    of two reports of one section, of other events      a match for A, none for B
    random     of two sections                                     none for A, none for B

Each report has one match and one other pair in each task. In A a third of the matches are "same"; in B a third of the
others are "random"; the rest are the *same* sibling pairs. So two thirds of the reports have a pair that is a match for
A and none for B, and whoever does not see the task is wrong about one of the two.

Reports that share a headline or a whole sentence are taken to be of one event; the BBC repeats itself, word by word, in
what follows up a story. No event is in two parts, so that neither text of a pair that is tested was seen in training.
Everything follows from the texts by hashes: there is no randomness.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import corpora
from .matching import TASKS
from .wordpiece import Encoded, Tokenizer

PARTS = ("train", "valid", "test")
KINDS = ("same", "sibling", "random")
LENGTHS = {"ss": ("headline", "lead"), "sl": ("headline", "second"), "ll": ("first", "second")}
"""Which two texts of a report a pair is made of."""

_SENTENCES = re.compile(r"""(?<=[.!?]["'”’ ])\s*(?=["'“‘A-Z0-9£$])|(?<=[.!?])\s+(?=["'“‘A-Z0-9£$])""")
SHARED = 8
"""Words from which on a sentence tells an event: shorter ones are said of many."""


class Report(NamedTuple):
    """The four texts of a report, its section, and a number that all reports of one event share."""

    headline: str
    lead: str
    first: str
    second: str
    section: str
    event: int


class Pair(NamedTuple):
    """Two texts, the number of the task, whether they match (1 or 0), their kind, and the place of the first's report.

    Pairs of one report are no independent samples: a bootstrap draws reports.
    """

    first: str
    second: str
    task: int
    label: int
    kind: str
    report: int


# ---------------------------------------------------------------------------------------------------------------
# reports


def sentences(text: str) -> list[str]:
    """Cut a text at the ends of sentences and of lines; "U.S. forces" is cut, too, which does no harm here."""
    return [s for line in text.split("\n") for s in map(str.strip, _SENTENCES.split(line)) if s]


def texts_of(article: corpora.Article) -> tuple[str, str, str, str] | None:
    """Headline, first sentence, and the two halves of the rest, cut at the sentence nearest to the middle.

    None where the rest has fewer than two sentences or forty words, or the first sentence fewer than five: a list.
    """
    lead, *rest = sentences(article.body) or [""]
    words = [len(sentence.split()) for sentence in rest]
    if len(rest) < 2 or sum(words) < 40 or len(lead.split()) < 5 or not article.headline.strip():
        return None
    cut = min(range(1, len(rest)), key=lambda k: abs(2 * sum(words[:k]) - sum(words)))
    return article.headline.strip(), lead, " ".join(rest[:cut]), " ".join(rest[cut:])


def events(articles: Sequence[corpora.Article]) -> list[int]:
    """A number for each article; two have the same if a headline or a long sentence joins them, also over others."""
    parent = list(range(len(articles)))

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    first: dict[str, int] = {}
    for k, article in enumerate(articles):
        long = [s for s in sentences(article.body) if len(s.split()) >= SHARED]
        for said in (article.headline, *long):
            a, b = sorted((root(first.setdefault(said, k)), root(k)))
            parent[b] = a
    return [root(k) for k in range(len(articles))]


def reports(part: str) -> tuple[Report, ...]:
    """Return the reports in one of the parts "train", "valid" and "test".

    "test" is that of :func:`minilib.corpora.bbc`, less the events that are in its "train", too; of the latter an eighth
    of the headlines are "valid", by the same rule.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    return _parted()[part]


@functools.cache
def _parted() -> dict[str, tuple[Report, ...]]:
    articles, tested = corpora.bbc(), {article.headline for article in corpora.bbc("test")}
    places = [2 if a.headline in tested else int(_order("valid", a.headline) % 8 == 0) for a in articles]
    numbers = events(articles)
    earliest: dict[int, int] = {}
    for place, event in zip(places, numbers, strict=True):
        earliest[event] = min(place, earliest.get(event, place))
    found: dict[str, list[Report]] = {part: [] for part in PARTS}
    for article, place, event in zip(articles, places, numbers, strict=True):
        if earliest[event] == place and (texts := texts_of(article)) is not None:
            found[PARTS[place]].append(Report(*texts, article.section, event))
    return {part: _mixed(known) for part, known in found.items()}


def _mixed(known: Sequence[Report]) -> tuple[Report, ...]:
    """The reports in an order in which the first of them, however many, are of all sections in their shares.

    One that differs from another in nothing but spaces is left out.
    """
    place: dict[Report, float] = {}
    for pool in (pools := pools_of(known)):
        if pool[0] == "sibling":
            own = sorted(pools[pool], key=lambda one: _order("place", *one[:4]))
            place |= {one: (k + 0.5) / len(own) for k, one in enumerate(own)}
    return tuple(sorted(place, key=lambda one: (place[one], one)))


def _order(*words: str) -> int:
    """A number that the words decide, the same on every machine."""
    return int.from_bytes(hashlib.sha256("\n".join(words).encode()).digest()[:8])


# ---------------------------------------------------------------------------------------------------------------
# pairs


Pools = Mapping[tuple[str, str], Sequence[Report]]
"""Among whom a "sibling" and a "random" partner for a report of a section is looked for."""


def pools_of(known: Sequence[Report]) -> Pools:
    """The reports of each section, and those of all others."""
    sections = sorted({report.section for report in known})
    siblings = {("sibling", name): [report for report in known if report.section == name] for name in sections}
    return siblings | {("random", name): [report for report in known if report.section != name] for name in sections}


def partner(pools: Pools, report: Report, kind: str, lengths: str) -> Report:
    """The report whose text is the second of a pair: the one at a place that a hash decides, or the next that fits."""
    if kind == "same":
        return report
    pool, place = pools[kind, report.section], _order(kind, lengths, report.headline, report.lead)
    for k in range(len(pool)):
        other = pool[(place + k) % len(pool)]
        if other.event != report.event:
            return other
    raise ValueError(f"no report makes a {kind} pair with {report.headline!r}; give more reports")


def pairs_of(known: Sequence[Report], lengths: str) -> list[Pair]:
    """The pairs of both tasks, A and B, with texts of these lengths: four for each report, two of each label."""
    if lengths not in LENGTHS:
        raise ValueError(f"lengths must be one of {', '.join(LENGTHS)}, got {lengths!r}")
    first, second = LENGTHS[lengths]
    loose, pools, found = TASKS.index(f"{lengths}A"), pools_of(known), []
    order = sorted(range(len(known)), key=lambda k: _order(lengths, *known[k][:4]))
    for rank, k in enumerate(order):
        report = known[k]
        contested = rank % 3 > 0
        kinds = (("sibling" if contested else "same", "random"), ("same", "sibling" if contested else "random"))
        for strict, (match, other) in enumerate(kinds):
            for label, kind in ((1, match), (0, other)):
                second_text = getattr(partner(pools, report, kind, lengths), second)
                found.append(Pair(getattr(report, first), second_text, loose + strict, label, kind, k))
    return found


@functools.cache
def pairs(part: str, number: int | None = None) -> tuple[Pair, ...]:
    """Return the pairs of all six tasks out of the first `number` reports of a part, or out of all of them.

    12 for each report. Raises ValueError for fewer than 30 reports, which need not make pairs of each kind.
    """
    known = reports(part)[:number]
    if len(known) < 30:
        raise ValueError(f"at least 30 reports are needed for pairs of each kind, got {len(known)}")
    return tuple(pair for lengths in LENGTHS for pair in pairs_of(known, lengths))


def encoded(pair: Pair, tokenizer: Tokenizer, longest: int = 128) -> Encoded:
    """Number the pieces of ``[CLS] first [SEP] second [SEP]``, the longer text cut off first.

    Raises ValueError for a pair with an empty text: it could only be told by the other one.
    """
    found = tokenizer.encode(pair.first, pair.second, longest)
    second = sum(found.segments)  # pieces of the second text and its [SEP]; beside the first one stands [CLS], too
    for name, text, pieces in (("first", pair.first, len(found.ids) - second - 2), ("second", pair.second, second - 1)):
        if not pieces:
            raise ValueError(f"the {name} text of the pair is empty, got {text!r}; leave the pair out")
    return found
