"""What the experiments of the chapter on synthesizers promise, beyond what all experiments do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from experiments import synthesizer_g2p as g2p  # noqa: E402
from experiments import synthesizer_toy as toy  # noqa: E402
from minilib.recurrence_corpora import pronunciations  # noqa: E402
from minilib.synthesizer import factorized_random_cost, random_cost  # noqa: E402
from minilib.training import Config as Training  # noqa: E402
from minilib.training import constant, generator, train  # noqa: E402

pytestmark = pytest.mark.torch

RESULTS = Path(g2p.__file__).parents[1] / "results"
PHONEMES = 11
"""Kinds of phonemes in the made-up words of these tests, marks included."""


def speller(mixer, positions=True):
    """A small network in double precision, without the dictionary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return g2p.Speller(g2p.Config(mixer, seed=0, positions=positions, d=8, heads=2), PHONEMES).double().eval()


def letters_and_answers():
    """Three words of 5, 3 and 4 letters, with 4, 2 and 3 phonemes."""
    letters = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0], [9, 10, 11, 12, 0]])
    answers = torch.tensor([[3, 4, 5, 6, g2p.END], [7, 8, g2p.END, 0, 0], [9, 10, 3, g2p.END, 0]])
    return letters, answers


each_mixer = pytest.mark.parametrize("mixer", g2p.MIXERS)

# ---------------------------------------------------------------------------------------------------------------
# words


@pytest.mark.data
def test_no_held_out_word_nor_any_of_its_pronunciations_is_trained_on():
    words, dictionary = g2p.split(2000), pronunciations()
    assert len(set(words.held_out)) == 2000
    assert not set(words.held_out) & set(words.training)
    heard = {variant for word in words.held_out for variant in dictionary[word]}
    assert not [word for word in words.training if heard & set(dictionary[word])]
    assert len(words.training) > 110_000
    assert all(3 <= len(word) <= g2p.LONGEST for word in words.training + words.held_out)
    assert words.held_out[0] == g2p.SHOWN
    assert g2p.split.__wrapped__(2000) == words


@pytest.mark.data
def test_words_are_read_back_from_their_numbers():
    words = g2p.split(2000)
    some = words.held_out[:50]
    answers = g2p.pronounced(some, words)
    assert g2p.in_phonemes(answers, words.phonemes) == [list(words.spoken[word][0]) for word in some]
    spelled = g2p.spelled(some)
    assert spelled.shape == answers.shape == (50, g2p.LONGEST)
    back = ["".join(chr(96 + number) for number in row if number) for row in spelled.tolist()]
    assert back == some


def test_what_was_said_before_is_the_answer_one_step_later():
    _, answers = letters_and_answers()
    assert g2p.before(answers).tolist()[1] == [g2p.START, 7, 8, g2p.END, 0]


# ---------------------------------------------------------------------------------------------------------------
# the network


@each_mixer
def test_the_decoder_does_not_see_what_it_has_yet_to_say(mixer):
    model, (letters, answers) = speller(mixer), letters_and_answers()
    other = answers.clone()
    other[:, 2:] = 5
    with torch.no_grad():
        got, changed = model(letters, answers), model(letters, other)
    torch.testing.assert_close(got[:, :3], changed[:, :3], rtol=0, atol=1e-14)
    assert (got[:, 3:] - changed[:, 3:]).abs().max() > 1e-3


@each_mixer
def test_padding_changes_nothing(mixer):
    model, (letters, answers) = speller(mixer), letters_and_answers()
    with torch.no_grad():
        together = model(letters, answers)
        alone = model(letters[1:2, :3], answers[1:2, :3])
    torch.testing.assert_close(together[1:2, :3], alone, rtol=0, atol=1e-13)


@each_mixer
def test_only_without_mixing_a_letter_knows_nothing_of_the_others(mixer):
    model, (letters, _) = speller(mixer), letters_and_answers()
    other = letters.clone()
    other[0, 2] = 20
    with torch.no_grad():
        moved = (model.encode(letters)[0] - model.encode(other)[0])[0].abs().amax(-1) > 1e-12
    assert moved.tolist() == ([False, False, True, False, False] if mixer == "none" else [True] * 5)


def test_without_positions_standard_attention_reads_a_bag_of_letters_and_random_attention_does_not():
    letters, _ = letters_and_answers()
    mixed = torch.tensor([2, 0, 4, 1, 3])
    for mixer, same in (("standard", True), ("none", True), ("random", False), ("dense", False)):
        with torch.no_grad():
            model = speller(mixer, positions=False)
            got, shuffled = model.encode(letters[:1])[0], model.encode(letters[:1, mixed])[0]
        assert torch.allclose(got[:, mixed], shuffled, rtol=0, atol=1e-12) == same


def test_without_positions_none_are_added_and_none_are_trained():
    model = speller("dense", positions=False)
    assert not model.places.any()
    assert not model.places.requires_grad
    assert speller("dense").places.requires_grad


@each_mixer
def test_the_answer_said_at_once_is_that_of_one_word_at_a_time_read_anew_at_each_step(mixer):
    model, (letters, _) = speller(mixer), letters_and_answers()
    said = g2p.say(model, letters)
    for row, word in zip(said, letters, strict=True):
        word = word[word != g2p.PAD][None]
        slowly = torch.tensor([[g2p.START]])
        for _ in range(g2p.LONGEST):
            with torch.no_grad():
                logits = model(word, torch.cat([slowly[:, 1:], slowly[:, :1]], dim=1))
            slowly = torch.cat([slowly, logits[:, -1:].argmax(-1)], dim=1)
        assert row.tolist() == slowly[0, 1:].tolist()


def test_the_letters_are_read_once(monkeypatch):
    model, (letters, _) = speller("standard"), letters_and_answers()
    read, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda letters: read.append(letters) or encode(letters))
    g2p.say(model, letters)
    assert len(read) == 1


def test_a_word_ends_at_the_end_mark_or_at_the_last_step():
    names = ["<pad>", "<start>", "<end>", "A", "B"]
    said = torch.tensor([[3, 4, 2, 4], [2, 3, 3, 3], [3, 3, 4, 4]])
    assert g2p.in_phonemes(said, names) == [["A", "B"], [], ["A", "A", "B", "B"]]


def test_the_networks_differ_in_their_scores_alone():
    """All other parameters, names and shapes, are those of the network that mixes nothing."""
    shapes = {mixer: {name: p.shape for name, p in speller(mixer).named_parameters()} for mixer in g2p.MIXERS}
    for mixer, found in shapes.items():
        extra = {name: shape for name, shape in found.items() if name not in shapes["none"]}
        assert found.items() >= shapes["none"].items()
        assert all(".mixer.scores." in name or ".mixer.W_q" in name or ".mixer.W_k" in name for name in extra), mixer
        size = sum(math.prod(shape) for shape in extra.values())
        known = {
            "random": random_cost(2, g2p.LONGEST).parameters,
            "factorized random": factorized_random_cost(2, g2p.LONGEST, 4, 1).parameters,
            "fixed random": 0,
            "standard": 2 * (8 * 8 + 8),
        }
        assert size == 2 * known.get(mixer, size / 2), mixer


def test_a_few_words_are_learned_by_heart_and_said_by_greedy_decoding():
    model, (letters, answers) = speller("random + standard"), letters_and_answers()
    settings = Training(300, rate=constant(1e-2))
    losses = train(model, g2p.loss, lambda k: (letters, answers), settings).losses
    assert losses[-1] < 0.01 < 2 < losses[0]
    got = g2p.in_phonemes(g2p.say(model, letters), [str(k) for k in range(PHONEMES)])
    assert got == [["3", "4", "5", "6"], ["7", "8"], ["9", "10", "3"]]


def test_padding_does_not_count_in_the_loss():
    model, (letters, answers) = speller("dense"), letters_and_answers()
    with torch.no_grad():
        logits = model(letters, answers)
        said = answers != g2p.PAD
        want = torch.nn.functional.cross_entropy(logits[said], answers[said])
        assert g2p.loss(model, (letters, answers)).item() == pytest.approx(want.item(), rel=1e-12)


def test_a_batch_has_words_of_one_length_and_every_word_is_as_likely(monkeypatch):
    """Ten words of 3 letters and 30 of 5: a quarter of the batches is of the short ones."""
    letters = torch.tensor([[1, 2, 3, 0, 0]] * 10 + [[1, 2, 3, 4, 5]] * 30)
    answers = torch.tensor([[3, g2p.END, 0]] * 40)
    seen = []

    def watching(model, loss, batch, config):
        seen.extend(batch(k) for k in range(400))
        return train(model, loss, batch, config)

    monkeypatch.setattr(g2p, "train", watching)
    config = g2p.Config("none", seed=0, d=8, heads=2, batch=4, steps=2)
    losses = g2p.fit(speller("none").float(), letters, answers, config)
    assert len(losses) == 2
    assert {x.shape for x, _ in seen} == {(4, 3), (4, 5)}
    assert {y.shape for _, y in seen} == {(4, 2)}
    assert sum(x.shape == (4, 3) for x, _ in seen) == pytest.approx(100, abs=30)


# ---------------------------------------------------------------------------------------------------------------
# what was attended


@each_mixer
def test_the_stored_maps_are_distributions_that_see_no_padding_and_no_future(mixer):
    model, (letters, answers) = speller(mixer), letters_and_answers()
    with torch.no_grad():
        maps, later = g2p.letter_maps(model, letters), g2p.phoneme_maps(model, answers)
    assert maps.shape == later.shape == (3, 2, 5, 5)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 5).double())
    if mixer != "none":
        assert not maps[1, :, :, 3:].any()
    assert not later.triu(1).any()


def test_the_share_of_a_fixed_map_is_one_where_nothing_depends_on_the_word():
    letters = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    with torch.no_grad():
        shares = {m: g2p._fixed_share(g2p.letter_maps(speller(m), letters), torch.ones(3, 3)) for m in g2p.MIXERS}
    for mixer in ("random", "fixed random", "factorized random", "none"):
        assert shares[mixer] == [1, 1]
    for mixer in ("standard", "dense", "dense + standard", "random + standard"):
        assert all(share < 0.999 for share in shares[mixer])


@pytest.mark.data
def test_a_run_is_repeatable_but_for_the_seconds():
    config = g2p.grid(quick=True)[0]
    first, second = (g2p.run(config) | {"seconds": 0} for _ in range(2))
    assert first == second
    assert len(first["maps_letters"][0]) == len(g2p.SHOWN)
    assert len(first["maps_phonemes"][0]) == len(g2p.split(5).spoken[g2p.SHOWN][0]) + 1
    assert "maps_letters" not in g2p.run(replace(config, seed=1))


# ---------------------------------------------------------------------------------------------------------------
# what was found


def measured(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["records"]


def error_rates(mixer, positions=True):
    found = [r for r in measured("synthesizer_g2p") if r["config"]["mixer"] == mixer]
    return [r["result"]["error_rate"] for r in found if r["config"]["positions"] == positions]


def test_with_positions_training_counts_and_mixing_counts_and_looking_counts_a_little():
    """Whatever the seed: standard before random, either before a map that nobody trained, that before none."""
    standard, random, fixed, none = map(error_rates, ("standard", "random", "fixed random", "none"))
    assert max(standard) < min(random)
    assert sum(random) / len(random) < sum(fixed) / len(fixed)
    assert max(fixed) < min(none)
    assert sum(random) / len(random) < 1.15 * sum(standard) / len(standard)


def test_without_positions_standard_attention_fails_and_random_attention_does_not():
    standard, random = (error_rates(mixer, positions=False) for mixer in ("standard", "random"))
    assert max(random) < 0.4 < 0.6 < min(standard)


def test_the_published_network_is_better_on_words_that_it_has_mostly_seen():
    (published,) = error_rates(g2p.GRU)
    assert published < min(error_rates("standard"))


# ---------------------------------------------------------------------------------------------------------------
# the toy


@pytest.mark.parametrize("task", toy.TASKS)
def test_the_answers_of_the_toy_are_contents_of_the_tokens(task):
    config = toy.Config(task, True, "standard", seed=0, n=5)
    tokens, answers = toy.sequences(config, 1009, generator(0, 0))
    content, mark, place = tokens.split([toy.CONTENT, 1, 5], dim=-1)
    for i in range(5):
        wanted = content[:, i - 1] if task == "copy" else (content * mark).sum(1)
        torch.testing.assert_close(answers[:, i], wanted)
    assert torch.equal(mark.sum((1, 2)), torch.ones(1009))
    assert mark.mean(0).flatten().tolist() == pytest.approx([0.2] * 5, abs=0.06)
    assert torch.equal(place, torch.eye(5).expand(1009, 5, 5))
    assert not toy.sequences(replace(config, positions=False), 7, generator(0, 0))[0][..., -5:].any()


def test_the_floor_of_a_fixed_map_is_that_of_least_squares():
    """The best linear answer to 8 tokens, fitted freely, gets no lower than 1 − 1/8, and copies exactly."""
    for task in toy.TASKS:
        config = toy.Config(task, False, "random", seed=0)
        tokens, answers = (a.double() for a in toy.sequences(config, 20_000, generator(0, 1)))
        x, y = tokens[..., : toy.CONTENT].mT.flatten(0, 1), answers.mT.flatten(0, 1)
        left = y - x @ torch.linalg.lstsq(x, y).solution
        floor = toy.floors(task, False, 8)["random"]
        assert (left.square().mean() / y.square().mean()).item() == pytest.approx(floor, abs=0.005)


def test_the_floor_of_dense_scores_is_the_error_of_the_map_that_knows_only_its_own_mark_and_place():
    config = toy.Config("retrieve", True, "dense", seed=0, n=11)
    tokens, answers = toy.sequences(config, 50_000, generator(0, 2))
    content, mark = tokens[..., : toy.CONTENT], tokens[..., toy.CONTENT : toy.CONTENT + 1]
    others = (content.sum(1, keepdim=True) - content) / 10
    error = (torch.where(mark > 0, content, others) - answers).square().mean() / answers.square().mean()
    assert error.item() == pytest.approx(toy.floors("retrieve", True, 11)["dense"], abs=0.003)


def test_the_floor_of_copying_without_places_is_the_error_of_the_mean_of_the_others():
    config = toy.Config("copy", False, "standard", seed=0, n=5)
    tokens, answers = toy.sequences(config, 50_000, generator(0, 3))
    content = tokens[..., : toy.CONTENT]
    others = (content.sum(1, keepdim=True) - content) / 4
    error = (others - answers).square().mean() / answers.square().mean()
    assert error.item() == pytest.approx(toy.floors("copy", False, 5)["standard"], abs=0.003)


def test_a_short_run_of_the_toy_copies_with_random_and_retrieves_with_standard():
    short = toy.Config("copy", False, "random", seed=0, n=4, steps=200, held_out=2048)
    assert toy.run(short)["error"] < 0.02
    assert toy.run(replace(short, task="retrieve"))["error"] > 0.7
    assert toy.run(replace(short, task="retrieve", mixer="standard"))["error"] < 0.02
    assert toy.run(replace(short, mixer="standard"))["error"] > 0.6
    assert toy.run(short) == toy.run(short)


def test_no_run_of_the_toy_gets_below_its_floor():
    """By more than what another draw of sequences would give."""
    for record in measured("synthesizer_toy"):
        config = record["config"]
        floor = toy.floors(config["task"], config["positions"], config["n"]).get(config["mixer"])
        if floor is not None:
            assert record["result"]["error"] > floor - 0.005


def test_training_gets_near_its_floor():
    for record in measured("synthesizer_toy"):
        config = record["config"]
        floor = toy.floors(config["task"], config["positions"], config["n"]).get(config["mixer"])
        if floor is not None:
            assert record["result"]["error"] < floor + 0.02


def test_the_ranking_flips_between_copying_and_retrieving():
    error = {}
    for r in measured("synthesizer_toy"):
        config = r["config"]
        error.setdefault((config["task"], config["mixer"], config["positions"], config["n"]), []).append(r["result"])
    error = {case: [result["error"] for result in results] for case, results in error.items()}
    for n in (8, 16):
        assert max(error["copy", "random", False, n]) < 0.05 < 0.8 < min(error["copy", "standard", False, n])
        assert max(error["retrieve", "standard", False, n]) < 0.05 < 0.8 < min(error["retrieve", "random", False, n])
