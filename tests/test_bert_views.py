"""What the drawings of BERT promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments, extremes, rows_of

from minilib import bert, masking, wordpiece
from minilib import bert_views as pictures
from minilib.attention import causal_mask, unilm_mask
from minilib.bert_numpy import untrained_loss
from minilib.views import latency

RNG = np.random.default_rng(0)
TOKENS = ["[CLS]", "a", "rose", "is", "a", "rose", "[SEP]"]
MAPS = RNG.dirichlet(np.ones(7), size=(3, 2, 7))


def frozen(body, head, asked, layer, seed, top1):
    config = {"body": body, "head": head, "asked": asked, "layer": layer, "seed": seed}
    return {"config": config, "result": {"top1": top1, "top1_frequent": 0.05}}


FROZEN = [
    frozen("trained", "tied", asked, layer, seed, base + 0.01 * layer + 0.01 * seed)
    for asked, base in (("shown", 0.9), ("hidden", 0.06))
    for layer in (0, 2, 4)
    for seed in range(2)
]
FROZEN.append(frozen("untrained", "tied", "hidden", 4, 0, 0.5))


def pretrained(std, seed):
    scores = {"mask": {"top1": 0.1 + std + 0.02 * seed}}
    result = {
        "steps": [0, 10, 20],
        "masked": [8.3, 6.0 + seed, 5.0 + seed - std],
        "references": {"unigram_loss": 6.8, "unigram_top1": 0.05, "chain_loss": 5.5, "chain_top1": 0.15},
        "shown": scores,
        "shuffled": {"mask": {"top1": 0.01}},
    }
    return {"config": {"std": std, "seed": seed}, "result": result}


GIVEN = {
    "draw_first_loss": {"vocabulary": 512, "d": 32, "stds": (0.02, 0.3)},
    "draw_looks": {"looks": {name: RNG.random((3, 5)) for name in ("previous", "next", "[CLS]", "[SEP]", "same")}},
    "draw_map": {"tokens": TOKENS, "weights": MAPS[0, 0]},
    "draw_silenced": {
        "each": 10 ** RNG.uniform(-4, -1, (3, 5)),
        "growing": {
            "ranked": np.linspace([1.0], [0.5], 4).T,
            "random": np.linspace(1, 0.5, 4) - 0.01 * RNG.random((3, 4)),
        },
    },
    "draw_frozen": {"records": FROZEN},
    "draw_pretraining": {"records": [pretrained(std, seed) for std in (0.5, 0.02) for seed in range(2)]},
}
"""Arguments of the drawings that have no defaults, made up, and of the one that takes long."""

LOOKS, LEAST_NUMBERS = ("linestyle", "marker"), 2

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found.get_ydata()


# ---------------------------------------------------------------------------------------------------------------
# masks


@pytest.mark.parametrize("source", [0, 3, 8])
@pytest.mark.parametrize("target", [1, 5])
@pytest.mark.parametrize("kind", pictures.KINDS)
def test_the_formula_counts_the_squares_of_each_mask(kind, source, target):
    numbers = picture(pictures.draw_mask, kind=kind, source=source, target=target).numbers
    assert numbers["allowed pairs"] == numbers["by the formula"] == pictures.mask_of(kind, source, target).sum()


def test_the_masks_are_those_of_the_models():
    flags = np.repeat([0, 1], [3, 2])
    np.testing.assert_array_equal(pictures.mask_of("LM", 3, 2), causal_mask(5, flags))
    np.testing.assert_array_equal(pictures.mask_of("UniLM", 3, 2), unilm_mask(flags))
    assert pictures.mask_of("encoder", 3, 2).all()
    any_order = pictures.mask_of("permutation", 3, 2)
    assert sorted(any_order.sum(axis=1)) == [1, 2, 3, 4, 5]
    assert not (any_order == causal_mask(5, flags)).all()


def test_the_square_shows_the_mask_and_leaves_the_rest_empty():
    (axes,) = drawn(pictures.draw_mask, kind="LM", source=2, target=3)
    image = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(image[:5, :5], pictures.mask_of("LM", 2, 3))
    assert np.ma.getmaskarray(axes.images[0].get_array())[5:].all() or np.isnan(image[5:]).all()


def test_four_masks_are_counted_side_by_side():
    got = picture(pictures.draw_masks, source=4, target=3).numbers
    assert got == {f"{kind}: allowed pairs": pictures.allowed_pairs(kind, 4, 3) for kind in pictures.KINDS}


# ---------------------------------------------------------------------------------------------------------------
# gaps, parameters, the first loss


def test_the_dice_show_the_formulas_and_a_sample_that_follows_them():
    got = picture(pictures.draw_masking, n=64, length=2.0).numbers
    assert got["standard deviation, measured"] == pytest.approx(got["standard deviation, formula"], rel=0.1)
    assert got["mean share chosen"] == pytest.approx(0.15, abs=0.02)
    assert [got[f"percent seen as {what}"] for what in ("[MASK]", "itself", "another")] == pytest.approx([12, 1.5, 1.5])
    plain = picture(pictures.draw_masking, n=64, whole_words=False).numbers
    assert plain["standard deviation, formula"] == pytest.approx(masking.masked_share_std(0.15, 64))
    assert plain["standard deviation, formula"] < got["standard deviation, formula"]
    assert plain["probability that none is"] == pytest.approx(0.85**64)


@pytest.mark.parametrize(
    "name", ["BERT base, uncased", "BERT large, uncased", "MiniLM", "ALBERT base", "ALBERT xxlarge"]
)
def test_the_parameters_drawn_are_those_of_published_networks(name):
    sizes = bert.BERT_SIZES[name]
    knobs = {"vocabulary": sizes.vocabulary, "d": sizes.d, "layers": sizes.layers, "shared": sizes.shared}
    got = picture(pictures.draw_sizes, narrow=sizes.table or 0, **knobs).numbers
    parts = list(got.values())
    assert 1_000_000 * parts[0] + 1000 * parts[1] + parts[2] == sizes.total
    (axes,) = drawn(pictures.draw_sizes, narrow=sizes.table or 0, **knobs)
    words = [text.get_text() for text in axes.texts]
    assert f"without the MLM head: {sizes.total:,}" in words
    assert {f"{sizes.mlm_head:,}", f"{sizes.pooler:,}", f"{sizes.embedding:,}"} < set(words)


def test_the_first_loss_is_measured_beside_its_formula():
    (axes,) = drawn(pictures.draw_first_loss)
    measured = line(axes, "measured")
    np.testing.assert_allclose(measured, [untrained_loss(512, 32, std) for std in (0.02, 0.3)])
    got = picture(pictures.draw_first_loss).numbers
    want = bert.initial_mlm_loss(512, 32, 0.3)
    assert got["measured over formula at s = 1.70"] == pytest.approx(measured[1] / want)


def test_the_distances_of_two_gelus_are_those_that_are_known():
    got = picture(pictures.draw_gelu).numbers
    assert got["tanh form: largest error"] == pytest.approx(4.732e-4, rel=1e-3)
    assert got["x σ(1.702 x): largest error"] == pytest.approx(0.02033, rel=1e-2)
    assert got["smallest value of GELU"] == pytest.approx(-0.16997, abs=1e-4)


# ---------------------------------------------------------------------------------------------------------------
# heads and results


def test_a_map_says_where_its_weight_lies():
    got = picture(pictures.draw_map).numbers
    A = MAPS[0, 0]
    assert got["weight on itself"] == pytest.approx(np.diag(A).mean())
    assert got["on the token before"] == pytest.approx(np.diag(A, -1).mean())
    assert got["on the token after"] == pytest.approx(np.diag(A, 1).mean())
    assert got["on [CLS]"] == pytest.approx(A[:, 0].mean())
    (axes,) = drawn(pictures.draw_map)
    assert [text.get_text() for text in axes.texts][::2] == TOKENS


def test_the_panels_of_the_heads_show_what_was_given():
    panels = drawn(pictures.draw_looks)
    for axes, share in zip(panels, GIVEN["draw_looks"]["looks"].values(), strict=True):
        np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), share)
        assert [text.get_text() for text in axes.texts] == [f"{share.max():.1f}"]


def test_heads_switched_off_are_labelled_in_thousandths():
    left, _ = drawn(pictures.draw_silenced)
    each = GIVEN["draw_silenced"]["each"]
    assert [text.get_text() for text in left.texts] == [f"{1e3 * x:.0f}" for x in each.ravel()]
    assert picture(pictures.draw_silenced).numbers["ranked: cosine at half of the heads"] == pytest.approx(0.75)


def test_the_frozen_body_is_drawn_without_the_controls():
    got = picture(pictures.draw_frozen).numbers
    assert got["shown: share named after layer 4"] == pytest.approx(0.945)
    assert got["hidden: share named after layer 4"] == pytest.approx(0.105)
    assert got["most frequent piece"] == 0.05


def test_the_pretraining_shows_means_over_seeds_of_both_starts():
    got = picture(pictures.draw_pretraining).numbers
    assert got["loss at the end, start 0.02"] == pytest.approx(5.48)
    assert got["loss at the end, start 0.5"] == pytest.approx(5.0)
    assert got["share named, start 0.5"] == pytest.approx(0.61)
    assert got["share named by the neighbours"] == 0.15
    left, right = drawn(pictures.draw_pretraining)
    np.testing.assert_allclose(line(left, "BERT, start 0.02"), [8.3, 6.5, 5.48])
    assert [bar.get_height() for bar in right.patches] == pytest.approx([0.05, 0.15, 0.13, 0.01, 0.61, 0.01])


# ---------------------------------------------------------------------------------------------------------------
# widgets


def test_presets_of_the_calculator_are_published_networks():
    explorer = pictures.explore_sizes()
    names = {"BERT-base": "BERT base, uncased", "BERT-large": "BERT large, uncased", "MiniLM-L6": "MiniLM"}
    names |= {"BERT-base Chinese": "BERT base, Chinese", "ALBERT-base": "ALBERT base"}
    for preset, name in {**names, "ALBERT-xxlarge": "ALBERT xxlarge"}.items():
        explorer.preset(preset)
        millions, thousands, ones = list(explorer.numbers.values())[:3]
        assert 1_000_000 * millions + 1000 * thousands + ones == bert.BERT_SIZES[name].total


def test_presets_of_the_dice_show_what_the_chapter_says_of_them():
    explorer = pictures.explore_masking()

    def seen(preset):
        explorer.preset(preset)
        return dict(explorer.numbers)

    single, words, long = (seen(p)["standard deviation, formula"] for p in ("BERT", "whole words", "long words"))
    assert single < words < long
    assert seen("short texts")["probability that none is"] == pytest.approx(0.85**16)
    assert seen("only [MASK]")["percent seen as [MASK]"] == pytest.approx(15)


@pytest.mark.parametrize("make", [pictures.explore_mask, pictures.explore_sizes, pictures.explore_masking])
def test_every_control_changes_a_number_at_the_defaults_or_in_a_preset(make):
    explorer = make()
    for name, control in explorer.controls.items():
        assert any(
            len({tuple(rows_of(shown)) for shown in settings(explorer, preset, name, extremes(control))}) > 1
            for preset in ({}, *explorer.presets.values())
        ), name


def settings(explorer, preset, name, values):
    for value in values:
        explorer.set(**explorer.defaults | dict(preset) | {name: value})
        yield explorer


READ = {"roses": (TOKENS, MAPS), "short": (TOKENS[:3], MAPS[..., :3, :3])}
TEXTS = {"one": "a rose is a rose", "two": "Rosé, ☃ is", "none": ""}
PIECES = wordpiece.train_vocabulary({"rose": 5, "is": 7, "rise": 2, "a": 9}, 30)


@pytest.mark.parametrize(
    "make",
    [lambda: pictures.attention_lab(READ), lambda: pictures.tokenizer_lab(PIECES, TEXTS)],
    ids=["maps", "pieces"],
)
def test_a_lab_draws_at_all_settings_and_finite_numbers(make):
    explorer = make()
    assert len(latency(explorer, points=4)) > 5
    for name, control in explorer.controls.items():
        for value in extremes(control):
            explorer.set(**explorer.defaults | {name: value})
            assert explorer.error is None
            assert all(math.isfinite(x) for x in explorer.numbers.values())
    assert explorer.alt.endswith(".")


def test_the_lab_of_maps_shows_the_map_of_the_chosen_head():
    explorer = pictures.attention_lab(READ)
    explorer.set(text="short", layer=3, head=2)
    assert explorer.numbers["weight on itself"] == pytest.approx(np.diag(MAPS[2, 1, :3, :3]).mean())
    assert explorer.numbers["tokens"] == 3


def test_the_lab_of_pieces_cuts_as_the_tokenizer_does():
    explorer = pictures.tokenizer_lab(PIECES, TEXTS)
    whole = wordpiece.Tokenizer(PIECES).tokenize(TEXTS["one"])
    assert explorer.numbers["pieces"] == len(whole)
    assert explorer.numbers["words"] == 5
    explorer.set(size=explorer.controls["size"].min)
    assert explorer.numbers["pieces"] > len(whole)
    explorer.set(size=len(PIECES), text="two")
    unknown = explorer.numbers["words that became [UNK]"]
    assert unknown == wordpiece.Tokenizer(PIECES).tokenize(TEXTS["two"]).count("[UNK]")
    explorer.set(lower=False)
    assert explorer.numbers["words that became [UNK]"] > unknown
