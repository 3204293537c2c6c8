"""What reading the stored results promises."""

from __future__ import annotations

import json

import pytest

from minilib import stored


@pytest.fixture
def folder(tmp_path, monkeypatch):
    runs = [(way, seed) for way in ("a", "b") for seed in range(3)]
    made = [{"config": {"way": way, "seed": seed}, "result": {"loss": seed}} for way, seed in runs]
    (tmp_path / "toy.json").write_text(json.dumps({"experiment": "toy", "records": made}), encoding="utf-8")
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    return made


def test_all_records_come_in_their_order(folder):
    assert stored.records("toy") == folder


def test_values_choose_among_them(folder):
    assert stored.records("toy", way="b") == folder[3:]
    assert stored.results("toy", way="b", seed=2) == [{"loss": 2}]


def test_what_is_not_there_is_named(folder):
    with pytest.raises(ValueError, match=r"there is no results/tpy\.json, .*; there is toy"):
        stored.records("tpy")
    with pytest.raises(ValueError, match="no run of toy has seed = 3, together with"):
        stored.records("toy", way="a", seed=3)
    with pytest.raises(ValueError, match="no run of toy has wya = 'a'"):
        stored.records("toy", wya="a")


@pytest.mark.torch
def test_every_experiment_has_stored_results_and_each_says_how_it_was_made():
    experiments = pytest.importorskip("experiments.runner")
    for name in experiments.names():
        for record in stored.records(name):
            assert {"key", "config", "result", "provenance"} == set(record)
            assert "seed" in record["config"]
