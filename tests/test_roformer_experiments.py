"""What the training experiments on RoFormer promise, beyond what all experiments do."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from experiments import roformer_ablation as ablation  # noqa: E402
from experiments import roformer_multitask as multitask  # noqa: E402
from minilib.entropy import standard_scale  # noqa: E402
from minilib.roformer import V2, Changes  # noqa: E402
from minilib.training import generator  # noqa: E402

pytestmark = pytest.mark.torch
TINY = ablation.Config("V1", 0, d=8, layers=2, batch=3, steps=4, held_out=2, lengths=(16, 64))
SMALL = multitask.Config(
    "multi", 0, d=8, layers=1, words=97, length=7, batch=5, steps=3, tuning_steps=2, draws=1, tested=23
)


# ---------------------------------------------------------------------------------------------------------------
# ablation: the text


@pytest.mark.data
def test_the_reference_losses_are_those_of_counting(monkeypatch):
    short = {split: ablation.text(split, 20_011) for split in ("train", "test")}
    monkeypatch.setattr(ablation, "text", short.get)
    seen, held_out = (short[split].tolist() for split in ("train", "test"))
    triples = Counter(zip(seen[:-2], seen[2:], seen[1:-1], strict=True))
    around, single = Counter(zip(seen[:-2], seen[2:], strict=True)), Counter(seen[1:-1])
    asked = list(zip(held_out[:-2], held_out[2:], held_out[1:-1], strict=True))
    neighbours = sum(math.log((triples[t] + 1) / (around[t[:2]] + 27)) for t in asked) / len(asked)
    total = len(seen) - 2 + 27**3
    unigram = sum(math.log((single[t[2]] + 27**2) / total) for t in asked) / len(asked)
    found = ablation.references.__wrapped__()
    assert found == {"unigram": pytest.approx(-unigram, abs=1e-3), "neighbours": pytest.approx(-neighbours, abs=1e-3)}


@pytest.mark.data
def test_all_versions_see_the_same_text_under_the_same_masks():
    batches = [ablation.batch(replace(TINY, version=version), 5) for version in ("V1", "rms", "V2")]
    for x, mask in batches[1:]:
        assert torch.equal(x, batches[0][0])
        assert torch.equal(mask, batches[0][1])
    assert not torch.equal(ablation.batch(TINY, 6)[0], batches[0][0])
    assert not torch.equal(ablation.batch(replace(TINY, seed=1), 5)[0], batches[0][0])


@pytest.mark.data
def test_the_share_of_the_masked_is_about_fifteen_percent():
    _, mask = ablation.excerpts("train", 101, 103, generator(0, 0))
    assert mask.double().mean().item() == pytest.approx(0.15, abs=5 * math.sqrt(0.15 * 0.85 / mask.numel()))


# ---------------------------------------------------------------------------------------------------------------
# ablation: the networks


def test_each_change_is_made_once_alone_and_all_are_made_together():
    made = {name: [c for c in Changes.names() if getattr(v, c)] for name, v in ablation.VERSIONS.items()}
    alone, pair = {name: [name] for name in Changes.names()}, {ablation.PAIR: ["plain_head", "v2_init"]}
    assert made == {"V1": [], "V2": list(Changes.names()), **alone, **pair}
    for name, version in ablation.VERSIONS.items():
        model = ablation.build(replace(TINY, version=name))
        assert model.changes == version
        assert sum(p.numel() for p in model.parameters()) == model.sizes.total(version)


def test_every_version_has_every_seed_and_the_ends_and_the_plain_head_have_other_rates():
    runs = Counter((c.version, c.rate) for c in ablation.grid(quick=False))
    assert all(runs[version, 3e-3] >= 3 for version in ablation.VERSIONS)
    assert {version for version, rate in runs if rate != 3e-3} == {"V1", "plain_head", "V2"}


# ---------------------------------------------------------------------------------------------------------------
# ablation: training and test


@pytest.mark.data
@pytest.mark.parametrize("version", ["V1", "V2"])
def test_a_network_does_not_see_what_is_masked(version):
    model = ablation.build(replace(TINY, version=version)).eval()
    x, mask = ablation.excerpts("test", 3, 31, generator(0, 0))
    other = torch.where(mask, (x + 7) % ablation.LETTERS, x)
    assert torch.equal(ablation.logits(model, x, mask), ablation.logits(model, other, mask))
    shown = torch.where(mask, x, (x + 7) % ablation.LETTERS)
    assert not torch.allclose(ablation.logits(model, x, mask), ablation.logits(model, shown, mask))


@pytest.mark.data
def test_the_same_characters_are_asked_at_every_length_and_only_context_and_scale_differ():
    model = ablation.build(replace(TINY, version="V2"))
    x, mask = ablation.excerpts("test", 2, 256, generator(0, 0))
    for n, law in ((16, "standard"), (64, "standard"), (256, "log 64")):
        by_piece = []
        for some, hidden in zip(x.view(-1, n), mask.view(-1, n), strict=True):
            model.eval()
            for block in model.blocks:
                block.attention.scale = ablation.LAWS[law]
            by_piece.append(ablation.logits(model, some[None], hidden[None]))
        z = torch.cat(by_piece)
        assert len(z) == mask.sum()
        want = -z.log_softmax(-1)[torch.arange(len(z)), x.view(-1)[mask.view(-1)]].mean().item()
        assert ablation.score(model, x, mask, ablation.LAWS[law], n)["loss"] == pytest.approx(want, abs=1e-4)


@pytest.mark.data
def test_both_laws_are_one_at_64_and_differ_beyond():
    model = ablation.build(replace(TINY, version="V2"))
    for block in model.blocks:  # sharpens the attention, which a new network spreads evenly
        block.attention.W_q.weight.data *= 10
    x, mask = ablation.excerpts("test", 2, 256, generator(0, 0))
    at = {(law, n): ablation.score(model, x, mask, ablation.LAWS[law], n) for law in ablation.LAWS for n in (64, 256)}
    assert at["standard", 64] == at["log 64", 64]
    assert at["standard", 256] != at["log 64", 256]


@pytest.mark.data
def test_a_network_learns_from_the_batches_of_a_run():
    config = replace(TINY, d=16, version="no_bias", steps=30, rate=1e-2)
    first = ablation.batch(config, 0)
    model = ablation.build(config)
    start = ablation.loss(model, first).item()
    ablation.train(model, ablation.loss, lambda k: first, ablation.Training(config.steps, lambda k: config.rate))
    assert ablation.loss(model.eval(), first).item() < start - 0.5


@pytest.mark.data
def test_a_diverged_run_is_a_result_and_not_a_failure():
    result = ablation.run(replace(TINY, rate=1e37))
    assert 1 <= result["diverged"] < TINY.steps
    assert result["losses"] == []


def test_tenths_are_means_of_equal_parts():
    assert ablation.tenths([float(k) for k in range(20)]) == [0.5 + 2 * k for k in range(10)]
    assert ablation.tenths([1.0, 2.0]) == [1.0, 2.0]
    assert ablation.tenths([]) == []


# ---------------------------------------------------------------------------------------------------------------
# multitask


@pytest.mark.data
def test_the_new_tasks_are_not_among_those_of_the_pre_training():
    assert not set(multitask.FEW) & set().union(*multitask.STAGES.values())
    for shares in multitask.STAGES.values():
        assert sum(shares.values()) in (0, 1)


@pytest.mark.data
def test_texts_are_numbered_by_their_frequent_words_and_padded_at_the_end():
    data, number = multitask.labelled("rotten", "test", 97, 7), multitask.numbers(97)
    word = {k: w for w, k in number.items()}
    for row, text in zip(data.x[:50], multitask.texts("rotten", "test"), strict=False):
        words = multitask.split_words(text)[:7]
        shown = [word.get(k, "?" if k == multitask.UNKNOWN else "") for k in row.tolist()]
        assert shown == [w if w in number else "?" for w in words] + [""] * (7 - len(words))


@pytest.mark.data
def test_few_labels_are_as_many_of_each_class():
    data = multitask.labelled("bbc", "train", 97, 7)
    few = multitask.some_of_each(data, 3, generator(0, 0))
    assert few.y.bincount().tolist() == [3] * 5
    again = multitask.some_of_each(data, 3, generator(0, 1))
    assert not torch.equal(few.x, again.x)


@pytest.mark.data
def test_the_vector_of_a_text_does_not_know_its_padding():
    model = multitask.pretrained(replace(SMALL, stage="none"))
    x = torch.tensor([[5, 9, 3, 0, 0, 0, 0]])
    torch.testing.assert_close(model.classify(x, "bbc"), model.classify(x[:, :3], "bbc"))


@pytest.mark.data
def test_the_ways_start_from_the_same_weights_and_tasks_come_by_their_shares():
    start = [multitask.pretrained(replace(SMALL, stage="none", seed=seed)).state_dict() for seed in (0, 0, 1)]
    name = "encoder.embedding.pieces.weight"
    assert torch.equal(start[0][name], start[1][name])
    assert not torch.equal(start[0][name], start[2][name])
    long = replace(SMALL, steps=800)
    assert {multitask.batch(long, k)[0] for k in range(0, 400, 7)} == {"mlm"}
    tasks = Counter(multitask.batch(long, k)[0] for k in range(400, 800))
    for task, share in multitask.STAGES["multi"].items():
        assert tasks[task] == pytest.approx(400 * share, abs=5 * math.sqrt(400 * share * (1 - share)))
    assert multitask.batch(replace(SMALL, stage="mlm"), 0)[0] == "mlm"


@pytest.mark.data
def test_fine_tuning_begins_anew_for_each_draw_and_is_the_same_each_time():
    result = multitask.run(SMALL)
    assert result == multitask.run(SMALL)
    assert set(result["tuned"]) == set(multitask.FEW)
    assert all(0 <= found <= 1 for rates in result["tuned"].values() for draws in rates.values() for found in draws)


def test_the_models_are_those_of_the_second_version():
    config = replace(SMALL, words=11)
    assert multitask.Reader(config, {"a": 3}).encoder.changes == V2
    assert standard_scale(64, 16) == ablation.LAWS["log 64"](64, 16)
