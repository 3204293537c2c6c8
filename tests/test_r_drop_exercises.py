"""What the exercises on dropout twice promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import r_drop as rd
from minilib import r_drop_exercises as ex
from minilib.arrays import softmax

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "8.1": [r"np\.log\(p / q\)", r"\(p_i - q_i\)"],
    "8.2": [r"\[:half\]", r"upper half"],
    "8.3": [r"2 \* alpha / classes", r"2\\alpha/C"],
    "8.4": [r"np\.log\(p\)", r"mean of the logarithms"],
    "8.5": [r"\(q - p\)", r"w / tau"],
    "8.6": [r"reshape\(-1, 2\)", r"x_jw_j \+"],
    "8.7": [r"odds of", r"2 \* batch"],
    "8.8": [r"M-1\)\\alpha", r"2 \* variance"],
    "8.9": [r"2 \* pairs - 2", r"2B - 2"],
    "8.10": [r"sure, sure", r"veto"],
}

LEAST_MISTAKES = 3
"""The open exercise has three requirements."""


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


def test_the_divergence_of_the_exercise_is_the_librarys_and_the_examples():
    p, q = np.array([[0.5, 0.2, 0.3]]), np.array([[0.5, 0.3, 0.2]])
    np.testing.assert_allclose(ex.divergence(p, q), 0.1 * math.log(1.5), rtol=1e-12)
    z, w = np.random.default_rng(0).normal(size=(2, 7, 3))
    np.testing.assert_allclose(ex.divergence(softmax(z), softmax(w)), rd.symmetric_kl(z, w), rtol=1e-10)


@pytest.mark.torch
def test_the_doubled_batch_is_what_training_computes():
    torch = pytest.importorskip("torch")
    from minilib.r_drop_torch import supervised

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(7, 5)).double()
    x, y = torch.randn(3, 7, dtype=torch.float64), torch.tensor([1, 4, 0])
    torch.manual_seed(1)
    want = supervised(model, x, y, 4.0).item()
    torch.manual_seed(1)
    z = model(torch.cat((x, x))).detach().numpy()
    assert ex.doubled_batch(z, y.numpy(), 4.0) == pytest.approx(want, rel=1e-12)


@pytest.mark.torch
def test_the_seventh_program_is_as_torch_computes_it():
    torch = pytest.importorskip("torch")
    functions = torch.nn.functional
    z, w = torch.randn(2, 11, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, alpha = torch.arange(11) % 7, 3.0
    entropies = functions.cross_entropy(z, y) + functions.cross_entropy(w, y)
    logs = [functions.log_softmax(a, -1) for a in (z, w)]
    both = sum(functions.kl_div(a, b, reduction="none", log_target=True).mean() for a, b in (logs, logs[::-1]))
    loss = 0.5 * entropies + alpha * 0.5 * both
    effective = (2 * loss - entropies) / rd.symmetric_kl(z, w).mean()
    assert ex.effective_alpha(alpha, 11, 7) == pytest.approx(effective.item(), rel=1e-10)


def test_the_geometric_mean_over_all_masks_is_the_network_without_dropout():
    rng = np.random.default_rng(0)
    x, W, b = rng.normal(size=5), rng.normal(size=(3, 5)), rng.normal(size=3)
    masks = rd.dropout_masks(5, x)
    weights = rd.mask_probabilities(masks, 0.3)
    p = softmax(rd.sub_model_logits(x, W, b, masks, 0.3))
    np.testing.assert_allclose(ex.geometric(p, weights), softmax(W @ x + b), rtol=1e-10)


def test_with_the_other_side_free_the_two_fixed_sides_make_the_whole_gradient():
    z, w = np.random.default_rng(0).normal(size=(2, 5))
    p, q = softmax(z), softmax(w)
    other = ex.EXERCISES[4].mistakes[-1].answer(p, w, 1.0)
    np.testing.assert_allclose((ex.fixed_side(p, w, 1.0) + other) / 2, rd.symmetric_kl_gradient(w, z), rtol=1e-9)
    assert np.abs(ex.fixed_side(q, w, 1.0)).max() < 1e-15


def test_paired_units_have_the_variance_of_a_sample():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 6))
    masks = np.repeat(rng.random((200_000, 3)) > 0.3, 2, axis=1)
    assert (masks @ (x * w) / 0.7).var() == pytest.approx(ex.paired_units(x, w, 0.3), rel=0.02)


def test_the_translated_alpha_of_the_chapters_numbers():
    assert ex.translated_alpha(0.1, 0.5, 16) == pytest.approx(0.25)
    assert rd.equivalent_rate(0.1, 2 * 16 * 0.25) == pytest.approx(0.5)


def test_two_passes_are_the_formula_of_the_library():
    rng = np.random.default_rng(0)
    f, g = rng.normal(0.7, 1.3, size=(2, 400_000))
    want = rd.regression_loss(f, g, np.zeros_like(f), 4.0).mean()
    assert ex.more_passes(0.7, 1.69, 2, 4.0) == pytest.approx(want, rel=0.01)


def test_perfect_doubles_at_right_angles_and_all_alike():
    v = np.repeat(np.eye(5), 2, axis=0)
    assert ex.perfect_doubles(5, 0.05, 0.0) == pytest.approx(float(rd.simcse_loss(v)), rel=1e-6)
    assert ex.perfect_doubles(5, 0.05, 1.0) == pytest.approx(math.log(9))


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_two_winners_is_accepted_and_alike_sub_models_are_not(seed):
    rng = np.random.default_rng(seed)
    assert ex.TWO_WINNERS.check(ex.two_winners()[rng.permutation(3)])
    one = np.array([1.5, 0.0, -1.0]) + 0.1 * rng.normal(size=(3, 3))
    assert ex.TWO_WINNERS.check(one).mistake == "geometric"
