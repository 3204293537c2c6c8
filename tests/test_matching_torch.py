"""What the matchers promise as modules."""

from __future__ import annotations

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from minilib import matching as m  # noqa: E402
from minilib import matching_torch as mt  # noqa: E402
from minilib.attention import padding_mask  # noqa: E402
from minilib.bert import BertSizes, mean_pooled  # noqa: E402
from minilib.bert_torch import Bert  # noqa: E402
from minilib.wordpiece import Encoded  # noqa: E402

pytestmark = pytest.mark.torch
V, D, LAYERS, H, F, LONGEST = 29, 12, 2, 3, 17, 13
SIZES, TASKS, B, N, K = BertSizes(V, D, LAYERS, H, F, positions=LONGEST), 6, 5, 11, 7


def encoder(seed=0):
    torch.manual_seed(seed)
    model = Bert(SIZES).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.4)
    return model.eval()


def batch(seed=0):
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(8, V, (B, N), generator=source)
    segments = (torch.arange(N) > 4).long().expand(B, N)
    tasks = torch.tensor([0, 1, 5, 3, 1])
    return mt.PairBatch(ids, segments, torch.tensor([N, 7, 11, 5, 9]), tasks, torch.tensor([1, 0, 0, 1, 1]))


def matcher(way, seed=0, moved=False):
    torch.manual_seed(seed)
    model = mt.WAYS[way](encoder(seed), TASKS).double().eval()
    if moved:
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape, dtype=p.dtype))
    return model


def close(got, want, tolerance=1e-10):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------------------------
# what the ways have in common


@pytest.mark.parametrize("way", mt.WAYS)
def test_it_is_the_encoder_the_mean_over_real_tokens_and_a_head_at_first(way):
    model, b = matcher(way), batch()
    if way == "token":
        ids = torch.cat((b.ids[:, :1], 1 + b.tasks[:, None], b.ids[:, 1:]), 1)
        segments = torch.cat((b.segments[:, :1], b.segments), 1)
        b2 = b._replace(ids=ids, segments=segments, lengths=b.lengths + 1)
    else:
        b2 = b
    h = encoder()(b2.ids, b2.segments, padding_mask(b2.lengths, b2.ids.shape[1]))
    z = model.head(mean_pooled(h, b2.lengths))
    if way == "heads":
        z = torch.stack([z[i, 2 * t : 2 * t + 2] for i, t in enumerate(b.tasks.tolist())])
    close(model(b), z)
    assert model(b).shape == (B, 2)


@pytest.mark.parametrize("way", mt.WAYS)
def test_padding_is_not_seen(way):
    model, b = matcher(way, moved=True), batch()
    spoiled = b.ids.clone()
    for row, length in zip(spoiled, b.lengths, strict=True):
        row[length:] = 3
    close(model(b._replace(ids=spoiled)), model(b))
    row = 1
    alone = mt.PairBatch(*(part[row : row + 1] for part in b))
    n = int(b.lengths[row])
    cut = alone._replace(ids=alone.ids[:, :n], segments=alone.segments[:, :n])
    close(model(cut)[0], model(b)[row])


@pytest.mark.parametrize("way", mt.WAYS)
def test_only_the_blind_one_says_the_same_to_every_task(way):
    model, b = matcher(way, moved=True), batch()
    z = torch.stack([model(b._replace(tasks=torch.full((B,), t))) for t in range(TASKS)])
    differences = (z - z[0]).abs().amax((1, 2))[1:]
    assert differences.max() == 0 if way == "none" else differences.min() > 1e-4


@pytest.mark.parametrize("way", ["beta", "gamma", "full"])
def test_a_condition_says_nothing_at_first_and_has_no_gradient_while_its_matrices_have(way):
    model, b = matcher(way), batch()
    z = [model(b._replace(tasks=torch.full((B,), t))) for t in range(TASKS)]
    for other in z[1:]:
        close(other, z[0], 0)
    nn.functional.cross_entropy(model(b), b.labels).backward()
    assert not model.condition.weight.grad.any()
    assert all(W.grad.abs().max() > 1e-8 for W in model.matrices())


@pytest.mark.parametrize("way", mt.WAYS)
def test_what_a_way_adds_is_what_the_formula_counts(way):
    def counted(model):
        return sum(p.numel() for p in model.parameters())

    added = counted(mt.WAYS[way](Bert(SIZES), TASKS)) - counted(mt.WAYS["none"](Bert(SIZES), TASKS))
    # The tokens are rows that the table has anyhow.
    assert added == (0 if way == "token" else m.task_parameters(SIZES, TASKS)[way])
    assert counted(mt.WAYS["none"](Bert(SIZES), TASKS)) == SIZES.encoder + 2 * D + 2


def test_six_models_cost_five_more():
    one = sum(p.numel() for p in mt.Matcher(Bert(SIZES)).parameters())
    assert m.task_parameters(SIZES, TASKS)["models"] == 5 * one


@pytest.mark.parametrize("way", mt.WAYS)
def test_it_learns_a_batch_with_contested_pairs_by_heart_unless_it_is_blind(way):
    b = batch()
    ids, twice = b.ids[:2].repeat(2, 1), torch.tensor([0, 0, 1, 1])
    b = mt.PairBatch(ids, b.segments[:4], torch.tensor([N] * 4), twice, torch.tensor([1, 1, 0, 0]))
    torch.manual_seed(0)
    model = mt.WAYS[way](Bert(SIZES), TASKS)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(b), b.labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    if way == "none":
        assert loss.item() == pytest.approx(math.log(2), abs=0.02)  # p = ½ is the best it can do
    else:
        assert loss < 0.1


# ---------------------------------------------------------------------------------------------------------------
# the condition


def test_the_first_step_of_adam_moves_what_a_condition_says_by_the_sum_of_its_sizes():
    """η‖c‖₁: so the spread of the conditions is a rate."""
    torch.manual_seed(0)
    c, W = torch.randn(K).double(), nn.Parameter(torch.zeros(D, K).double())
    rate, g = 1e-3, torch.randn(D).double()
    optimiser = torch.optim.Adam([W], rate, eps=0.0)
    (g * (W @ c)).sum().backward()
    optimiser.step()
    close(W.detach() @ c, -rate * g.sign() * c.abs().sum())


def test_conditions_are_as_small_as_those_of_keras():
    torch.manual_seed(0)
    weight = mt.TaskEmbedding(101, 103).weight
    assert weight.abs().max() <= 0.05
    assert weight.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=0.02)


def test_the_head_and_the_last_norm_are_a_direction_and_a_threshold_for_each_task():
    model, b = matcher("full", moved=True), batch()
    last, w = model.norms[-1], model.head.weight[1] - model.head.weight[0]
    seen = {}
    handle = last.register_forward_hook(lambda _, args, __: seen.update(x=args[0]))
    z = model(b)
    handle.remove()
    parts = model.condition.weight, last.weight, last.bias, last.W_gamma, last.W_beta, w
    heads = m.effective_heads(*parts, model.head.bias[1] - model.head.bias[0])
    h = mean_pooled(nn.functional.layer_norm(seen["x"], (D,), eps=last.eps), b.lengths)
    margin = (h * heads.directions[b.tasks]).sum(-1) - heads.thresholds[b.tasks]
    close(margin, z[:, 1] - z[:, 0])


def test_all_that_a_condition_says_has_the_rank_of_the_tasks():
    model = matcher("full", moved=True)
    table = m.conditional_table(model.condition.weight, model.matrices())
    assert table.shape == (TASKS, (2 * LAYERS + 1) * 2 * D)
    assert m.rank(table) == TASKS
    assert m.rank(m.conditional_table(matcher("full").condition.weight, matcher("full").matrices())) == 0


# ---------------------------------------------------------------------------------------------------------------
# measuring


def test_the_gradients_of_two_tasks_on_a_contested_pair_are_opposite():
    model, b = matcher("none"), batch()
    z = model(b)
    z = z - z.mean(-1, keepdim=True).detach() - (z - z.mean(-1, keepdim=True)).detach()  # p = ½, gradients as they are
    losses = [nn.functional.cross_entropy(z, torch.full((B,), y)) for y in (1, 0)]
    found = m.conflicts(mt.task_gradients(model, losses, list(model.parameters())))
    assert found[0, 1].item() == pytest.approx(-1, abs=1e-9)


def test_gradients_of_tasks_are_rows_that_add_up():
    model, b = matcher("heads"), batch()
    each = nn.functional.cross_entropy(model(b), b.labels, reduction="none")
    parameters = list(model.parameters())
    rows = mt.task_gradients(model, [each[b.tasks == t].sum() for t in (0, 1, 3, 5)], parameters)
    each.sum().backward()
    close(rows.sum(0), torch.cat([p.grad.flatten() for p in parameters]))


def test_a_bootstrap_draws_groups_and_keeps_their_pairs_together():
    groups = torch.tensor([0, 2, 1, 1, 0, 2, 3])
    weights = mt.bootstrap_weights(groups, 1009, torch.Generator().manual_seed(0))
    assert weights.shape == (1009, 7)
    for a, b in itertools.combinations(range(7), 2):
        assert torch.equal(weights[:, a], weights[:, b]) == (groups[a] == groups[b])
    assert (weights[:, [0, 1, 2, 6]].sum(1) == 4).all()
    assert weights.mean().item() == pytest.approx(1, abs=0.02)


def margins_at_random(seed, shift):
    """Margins that are right but for noise, moved by `shift` for each of the six tasks, and what is known of them."""
    source = torch.Generator().manual_seed(seed)
    task, label = torch.arange(600) % 6, torch.randint(2, (600,), generator=source)
    z = 3.0 * label - 1.5 + 0.5 * torch.randn(600, generator=source) + torch.tensor(shift)[task]
    return z, mt.Facts(task, label, torch.arange(600), ("same",) * 600)


def test_thresholds_set_afterwards_undo_a_shift_that_is_no_finer_than_they_are():
    for shift, enough in (([4.0] * 6, 1), ([4.0, -4] * 3, 2), ([4.0, -4, 0, 4, -4, 9], 6)):
        (z, known), chosen = margins_at_random(0, shift), margins_at_random(1, shift)
        found = mt.with_thresholds(z, known, *chosen)
        for number, name in ((1, "one"), (2, "two"), (6, "six")):
            assert (found[name]["f1"] > 0.98) == (number >= enough)
            assert len(set(found[name]["at"])) == number
        assert found["six"]["at"] == pytest.approx(shift, abs=0.8)
        said = torch.tensor(m.unpacked(found["two"]["answers"], 600))
        assert (said == (z > torch.tensor(found["two"]["at"])[known.task])).float().mean() > 0.995  # at is rounded
        assert mt.scored(said.float(), known)["accuracy"] == found["two"]["accuracy"]


def test_one_threshold_serves_the_score_of_the_contest():
    (z, known), (other, chosen) = margins_at_random(0, [4.0, -4] * 3), margins_at_random(1, [4.0, -4] * 3)
    found = mt.with_thresholds(z, known, z, known)["one"]
    grid = [mt.scored((z > at).float(), known)["f1"] for at in torch.linspace(-8, 8, 97).tolist()]
    assert found["f1"] >= max(grid)
    assert mt.with_thresholds(z, known, other, chosen)["one"]["f1"] <= found["f1"]


def test_margins_that_differ_by_a_line_are_alike():
    z, known = margins_at_random(0, [0.0] * 6)
    loose = known.task % 2 == 0
    assert mt.alike(torch.where(loose, z, 2 * z - 3), torch.where(loose, 2 * z - 3, z), known.task) == [1, 1, 1]
    noise = torch.randn(600, generator=torch.Generator().manual_seed(2))
    found = mt.alike(z, torch.where(known.task < 2, z, noise), known.task)
    assert found[0] == 1
    assert max(map(abs, found[1:])) < 0.3


def test_what_a_condition_says_is_counted_and_weighed():
    C, W = torch.eye(TASKS), torch.randn(D, TASKS, generator=torch.Generator().manual_seed(4))
    assert mt.spoken(C, [W]) == {"rank": TASKS, "leading": pytest.approx(m.leading_share(W.T), abs=1e-5)}
    assert mt.spoken(C[:, :1], [W[:, :1]]) == {"rank": 1, "leading": 1.0}


def test_the_pairs_of_a_task_are_flagged_and_for_none_all_of_them():
    known = mt.Facts(torch.tensor([0, 2, 0]), torch.tensor([1, 0, 1]), torch.arange(3), ("same",) * 3)
    assert known.of(0).tolist() == [True, False, True]
    assert known.of(None).tolist() == [True] * 3


def test_rows_are_padded_at_the_end():
    b = mt.batched([Encoded([1, 2, 3], [0, 0, 1]), Encoded([4, 5], [0, 1])], [3, 0], [1, 0])
    assert b.ids.tolist() == [[1, 2, 3], [4, 5, 0]]
    assert b.segments.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert b.lengths.tolist() == [3, 2]
    assert (b.tasks.tolist(), b.labels.tolist()) == ([3, 0], [1, 0])


# ---------------------------------------------------------------------------------------------------------------
# bad input


def run(**parts):
    return lambda: matcher("full")(batch()._replace(**parts))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (run(tasks=torch.tensor([0, 1, 6, 3, 1])), "tasks must lie between 0 and 5, got 0 to 6"),
        (run(tasks=torch.tensor([0, 1, -1, 3, 1])), "tasks must lie between 0 and 5, got -1 to 3"),
        (run(tasks=torch.tensor([0.0, 1, 2, 3, 1])), r"an integer, got torch.float32; convert it by tasks.long\(\)"),
        (run(lengths=torch.tensor([N, 0, 3, 5, 2])), "lengths must lie between 1 and 11"),
        (run(ids=torch.zeros(B, 20, dtype=torch.long)), "each of the ids has its segment"),
        (lambda: matcher("none")(batch()._replace(tasks=torch.full((B,), 6))), "tasks must lie between 0 and 5"),
        (lambda: mt.MatcherWithToken(encoder(), TASKS, first=V - 2), "not in a vocabulary of 29"),
        (lambda: mt.batched([], [], []), "at least one pair"),
        (lambda: mt.bootstrap_weights(torch.tensor([0]), 0, torch.Generator()), "a draw and a pair at least"),
    ],
)
def test_bad_input_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
