"""What the experiment on titles promises, beyond what all experiments do."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from experiments import bert_titles as titles  # noqa: E402
from minilib.wordpiece import split_words  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.data]


# ---------------------------------------------------------------------------------------------------------------
# bert_titles


@pytest.fixture(scope="module")
def scribe():
    """A small network with the vocabulary of MiniLM, as it begins."""
    torch.manual_seed(0)
    return titles.Bert(replace(titles.BERT_SIZES["MiniLM"], d=12, heads=3, layers=2, inner=24)).eval()


def test_a_piece_is_named_from_the_body_and_the_pieces_before_it(scribe):
    r = titles.Reports(*(part[:3] for part in titles.reports("test")))
    z = scribe.mlm(titles.states(scribe, r.bodies, r.titles))
    assert z.shape[1] == titles.TITLE + 1
    changed = r.titles.clone()
    changed[:, 4] = 2000
    difference = (scribe.mlm(titles.states(scribe, r.bodies, changed)) - z).abs().amax((0, 2))
    assert difference[:5].max() < 1e-5
    assert difference[5:].min() > 1e-5
    bodies = r.bodies.clone()
    bodies[:, 20] = 2000
    assert ((scribe.mlm(titles.states(scribe, bodies, r.titles)) - z).abs().amax((0, 2)) > 1e-6).all()


def test_the_loss_is_minus_the_log_probability_of_the_headline(scribe):
    r = titles.Reports(*(part[:3] for part in titles.reports("test")))
    found = titles.losses(scribe, r)
    total, pad = 0.0, titles.network().tokenizer.ids([titles.PAD])[0]
    with torch.no_grad():
        for one, title in zip(r.bodies, r.titles, strict=True):
            row = title[title != pad].tolist()
            for k, piece in enumerate(row):
                total -= titles.next_pieces(scribe, one, [tuple(row[:k])])[0, piece].item()
    assert found.sum().item() == pytest.approx(total, rel=1e-4)
    assert len(found) == (r.titles != pad).sum()


def test_overlaps_count_words_and_their_order():
    a, b = map(split_words, ("the cat sat on the mat", "the mat on the cat"))
    assert titles.overlap(a, b) == pytest.approx(10 / 11)
    assert titles.ordered_overlap(a, b) == pytest.approx(6 / 11)  # the … on the
    assert titles.overlap(a, a) == titles.ordered_overlap(a, a) == 1
    assert titles.overlap([], a) == titles.ordered_overlap(a, []) == titles.overlap([], []) == 0


def test_what_is_compared_is_each_headline_with_its_own():
    true = [["a", "b"], ["c", "d"], ["e", "f"]]
    read = [["a", "x"], ["c", "x"], ["e", "x"]]
    found = titles.compare(true, true, read)
    assert found == {"overlap": 1, "ordered": 1, "other": 0, "words": 2, "copied": 0.5}


def test_headlines_end_are_short_and_are_drawn_from_the_noise_of_their_seed(scribe):
    one = titles.reports("test").bodies[0]
    written = {way: write(scribe, one) for way, write in titles.writers(0).items()}
    assert written == {way: write(scribe, one) for way, write in titles.writers(0).items()}
    assert all(1 <= len(ids) <= titles.TITLE for ids in written.values())
    assert written["top-p"] != titles.writers(1)["top-p"](scribe, one)


def test_our_own_reports_are_long_enough_and_a_short_one_is_refused():
    assert all(len(titles.body(report)) == titles.BODY for report in titles.REPORTS)
    with pytest.raises(ValueError, match="at least 30 pieces, got 3; write a longer one"):
        titles.body("too short it")


def test_the_first_words_are_as_many_as_a_headline_has():
    decode, known = titles.network().tokenizer.decode, titles.reports("train").titles
    lengths = [len(split_words(decode(row.tolist()))) for row in known]
    assert round(sum(lengths) / len(lengths)) == titles.FIRST


def test_a_start_is_one_of_two():
    with pytest.raises(ValueError, match='start must be "trained" or "random", got \'cold\''):
        titles.build(titles.Config("cold", 0))
