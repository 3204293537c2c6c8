"""What the training experiments on six matching tasks promise, beyond what all experiments do."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from experiments import matching_frozen as frozen  # noqa: E402
from experiments import matching_full as full  # noqa: E402
from minilib import matching_torch as mt  # noqa: E402
from minilib.matching import TASKS, unpacked  # noqa: E402
from minilib.training import generator  # noqa: E402

pytestmark = pytest.mark.torch
INPUTS, QUARTILE = 13, 0.6745


def pairs_at_random(seed):
    """Pairs whose label is a threshold of one feature, another one for A and for B: half of them contested."""
    x = torch.randn(1200, INPUTS, generator=generator(0, seed))
    task = torch.arange(1200) % 6
    label = (x[:, 0] > torch.where(task % 2 == 0, -QUARTILE, QUARTILE)).long()
    kind = tuple("same" if v > QUARTILE else "random" if v < -QUARTILE else "sibling" for v in x[:, 0].tolist())
    return frozen.Data(x, mt.Facts(task, label, torch.arange(1200) // 12, kind))


@pytest.fixture(scope="module")
def made():
    return {part: pairs_at_random(seed) for seed, part in enumerate(("train", "test", "valid"))}


# ---------------------------------------------------------------------------------------------------------------
# frozen


@pytest.mark.parametrize("way", frozen.WAYS)
def test_every_way_but_the_blind_one_tells_two_strictnesses_apart(made, monkeypatch, way):
    monkeypatch.setattr(frozen, "data", lambda part, *which: made[part])
    result = frozen.run(frozen.Config(way, 0, steps=400, width=16, dropout=0.0, batch=48, learning_rate=1e-2, draws=50))
    best = max(found["accuracy"] for found in result["blind"].values())
    assert best == pytest.approx(0.75, abs=0.02)
    if way == "none":
        assert result["accuracy"] == pytest.approx(best, abs=0.04)
        assert sum(result["kinds"]["sibling"]) == pytest.approx(1, abs=0.15)  # the same answers to A and to B
    else:
        assert result["accuracy"] > best + 0.1
    assert result.get("rank", 6) == 6
    told = way not in ("none", "models")
    assert ("alike" in result) == told
    assert ("leading" in result) == (way in ("beta", "gamma", "full"))
    if way == "none":  # two numbers make up for what it was not told, since the label is a threshold here
        two, one = (result["thresholds"][number]["accuracy"] for number in ("two", "one"))
        assert two > best + 0.1 > one + 0.05
    if told:
        assert all(0 < r < 1 for r in result["alike"])  # both see the same feature, and cut it elsewhere
    assert result["interval"][0] <= result["f1"] <= result["interval"][1]


def test_parameters_are_counted_as_they_are():
    counts = {
        way: sum(p.numel() for p in frozen.build(frozen.Config(way, 0, width=5), INPUTS).parameters())
        for way in frozen.WAYS
    }
    plain = 5 * (INPUTS + 1) + 2 * 5 + 2 * 6
    one = 5 * frozen.K + 6 * frozen.K
    assert counts == {
        "none": plain,
        "token": plain + 6 * 5,
        "heads": plain + 5 * 2 * 6,
        "beta": plain + one,
        "gamma": plain + one,
        "full": plain + one + 5 * frozen.K,
        "models": plain,
    }


def test_a_condition_leaves_the_network_as_it_was_at_first(made):
    config = frozen.Config("full", 0, width=5)
    b = frozen.batch(made["train"], config, 0)
    blind, other = (frozen.build(replace(config, way=way), INPUTS).eval() for way in ("none", "full"))
    torch.testing.assert_close(other(b), blind(b))


def test_all_ways_see_the_same_pairs(made):
    batches = [frozen.batch(made["train"], frozen.Config(way, 0), 3) for way in ("none", "full")]
    assert all(map(torch.equal, *batches))
    assert not torch.equal(frozen.batch(made["train"], frozen.Config("none", 1), 3).x, batches[0].x)


def test_the_stored_answers_are_those_that_were_scored(made, monkeypatch):
    monkeypatch.setattr(frozen, "data", lambda part, *which: made[part])
    result = frozen.run(frozen.Config("heads", 0, steps=20, draws=3))
    said = torch.tensor(unpacked(result["answers"], 1200))
    assert (said == made["test"].facts.label).double().mean().item() == pytest.approx(result["accuracy"], abs=1e-4)
    assert mt.scored(said.float(), made["test"].facts)["f1"] == result["f1"]


@pytest.mark.data
def test_the_features_are_those_of_the_texts():
    config = frozen.grid(quick=True)[0]
    known, found = frozen.data("train", config.reports, config.pieces), frozen.pairs("train", config.reports)
    k = random.Random(0).randrange(len(found))
    d = frozen.encoder().sizes.d
    words = [frozen.network().tokenizer.encode(text, longest=config.pieces).ids for text in found[k][:2]]
    u, v = (torch.from_numpy(frozen.network()._mean([ids])[0]) for ids in words)
    want = torch.cat((d * u * v, d**0.5 * (u - v).abs(), (u @ v)[None]))
    torch.testing.assert_close(known.x[k], want, rtol=1e-4, atol=1e-3)
    assert known.x[:, :-1].square().mean().item() == pytest.approx(1, abs=0.6)


# ---------------------------------------------------------------------------------------------------------------
# full


@pytest.fixture(scope="module")
def tiny():
    return full.grid(quick=True)[0]


@pytest.mark.data
def test_an_epoch_holds_every_pair_once_and_the_next_in_another_order(tiny):
    batches = full.Batches(replace(tiny, batch=16), None)
    assert len(batches.rows) == 360
    for epoch in (0, 1):
        steps = [batches(k) for k in range(epoch * batches.each, (epoch + 1) * batches.each)]
        assert sum(len(b.labels) for b in steps) == 360
        assert torch.cat([b.tasks for b in steps]).bincount().tolist() == [60] * 6
    assert batches.epoch(0) != batches.epoch(1)
    assert torch.equal(batches(3).ids, full.Batches(replace(tiny, batch=16), None)(3).ids)


@pytest.mark.data
def test_one_of_six_models_sees_its_task_alone(tiny):
    batches = full.Batches(tiny, 4)
    assert set(batches(0).tasks.tolist()) == {4}
    assert len(batches.rows) == 60


@pytest.mark.data
def test_the_margins_stand_in_the_order_of_the_pairs(tiny):
    model = full.build(replace(tiny, way="heads")).eval()
    found, rows = full.chosen(tiny, "test", 30, None)
    said = full.heard(model, found, rows, batch=7)
    for k in (0, 59, 200, 359):
        z = model(full.together(found, rows, [k]))[0]
        torch.testing.assert_close(said[k], z[1] - z[0])


@pytest.mark.data
def test_every_way_begins_with_the_same_encoder_and_says_the_same_to_every_task_unless_it_must_not(tiny):
    models = {way: full.build(replace(tiny, way=way)).eval() for way in full.ALL}
    for model in models.values():
        torch.testing.assert_close(model.embedding.pieces.weight, models["none"].embedding.pieces.weight)
    b = full.Batches(tiny, None)(0)
    for way in ("beta", "gamma", "full"):
        torch.testing.assert_close(models[way].pooled(b), models["none"].pooled(b))


@pytest.mark.data
def test_a_run_tells_what_it_cost_and_comes_out_the_same_again(tiny):
    for way in ("full", "models"):
        result, again = (full.run(replace(tiny, way=way)) for _ in range(2))
        for one in (result, again):
            one.pop("seconds")
        assert result == again
        assert len(result["training"]) == (6 if way == "models" else 1)
        assert len(unpacked(result["answers"], 360)) == 360
        assert set(result["tasks"]) == set(TASKS)
    assert full.run(tiny)["blind"]["sibling yes"]["accuracy"] == pytest.approx(5 / 6, abs=1e-4)
