"""What the experiments of the chapter on BERT promise, beyond what all experiments do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from experiments import bert_frozen as frozen  # noqa: E402
from experiments import bert_mlm as mlm  # noqa: E402
from minilib.bert import initial_mlm_loss  # noqa: E402
from minilib.training import generator  # noqa: E402
from minilib.wordpiece import CLS, MASK, SEP, SPECIAL, UNK  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.data]
TINY = mlm.grid(quick=True)[0]


@pytest.fixture(scope="module")
def text():
    return mlm.text(TINY.pieces, TINY.every)


# ---------------------------------------------------------------------------------------------------------------
# bert_mlm: the text


def test_the_vocabulary_is_as_large_as_asked_and_knows_every_word(text):
    assert len(text.tokenizer.pieces) == TINY.pieces
    unknown = text.tokenizer.ids([UNK])[0]
    for row in (text.training, text.held_out):
        assert (row >= len(SPECIAL)).all()
        assert (row != unknown).all()


def test_excerpts_are_stretches_between_cls_and_sep_and_only_chosen_pieces_change(text):
    e = mlm.excerpts(text.held_out, text.tokenizer, 401, 53, generator(0, 5))
    first, last, mask = text.tokenizer.ids((CLS, SEP, MASK))
    assert e.ids.shape == e.seen.shape == e.chosen.shape == (401, 53)
    assert (e.ids[:, 0] == first).all()
    assert (e.ids[:, -1] == last).all()
    windows = text.held_out.unfold(0, 51, 1)
    assert all((windows == row).all(-1).any() for row in e.ids[:5, 1:-1])
    assert torch.equal(e.ids[~e.chosen], e.seen[~e.chosen])
    assert not e.chosen[:, [0, -1]].any()
    number = 401 * 51
    shares = [e.chosen.sum() / number, *((s := e.seen[e.chosen]) == v for v in (mask, e.ids[e.chosen]))]
    shares[1:] = [share.double().mean() for share in shares[1:]]
    # One substitute in 95 is the piece itself.
    for share, want, tokens in zip(shares, (0.15, 0.8, 0.1 + 0.1 / 95), (number, len(s), len(s)), strict=True):
        assert share.item() == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / tokens))
    assert s[s != mask].min() >= len(SPECIAL)


def test_a_batch_depends_on_seed_and_step_alone_and_a_tenth_are_short():
    assert all(map(torch.equal, mlm.batch(TINY, 3), mlm.batch(TINY, 3)))
    a, b = mlm.batch(TINY, 3).ids, mlm.batch(replace(TINY, seed=1), 3).ids
    assert a.shape != b.shape or not torch.equal(a, b)
    lengths = torch.tensor([mlm.batch(TINY, k).ids.shape[1] for k in range(400)])
    assert 0.05 < (lengths < mlm.LENGTH).double().mean() < 0.16
    assert 8 <= lengths.min() < 30
    assert lengths.max() == mlm.LENGTH


def test_shuffling_moves_what_is_not_asked_for_and_nothing_else():
    e = mlm.held_out(replace(TINY, held_out=7))
    other = mlm.shuffled(e)
    assert torch.equal(other.ids, e.ids)
    fixed = e.chosen.clone()
    fixed[:, [0, -1]] = True
    assert torch.equal(other.seen[fixed], e.seen[fixed])
    assert torch.equal(other.seen.sort().values, e.seen.sort().values)
    assert (other.seen != e.seen).double().mean() > 0.5


# ---------------------------------------------------------------------------------------------------------------
# bert_mlm: counting


def test_the_chain_is_bayes_rule_on_smoothed_pairs(monkeypatch):
    monkeypatch.setattr(mlm, "PRIOR", 2.0)
    row = torch.tensor([5, 6, 7, 5, 6, 6, 8, 7, 5, 6, 7, 8])
    unigram, pairs = mlm.frequencies(row, 9)
    assert pairs[5, 6] == 3
    assert pairs.sum() == 11
    torch.testing.assert_close(unigram, torch.tensor([1, 1, 1, 1, 1, 4, 5, 4, 3]) / 21.0)
    follows = lambda a, b: (pairs[a, b] + 2 * unigram[b]) / (pairs[a].sum() + 2)  # noqa: E731
    want = torch.stack([follows(5, x) * follows(x, 7) for x in range(9)])
    got = mlm.chain(unigram, pairs, torch.tensor([5, 0]), torch.tensor([7, 3]))
    torch.testing.assert_close(got[0].exp(), want / want.sum())
    torch.testing.assert_close(got[1].exp(), unigram)


def test_a_text_that_is_a_chain_is_read_by_the_chain():
    row = torch.arange(5, 16).repeat(400)
    unigram, pairs = mlm.frequencies(row, 16)
    z = mlm.chain(unigram, pairs, torch.tensor([5, 9]), torch.tensor([7, 11]))
    assert mlm.score(z, torch.tensor([6, 10]))["top1"] == 1
    assert mlm.score(unigram.log().expand(2, -1), torch.tensor([6, 10]))["loss"] == pytest.approx(
        math.log(11), abs=0.02
    )


# ---------------------------------------------------------------------------------------------------------------
# bert_mlm: a run


@pytest.mark.parametrize("drawn", [0.02, 0.125])
def test_the_first_loss_is_the_one_predicted(drawn):
    config = replace(TINY, std=drawn, d=64, held_out=256)
    model = mlm.build(config)
    std = model.embedding.pieces.weight.std().item()
    assert std == pytest.approx(0.8796 * drawn, rel=0.02)
    found = mlm.held_out_loss(model, mlm.held_out(config))
    # The formula holds for many pieces; with V of them the mean of their exponentials scatters by this much.
    spread = math.sqrt(math.expm1(config.d * std**2) / config.pieces)
    assert found == pytest.approx(initial_mlm_loss(config.pieces, config.d, std), abs=2 * spread + 0.02)


def test_one_batch_is_learned_by_heart(text):
    model, e = mlm.build(replace(TINY, d=32)), mlm.excerpts(text.training, text.tokenizer, 4, 19, generator(0, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        mlm.loss(model, e).backward()
        optimizer.step()
    assert mlm.loss(model, e) < 0.1


def test_a_record_tells_the_curve_and_fills_each_blank():
    result = mlm.run(TINY)
    assert result == mlm.run(TINY)
    assert result["steps"] == [0, 1, 2, 3]
    assert len(result["losses"]) == 4
    assert result["losses"][0] == pytest.approx(result["start"]["loss"], abs=0.1)
    assert len(result["masked"]) == 4
    assert sum(kind["tokens"] for kind in result["shown"].values()) == mlm.held_out(TINY).chosen.sum()
    assert {k: v["tokens"] for k, v in result["shuffled"].items()} == {
        k: v["tokens"] for k, v in result["shown"].items()
    }
    assert set(result["filled"]) == set(mlm.SENTENCES)
    for best in result["filled"].values():
        assert [p for _, p in best] == sorted((p for _, p in best), reverse=True)
        assert len(best) == 5


# ---------------------------------------------------------------------------------------------------------------
# bert_frozen


def test_both_questions_ask_for_the_same_tokens_and_one_hides_them():
    known = frozen.text(50)
    mask = frozen.network().tokenizer.ids([MASK])[0]
    hidden, shown = (
        frozen.excerpts(known.training, 7, asked, known.common, generator(0, 3)) for asked in frozen.QUESTIONS
    )
    assert torch.equal(hidden.ids, shown.ids)
    assert torch.equal(hidden.asked, shown.asked)
    assert torch.equal(shown.seen, shown.ids)
    assert torch.equal(hidden.seen, torch.where(hidden.asked, mask, hidden.ids))
    assert torch.isin(hidden.ids[hidden.asked], known.common).all()


def test_the_states_are_those_of_the_network_and_belong_to_the_tokens_asked_for():
    known = frozen.text(50)
    e = frozen.excerpts(known.held_out, 2, "shown", known.common, generator(0, -1))
    data = frozen.asked("trained", "test", "shown", 50, 2)
    want = torch.cat(
        [torch.from_numpy(frozen.network().states(row.numpy()))[:, at] for row, at in zip(e.ids, e.asked, strict=True)],
        1,
    )
    torch.testing.assert_close(data.states, want, rtol=1e-4, atol=1e-4)
    assert torch.equal(known.common[data.answer], e.ids[e.asked])


def test_a_tied_head_keeps_the_table_and_a_free_one_learns_it():
    config = frozen.grid(quick=True)[0]
    tied, free = (frozen.build(replace(config, head=head)) for head in ("tied", "free"))
    assert torch.equal(tied.table, free.table)
    assert not tied.table.requires_grad
    assert free.table.requires_grad
    table = frozen.network().weights.embedding.pieces
    assert torch.equal(tied.table, torch.from_numpy(table)[frozen.text(config.pieces).common])
