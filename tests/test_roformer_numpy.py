"""What RoFormer on numbers promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import roformer_numpy as num
from minilib.arrays import relu
from minilib.depth import identity_share, truncation_correction
from minilib.roformer import V2_SIZES, v2_branches, v2_identity_share, v2_std

SMALL = {"layers": 3, "d": 192, "heads": 3, "n": 61}


def test_the_second_versions_branches_are_those_of_its_formula():
    for sizes in V2_SIZES.values():
        got = num.branch_sizes(num.KINDS["V2"], sizes.d, sizes.inner, sizes.layers, 128, 0.5)
        assert got == pytest.approx(v2_branches(sizes.layers, 128, 0.5), rel=1e-6)


def test_the_two_mistakes_of_a_port_make_both_branches_larger_by_the_square_of_the_correction():
    for sizes in V2_SIZES.values():
        right, wrong = (
            num.branch_sizes(num.KINDS[k], sizes.d, sizes.inner, sizes.layers) for k in ("V2", "V2, as ported")
        )
        assert np.divide(wrong, right) == pytest.approx([truncation_correction() ** 2] * 2)
    stds = num.ported_deviations(768, 3072, 12)
    assert stds.W_1 / v2_std(768, 12) == pytest.approx(0.5684, rel=1e-3)
    assert stds.W_2 / v2_std(3072, 12) == pytest.approx(2.2737, rel=1e-3)


@pytest.mark.parametrize("kind", num.KINDS)
def test_an_untrained_encoder_does_what_the_formulas_say(kind):
    seen = num.start(kind, **SMALL)
    said = num.branch_sizes(num.KINDS[kind], 192, 768, 3, 61, 0.5)
    assert np.mean(seen.ratios[::2]) == pytest.approx(said.attention, rel=0.2)
    assert np.mean(seen.ratios[1::2]) == pytest.approx(said.feed, rel=0.1)
    share = math.prod(identity_share(r, 1) for r in seen.ratios)
    assert seen.cosines[-1] == pytest.approx(share, abs=0.03)


def test_the_measured_share_of_the_published_small_one():
    seen = num.start("V2")
    assert seen.cosines[-1] == pytest.approx(v2_identity_share(6, 128, 0.5), abs=0.02)
    assert len(seen.ratios) == 12
    assert len(seen.cosines) == 13


def test_tokens_that_are_not_alike_leave_a_smaller_mean():
    apart, same = (num.start("V2", alike=alike, **SMALL).ratios[0] for alike in (0.0, 0.999))
    assert apart < 0.3 * same
    assert same == pytest.approx(1 / 3, rel=0.15)


def test_relu_is_homogeneous_so_its_branch_is_the_product_of_the_deviations():
    kind = num.Kind(lambda d, f, L: num.Deviations(0.1, 0.03, 0.7), relu, lambda x: x)
    got = num.branch_sizes(kind, 97, 89, 1)
    assert got.feed == pytest.approx(0.7 * math.sqrt(89) * 0.03 * math.sqrt(97) / math.sqrt(2), rel=1e-6)
    assert got.attention == pytest.approx(0.01 * 97)
