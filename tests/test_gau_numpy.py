"""What the gated attention unit on numbers promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from minilib import gau
from minilib.gau_numpy import predicted, start

WIDE = {"n": 256, "d": 768, "s": 128}


def mean(seeds=3, **unit):
    """The mean over seeds of diagonal, rest and rms."""
    return np.mean([start(seed=seed, **unit)[1:] for seed in range(seeds)], axis=0)


@pytest.mark.parametrize(("kernel", "init", "rotary"), list(itertools.product(gau.KERNELS, gau.INITS, [False, True])))
def test_the_formulas_say_how_large_the_output_is_for_every_kernel_and_initialisation(kernel, init, rotary):
    unit = WIDE | {"kernel": kernel, "init": init, "rotary": rotary}
    said = predicted(**unit)
    diagonal, rest, rms = mean(**unit)
    assert said.rms == pytest.approx(rms, rel=0.15)
    # Under softmax one is 1 less the other, and can be small.
    close = {"abs": 0.1} if kernel.startswith("softmax") else {"rel": 0.25}
    assert said.mass.diagonal == pytest.approx(diagonal, **close)
    assert said.mass.rest == pytest.approx(rest, **close)


def test_each_part_counts_by_its_own_deviation(monkeypatch):
    uneven = {
        part: lambda d, e, s, part=part: gau.lecun_stds(d, e, s)._replace(**{part: 1.5 / d**0.5}) for part in "uvz"
    }
    for part, init in uneven.items():
        monkeypatch.setitem(gau.INITS, part, init)
        assert predicted(**WIDE, init=part).rms == pytest.approx(mean(**WIDE, init=part)[2], rel=0.15), part


@pytest.mark.parametrize("lam", [0.125, 0.5, 2.0])
def test_they_follow_the_scale_of_the_weights(lam):
    assert predicted(**WIDE, lam=lam).rms == pytest.approx(mean(**WIDE, lam=lam)[2], rel=0.15)


@pytest.mark.parametrize(("d", "within"), [(256, 0.12), (64, 0.3)])
def test_they_are_nearer_the_wider_the_input(d, within):
    unit = WIDE | {"d": d}
    ratio = predicted(**unit).rms / mean(**unit)[2]
    assert abs(ratio - 1) < within


def test_the_sample_of_columns_and_queries_stands_for_all():
    unit = {"n": 64, "d": 64, "s": 32}
    sample = mean(16, **unit, columns=24, rows=16)
    assert sample == pytest.approx(mean(16, **unit, columns=128, rows=64), rel=0.1)


@pytest.mark.parametrize("kernel", gau.KERNELS)
def test_the_corner_is_that_of_the_whole_matrix(kernel):
    small, large = start(n=16, d=64, s=8, kernel=kernel), start(n=64, d=64, s=8, kernel=kernel)
    assert (small.corner.shape, large.corner.shape) == ((16, 16), (32, 32))
    if kernel == "relu2/ns":  # shorter texts begin longer ones
        np.testing.assert_allclose(4 * large.corner[:16, :16], small.corner, rtol=1e-5)
    assert not small.corner.flags.writeable
    if kernel.startswith("softmax"):
        assert large.diagonal + large.rest == pytest.approx(1, rel=1e-5)


def test_the_essay_speaks_of_squared_relu_only_and_of_seven_factors_of_lambda():
    assert math.isnan(predicted(kernel="softmax").essay)
    assert predicted().essay == pytest.approx(0.01126, rel=1e-3)
    assert predicted(lam=0.5).essay == pytest.approx(predicted().essay / 128)
    assert predicted(n=1024).essay == pytest.approx(predicted().essay / 2)


def test_another_seed_is_another_sample_and_the_same_seed_the_same():
    a, b, c = (start(n=64, d=64, s=8, seed=seed) for seed in (0, 1, 0))
    assert a.rms == c.rms != b.rms
