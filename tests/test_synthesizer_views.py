"""What the drawings of synthesizers promise."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments

from minilib import synthesizer as syn
from minilib import synthesizer_numpy as run
from minilib import synthesizer_views as pictures
from minilib.arrays import softmax
from minilib.views import figure

RNG = np.random.default_rng(0)
SHARES = {"trained": RNG.uniform(size=(5, 7)), "untrained": RNG.uniform(size=(5, 7))}


def spelled(mixer, positions, seed):
    maps = {"maps_letters": softmax(RNG.normal(size=(4, 9, 9))).tolist()} if seed == 0 else {}
    shares = {f"fixed_share_{kind}": RNG.uniform(size=4).tolist() for kind in ("letters", "phonemes")}
    settings = {"mixer": mixer, "positions": positions, "seed": seed}
    return {"config": settings, "result": {"exact": float(RNG.uniform(0, 0.5)), **shares, **maps}}


SPELLED = [spelled(*settings) for settings in itertools.product(pictures.MIXERS, (True, False), (0, 1, 2))]
SPELLED.append({"config": {"mixer": "published GRU", "positions": True, "seed": 0}, "result": {"exact": 0.7}})
TOY = [
    {
        "config": {"task": task, "positions": positions, "mixer": mixer, "seed": seed, "n": n},
        "result": {"error": float(RNG.uniform())},
    }
    for task, positions, mixer, seed, n in itertools.product(
        ("copy", "retrieve"), (True, False), pictures.MIXERS[:-1], (0, 1), (8, 16)
    )
]

GIVEN = {
    "draw_shares": {"shares": SHARES},
    "draw_speller": {"records": SPELLED},
    "draw_toy": {"records": TOY},
    "draw_trained_maps": {"records": SPELLED},
    # Their defaults are tried once below; elsewhere smaller ones do.
    "draw_tasks": {"lengths": (2, 5), "samples": 50},
    "draw_start": {"n": 16, "seeds": 1},
}
"""Arguments of the drawings that have no defaults, made up, and of those that take long."""

LOOKS = ("linestyle", "marker", "linewidth", "markersize")
"""Where two curves lie on each other one shows through the other."""

picture, drawn = Arguments(GIVEN).picture, functools.cache(Arguments(GIVEN).panels)


# ---------------------------------------------------------------------------------------------------------------
# the numbers


def maps_of(variant, action, n=24, width=16, heads=4, **options):
    words = run.SENTENCE[:n]
    return [
        softmax(run.head_scores(variant, run.embed(w, width * heads), width, **options))
        for w in (words, run.act(words, action))
    ]


@pytest.mark.parametrize("variant", run.VARIANTS)
@pytest.mark.parametrize("action", list(pictures.ACTIONS))
def test_the_drawing_of_a_head_counts_the_rows_that_moved(variant, action):
    before, after = maps_of(variant, pictures.ACTIONS[action])
    got = picture(pictures.draw_head, variant=variant, action=action).numbers
    touched = {"nothing": 0, "change “dog”": 1, "swap “cat”, “dog”": 2}[action]
    want = 0 if "random" in variant else 24 * (touched > 0) if variant == "QKᵀ" else touched
    assert got["rows that moved"] == want
    assert got["largest change of a weight"] == pytest.approx(np.abs(after - before).max(), abs=1e-12)
    entropy = -(before * np.log(before)).sum(-1).mean() / math.log(24)
    assert got["entropy of a row over that of a uniform one"] == pytest.approx(entropy, rel=1e-9)


@pytest.mark.parametrize("variant", run.VARIANTS)
def test_the_drawing_of_a_head_shows_the_maps(variant):
    (axes,) = drawn(pictures.draw_head, variant=variant)
    before, after = maps_of(variant, "change a word")
    shown = [image.get_array() for image in axes.images]
    np.testing.assert_allclose(shown[0], before, rtol=1e-12)
    np.testing.assert_allclose(shown[1], after, rtol=1e-12)
    np.testing.assert_allclose(np.sign(shown[2]) * shown[2] ** 2, after - before, atol=1e-12)


def test_the_drawing_of_a_head_shows_the_rank_and_the_columns():
    tiled = picture(pictures.draw_head, variant="factorized dense, tiled", factors="2 · 12").numbers
    assert tiled["different columns of the scores"] == 12
    full = picture(pictures.draw_head, variant="factorized dense, tiled", factors="3 · 8").numbers
    assert full["different columns of the scores"] == 24
    assert picture(pictures.draw_head, width=5).numbers["rank of the scores"] == 5
    assert picture(pictures.draw_head, variant="factorized random", rank=3).numbers["rank of the scores"] == 3


def test_the_drawing_of_a_head_shows_the_closed_form_costs():
    n, width, heads = 11, 5, 3
    d, sizes = width * heads, {"n": n, "width": width, "heads": heads}
    dot = syn.dot_cost(d, n)
    costs = {
        "QKᵀ": dot,
        "dense": syn.dense_cost(d, heads, 24, n),
        "random": syn.random_cost(heads, 24),
        "factorized random": syn.factorized_random_cost(heads, 24, 7, n),
        "factorized dense, tiled": syn.factorized_dense_cost(d, heads, 3, 8, n),
        "factorized dense, interleaved": syn.factorized_dense_cost(d, heads, 3, 8, n),
    }
    for variant, cost in costs.items():
        got = picture(pictures.draw_head, variant=variant, rank=7, factors="3 · 8", **sizes).numbers
        assert got["weights of the scores, 24 words at most"] == cost.parameters
        assert got["as a share of those of QKᵀ"] == pytest.approx(cost.parameters / dot.parameters)
        share = syn.layer_cost(cost, d, n).macs / syn.layer_cost(dot, d, n).macs
        assert got["multiplications of the layer as a share of standard attention's"] == pytest.approx(share)
    half = picture(pictures.draw_head, variant="random", mix=0.5, **sizes).numbers
    assert half["weights of the scores, 24 words at most"] == dot.parameters + costs["random"].parameters + 2
    assert picture(pictures.draw_head, variant="random", mix=0.0, **sizes).numbers["as a share of those of QKᵀ"] == 1


def test_under_a_causal_mask_no_row_before_the_touched_word_moves():
    got = picture(pictures.draw_head, causal=True).numbers
    assert got["rows that moved"] == 20
    assert got["entropy of a row over that of a uniform one"] < 1


def test_the_maps_show_each_variant_before_and_after():
    panels = drawn(pictures.draw_maps)
    sentence = run.SENTENCE[:11]
    for k, variant in enumerate(run.VARIANTS):
        for row, action in enumerate(run.ACTIONS):
            want = softmax(run.head_scores(variant, run.embed(run.act(sentence, action), 64), 16))
            np.testing.assert_allclose(panels[row * 6 + k].images[0].get_array(), want, rtol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(4, 6), (3, 5), (6, 6)])
def test_the_drawing_of_columns_counts_the_pairs(a, b):
    got = picture(pictures.draw_columns, a=a, b=b).numbers
    assert got == {
        f"tiled: different columns of {a * b}": math.lcm(a, b),
        f"interleaved: different columns of {a * b}": a * b,
    }
    share = drawn(pictures.draw_columns)[2].images[0].get_array()
    for i, j in itertools.product(range(16), repeat=2):
        assert share[i, j] == pytest.approx(math.lcm(i + 1, j + 1) / ((i + 1) * (j + 1)))


def test_the_drawing_of_costs_crosses_where_it_says():
    got = picture(pictures.draw_cost, d=512, heads=8).numbers
    assert list(got.values()) == pytest.approx([256, 4, 0.5])
    lines = {line.get_label(): line for line in drawn(pictures.draw_cost)[0].lines}
    at = list(lines["random"].get_xdata()).index(256)
    assert lines["random"].get_ydata()[at] == lines["QKᵀ"].get_ydata()[at] == 2 * 512**2


def test_the_drawing_of_the_start_follows_the_formula_where_it_should():
    got = figure(pictures.draw_start, alt="a drawing").numbers
    assert got["entropy at std 0"] == pytest.approx(math.log(256))
    assert got["entropy at std 1"] == pytest.approx(math.log(256) - 0.5, abs=0.02)
    assert got["entropy at std 4"] > math.log(256) - 8


def test_the_drawing_of_singular_values_shows_the_ranks():
    got = picture(pictures.draw_singular_values).numbers
    want = {"QKᵀ": 12, "dense": 12, "random": 24, "factorized random": 8, "factorized dense, tiled": 12}
    assert {name: got[f"{name}: rank"] for name in want} == want


def test_the_drawing_of_tasks_shows_the_bound():
    got = picture(pictures.draw_tasks, lengths=(5,), samples=20_000).numbers
    assert got["retrieve, fixed: error at n = 5"] == pytest.approx(0.8, abs=0.02)
    assert got["copy, fixed: error at n = 5"] == got["retrieve, looking: error at n = 5"] == 0


def test_the_drawing_of_shares_shows_each_head_and_the_mean():
    (axes,) = drawn(pictures.draw_shares)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), SHARES["trained"].ravel())
    want = {f"{name}: mean share": share.mean() for name, share in SHARES.items()}
    assert picture(pictures.draw_shares).numbers == pytest.approx(want, abs=0.005)


def test_the_drawing_of_the_speller_shows_every_run():
    left, right = drawn(pictures.draw_speller)
    numbers = picture(pictures.draw_speller).numbers
    for positions, line in ((True, left.lines[0]), (False, left.lines[1])):
        runs = [r for r in SPELLED if r["config"]["positions"] is positions and r["config"]["mixer"] in pictures.MIXERS]
        assert sorted(line.get_ydata()) == sorted(r["result"]["exact"] for r in runs)
    dense = [r["result"]["exact"] for r in SPELLED if r["config"]["mixer"] == "dense" and r["config"]["positions"]]
    assert numbers["dense, with positions: words right"] == pytest.approx(np.mean(dense))
    assert len(right.lines[0].get_ydata()) == 3 * len(pictures.MIXERS)


def test_the_drawing_of_the_toy_shows_the_runs_of_its_length_only():
    copy, _ = drawn(pictures.draw_toy)
    want = sorted(r["result"]["error"] for r in TOY if r["config"]["task"] == "copy" and r["config"]["n"] == 8)
    assert sorted([*copy.lines[0].get_ydata(), *copy.lines[1].get_ydata()]) == want
    runs = [
        r
        for r in TOY
        if r["config"] | {"task": "retrieve", "mixer": "dense", "n": 8, "positions": False} == r["config"]
    ]
    mean = np.mean([r["result"]["error"] for r in runs])
    assert picture(pictures.draw_toy).numbers["retrieve, dense, without positions"] == pytest.approx(mean, abs=6e-4)


def test_the_drawing_of_trained_maps_shows_what_is_stored():
    panels = drawn(pictures.draw_trained_maps)
    for k, name in enumerate(pictures.SHOWN):
        (run_,) = [r for r in SPELLED if r["config"] == {"mixer": name, "positions": True, "seed": 0}]
        for head in range(4):
            got = panels[head * len(pictures.SHOWN) + k].images[0].get_array()
            np.testing.assert_array_equal(got, run_["result"]["maps_letters"][head])


# ---------------------------------------------------------------------------------------------------------------
# the widget


@pytest.fixture(scope="module")
def explorer():
    return pictures.explore_head()


def test_the_presets_show_what_their_names_promise(explorer):
    def seen(preset, number, **more):
        explorer.preset(preset)
        explorer.set(**more)
        return explorer.numbers[number]

    assert seen("dense, one word changed", "rows that moved") == 1
    assert seen("dense, two words swapped", "rows that moved") == 2
    small = "random, as small as weights often begin"
    assert seen(small, "entropy of a row over that of a uniform one") > 0.9999
    assert seen("tiled, columns repeated", "different columns of the scores") == 12
    assert seen("random dearer than QKᵀ", "as a share of those of QKᵀ") == 2.25
    assert seen("half random", "rows that moved") == 24
    assert seen("half random", "rows that moved", mix=1.0) == 0
