"""What the six matching tasks promise: who is paired with whom, and that nothing of a test was seen in training."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from minilib import corpora
from minilib import matching_corpora as mc
from minilib.corpora import Article
from minilib.matching import TASKS
from minilib.wordpiece import SPECIAL, Tokenizer

SECTIONS = ("tech", "sports", "politics")


def article(k, section="tech", headline=None, said=""):
    lines = [f"The lead of report {k} tells you all of it.", f"{said} Report {k} goes on for a while, as they do {k}."]
    lines += [f"Sentence {i} of report {k} says what nobody else has said before." for i in range(6)]
    return Article(headline or f"Report {k} has a headline", "\n".join(lines), section)


@pytest.fixture
def library(monkeypatch):
    """Stand in for the BBC: a function that takes its articles, every fifth of which is for testing."""

    def use(articles, tested=None):
        for cached in (mc._parted, mc.pairs):
            cached.cache_clear()
        parts = {"all": articles, "test": articles[::5] if tested is None else tested}
        monkeypatch.setattr(corpora, "bbc", lambda split="all": parts[split])

    yield use
    for cached in (mc._parted, mc.pairs):
        cached.cache_clear()


def many(number=401):
    return [article(k, SECTIONS[k % 3]) for k in range(number)]


# ---------------------------------------------------------------------------------------------------------------
# texts


def test_sentences_end_at_stops_before_capitals_and_at_the_ends_of_lines():
    text = 'He said "it is so." She paid £3.5m (2.1 euros). "Why?" he asked.\nA line without a stop\nThe last'
    assert mc.sentences(text) == [
        'He said "it is so."',
        "She paid £3.5m (2.1 euros).",
        '"Why?" he asked.',
        "A line without a stop",
        "The last",
    ]


def test_the_halves_are_cut_at_the_sentence_nearest_to_the_middle_and_nothing_is_lost():
    one = article(3)
    headline, lead, first, second = mc.texts_of(one)
    assert (headline, lead) == (one.headline, "The lead of report 3 tells you all of it.")
    assert " ".join((lead, first, second)).split() == one.body.split()
    longer, shorter = sorted((len(first.split()), len(second.split())), reverse=True)
    assert longer - shorter <= 12


@pytest.mark.parametrize("body", ["", "Only a lead of some words.", "Ewood Park\n" + "Word after word. " * 30])
def test_lists_and_stubs_are_left_out(body):
    assert mc.texts_of(Article("A headline", body, "sports")) is None


def test_a_headline_or_a_long_sentence_joins_articles_to_an_event_and_a_short_one_does_not():
    long, short = "A minister said that this is a very long thing to say.", "He was there."
    articles = [article(0, said=long), article(1, said=short), article(2, headline="Report 0 has a headline")]
    articles += [article(3, said=short), article(4, said=long)]
    found = mc.events(articles)
    assert found[0] == found[2] == found[4]
    assert len({found[0], found[1], found[3]}) == 3


# ---------------------------------------------------------------------------------------------------------------
# parts


def test_no_event_is_in_two_parts_and_the_earlier_part_keeps_it(library):
    articles = many()
    said = "Both of these reports tell you the very same sentence here."
    articles[5], articles[6] = article(5, SECTIONS[2], said=said), article(6, SECTIONS[0], said=said)
    library(articles)
    parts = {part: mc.reports(part) for part in mc.PARTS}
    assert sum(map(len, parts.values())) == 400
    everything = [report for known in parts.values() for report in known]
    assert len({report[:4] for report in everything}) == 400
    assert not any(report.headline == articles[5].headline for report in parts["test"])
    seen = {part: {report.event for report in known} for part, known in parts.items()}
    assert not seen["test"] & (seen["train"] | seen["valid"])
    assert not seen["train"] & seen["valid"]
    assert {report.headline for report in parts["test"]} <= {one.headline for one in articles[::5]}
    assert len(parts["valid"]) == pytest.approx(40, abs=20)


# ---------------------------------------------------------------------------------------------------------------
# pairs


def test_every_report_has_one_match_and_one_other_pair_in_each_task(library):
    library(many())
    known, found = mc.reports("train"), mc.pairs("train")
    assert len(found) == 12 * len(known)
    assert set(Counter((p.report, p.task, p.label) for p in found).values()) == {1}
    for task in range(6):
        assert sum(p.label for p in found if p.task == task) == len(known)


def test_the_kinds_have_their_labels_and_their_shares(library):
    library(many())
    found = mc.pairs("train")
    count = Counter((TASKS[p.task], p.label, p.kind) for p in found)
    assert {(name[2], label, kind) for name, label, kind in count} == {
        ("A", 1, "same"),
        ("A", 1, "sibling"),
        ("A", 0, "random"),
        ("B", 1, "same"),
        ("B", 0, "sibling"),
        ("B", 0, "random"),
    }
    n = len(mc.reports("train"))
    for lengths in mc.LENGTHS:
        third = -(-n // 3)
        assert count[f"{lengths}A", 1, "same"] == count[f"{lengths}B", 0, "random"] == third
        assert count[f"{lengths}A", 1, "sibling"] == count[f"{lengths}B", 0, "sibling"] == n - third


def test_a_sibling_is_of_the_section_and_of_another_event_and_a_random_one_of_another_section(library):
    library(many())
    known = mc.reports("train")
    by_text = {text: report for report in known for text in report[:4]}
    for pair in mc.pairs("train"):
        a, b = by_text[pair.first], by_text[pair.second]
        assert a is known[pair.report]
        assert (a is b) == (pair.kind == "same")
        assert (a.section == b.section) == (pair.kind != "random")
        assert (a.event == b.event) == (pair.kind == "same")
        one, other = mc.LENGTHS[TASKS[pair.task][:2]]
        assert (pair.first, pair.second) == (getattr(a, one), getattr(b, other))


def test_the_same_two_texts_are_a_match_for_a_and_none_for_b(library):
    library(many())
    loose, strict = ({p[:2]: p.label for p in mc.pairs("train") if p.task % 2 == k} for k in (0, 1))
    contested = [texts for texts in loose.keys() & strict.keys() if loose[texts] != strict[texts]]
    assert len(contested) == pytest.approx(3 * 2 / 3 * len(mc.reports("train")), abs=3)
    assert all((loose[texts], strict[texts]) == (1, 0) for texts in contested)


def test_the_order_of_the_articles_does_not_matter(library):
    articles = many()
    library(articles)
    found = mc.pairs("train")
    library(articles[::-1], tested=articles[::5])
    assert mc.pairs("train") == found


def test_fewer_reports_make_pairs_among_themselves(library):
    library(many())
    found = mc.pairs("train", 41)
    texts = {text for report in mc.reports("train")[:41] for text in report[:4]}
    assert len(found) == 12 * 41
    assert {text for p in found for text in p[:2]} <= texts


def test_the_first_reports_are_of_all_sections_in_their_shares(library):
    library(many())
    known = mc.reports("train")
    shares = Counter(report.section for report in known)
    for number in (30, 61, 127):
        for section, count in Counter(report.section for report in known[:number]).items():
            assert count == pytest.approx(number * shares[section] / len(known), abs=1)


# ---------------------------------------------------------------------------------------------------------------
# pieces, bad input


TOKENIZER = Tokenizer((*SPECIAL, "a", "b", "c"))


def test_a_pair_is_one_row_with_two_segments_and_the_longer_text_is_cut():
    ids, segments = mc.encoded(mc.Pair("a b", "c c c c c", 0, 1, "same", 0), TOKENIZER, longest=8)
    assert TOKENIZER.tokens(ids) == ["[CLS]", "a", "b", "[SEP]", "c", "c", "c", "[SEP]"]
    assert segments == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(("first", "second", "name"), [("", "a", "first"), ("a", " \n", "second"), (" ", "", "first")])
def test_a_pair_with_an_empty_text_is_refused(first, second, name):
    with pytest.raises(ValueError, match=f"the {name} text of the pair is empty, got .*; leave the pair out"):
        mc.encoded(mc.Pair(first, second, 0, 1, "same", 0), TOKENIZER)


def test_bad_arguments_are_named(library):
    library(many())
    with pytest.raises(ValueError, match="part must be one of train, valid, test, got 'dev'"):
        mc.reports("dev")
    with pytest.raises(ValueError, match=r"at least 30 reports are needed .*, got 29"):
        mc.pairs("train", 29)
    with pytest.raises(ValueError, match="lengths must be one of ss, sl, ll, got 'ls'"):
        mc.pairs_of(mc.reports("train"), "ls")
    lonely = [report for report in mc.reports("train") if report.section == "tech"]
    with pytest.raises(ValueError, match="no report makes a random pair with 'Report"):
        mc.pairs_of(lonely, "ss")


# ---------------------------------------------------------------------------------------------------------------
# the real ones


@pytest.mark.data
def test_the_reports_are_as_many_as_they_say():
    assert [len(mc.reports(part)) for part in mc.PARTS] == [1464, 165, 398]
    assert [len(mc.pairs(part)) for part in mc.PARTS] == [17_568, 1980, 4776]


@pytest.mark.data
def test_neither_text_of_a_tested_pair_occurs_in_training():
    texts = {part: {text for pair in mc.pairs(part) for text in pair[:2]} for part in mc.PARTS}
    assert not texts["test"] & (texts["train"] | texts["valid"])
    assert not texts["valid"] & texts["train"]
    long = lambda part: {s for t in texts[part] for s in mc.sentences(t) if len(s.split()) >= mc.SHARED}  # noqa: E731
    assert not long("test") & (long("train") | long("valid"))


@pytest.mark.data
def test_no_report_for_testing_shares_half_of_its_runs_of_eight_words_with_one_for_training():
    def runs(report):
        words = re.findall(r"\w+", " ".join(report[1:4]).lower())
        return {" ".join(words[k : k + 8]) for k in range(len(words) - 7)}

    seen = set().union(*map(runs, mc.reports("train")))
    shares = [len(own & seen) / len(own) for own in map(runs, mc.reports("test"))]
    assert max(shares) < 0.5


@pytest.mark.data
def test_the_best_that_a_blind_model_can_do_is_five_sixths():
    pairs = mc.pairs("test")
    truth = {}
    for pair in pairs:
        truth.setdefault((*pair[:2], pair.task // 2), []).append(pair.label)
    right = sum(max(labels.count(0), labels.count(1)) for labels in truth.values())
    assert right / len(pairs) == pytest.approx(5 / 6, abs=2e-3)
