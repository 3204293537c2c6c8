"""What the small head on one score promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import matching_numpy as small
from minilib.layernorm import conditional_gradients, conditional_layer_norm
from minilib.matching import bands, best_blind_accuracy, best_blind_loss

PAIR, T = (0.3, 0.7), 2


def parts(way="full", seed=0, moved=True):
    """Parts as at the start, or all of them moved."""
    found, rng = small.begun(T, way, 3, seed), np.random.default_rng(seed + 1)
    return small.Parts(*(a + 0.3 * rng.normal(size=a.shape) for a in found)) if moved else found


# ---------------------------------------------------------------------------------------------------------------
# formulas


def test_the_logits_are_a_head_on_the_librarys_conditional_norm():
    p = parts()
    x = np.broadcast_to(small.features(), (T, *small.features().shape))
    y = conditional_layer_norm(x, p.c, p.gamma, p.beta, p.W_gamma, p.W_beta, eps=0.0)
    want = y @ p.w[0] + p.b
    np.testing.assert_allclose(small.logits(p), want, rtol=1e-10, atol=1e-12)  # to normalise twice changes nothing


@pytest.mark.parametrize("way", ["full", "heads"])
def test_the_gradients_are_the_slopes(way):
    p, rng = parts(way), np.random.default_rng(3)
    error = rng.normal(size=(T, small.SCORES))
    found = small.gradients(p, error)
    for k, name in enumerate(small.Parts._fields):
        at = tuple(n - 1 for n in p[k].shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = p[k].copy()
            moved[at] += step
            ends.append((error * small.logits(p._replace(**{name: moved}))).sum())
        assert found[k].shape == p[k].shape
        assert found[k][at] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7), name


def test_they_are_those_of_the_librarys_norm():
    p = parts()
    error = np.random.default_rng(3).normal(size=(T, small.SCORES))
    x = np.broadcast_to(small.features(), (T, *small.features().shape))
    want = conditional_gradients(x, p.c, p.W_gamma, p.W_beta, error[..., None] * p.w[0], eps=0.0)
    found = small.gradients(p, error)
    for name in ("gamma", "beta", "W_gamma", "W_beta", "c"):
        ours, theirs = getattr(found, name), getattr(want, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------------------------------------------------------
# training


@pytest.mark.parametrize("seed", range(3))
def test_blind_to_the_task_it_reaches_the_law_and_no_more(seed):
    story = small.trained(PAIR, "none", seed=seed)
    assert story.accuracy[-1] == pytest.approx(best_blind_accuracy(bands(PAIR)))
    assert best_blind_loss(bands(PAIR)) < story.loss[-1] < best_blind_loss(bands(PAIR)) + 0.03
    assert story.accuracy.max() <= best_blind_accuracy(bands(PAIR)) + 1e-12


@pytest.mark.parametrize("way", ["heads", "beta", "gamma", "full"])
def test_told_the_task_in_any_way_it_finds_both_thresholds(way):
    story = small.trained(PAIR, way)
    assert story.accuracy[-1] > 0.99
    np.testing.assert_allclose(story.crossings(200), PAIR, atol=0.011)


def test_a_shift_cannot_turn_an_answer_round_and_a_scale_can():
    for seed in range(3):
        shift, scale = (small.trained((0.5, 0.5), way, turned=True, seed=seed) for way in ("beta", "gamma"))
        assert shift.accuracy.max() <= 0.75
        assert scale.accuracy[-1] > 0.99


@pytest.mark.parametrize("way", ["beta", "gamma", "full"])
def test_at_step_0_both_tasks_have_one_answer_and_the_condition_no_gradient(way):
    story = small.trained(PAIR, way)
    np.testing.assert_array_equal(story.p[0, 0], story.p[0, 1])
    assert story.conditions[0] == 0
    assert story.matrices[0] > 1e-3
    assert story.conditions[1] > 1e-3


def test_without_a_condition_there_are_no_gradients_of_it():
    for way in ("none", "heads"):
        story = small.trained(PAIR, way)
        assert np.isnan(story.matrices).all()
        assert np.isnan(story.conditions).all()


def test_what_a_way_adds_is_counted():
    d, k = small.FEATURES, 5
    want = {"none": 0, "heads": 3 * (d + 1), "beta": d * k + 4 * k, "gamma": d * k + 4 * k, "full": 2 * d * k + 4 * k}
    assert {way: small.added(4, way, k) for way in small.WAYS} == want


def test_adam_is_that_of_torch():
    torch = pytest.importorskip("torch")
    start = small.begun(T, "full", 8, 0)
    leaves = [torch.tensor(a, requires_grad=True) for a in start]
    optimiser, x = torch.optim.Adam(leaves, 0.02), torch.tensor(small.features())
    y = torch.tensor(small.labels_of(PAIR))
    for _ in range(20):
        w, b, gamma, beta, W_gamma, W_beta, c = leaves
        z = ((gamma + c @ W_gamma.T) * w) @ x.T + (((beta + c @ W_beta.T) * w).sum(-1) + b)[:, None]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert small.trained(PAIR).loss[19] == pytest.approx(loss.item(), rel=1e-8)


def test_kinds_of_labels_have_the_law_of_their_thresholds():
    assert best_blind_accuracy(small.kinds_of(small.labels_of(PAIR))) == pytest.approx(0.8)
    assert best_blind_accuracy(small.kinds_of(small.labels_of(PAIR, turned=True))) == pytest.approx(0.7)
    assert best_blind_loss(small.kinds_of(small.labels_of(PAIR))) == pytest.approx(0.4 * math.log(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small.trained(PAIR, "token"), "way must be one of none, heads, beta, gamma, full, got 'token'"),
        (lambda: small.trained((), "full"), "tasks, k and steps are at least 1, got 0, 8 and 200"),
        (lambda: small.trained(PAIR, "full", 0), "at least 1, got 2, 0"),
    ],
)
def test_bad_input_is_named_with_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
