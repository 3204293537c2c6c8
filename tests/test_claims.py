"""What the ledger promises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib import claims
from minilib.claims import BrokenClaim, Ledger, between, less, more

finite = st.floats(-1e6, 1e6)


def ledger():
    return Ledger("09_example", source="an essay")


@given(finite, finite, st.floats(1e-6, 10))
def test_a_claim_holds_exactly_when_it_cannot_be_refuted(predicted, measured, tolerance):
    def accepted(verdict):
        try:
            getattr(ledger(), verdict)("a", "a claim", predicted=predicted, measured=measured, tolerance=tolerance)
        except BrokenClaim:
            return False
        return True

    assert accepted("holds") != accepted("refuted")


def test_every_seed_must_agree_with_a_claim_that_holds_and_none_with_a_refuted_one():
    with pytest.raises(BrokenClaim, match="2 of 3 agree"):
        ledger().holds("a", "a claim", predicted=1.0, measured=[1.0, 1.01, 1.2], tolerance=0.1)
    with pytest.raises(BrokenClaim, match="1 of 3 agree"):
        ledger().refuted("a", "a claim", predicted=1.0, measured=[5.0, 1.01, 5.0], tolerance=0.1)


def test_a_refuted_claim_fails_when_it_becomes_true():
    with pytest.raises(BrokenClaim, match="entered as 'does not hold here', but the measurement says otherwise"):
        ledger().refuted("a", "growth", predicted=less(1.0), measured=0.9)


def test_a_correction_needs_the_source_to_be_off_and_the_better_value_to_be_right():
    good = {"predicted": 2.0, "better": 3.0, "formula": "1+2", "tolerance": 0.1}
    ledger().corrected("a", "a claim", measured=3.05, **good)
    with pytest.raises(BrokenClaim, match="the better value 3 agrees with 0 of 1"):
        ledger().corrected("a", "a claim", measured=2.5, **good)
    with pytest.raises(BrokenClaim):
        ledger().corrected("a", "a claim", measured=2.05, **good)
    with pytest.raises(BrokenClaim):
        ledger().corrected("a", "a claim", measured=3.0, **good | {"predicted": 2.95})


def test_nan_agrees_with_nothing():
    for predicted, more_arguments in ((1.0, {"tolerance": 9.0}), (less(5.0), {}), (more(0.0), {})):
        with pytest.raises(BrokenClaim):
            ledger().holds("a", "a claim", predicted=predicted, measured=float("nan"), **more_arguments)


def test_inequalities_are_strict_and_say_what_they_are():
    assert [str(p) for p in (less(2.0), more(0.5), between(1.0, 2.0))] == ["< 2", "> 0.5", "1 … 2"]
    for predicted in (less(2.0), more(2.0), between(1.0, 2.0)):
        with pytest.raises(BrokenClaim):
            ledger().holds("a", "a claim", predicted=predicted, measured=2.0)
    with pytest.raises(ValueError, match="smaller number first"):
        between(2.0, 1.0)


def test_the_interval_over_seeds_is_students():
    # by hand: mean 2, s = 1, t = 4.303, so 4.303/√3
    assert claims.half_width([1.0, 2.0, 3.0]) == pytest.approx(2.484, abs=1e-3)
    book = ledger()
    book.holds("a", "a claim", predicted=2.0, measured=[1.0, 2.0, 3.0], tolerance=1.5)
    assert book.entries[0].measured == "2 ± 2 (n = 3)"
    assert book.entries[0].seeds == 3


def test_an_interval_below_the_digits_shown_is_left_out():
    book = ledger()
    book.holds("a", "a claim", predicted=2.0, measured=[2.0, 2.0 + 1e-14, 2.0], tolerance=0.1)
    assert book.entries[0].measured == "2 (n = 3)"


def test_relative_tolerance_is_relative_to_the_prediction():
    ledger().holds("a", "a claim", predicted=-200.0, measured=-210.0, rel=0.051)
    with pytest.raises(BrokenClaim):
        ledger().holds("a", "a claim", predicted=-200.0, measured=-210.0, rel=0.049)


def test_fewer_digits_are_shown_but_all_are_checked():
    book = ledger()
    book.holds("a", "a claim", predicted=0.1496, measured=0.1499, tolerance=0.0004, digits=1)
    assert book.entries[0].measured == "0.1"
    with pytest.raises(BrokenClaim):
        book.holds("b", "a claim", predicted=0.1496, measured=0.1501, tolerance=0.0004, digits=1)


def test_misuse_is_explained():
    book = ledger()
    book.holds("a", "a claim", predicted=1.0, measured=1.0, tolerance=0.1)
    with pytest.raises(ValueError, match="'a' is in the ledger already"):
        book.holds("a", "another", predicted=1.0, measured=1.0, tolerance=0.1)
    with pytest.raises(ValueError, match="give one of tolerance"):
        book.holds("b", "a claim", predicted=1.0, measured=1.0)
    with pytest.raises(ValueError, match="an inequality has no tolerance"):
        book.holds("b", "a claim", predicted=less(1.0), measured=0.0, tolerance=0.1)
    with pytest.raises(ValueError, match="measured is empty"):
        book.holds("b", "a claim", predicted=less(1.0), measured=[])


def filled():
    book = ledger()
    book.holds("first", "a < b | c", predicted=1.0, measured=1.0, tolerance=0.1)
    book.corrected("second", "a bound", predicted=2.0, measured=3.0, better=3.0, formula="1+2", tolerance=0.1)
    book.refuted("third", "a myth", predicted=less(1.0), measured=[4.0, 5.0], source="hearsay")
    return book


def test_a_verdict_is_said_in_words_sign_and_colour():
    data = filled()._repr_mimebundle_()
    for verdict, (sign, color) in claims._LOOKS.items():
        assert f"color:{color}'>{sign} {verdict}<" in data["text/html"]
    assert "a &lt; b | c" in data["text/html"]
    assert data["text/plain"].splitlines()[2] == (
        "✗ third: a myth; predicted < 1, measured 4.5 ± 6 (n = 2): does not hold here"
    )


def test_each_entry_is_new_once():
    book = filled()
    assert repr(book.new()) == str(book)
    assert book.new().entries == []
    book.holds("fourth", "a claim", predicted=1.0, measured=1.0, tolerance=0.1)
    assert [entry.id for entry in book.new().entries] == ["fourth"]
    assert "<td style='text-align:left'>an essay</td>" in claims.Rows(book.entries)._repr_html_()


@pytest.fixture
def project(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "results").mkdir()

    def notebook(name, data):
        cells = [{"cell_type": "code", "outputs": [{"output_type": "execute_result", "data": data}]}]
        (tmp_path / "notebooks" / name).write_text(json.dumps({"cells": cells}), encoding="utf-8")

    notebook("00_start_here.ipynb", ledger()._repr_mimebundle_())
    notebook("09_example.ipynb", filled()._repr_mimebundle_())
    return tmp_path


def test_the_ledgers_of_all_notebooks_are_gathered(project):
    assert claims.main(["--root", str(project)], say=str) == 0
    text = (project / "CLAIMS.md").read_text(encoding="utf-8")
    assert "Of 3 claims 1 hold, 1 hold with a correction, and 1 do not hold here." in text
    assert "| `first` | a < b \\| c | an essay | 1 ± 0.1 | 1 | ✓ holds |" in text
    assert json.loads((project / "results" / "claims.json").read_text(encoding="utf-8"))[0]["chapter"] == "09_example"


def test_check_fails_until_the_files_agree_with_the_notebooks(project):
    said = []
    assert claims.main(["--check", "--root", str(project)], say=said.append) == 1
    assert said == [f"{n} does not agree with the notebooks; run make claims" for n in ("claims.json", "CLAIMS.md")]
    claims.main(["--root", str(project)], say=str)
    assert claims.main(["--check", "--root", str(project)], say=str) == 0


def test_a_chapter_without_a_ledger_is_an_error(project):
    (project / "notebooks" / "10_empty.ipynb").write_text('{"cells": []}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"10_empty\.ipynb shows no ledger"):
        claims.main(["--root", str(project)], say=str)
