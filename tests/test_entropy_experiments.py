"""What the training experiments on the scale of attention promise, beyond what all experiments do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from experiments import entropy_mlm as mlm  # noqa: E402
from experiments import entropy_recall as recall  # noqa: E402
from minilib.attention_torch import MultiHeadAttention  # noqa: E402
from minilib.entropy import log_scale, standard_scale  # noqa: E402
from minilib.rope import rope, rope_angles  # noqa: E402
from minilib.training import generator  # noqa: E402

pytestmark = pytest.mark.torch

# ---------------------------------------------------------------------------------------------------------------
# recall: the task


def test_the_question_is_the_asked_key_and_the_answer_its_value():
    b = recall.batch(101, 37, 0.0, generator(0, 0))
    keys, values = b.pairs.split([recall.FEATURES, recall.VALUES], dim=-1)
    each = torch.arange(101)
    torch.testing.assert_close(b.question[:, 0], keys[each, b.place])
    assert torch.equal(values.argmax(-1)[each, b.place], b.value)
    for part in (keys, values):
        torch.testing.assert_close(part.square().mean(-1), torch.ones(101, 37))
    counts = torch.bincount(values.argmax(-1).flatten(), minlength=16)
    assert ((counts - 101 * 37 / 16).abs() < 5 * (101 * 37 / 16) ** 0.5).all()


def test_every_key_is_closest_to_itself_unless_the_question_is_blurred():
    clear, blurred = (recall.batch(53, 1024, noise, generator(0, 1)) for noise in (0.0, 1.0))
    found = [(b.question @ b.pairs[..., : recall.FEATURES].mT)[:, 0].argmax(-1) == b.place for b in (clear, blurred)]
    assert found[0].all()
    assert 0.1 < found[1].double().mean() < 0.9


def solver(sharpness):
    """A network made by hand: it compares the keys themselves, and hands on the value."""
    model = recall.Lookup(recall.FEATURES + recall.VALUES, standard_scale).requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.eye_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    model.ask.weight.mul_(sharpness)
    model.head.weight.copy_(torch.eye(32)[recall.FEATURES :])
    return model


def test_one_set_of_weights_solves_the_task_at_every_length():
    sharp = solver(100.0)
    for n in (32, 1024):
        accuracy, _, entropy, weight = recall.score(sharp, recall.batch(67, n, 0.0, generator(0, 2)), standard_scale)
        assert accuracy > 0.98
        assert weight > 0.9
        assert entropy < 0.3


def test_the_order_of_the_pairs_does_not_matter():
    model, b = recall.build(recall.Config("ssmax", 0.0, seed=1)), recall.batch(5, 41, 0.0, generator(0, 3))
    shuffled = replace(b, pairs=b.pairs[:, torch.randperm(41, generator=generator(0, 4))])
    torch.testing.assert_close(model(b), model(shuffled))


# ---------------------------------------------------------------------------------------------------------------
# recall: training and test


@pytest.mark.parametrize("trained", recall.TESTED)
def test_the_laws_of_a_test_agree_with_that_of_the_training_where_it_was_trained(trained):
    for law in recall.TESTED[trained].values():
        assert law(32, 7) == pytest.approx(float(recall.TRAINED[trained]()(32, 7)))
    growths = [law(1024, 7) / law(32, 7) for law in recall.TESTED[trained].values()]
    assert len(set(growths)) == len(growths)


def test_the_score_is_that_of_the_scale_asked_for_and_the_model_keeps_its_own():
    model, b = solver(1.0), recall.batch(67, 43, 1.0, generator(0, 5))
    own = model.attention.scale
    # Blurred questions, so that the asked pair is not always the one looked at most.
    a = (b.question @ b.pairs[..., : recall.FEATURES].mT * 0.7).softmax(-1)[:, 0]
    _, loss, entropy, weight = recall.score(model, b, lambda n, d: 0.7)
    assert entropy == pytest.approx(-(a * a.log()).sum(-1).mean().item(), abs=1e-4)
    assert weight == pytest.approx(a[torch.arange(67), b.place].mean().item(), abs=1e-4)
    logits = (a[:, None] @ b.pairs[..., recall.FEATURES :])[:, 0]
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, b.value).item(), abs=1e-4)
    assert model.attention.scale is own


def test_the_best_factor_undoes_a_scale_that_is_too_small_or_too_large():
    b = recall.batch(67, 32, 0.0, generator(0, 6))
    config = recall.Config("standard", 0.0, seed=0, d=32)
    assert recall.best_factor(solver(0.1), b, config) == round(max(recall.FACTORS), 4)
    blurred = recall.batch(67, 32, 3.0, generator(0, 7))  # where sure answers are mostly wrong
    assert recall.best_factor(solver(100.0), blurred, config) == round(min(recall.FACTORS), 4)


def test_a_short_training_learns_to_look_up_and_log_n_keeps_the_attention_narrower():
    config = recall.Config("standard", 0.0, seed=0, steps=200, held_out=128, lengths=(32, 256))
    result = recall.run(config)
    assert result["steps"] == [50, 100, 200]
    tested = result["tested"]
    first, last = tested["standard"]["accuracy"][0], tested["standard"]["accuracy"][-1]
    assert first[0] < 0.5
    assert last[0] > 0.85
    for what in recall.MEASURES:
        rows = [[row[0] for row in tested[law][what]] for law in tested]
        for row in rows[1:]:
            assert row == pytest.approx(rows[0], abs=1e-3)
    entropies = [tested[law]["entropy"][-1][1] for law in ("standard", "log", "sqrt log")]
    assert entropies[0] > entropies[1] > entropies[2]
    assert recall.run(config) == result


def test_the_learnt_scale_starts_as_the_standard_one_and_moves():
    config = recall.Config("ssmax", 0.0, seed=0, d=8, steps=20, held_out=8, lengths=(32,))
    assert recall.build(config).attention.scale.s.item() == pytest.approx(1 / math.log(32))
    assert abs(recall.run(config)["s"] * math.log(32) - 1) > 0.01


# ---------------------------------------------------------------------------------------------------------------
# masked words: what a word sees


@pytest.fixture
def attention():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MultiHeadAttention(12, 2, scale=mlm.LAWS["log 512"], rotary=True).requires_grad_(False)


def words(n, seed=0):
    return torch.randn(3, n, 12, generator=generator(seed, n))


def test_seeing_all_is_the_attention_of_the_library(attention):
    x = words(71)
    out, a = mlm.look(attention, x, mlm.LAWS["log 512"], "all")
    torch.testing.assert_close(out, attention(x))
    torch.testing.assert_close(a, attention.weights(x))


def test_at_the_length_of_the_training_all_three_sights_are_one(attention):
    x = words(mlm.LENGTH)
    for law in ("standard", "log 512"):
        outs = [mlm.look(attention, x, mlm.LAWS[law], sight)[0] for sight in ("all", "near", "clipped")]
        torch.testing.assert_close(outs[1], outs[0])
        torch.testing.assert_close(outs[2], outs[0])


def test_a_clipped_distance_counts_as_63_and_a_shorter_one_as_itself():
    n, d = 131, 6
    q, k = (torch.randn(n, d, generator=generator(seed, 0), dtype=torch.float64) for seed in (0, 1))
    got = mlm.clipped_scores(q, k)
    for i, j in ((0, 0), (5, 68), (5, 69), (130, 67), (130, 66), (0, 130), (130, 0), (64, 64), (20, 83)):
        distance = max(-63, min(63, j - i))
        turned = rope(k[j : j + 1], rope_angles(torch.tensor([distance]), d, k))[0]
        assert got[i, j].item() == pytest.approx((q[i] @ turned).item(), abs=1e-9)


def test_what_is_not_near_is_not_seen(attention):
    x, n = words(150), 150
    changed = x.clone()
    changed[:, 100] += 1
    before, after = (mlm.look(attention, one, standard_scale, "near")[0] for one in (x, changed))
    moved = (before != after).any(-1).any(0)
    assert torch.equal(moved, (torch.arange(n) - 100).abs() < mlm.LENGTH)
    _, a = mlm.look(attention, x, mlm.LAWS["log 512"], "near")
    seen = (a > 0).sum(-1)[0, 0]
    assert (seen[0], seen[75], seen[149]) == (64, 127, 64)


def test_near_queries_are_scaled_by_the_keys_that_they_see(attention):
    x = words(150)
    _, a = mlm.look(attention, x, log_scale, "near")
    by_hand = MultiHeadAttention(12, 2, scale=log_scale, rotary=True)
    by_hand.load_state_dict(attention.state_dict())
    torch.testing.assert_close(a, by_hand.weights(x, mask=mlm.near(150)))


# ---------------------------------------------------------------------------------------------------------------
# masked words: text, training and test


@pytest.mark.parametrize("trained", mlm.TESTED)
def test_the_tests_of_a_network_begin_where_it_was_trained(trained):
    for law, _ in mlm.TESTED[trained]:
        assert mlm.LAWS[law](mlm.LENGTH, 16) == pytest.approx(mlm.LAWS[trained](mlm.LENGTH, 16))
    growth = {law: mlm.LAWS[law](1024, 16) / mlm.LAWS[law](64, 16) for law, _ in mlm.TESTED[trained]}
    assert sorted(growth.values()) == pytest.approx([1, math.log(1024) / math.log(64)])


def test_attention_e_is_two_thirds_of_the_standard_scale_at_the_length_of_the_training():
    assert mlm.LAWS["log 512"](64, 16) == pytest.approx(standard_scale(64, 16) * 2 / 3)


def test_networks_of_one_seed_start_alike_whatever_the_law():
    one, other, third = (
        mlm.build(mlm.Config(*what, d=8)).state_dict() for what in (("standard", 3), ("log 512", 3), ("standard", 4))
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


def test_only_known_words_are_masked_and_one_in_seven_of_them():
    x = torch.randint(3, (400, 64), generator=generator(0, 0))
    mask = mlm.masked(x, generator(0, 1))
    assert not mask[x == mlm.UNKNOWN].any()
    assert mask[x != mlm.UNKNOWN].double().mean().item() == pytest.approx(0.15, abs=0.01)


def test_a_masked_word_cannot_be_read_off_its_place():
    model = mlm.build(mlm.Config("standard", 0, d=8, words=11))
    x, mask = torch.full((1, 13), 3), torch.zeros(1, 13, dtype=torch.bool)
    mask[0, 5] = True
    other = x.clone()
    other[0, 5] = 7
    assert torch.equal(model(x, mask), model(other, mask))
    assert not torch.equal(model.embed(x, ~mask), model.embed(x, mask))


@pytest.mark.data
def test_the_words_are_the_most_frequent_ones_and_most_of_the_text():
    known = mlm.text(2000)
    counts = torch.bincount(known.training, minlength=2000)
    assert len(counts) == 2000
    assert (counts[1:-1] >= counts[2:]).all()
    assert counts[mlm.UNKNOWN] / len(known.training) == pytest.approx(0.22, abs=0.01)
    assert known.held_out.shape[0] > 100
    assert known.held_out.shape[1] == 1024


@pytest.mark.data
def test_a_test_at_length_64_is_that_of_the_training():
    config = mlm.Config("log 512", 0, d=8, heads=2, words=50, postings=1)
    model, x = mlm.build(config), mlm.text(50).held_out[:1]
    mask = mlm.masked(x, generator(0, 2))
    got = mlm.score(model, x, mask, mlm.LAWS["log 512"], "all", (64,))
    with torch.no_grad():
        want = mlm.loss(model, (x.view(-1, 64), mask.view(-1, 64))).item()
    assert got["loss"] == [pytest.approx(want, abs=1e-4)]


@pytest.mark.data
def test_a_short_training_finds_out_which_words_are_frequent():
    config = mlm.Config("standard", 0, d=16, heads=2, words=50, steps=40, rate=1e-2, postings=4, lengths=(64, 128))
    result = mlm.run(config)
    assert 0.1 < result["unigram"] < 0.3
    for tested in result["tested"].values():
        assert tested["loss"][0] < math.log(50) - 0.3
    assert result["tested"]["standard, all"]["accuracy"][0] > 0.7 * result["unigram"]
    assert mlm.run(config) == result
