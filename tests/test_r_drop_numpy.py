"""What dropout twice on numbers promises."""

from __future__ import annotations

import numpy as np
import pytest

from minilib import r_drop as rd
from minilib import r_drop_numpy as numbers


def logits(seed=0, points=7, masks=5, classes=3):
    return np.random.default_rng(seed).normal(size=(points, masks, classes))


def share(masks=5, seed=1):
    return np.random.default_rng(seed).dirichlet(np.ones(masks))


def first(z):
    return np.moveaxis(z, -1, 0)


@pytest.mark.parametrize("alpha", [0.0, 4.0])
def test_the_loss_is_cross_entropy_and_half_alpha_times_the_divergence(alpha):
    z, weights, y = logits(), share(), np.arange(7) % 3
    loss, _ = numbers.expected_loss_gradient(first(z), weights, y, alpha)
    entropies = rd.cross_entropy(z, np.broadcast_to(y[:, None], (7, 5))) @ weights
    want = entropies.mean() + alpha / 2 * rd.expected_symmetric_kl(z, weights).mean()
    assert loss == pytest.approx(want, rel=1e-12)


def test_its_gradient_is_its_slope():
    z, weights, y, h = first(logits()), share(), np.arange(7) % 3, 1e-6
    _, got = numbers.expected_loss_gradient(z, weights, y, 4.0)
    for place in ((0, 2, 3), (2, 0, 1), (1, 6, 4)):
        step = np.zeros_like(z)
        step[place] = h
        up, down = (numbers.expected_loss_gradient(z + s * step, weights, y, 4.0)[0] for s in (1, -1))
        assert got[place] == pytest.approx((up - down) / (2 * h), rel=1e-6)


def loss_of(W, b, rate, alpha, n, hidden):
    x, y = numbers.points(n)
    z = numbers.features(x, rate, hidden) @ W.T + b
    weights = rd.mask_probabilities(rd.dropout_masks(n, x), rate)
    return numbers.expected_loss_gradient(first(z), weights, y, alpha)[0] + numbers.KAPPA / 2 * np.sum(W**2)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(("rate", "alpha", "n"), [(0.05, 0.0, 5), (0.05, 10.0, 5), (0.3, 4.0, 3), (0.7, 10.0, 2)])
def test_training_ends_near_the_minimum(rate, alpha, n, hidden):
    at = rate, alpha, n, hidden
    short, long = (loss_of(*numbers.trained(*at, steps=steps), *at) for steps in (40, 1000))
    assert 0 <= short - long + 1e-9 < 0.002
    for seed in range(3):
        W, b = numbers.trained(*at, steps=1000)
        shift = 0.05 * np.random.default_rng(seed).normal(size=W.shape)
        assert loss_of(W + shift, b, *at) > long


def test_what_the_cache_hands_out_cannot_be_written_to():
    W, b = numbers.trained(0.3, 1.0, 3)
    for a in (W, b):
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 1.0


def test_the_features_without_dropout_are_the_points():
    x, _ = numbers.points(4)
    np.testing.assert_allclose(numbers.features(x, 0.0, False)[:, -1], x)
    assert numbers.features(x, 0.3, True).shape == (len(x), 16, 4)
    assert (numbers.features(x, 0.3, True) >= 0).all()


def test_the_summary_is_what_the_formulas_say_one_point_at_a_time():
    seen = numbers.sub_models(0.3, 2.0, 4, 1.5)
    got = numbers.summary(seen)
    z, weights, off, y = seen
    assert got.off == pytest.approx(rd.cross_entropy(off, y).mean())
    mean = rd.cross_entropy(z, np.broadcast_to(y[:, None], z.shape[:2])) @ weights
    assert got.added == pytest.approx((mean - rd.cross_entropy(off, y)).mean())
    assert got.added == pytest.approx(rd.implicit_penalty(z, weights).mean())
    assert got.divergence == pytest.approx(rd.expected_symmetric_kl(z, weights).mean())
    assert got.arithmetic == pytest.approx(rd.averaging_gap(z, weights, off).mean())
    assert got.geometric == 0
    assert got.right == pytest.approx((off.argmax(-1) == y).mean())


def test_behind_a_hidden_layer_the_geometric_mean_is_not_the_network_and_dropout_may_lower_the_loss():
    assert numbers.summary(numbers.sub_models(0.5, 0.0, 5, hidden=True)).geometric > 0.02
    odd = numbers.summary(numbers.sub_models(0.6, 10.0, 5, hidden=True))
    assert odd.added < 0 < odd.divergence


def test_a_larger_alpha_makes_the_sub_models_agree_more():
    found = [numbers.summary(numbers.sub_models(0.3, alpha, 5)) for alpha in (0.0, 1.0, 4.0, 10.0)]
    for name in ("divergence", "added", "arithmetic"):
        values = [getattr(one, name) for one in found]
        assert values == sorted(values, reverse=True), name
    assert found[-1].off > found[0].off


def test_random_layers_have_all_masks_and_their_scale():
    z, weights = numbers.random_sub_models(0.3, 0.0, 11)
    assert z.shape == (11, 256, 3)
    assert np.ptp(z, axis=1).max() == 0
    assert weights.sum() == pytest.approx(1)
    small, large = (numbers.random_sub_models(0.3, scale, 11)[0] - z for scale in (1.0, 3.0))
    np.testing.assert_allclose(3 * small, large, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", [0, 6])
def test_too_many_features_are_refused(n):
    with pytest.raises(ValueError, match=rf"1 to 5 features, so that all masks can be counted; got {n}"):
        numbers.points(n)
