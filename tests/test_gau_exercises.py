"""What the exercises on the gated attention unit promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import depth as dep
from minilib import gau as unit
from minilib import gau_exercises as ex
from minilib.arrays import relu, silu

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "4.1": [r"k ?\+ ?0\.5", r"k\+\\tfrac12", r"2 ?\*\* ?\(k ?- ?1\)", r"0\.816"],
    "4.2": [r"1\.13", r"0\.77\d", r"0\.041"],
    "4.3": [r"\\cdot\\mathrm\{height", r"inward \*"],
    "4.4": [r"np\.maximum\("],
    "4.5": [r"\b7\b", r"= 7"],
    "4.6": [r"s\\mu\^4 \+ \\nu\^4", r"nu2\*\*2 - mu\*\*4", r"s\\nu\^4/n"],
    "4.7": [r"4d - s/3", r"12 \* d \* d"],
    "4.8": [r"alpha \* x \+ branch", r"F/\\alpha"],
    "4.9": [r"-2/l", r"-2 / depth"],
    "4.10": [r"sqrt\{2N\}", r"sqrt\(2 \* layers\)", r"14\.1"],
    "4.11": [r"0\.25 \*", r"nearly the same direction"],
}

LEAST_MISTAKES = 3
"""The open exercise has three requirements."""


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


def test_the_gain_makes_a_sample_of_any_power_one():
    x = np.random.default_rng(0).normal(size=1_000_003)
    for k in (1, 1.5, 2):
        assert ((ex.power_gain(k) * np.maximum(x, 0) ** k) ** 2).mean() == pytest.approx(1, rel=0.02)
    assert ex.power_gain(1) == pytest.approx(math.sqrt(2))
    assert ex.power_gain(2) == pytest.approx(math.sqrt(2 / 3))


def test_a_truncated_sample_with_the_deviation_of_the_answer_has_lecuns_variance():
    s = ex.truncated_std(768)
    x = s * np.random.default_rng(0).normal(size=1_000_003)
    assert x[np.abs(x) < 2 * s].var() == pytest.approx(1 / 768, rel=5e-3)
    assert s == pytest.approx(0.04102, abs=1e-5)


@pytest.mark.torch
def test_hes_deviation_is_what_torch_draws_a_convolution_with():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    shape = (211, 53, 5, 3)
    weight = torch.nn.init.kaiming_normal_(torch.empty(shape), nonlinearity="relu")
    assert weight.std().item() == pytest.approx(ex.he_std(shape), rel=1e-2)


def test_the_kernel_of_the_exercise_is_the_units():
    q, k = np.random.default_rng(0).normal(size=(2, 11, 5))
    np.testing.assert_allclose(ex.squared_relu(q, k), unit.squared_relu(q, k), rtol=1e-12)


def test_the_whole_unit_scales_with_the_exponent_and_with_swish_only_in_the_limit():
    rng = np.random.default_rng(1)
    x, W, W_o = rng.normal(size=(13, 7)), rng.normal(size=(2 * 11 + 5, 7)), rng.normal(size=(7, 11))

    def exponent(phi, lam):
        def size(c):
            u, v, z = unit.gau_parts(x, c * W, 5, phi)
            return np.linalg.norm((u * (unit.squared_relu(z, z) @ v)) @ (c * W_o).T)

        return math.log(size(lam) / size(lam / 2), 2)

    assert exponent(relu, 1.0) == pytest.approx(ex.lambda_exponent(), rel=1e-9)
    assert exponent(silu, 1e-3) == pytest.approx(ex.lambda_exponent(), rel=1e-2)
    assert exponent(silu, 1.0) > ex.lambda_exponent() + 0.3


def test_the_mass_of_a_row_is_that_of_random_features():
    rng, n, s, mu, sd = np.random.default_rng(2), 101, 17, 0.3, 0.5
    diagonal, rest = ex.row_mass(n, s, mu, mu**2 + sd**2)
    A = [(z @ z.T) ** 2 / (n * s) for z in rng.normal(mu, sd, size=(200, n, s))]
    totals = np.mean([a.sum(1).mean() - np.diag(a).mean() for a in A])
    assert totals == pytest.approx(rest, rel=0.03)
    assert np.mean([np.diag(a).mean() for a in A]) == pytest.approx(diagonal, rel=0.2)
    assert rest > 5 * diagonal


def test_one_wide_unit_has_the_weights_of_a_layer():
    e = ex.equal_e(768, 96)
    assert unit.gau_parameters(768, int(e), 96) - 4 * 96 == pytest.approx(unit.block_parameters(768), rel=1e-12)


@pytest.mark.torch
def test_the_block_of_the_exercise_is_the_stacks():
    torch = pytest.importorskip("torch")
    from minilib.depth_torch import ResidualStack

    x, branch = np.random.default_rng(0).normal(size=(2, 7, 5))
    stack = ResidualStack([torch.nn.Identity()], 5, alpha=2.5).double()
    stack.blocks[0].norm.eps = 0.0
    stack.blocks[0].sublayer.forward = lambda _: torch.from_numpy(branch)
    with torch.no_grad():
        want = stack(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ex.deepnorm_block(x, branch, 2.5), want, rtol=1e-10, atol=1e-12)


def test_the_largest_ratio_leaves_the_share():
    for depth, share in ((7, 0.5), (100, 0.9)):
        assert dep.identity_share(ex.largest_ratio(depth, share), depth) == pytest.approx(share)
    assert ex.largest_ratio(100, 0.9) == pytest.approx(0.0459, abs=5e-5)


def test_the_scales_for_adam_solve_both_equations():
    for layers in (2, 100):
        alpha, lam = ex.adam_scales(layers)
        assert 2 * layers * lam / alpha == pytest.approx(1)
        assert alpha * lam == pytest.approx(1)
    assert ex.adam_scales(100) == pytest.approx((14.142, 0.0707), rel=1e-3)


def test_features_of_swish_are_a_crowd_by_themselves():
    """What the last exercise asks for happens at random, but for the diagonal that chance leaves not the largest."""
    rng = np.random.default_rng(0)
    z = silu(rng.normal(size=(512, 128)))
    A = unit.squared_relu(z, z)
    rest = A.sum(1) - np.diag(A)
    assert (np.diag(A) > A.max(1) - 1e-15).mean() > 0.99
    assert (rest > 5 * np.diag(A)).mean() > 0.9
    assert z.min() >= ex.LOWEST
    assert silu(np.linspace(-2, -1, 100_001)).min() == pytest.approx(ex.LOWEST, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_the_crowd_is_accepted_and_spread_over_the_sphere_it_is_not(seed):
    rng = np.random.default_rng(seed)
    z = ex.crowd()[rng.permutation(16)]
    assert ex.CROWD.check(z)
    turned = rng.normal(size=(16, 3))
    turned *= 0.27 / np.linalg.norm(turned, axis=1, keepdims=True)
    assert ex.CROWD.check(turned).mistake == "alone"
