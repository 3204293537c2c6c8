"""What the drawings of entropy promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments

from minilib import entropy as en
from minilib import entropy_views as pictures
from minilib.entropy_numpy import attended, attended_by_length, sphere_scores

RNG = np.random.default_rng(0)
LENGTHS = [32, 64, 128]
HEADS = {"trained": RNG.uniform(0, 3, size=(3, 5, 7)), "control": RNG.uniform(0, 3, size=(3, 5, 7))}


def made_up(laws, what):
    """Made-up results of tests: for each law and each measure a row for each of two steps, or a single one."""
    return {
        law: {name: RNG.uniform(0, high, size=shape).tolist() for name, (high, shape) in what.items()} for law in laws
    }


RECALL = [
    {
        "config": {"law": trained, "noise": noise, "seed": seed},
        "result": {"lengths": LENGTHS, "tested": made_up(laws, {"accuracy": (1, (2, 3)), "entropy": (4, (2, 3))})},
    }
    for (trained, laws), noise, seed in itertools.product(
        {"standard": ("standard", "log", "sqrt log"), "ln": ("ln", "ln held"), "ssmax": ("ssmax",)}.items(),
        (0.0, 0.5),
        (0, 1),
    )
]
READING = [
    {
        "config": {"law": trained, "seed": seed},
        "result": {
            "lengths": LENGTHS,
            "unigram": 0.06,
            "tested": made_up(
                [f"{law}, {sight}" for law in laws for sight in ("all", "clipped")], {"accuracy": (0.4, (3,))}
            ),
        },
    }
    for (trained, laws), seed in itertools.product(
        {"standard": ("standard", "log 64"), "log 512": ("log 512", "held")}.items(), (0, 1, 2)
    )
]

GIVEN = {
    "draw_heads": {"lengths": LENGTHS, **HEADS},
    "draw_recall": {"records": RECALL},
    "draw_reading": {"records": READING},
    # Their defaults are tried once below; elsewhere smaller ones do.
    "draw_freezing": {"queries": 2},
    "draw_random_keys": {"queries": 2},
}
"""Arguments of the drawings that have no defaults, made up, and of those that take long."""

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


# ---------------------------------------------------------------------------------------------------------------
# the numbers


@pytest.mark.parametrize("law", list(pictures.laws(512)))
def test_the_drawing_of_attention_shows_what_is_measured_under_its_law(law):
    got = picture(pictures.draw_attention, n=300, law=law, calibration=64, d=17, planted=3, gap=4.0).numbers
    sharpness = pictures.laws(64)[law](300, 17) * math.sqrt(17)
    here = attended(sphere_scores(65_536, 17)[:, :300], sharpness, 3, 4.0)
    want = [sharpness, here.entropy, math.log(300), math.exp(here.entropy), here.planted, here.other]
    assert list(got.values()) == pytest.approx(want, rel=1e-12)


def test_each_law_of_the_buttons_is_named_for_what_it_is():
    named = pictures.laws(100)
    for n in (100, 3000):
        assert named["1/√d"](n, 16) == 1 / 4
        assert named["log n"](n, 16) == pytest.approx(math.log(n) / math.log(100) / 4)
        assert named["ln n"](n, 16) == pytest.approx(math.log(n) / 4)
        assert named["√log n"](n, 16) == pytest.approx(math.sqrt(1 + 2 * math.log(n / 100)) / 4)
        assert named["Qwen"](n, 16) == pytest.approx(max(1, math.log(n) / math.log(100)) / 4)
        assert named["YaRN"](n, 16) == pytest.approx((1 + 0.1 * math.log(max(1, n / 100))) ** 2 / 4)


def test_the_formula_in_the_drawing_agrees_with_what_is_measured_as_long_as_nothing_freezes():
    scores = sphere_scores(65_536, 64, queries=20)
    for planted, gap in ((0, 0.0), (4, 5.0), (1, 8.0)):
        for law in ("1/√d", "log n"):
            scale = pictures.laws(512)[law]
            seen = attended_by_length(scores, pictures.LENGTHS, scale, 64, planted, gap)
            told = np.array([pictures._predicted(n, 64, scale, planted, gap) for n in pictures.LENGTHS])
            np.testing.assert_allclose(told[4:, 0], seen.entropy[4:], atol=0.15)
            np.testing.assert_allclose(told[4:, 1], seen.planted[4:], atol=0.03)


def test_the_drawing_of_the_chord_shows_what_is_missing():
    got = picture(pictures.draw_chord, d=64).numbers
    assert got["missing at 1/√d, exact"] == pytest.approx(math.log(99) - en.sphere_entropy(99, 64, 1 / 8))
    assert got["missing at 1/√d, linear law"] == pytest.approx(8 * 0.5 * math.log((1 + math.sqrt(5)) / 2), rel=1e-5)
    assert got["missing at λ = 1 per feature"] == pytest.approx(0.240606, abs=1e-6)


def test_the_drawing_of_random_keys_shows_the_mean_entropy_of_its_queries():
    got, scores = picture(pictures.draw_random_keys, d=17, base=64, queries=2).numbers, sphere_scores(65_536, 17, 2)
    assert len(got) == 8
    for name, n in itertools.product(("1/√d", "log n", "√log n", "ln n"), (512, 65_536)):
        sharpness = pictures.laws(64)[name](n, 17) * math.sqrt(17)
        assert got[f"{name}: entropy at n = {n}"] == pytest.approx(attended(scores[:, :n], sharpness).entropy)


def test_the_drawing_of_freezing_shows_where_and_how_far():
    got = picture(pictures.draw_freezing, queries=2, seed=3).numbers
    for n in (256, 4096, 65_536):
        critical = math.sqrt(2 * math.log(n))
        assert got[f"freezing point at n = {n}"] == pytest.approx(critical)
        z = np.random.default_rng(3).normal(size=(2, n))
        assert got[f"entropy at twice that, n = {n}"] == pytest.approx(attended(z, 2 * critical).entropy)


def test_the_drawing_of_homogeneous_weights_shows_one_flat_and_one_falling_curve():
    got = picture(pictures.draw_homogeneous).numbers
    assert got["relu² over its sum: at 0.25"] == pytest.approx(got["relu² over its sum: at 8"])
    assert got["softmax: at 0.25"] > 6.5 > 1 > got["softmax: at 8"]


def test_the_drawing_of_the_boundary_shows_the_weight_on_both_sides():
    got = picture(pictures.draw_boundary).numbers
    for n, kappa in itertools.product((10**2, 10**4, 10**8), (0.8, 1.2)):
        want = 1 / (1 + (n - 1) * n**-kappa)
        assert got[f"weight at κ = {kappa}, n = {n:,}"] == pytest.approx(want)


def test_the_drawing_of_planted_keys_shows_their_weight():
    got, scores = picture(pictures.draw_planted, planted=2, gap=3.0).numbers, sphere_scores(65_536, 64, 10)
    for name, n in itertools.product(("1/√d", "log n", "√log n", "ln n"), (64, 16_384)):
        sharpness = pictures.laws(512)[name](n, 64) * 8
        want = attended(scores[:, :n], sharpness, 2, 3.0).planted
        assert got[f"{name}: planted weight at n = {n}"] == pytest.approx(want)


def test_the_drawing_of_the_follow_ups_shows_their_multipliers():
    got = picture(pictures.draw_follow_ups, base=1024).numbers
    assert got["Qwen: at n = 512"] == got["YaRN: at n = 512"] == got["Llama 4: at n = 512"] == 1
    assert got["log n (also SSMax): at n = 512"] == pytest.approx(0.9)
    assert got["Qwen: at n = 32,768"] == got["log n (also SSMax): at n = 32,768"] == pytest.approx(1.5)
    assert got["Llama 4: at n = 32,768"] == pytest.approx(1 + 0.1 * math.log(5))
    assert got["YaRN: at n = 32,768"] == pytest.approx((1 + 0.1 * math.log(32)) ** 2)


def test_the_drawing_of_heads_shows_the_mean_of_the_first_the_middle_and_the_last_layer():
    got = picture(pictures.draw_heads).numbers
    for title, values in (("trained", HEADS["trained"]), ("random weights", HEADS["control"])):
        for layer in (0, 2, 4):
            assert got[f"{title}, layer {layer + 1}: nats at n = 128"] == pytest.approx(values[2, layer].mean())


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_drawing_of_recall_shows_the_mean_over_seeds_after_the_last_step(noise):
    got = picture(pictures.draw_recall, noise=noise).numbers
    assert len(got) == 2 * len(pictures.RECALLING)
    for ((trained, law), (name, _)), what in itertools.product(pictures.RECALLING.items(), ("accuracy", "entropy")):
        runs = [r for r in RECALL if (r["config"]["law"], r["config"]["noise"]) == (trained, noise)]
        want = sum(r["result"]["tested"][law][what][-1][-1] for r in runs) / 2
        assert got[f"{name}: {what} at n = 128"] == pytest.approx(want)


def test_the_drawing_of_recall_leaves_out_what_was_not_run():
    some = [r for r in RECALL if r["config"]["law"] == "standard"]
    assert len(picture(pictures.draw_recall, records=some).numbers) == 6


def test_the_drawing_of_reading_shows_the_mean_over_seeds():
    got = picture(pictures.draw_reading).numbers
    for ((trained, law), (name, _)), sight in itertools.product(pictures.READING.items(), ("all", "clipped")):
        runs = [
            r["result"]["tested"][f"{law}, {sight}"]["accuracy"][-1] for r in READING if r["config"]["law"] == trained
        ]
        assert got[f"{name}, {sight}: accuracy at n = 128"] == pytest.approx(sum(runs) / 3)


# ---------------------------------------------------------------------------------------------------------------
# the widgets


def test_the_presets_show_what_their_names_promise():
    explorer = pictures.explore_attention()

    def numbers(preset, **changes):
        explorer.preset(preset)
        explorer.set(**changes)
        return explorer.numbers

    far = {"n": 65_536}
    random = numbers("random keys only", **far)["entropy (nats)"]
    assert random == pytest.approx(math.log(65_536) - 0.49, abs=0.05)
    bent = numbers("random keys, log n", **far)["entropy (nats)"]
    flat = numbers("random keys, √log n", **far)["entropy (nats)"]
    frozen = numbers("random keys, ln n", **far)["entropy (nats)"]
    assert random > bent + 0.8 > bent > flat + 2 > flat > frozen + 4
    assert numbers("planted, log n", **far)["weight of the planted keys"] > 0.05
    explorer.set(law="1/√d")
    assert explorer.numbers["weight of the planted keys"] < 0.01
    assert numbers("one key, far off")["weight of the planted keys"] > 0.5
