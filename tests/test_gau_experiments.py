"""What the experiments on depth and warm-up promise, beyond what all experiments do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from experiments import depth_increment as increment  # noqa: E402
from experiments import gau_warmup as warmup  # noqa: E402
from minilib.depth import RULES, deepnorm, increment_exponent, power_exponent  # noqa: E402
from minilib.depth_torch import signal  # noqa: E402
from minilib.training import generator  # noqa: E402

pytestmark = pytest.mark.torch
TINY = warmup.Config("Post-LN", layers=2, rate=1e-3, seed=0, steps=8, batch=3, length=11, held_out=5, points=4)


# ---------------------------------------------------------------------------------------------------------------
# gau_warmup: the text


@pytest.mark.data
def test_the_letters_are_those_of_the_postings():
    letters = warmup.text("train", 3001)
    spelled = "".join(" abcdefghijklmnopqrstuvwxyz"[k] for k in letters)
    assert spelled == " ".join(warmup.newsgroups("train"))[:3001]


@pytest.mark.data
def test_excerpts_are_stretches_of_the_text_that_the_generator_chooses():
    drawn = warmup.excerpts("train", 7, 11, generator(0, 5))
    assert drawn.shape == (7, 12)
    assert torch.equal(drawn, warmup.excerpts("train", 7, 11, generator(0, 5)))
    letters = warmup.text("train")
    windows = letters.unfold(0, 12, 1)
    for row in drawn:
        assert (windows == row).all(-1).any()


@pytest.mark.data
def test_the_reference_losses_are_those_of_counting():
    seen, held_out = warmup.text("train").tolist(), warmup.text("test").tolist()
    single = Counter(seen[1:])
    pairs, first = Counter(pairwise(seen)), Counter(seen[:-1])
    log = torch.log(torch.tensor([single[k] / (len(seen) - 1) for k in held_out[1:]]).double())
    assert warmup.references()["unigram"] == pytest.approx(-log.mean().item(), abs=2e-3)
    seen_pairs = list(pairwise(held_out))
    given = torch.tensor([(pairs[p] + 1) / (first[p[0]] + 27) for p in seen_pairs]).double()
    assert warmup.references()["bigram"] == pytest.approx(-given.log().mean().item(), abs=2e-3)
    assert warmup.references()["bigram"] < warmup.references()["unigram"] < 3.2958  # log 27


# ---------------------------------------------------------------------------------------------------------------
# gau_warmup: the stacks


def test_a_layer_is_two_blocks_and_all_stacks_are_about_equally_large():
    sizes = {}
    for unit in warmup.UNITS:
        stack = warmup.build(replace(TINY, unit=unit, layers=3)).stack
        assert len(stack.blocks) == 6
        sizes[unit] = sum(p.numel() for p in stack.parameters())
    assert max(sizes.values()) < 1.1 * min(sizes.values())


def test_the_stacks_are_what_their_names_say():
    models = {unit: warmup.build(replace(TINY, unit=unit)).stack for unit in warmup.UNITS}
    kinds = {unit: type(stack.blocks[0]).__name__ for unit, stack in models.items()}
    assert kinds == dict.fromkeys(kinds, "PostNorm") | {"Pre-LN": "PreNorm"}
    assert {models[u].blocks[0].sublayer.kernel_name for u in ("GAU relu²", "GAU softmax")} == {"relu2/ns", "softmax"}
    alpha, beta = deepnorm(2)
    assert {block.alpha for block in models["DeepNorm"].blocks} == {alpha}
    assert {block.alpha for block in models["Post-LN"].blocks} == {1.0}
    plain, deep = (models[unit].blocks[0].sublayer for unit in ("Post-LN", "DeepNorm"))
    torch.testing.assert_close(deep.W_q.weight, plain.W_q.weight)
    torch.testing.assert_close(deep.W_v.weight, beta * plain.W_v.weight)
    torch.testing.assert_close(deep.W_o.weight, beta * plain.W_o.weight)


@pytest.mark.parametrize("unit", warmup.UNITS)
def test_no_letter_sees_what_it_has_to_predict(unit):
    model = warmup.build(replace(TINY, unit=unit))
    letters = torch.arange(11)[None]
    other = letters.clone()
    other[0, 6:] = 26
    difference = (model(letters) - model(other)).abs().amax(-1)[0]
    assert difference[:6].max() < 1e-5
    assert difference[6:].min() > 1e-3


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    a, b, c = (warmup.build(replace(TINY, seed=seed)).head.weight for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.data
@pytest.mark.parametrize("by", ["skip", "weights"])
@pytest.mark.parametrize(("unit", "ratio"), [("Post-LN", 0.1), ("GAU relu²", 1.0), ("GAU relu²", 0.03)])
def test_a_set_ratio_is_the_one_measured_in_every_block(unit, ratio, by):
    config = replace(TINY, unit=unit, ratio=ratio, by=by)
    model, plain = warmup.build(config), warmup.build(replace(config, ratio=None))
    sample = warmup.excerpts("train", config.batch, config.length, generator(0, -2))[:, :-1]
    assert signal(model.trace(sample)).ratio == pytest.approx([ratio] * 4, rel=1e-4)
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, plain.get_parameter(n))]
    alphas = [block.alpha for block in model.stack.blocks]
    if by == "skip":
        assert changed == []
        assert all(alpha != 1 for alpha in alphas)
    else:
        last = ["W_o"] * 4 if unit.startswith("GAU") else ["W_o.weight", "W_2.weight"] * 2
        assert changed == [f"stack.blocks.{k}.sublayer.{name}" for k, name in enumerate(last)]
        assert alphas == [1.0] * 4


@pytest.mark.data
def test_a_ratio_needs_a_way_to_set_it():
    with pytest.raises(ValueError, match='by must be "skip" or "weights", got \'norm\''):
        warmup.build(replace(TINY, ratio=0.1, by="norm"))


# ---------------------------------------------------------------------------------------------------------------
# gau_warmup: a run


@pytest.mark.data
@pytest.mark.parametrize("unit", ["GAU relu²", "Pre-LN"])
def test_a_record_has_a_value_for_each_block_and_each_look(unit):
    result = warmup.run(replace(TINY, unit=unit))
    assert result["steps"] == [0, 2, 4, 6, 8]
    assert len(result["losses"]) == 5
    assert result["looks"] == [0, 2, 7]
    assert [len(row) for row in result["ratios"]] == [4, 4, 4]
    assert [len(row) for row in result["moves"]] == [len(row) for row in result["cosines"]] == [5, 5, 5]
    assert len(result["gradients"]) == 4
    assert result["cosines"][0][0] == 1
    assert all(0 < move < 1 for row in result["moves"] for move in row)


@pytest.mark.data
def test_the_same_run_twice_gives_the_same_result():
    assert warmup.run(TINY) == warmup.run(TINY)


@pytest.mark.data
def test_a_shallow_stack_learns_and_one_that_never_moves_is_said_not_to():
    learning = replace(TINY, unit="GAU relu²", layers=1, rate=1e-2, steps=60, batch=8, length=32, held_out=32)
    assert warmup.run(learning)["learned"]
    still = warmup.run(replace(learning, rate=1e-9))
    assert not still["learned"]
    assert still["losses"][0] == pytest.approx(still["losses"][-1], abs=2e-3)


@pytest.mark.data
def test_a_diverged_run_is_a_result_and_not_a_failure():
    result = warmup.run(replace(TINY, rate=1e37))
    assert 1 <= result["diverged"] < TINY.steps
    assert not result["learned"]


@pytest.mark.data
def test_a_warm_up_makes_the_first_move_smaller():
    moves = [warmup.run(replace(TINY, warm_up=n))["moves"][0][-1] for n in (0, 100)]
    assert moves[0] > 20 * moves[1] > 0


def test_the_grid_has_every_stack_at_every_depth_and_seeds_where_it_matters():
    grid = warmup.grid(quick=False)
    at = Counter((c.unit, c.layers) for c in grid if c.rate == warmup.RATE and c.ratio is None and not c.warm_up)
    assert {layers for _, layers in at} == {6, 12, 24, 48}
    assert all(at[unit, layers] >= 1 for unit in warmup.UNITS for layers in (6, 12, 24, 48))
    assert all(at[unit, 24] >= 3 for unit in warmup.UNITS)
    kinds = Counter((c.unit, c.layers, c.ratio, c.by, c.warm_up, c.steps) for c in warmup.controls())
    assert len(kinds) == 11
    assert set(kinds.values()) == {3}


# ---------------------------------------------------------------------------------------------------------------
# depth_increment


def test_the_exponents_stored_are_those_of_the_increments_stored():
    result = increment.run(increment.Config("SGD", "relu", 1, layers=(2, 3, 7), d=16, batch=5))
    for optimizer in ("sgd", "adam", "lamb"):
        slope = power_exponent(torch.tensor([2.0, 3.0, 7.0]), torch.tensor(result[optimizer])).item()
        assert result[f"{optimizer}_exponent"] == pytest.approx(slope, abs=2e-3)


@pytest.mark.parametrize("rule", ["SGD", "Adam", "LAMB"])
def test_a_rule_holds_its_optimiser_constant_and_not_the_others(rule):
    result = increment.run(increment.Config(rule, "relu", 0, layers=(4, 8, 16)))
    for optimizer in ("SGD", "Adam", "LAMB"):
        want = increment_exponent(optimizer, RULES[rule])
        assert result[f"{optimizer.lower()}_exponent"] == pytest.approx(want, abs=0.06)


def test_tanh_with_he_weights_breaks_the_plain_power_law_and_not_the_rules():
    """A branch returns more of a gradient's mean square than of a signal's: plain stacks compound the difference."""
    plain, ruled = (increment.run(increment.Config(rule, "tanh", 0, layers=(4, 16, 64))) for rule in ("plain", "Adam"))
    assert plain["sgd_exponent"] > 2
    assert ruled["adam_exponent"] == pytest.approx(0, abs=0.1)
