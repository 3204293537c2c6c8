"""What the drawings of RoFormerV2 promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments

from minilib import roformer_views as pictures
from minilib.roformer import V1, V2, V2_SIZES, v2_branches, v2_identity_share
from minilib.roformer_numpy import KINDS, branch_sizes, start

RNG = np.random.default_rng(0)
GIVEN = {
    "draw_start": {"layers": 2, "d": 128, "n": 31},
    "draw_dots": {"values": {"one": [4.5, 4.6, 4.4], "two": [4.1, 4.2, 4.3], "three": [5.0]}},
    "draw_lengths": {
        "lengths": (64, 128, 256),
        "scores": {"one": RNG.uniform(0.1, 0.3, (3, 3)).tolist(), "two": RNG.uniform(0.1, 0.3, (2, 3)).tolist()},
    },
}
"""Made-up results of trainings, and a small encoder."""

LOOKS, LEAST_NUMBERS = ("linestyle", "marker"), 3

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels
NONE = dict.fromkeys(("no_bias", "rms", "relu_", "embedding_order", "plain_head", "v2_init"), False)


@pytest.mark.parametrize("changes", [V1, V2])
@pytest.mark.parametrize("sizes", V2_SIZES.values(), ids=V2_SIZES)
def test_the_parts_add_up_to_the_whole(sizes, changes):
    assert sum(pictures.parts(sizes, changes).values()) == sizes.total(changes)


def test_the_block_diff_begins_with_the_second_version_and_ends_with_the_first():
    numbers = picture(pictures.draw_changes).numbers
    assert numbers["million parameters"] == 94.152192
    assert numbers["branch of attention over its skip"] == pytest.approx(v2_branches(12, 128, 0.5).attention)
    assert numbers["share of the input left"] == pytest.approx(v2_identity_share(12, 128, 0.5))
    first = picture(pictures.draw_changes, **NONE).numbers
    assert first["million parameters"] == V2_SIZES["base"].total(V1) / 1e6
    assert first["share of RoFormer's that is gone, in percent"] == 0
    assert first["share of the input left"] < 0.4
    assert first["size of a token in training, dropout 0.1"] == pytest.approx(1 / math.sqrt(0.9))


def test_the_drawing_of_a_start_shows_what_was_measured_and_the_formulas():
    numbers = picture(pictures.draw_start).numbers
    for name, kind in KINDS.items():
        seen, said = start(name, 2, 128, 2, 31), branch_sizes(kind, 128, 512, 2, 31, 0.5)
        assert numbers[f"{name}: branch of attention, mean"] == pytest.approx(np.mean(seen.ratios[::2]))
        assert numbers[f"{name}: by the formula"] == said.attention
        assert numbers[f"{name}: cosine at the end"] == seen.cosines[-1]
        bands = [one.get_ydata()[0] for one in drawn(pictures.draw_start)[0].lines if one.get_linewidth() > 5]
        assert set(said) <= set(bands)


def test_the_drawing_of_dots_shows_each_seed_and_the_means():
    numbers = picture(pictures.draw_dots).numbers
    assert numbers == pytest.approx({"one: mean": 4.5, "two: mean": 4.2, "three: mean": 5.0})
    (axes,) = drawn(pictures.draw_dots)
    assert [4.5, 4.6, 4.4] in [list(one.get_xdata()) for one in axes.lines]


def test_the_drawing_of_lengths_shows_the_mean_over_seeds():
    numbers = picture(pictures.draw_lengths).numbers
    runs = np.array(GIVEN["draw_lengths"]["scores"]["two"])
    assert numbers["two: n = 256"] == pytest.approx(runs[:, -1].mean())
    (axes,) = drawn(pictures.draw_lengths)
    (mine,) = [one for one in axes.lines if one.get_label() == "two"]
    np.testing.assert_allclose(mine.get_ydata(), runs.mean(0))


def test_each_change_of_the_block_diff_does_what_the_chapter_says():
    explorer = pictures.explore_changes()
    explorer.preset("RoFormer")
    first = dict(explorer.numbers)
    explorer.preset("only the initialisation")
    assert explorer.numbers["million parameters"] == first["million parameters"]
    assert explorer.numbers["share of the input left"] > 0.9
    explorer.set(**NONE | {"plain_head": True})
    lost = explorer.numbers["share of RoFormer's that is gone, in percent"]
    explorer.set(**NONE | {"no_bias": True, "rms": True})
    assert lost > 4 * explorer.numbers["share of RoFormer's that is gone, in percent"] > 0
