"""What bert promises."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from minilib import bert
from minilib.arrays import exact_gelu, gelu
from minilib.attention import causal_mask, padding_mask, split_heads
from minilib.bert import BERT_SIZES, BertSizes, BertWeights, BlockWeights, EmbeddingWeights, HeadWeights
from minilib.layernorm import layer_norm

B, H, D_H, N, F, V, LONGEST, LAYERS = 2, 3, 5, 7, 19, 23, 13, 4
"""Batch, heads, features of a head, tokens, features inside, pieces, positions and layers: pairwise different."""

D = H * D_H
E = 6
"""Width of a factorised table."""


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def block_weights(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"W_1": (F, D), "b_1": (F,), "W_2": (D, F)}
    drawn = {k: 0.4 * rng.normal(size=shapes.get(k, (D, D) if k[0] == "W" else (D,))) for k in BlockWeights._fields}
    return BlockWeights(**drawn)._replace(gamma_1=1 + drawn["gamma_1"], gamma_2=1 + drawn["gamma_2"])


def weights(seed=0):
    rng = np.random.default_rng(seed)
    tables = [rng.normal(size=(rows, D)) for rows in (V, 2, LONGEST)]
    embedding = EmbeddingWeights(*tables, 1 + 0.3 * rng.normal(size=D), 0.3 * rng.normal(size=D))
    blocks = tuple(block_weights(seed + k) for k in range(LAYERS))
    return BertWeights(embedding, blocks, rng.normal(size=(D, D)), rng.normal(size=D))


def head_weights(width=D, seed=5):
    rng = np.random.default_rng(seed)
    shapes = (width, D), (width,), (width,), (width,), (V,)
    return HeadWeights(*(rng.normal(size=shape) for shape in shapes))


def batch(seed=0, n=N):
    rng = np.random.default_rng(seed)
    return rng.integers(0, V, (B, n)), rng.integers(0, 2, (B, n))


def tokens(seed=0, n=N):
    return np.random.default_rng(seed).normal(size=(B, n, D))


def same(a, b, tolerance=1e-12):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------------------------
# theorems and limits


def test_without_positions_the_encoder_does_not_know_the_order_of_its_tokens():
    w, (ids, segments) = weights(), batch()
    order = np.random.default_rng(1).permutation(N)
    blind = w._replace(embedding=w.embedding._replace(positions=np.zeros((LONGEST, D))))
    h = bert.bert_encoder(ids, segments, blind, H)
    same(bert.bert_encoder(ids[:, order], segments[:, order], blind, H), h[:, order])
    moved = bert.bert_encoder(ids[:, order], segments[:, order], w, H)
    assert np.abs(moved - bert.bert_encoder(ids, segments, w, H)[:, order]).max() > 0.1


def test_a_block_whose_branches_are_zero_only_normalises_and_a_second_one_changes_nothing():
    silent = BlockWeights(
        *(np.ones_like(a) if k.startswith("gamma") else 0 * a for k, a in block_weights()._asdict().items())
    )
    states = bert.bert_states(tokens(), [silent] * 2, H)
    same(states[1], layer_norm(tokens(), eps=0), 1e-9)
    same(states[2], states[1], 1e-9)


def test_every_state_of_a_token_has_the_mean_and_the_variance_that_the_normalisation_sets():
    plain = {"gamma_1": np.ones(D), "beta_1": np.zeros(D), "gamma_2": np.full(D, 3.0), "beta_2": np.full(D, 5.0)}
    blocks = [block._replace(**plain) for block in weights().blocks]
    for state in bert.bert_states(tokens(), blocks, H)[1:]:
        same(state.mean(-1), 5.0, 1e-9)
        same(state.std(-1), 3.0, 1e-9)


def test_padding_behind_a_mask_changes_no_state_of_a_real_token():
    w, (ids, segments) = weights(), batch()
    lengths = np.array([N, 3])
    h = bert.bert_encoder(ids, segments, w, H, padding_mask(lengths, N))
    for row, length in enumerate(lengths):
        alone = bert.bert_encoder(ids[row, :length], segments[row, :length], w, H)
        same(h[row, :length], alone)
        assert (np.abs(bert.bert_encoder(ids, segments, w, H)[row, :length] - alone).max() > 0.1) == (length < N)


def test_under_a_causal_mask_no_state_depends_on_a_later_token():
    w, (ids, segments) = weights(), batch()
    mask = causal_mask(N, ids)
    other = ids.copy()
    other[:, 4] = (other[:, 4] + 1) % V
    before, after = (bert.bert_encoder(i, segments, w, H, mask) for i in (ids, other))
    same(after[:, :4], before[:, :4], 0)
    assert (np.abs(after[:, 4:] - before[:, 4:]).max(-1) > 1e-3).all()


def test_segments_matter_only_through_their_table():
    w, (ids, segments) = weights(), batch()
    equal = w.embedding._replace(segments=np.repeat(w.embedding.segments[:1], 2, axis=0))
    same(bert.bert_embedding(ids, segments, equal), bert.bert_embedding(ids, 1 - segments, equal), 0)
    moved = bert.bert_embedding(ids, 1 - segments, w.embedding) - bert.bert_embedding(ids, segments, w.embedding)
    assert (np.abs(moved).max(-1) > 0.1).all()


def test_heads_are_independent_a_silent_one_leaves_the_weights_of_the_others():
    block, x = block_weights(), tokens()
    W_q = block.W_q.copy()
    W_q[D_H : 2 * D_H] = 0
    changed = block._replace(W_q=W_q, b_q=np.where(np.arange(D) // D_H == 1, 0, block.b_q))
    old, new = (bert.bert_attention_weights(x, one, H) for one in (block, changed))
    same(new[:, [0, 2]], old[:, [0, 2]], 0)
    same(new[:, 1], 1 / N)


def test_the_mean_of_real_tokens_ignores_the_padding_and_without_padding_it_is_the_mean():
    h, lengths = tokens(), np.array([N, 3])
    same(bert.mean_pooled(h, lengths), [h[0].mean(0), h[1, :3].mean(0)], 1e-14)
    same(bert.mean_pooled(h), h.mean(1), 1e-14)


def test_a_unit_vector_points_the_same_way_and_zero_stays_zero():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [-2e-200, 0.0]])
    same(bert.unit(x[:2]), [[0.6, 0.8], [0, 0]], 1e-15)
    same(np.linalg.norm(bert.unit(tokens()), axis=-1), 1)


def test_a_fresh_head_loses_the_logarithm_of_the_vocabulary_and_half_the_variance_of_a_logit():
    rng, pieces, d, std = np.random.default_rng(0), 4001, 61, 0.1
    zeros, ones = np.zeros(d), np.ones(d)
    head = HeadWeights(std * rng.normal(size=(d, d)), zeros, ones, zeros, np.zeros(pieces))
    z = bert.mlm_logits(rng.normal(size=(97, d)), head, std * rng.normal(size=(pieces, d)))
    same(z.var(), d * std**2, 0.02)
    loss = np.log(np.exp(z).sum(-1)).mean() - z.mean()  # nothing is known of the right piece
    same(loss, bert.initial_mlm_loss(pieces, d, std), 3e-3)
    assert abs(loss - math.log(pieces)) > 0.2


def test_the_first_loss_of_small_weights_is_that_of_guessing_and_bert_begins_a_little_above_it():
    assert bert.initial_mlm_loss(V, D, 0.0) == math.log(V)
    assert bert.initial_mlm_loss(30_522, 768) == pytest.approx(10.3262 + 0.1536, abs=1e-4)
    cut = 0.02 * math.sqrt(0.7737413)
    assert bert.initial_mlm_loss(21_128, 768, cut) == pytest.approx(9.9584 + 0.1188, abs=1e-4)


def test_an_activation_that_is_off_by_5e_4_moves_the_states_as_little():
    w, (ids, segments) = weights(), batch()
    x = bert.bert_embedding(ids, segments, w.embedding)
    exact, other = (bert.bert_states(x, w.blocks, H, phi=phi)[-1] for phi in (exact_gelu, gelu))
    assert 1e-5 < np.abs(exact - other).max() < 2e-2


def test_albert_with_a_map_that_changes_nothing_is_bert():
    w, (ids, segments) = weights().embedding, batch()
    same(bert.albert_embedding(ids, segments, w, np.eye(D), np.zeros(D)), bert.bert_embedding(ids, segments, w), 0)


# ---------------------------------------------------------------------------------------------------------------
# how many parameters


def test_the_published_sizes_are_those_that_are_known():
    """As `transformers` counts them, with the pooler; then with both heads."""
    assert {name: sizes.total for name, sizes in BERT_SIZES.items()} == {
        "BERT base, uncased": 109_482_240,
        "BERT base, cased": 108_310_272,
        "BERT base, Chinese": 102_267_648,
        "BERT large, uncased": 335_141_888,
        "MiniLM": 22_713_216,
        "ALBERT base": 11_683_584,
        "ALBERT large": 17_683_968,
        "ALBERT xlarge": 58_724_864,
        "ALBERT xxlarge": 222_595_584,
    }
    heads = {name: BERT_SIZES[f"BERT {name}"].pretraining for name in ("base, uncased", "base, cased", "base, Chinese")}
    assert list(heads.values()) == [110_106_428, 108_932_934, 102_882_442]
    assert BERT_SIZES["BERT large, uncased"].pretraining == 336_226_108


@pytest.mark.torch
@pytest.mark.parametrize("name", list(BERT_SIZES))
def test_transformers_counts_the_same_in_networks_that_hold_no_numbers(torch, transformers, name):
    from minilib.bert_corpora import configuration

    sizes, kind = BERT_SIZES[name], "Albert" if "ALBERT" in name else "Bert"
    config = getattr(transformers, f"{kind}Config")(**configuration(sizes))
    with torch.device("meta"):
        theirs = getattr(transformers, f"{kind}ForPreTraining")(config)
    inside = getattr(theirs, kind.lower())
    assert sum(p.numel() for p in inside.parameters()) == sizes.total
    tied = theirs.get_output_embeddings()
    known = {id(p): p.numel() for p in theirs.parameters() if p is not tied.weight and p is not tied.bias}
    # An output bias may be one object with the head's own, or a second name of it: it counts once.
    bias = 0 if any(p.shape == (sizes.vocabulary,) for p in theirs.parameters() if id(p) in known) else sizes.vocabulary
    table = 0 if tied.weight is not theirs.get_input_embeddings().weight else tied.weight.numel()
    assert sum(known.values()) + bias + table == sizes.pretraining


def test_sizes_are_read_off_the_weights():
    w = weights()
    assert bert.sizes_of(w, H) == BertSizes(V, D, LAYERS, H, F, LONGEST)
    one = w._replace(blocks=w.blocks[:1] * LAYERS)
    assert bert.sizes_of(one, H) == BertSizes(V, D, LAYERS, H, F, LONGEST, shared=True)
    assert bert.sizes_of(one.converted(np.copy), H).shared
    narrow = w.embedding._replace(pieces=np.zeros((V, E)))
    assert bert.sizes_of(w._replace(embedding=narrow), H, factorised=True).table == E


@pytest.mark.parametrize("change", [{"heads": 4}, {"d": 0}, {"table": 0}, {"layers": -1}])
def test_sizes_that_fit_nothing_are_refused(change):
    with pytest.raises(ValueError, match=r"take a divisor|at least 1"):
        BertSizes(**{"vocabulary": V, "d": D, "layers": 2, "heads": H, "inner": F} | change)


# ---------------------------------------------------------------------------------------------------------------
# slow and obvious equals fast


def normalised(vector, gamma, beta):
    mean = sum(vector) / len(vector)
    root = math.sqrt(sum((a - mean) ** 2 for a in vector) / len(vector))
    return [g * (a - mean) / root + b for a, g, b in zip(vector, gamma, beta, strict=True)]


def affine(W, x, b):
    return [sum(w * a for w, a in zip(row, x, strict=True)) + c for row, c in zip(W, b, strict=True)]


def obvious_block(x, block):
    """One number at a time, for one text without a mask."""
    q, k, v = (
        [affine(W, token, b) for token in x]
        for W, b in ((block[0], block[1]), (block[2], block[3]), (block[4], block[5]))
    )
    out = []
    for i, token in enumerate(x):
        heads = []
        for start in range(0, D, D_H):
            part = slice(start, start + D_H)
            e = [math.exp(sum(a * c for a, c in zip(q[i][part], key[part], strict=True)) / math.sqrt(D_H)) for key in k]
            heads += [
                sum(w * value[c] for w, value in zip(e, v, strict=True)) / sum(e) for c in range(start, start + D_H)
            ]
        o = affine(block.W_o, heads, block.b_o)
        y = normalised([a + c for a, c in zip(token, o, strict=True)], block.gamma_1, block.beta_1)
        inner = [0.5 * a * math.erfc(-a / math.sqrt(2)) for a in affine(block.W_1, y, block.b_1)]
        z = affine(block.W_2, inner, block.b_2)
        out.append(normalised([a + c for a, c in zip(y, z, strict=True)], block.gamma_2, block.beta_2))
    return out


def test_a_block_is_its_formula_number_by_number():
    x, block = tokens(), block_weights()
    got = bert.bert_block(x, block, H)
    for row in range(B):
        same(got[row], obvious_block(x[row].tolist(), block), 1e-6)


def test_a_block_may_be_given_another_map_than_its_own():
    x, block = tokens(), block_weights()
    own = bert.bert_attention_weights(x, block, H)
    same(bert.bert_block_with_map(x, own, block), bert.bert_block(x, block, H), 0)
    n = x.shape[-2]
    uniform = np.full((H, n, n), 1 / n)
    got = bert.bert_block_with_map(x, uniform, block)
    same(got, bert.bert_block(x, block, H, scale=0.0), 1e-12)
    assert np.abs(got - bert.bert_block(x, block, H)).max() > 0.01


def test_an_embedding_is_the_normalised_sum_of_three_rows():
    w, (ids, segments) = weights().embedding, batch()
    got = bert.bert_embedding(ids, segments, w)
    for row in range(B):
        for i in range(N):
            whole = w.pieces[ids[row, i]] + w.segments[segments[row, i]] + w.positions[i]
            same(got[row, i], normalised(whole.tolist(), w.gamma, w.beta), 1e-10)


@pytest.mark.parametrize("width", [D, E])
def test_a_logit_is_the_product_of_a_row_of_the_table_and_the_transformed_state(width):
    h, head, table = tokens(n=2), head_weights(width), np.random.default_rng(6).normal(size=(V, width))
    got = bert.mlm_logits(h, head, table)
    for row in range(B):
        for i, state in enumerate(h[row].tolist()):
            inner = [0.5 * a * math.erfc(-a / math.sqrt(2)) for a in affine(head.W, state, head.b)]
            same(got[row, i], affine(table, normalised(inner, head.gamma, head.beta), head.bias), 1e-6)


def test_two_logits_are_an_affine_map_of_the_first_token():
    w, h = weights(), tokens()
    W, b = w.W_pool[:2], w.b_pool[:2]
    got = bert.nsp_logits(bert.bert_pooled(h, w.W_pool, w.b_pool), W, b)
    for row in range(B):
        pooled = [math.tanh(a) for a in affine(w.W_pool, h[row, 0].tolist(), w.b_pool)]
        same(got[row], affine(W, pooled, b))


def test_narrow_tables_are_widened_after_the_normalisation():
    rng, (ids, segments) = np.random.default_rng(2), batch()
    narrow = EmbeddingWeights(*(rng.normal(size=shape) for shape in ((V, E), (2, E), (LONGEST, E), (E,), (E,))))
    W, b = rng.normal(size=(D, E)), rng.normal(size=D)
    got, x = bert.albert_embedding(ids, segments, narrow, W, b), bert.bert_embedding(ids, segments, narrow)
    assert got.shape == (B, N, D)
    same(got[1, 4], affine(W, x[1, 4].tolist(), b))


def test_the_states_are_those_of_the_blocks_one_after_the_other():
    w, (ids, segments) = weights(), batch()
    mask, scale = padding_mask(np.array([N, 3]), N), 0.7
    x = bert.bert_embedding(ids, segments, w.embedding)
    states = bert.bert_states(x, w.blocks, H, mask, scale)
    assert len(states) == LAYERS + 1
    for before, after, block in zip(states, states[1:], w.blocks, strict=False):
        same(after, bert.bert_block(before, block, H, mask, scale), 0)
    same(bert.bert_encoder(ids, segments, w, H, mask, scale), states[-1], 0)


@pytest.mark.parametrize("scale", [None, 0.7, "rows"])
def test_the_maps_read_off_the_states_are_the_weights_that_the_blocks_have_used(scale):
    """The block is rebuilt from the maps alone."""
    scale = 1 + np.arange(N)[:, None] / N if scale == "rows" else scale
    w, x, mask = weights(), tokens(), padding_mask(np.array([N, 3]), N)
    states = bert.bert_states(x, w.blocks, H, mask, scale)
    maps = bert.bert_attention_maps(states, w.blocks, H, mask, scale)
    assert maps.shape == (LAYERS, B, H, N, N)
    same(maps.sum(-1), 1)
    same(maps[:, 1, :, :, 3:], 0, 0)
    for layer, block in enumerate(w.blocks):
        v = split_heads(states[layer] @ block.W_v.T + block.b_v, H)
        o = np.moveaxis(maps[layer] @ v, 1, 2).reshape(B, N, D) @ block.W_o.T + block.b_o
        y = layer_norm(states[layer] + o, block.gamma_1, block.beta_1, bert.EPS)
        inner = bert.exact_gelu(y @ block.W_1.T + block.b_1)
        z = layer_norm(y + inner @ block.W_2.T + block.b_2, block.gamma_2, block.beta_2, bert.EPS)
        same(states[layer + 1], z)


def test_the_scale_is_one_over_the_root_of_a_heads_features_unless_given_and_zero_looks_everywhere_alike():
    x, block = tokens(), block_weights()
    same(bert.bert_block(x, block, H), bert.bert_block(x, block, H, scale=D_H**-0.5), 1e-14)
    same(bert.bert_attention_weights(x, block, H, scale=0.0), 1 / N)


# ---------------------------------------------------------------------------------------------------------------
# one text for all libraries


@pytest.mark.parametrize("name", [pytest.param("torch", marks=pytest.mark.torch), "array_api_strict"])
def test_the_encoder_runs_on_every_array_library(name):
    xp = pytest.importorskip(name)
    w, (ids, segments) = weights(), batch()
    mask = padding_mask(np.array([N, 3]), N)
    theirs = w.converted(xp.asarray)
    got = bert.bert_encoder(xp.asarray(ids), xp.asarray(segments), theirs, H, xp.asarray(mask))
    want = bert.bert_encoder(ids, segments, w, H, mask)
    same(got, want, 1e-6)
    same(bert.bert_pooled(got, theirs.W_pool, theirs.b_pool), bert.bert_pooled(want, w.W_pool, w.b_pool), 1e-6)
    head, table = head_weights(), w.embedding.pieces
    logits = bert.mlm_logits(got, HeadWeights(*map(xp.asarray, head)), theirs.embedding.pieces)
    same(logits, bert.mlm_logits(want, head, table), 1e-6)
    pooled, W, b = bert.bert_pooled(want, w.W_pool, w.b_pool), w.W_pool[:2], w.b_pool[:2]
    same(bert.nsp_logits(*map(xp.asarray, (pooled, W, b))), bert.nsp_logits(pooled, W, b))
    wide = bert.albert_embedding(ids, segments, w.embedding, w.W_pool, w.b_pool)
    numbers = xp.asarray(ids), xp.asarray(segments)
    same(bert.albert_embedding(*numbers, theirs.embedding, theirs.W_pool, theirs.b_pool), wide)
    same(
        bert.unit(bert.mean_pooled(got, xp.asarray([N, 3]))), bert.unit(bert.mean_pooled(want, np.array([N, 3]))), 1e-6
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype):
    w, (ids, segments) = weights().converted(lambda a: a.astype(dtype)), batch()
    h = bert.bert_encoder(ids, segments, w, H, padding_mask(np.array([N, 3]), N))
    maps = bert.bert_attention_maps(bert.bert_states(tokens().astype(dtype), w.blocks, H), w.blocks, H)
    pooled = bert.bert_pooled(h, w.W_pool, w.b_pool)
    logits = bert.mlm_logits(h, HeadWeights(*(a.astype(dtype) for a in head_weights())), w.embedding.pieces)
    assert {a.dtype for a in (h, maps, pooled, logits, bert.mean_pooled(h, np.array([N, 3])), bert.unit(pooled))} == {
        np.dtype(dtype)
    }


@pytest.mark.torch
def test_the_gradient_of_a_block_and_of_the_head_is_their_slope(torch):
    d, f, rng = 6, 5, np.random.default_rng(0)
    shapes = {"W_1": (f, d), "b_1": (f,), "W_2": (d, f)}
    shapes = [shapes.get(k, (d, d) if k[0] == "W" else (d,)) for k in BlockWeights._fields]
    inputs = [torch.asarray(rng.normal(size=shape)).requires_grad_() for shape in ((3, d), *shapes)]
    assert torch.autograd.gradcheck(lambda x, *arrays: bert.bert_block(x, BlockWeights(*arrays), 3), inputs)
    shapes = (3, d), (7, 4), (4, d), (4,), (4,), (4,), (7,)
    inputs = [torch.asarray(rng.normal(size=shape)).requires_grad_() for shape in shapes]
    head = lambda h, table, *arrays: bert.mlm_logits(h, HeadWeights(*arrays), table)  # noqa: E731
    assert torch.autograd.gradcheck(head, inputs)


# ---------------------------------------------------------------------------------------------------------------
# oracles


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def oracle(transformers):
    """A BERT of Hugging Face with random weights in float64, and the same weights as ours."""
    torch = pytest.importorskip("torch")
    sizes = {"hidden_size": D, "intermediate_size": F, "num_attention_heads": H, "num_hidden_layers": LAYERS}
    config = transformers.BertConfig(vocab_size=V, max_position_embeddings=LONGEST, **sizes)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = transformers.BertModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
    from minilib.bert_corpora import read_weights

    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    return model, read_weights(arrays, config.to_dict())


@pytest.mark.torch
def test_the_encoder_agrees_with_bert_of_hugging_face(torch, oracle):
    model, ours = oracle
    ids, segments = map(torch.asarray, batch())
    lengths = torch.tensor([N, 3])
    mask = padding_mask(lengths, N)
    with torch.no_grad():
        want = model(ids, mask[:, 0].long(), segments, output_attentions=True, output_hidden_states=True)
    w = ours.converted(torch.asarray)
    states = bert.bert_states(bert.bert_embedding(ids, segments, w.embedding), w.blocks, H, mask)
    for got, theirs in zip(states, want.hidden_states, strict=True):
        torch.testing.assert_close(got, theirs, rtol=1e-12, atol=1e-12)
    maps = bert.bert_attention_maps(states, w.blocks, H, mask)
    torch.testing.assert_close(maps, torch.stack(want.attentions), rtol=1e-12, atol=1e-12)
    pooled = bert.bert_pooled(states[-1], w.W_pool, w.b_pool)
    torch.testing.assert_close(pooled, want.pooler_output, rtol=1e-12, atol=1e-12)
    numpy = bert.bert_encoder(*batch(), ours, H, mask.numpy())
    assert np.abs(numpy - want.last_hidden_state.numpy()).max() < 1e-6


@pytest.mark.torch
def test_a_block_is_a_post_norm_encoder_layer_of_torch(torch):
    block, x = block_weights().__class__(*map(torch.asarray, block_weights())), torch.asarray(tokens())
    layer = torch.nn.TransformerEncoderLayer(
        D, H, F, dropout=0, activation="gelu", layer_norm_eps=bert.EPS, batch_first=True, dtype=torch.float64
    )
    theirs = {
        "self_attn.in_proj_weight": torch.cat([block.W_q, block.W_k, block.W_v]),
        "self_attn.in_proj_bias": torch.cat([block.b_q, block.b_k, block.b_v]),
        "self_attn.out_proj.weight": block.W_o,
        "self_attn.out_proj.bias": block.b_o,
    }
    for k in "12":
        theirs |= {
            f"linear{k}.{kind}": getattr(block, f"{letter}_{k}") for kind, letter in (("weight", "W"), ("bias", "b"))
        }
        theirs |= {
            f"norm{k}.{kind}": getattr(block, f"{letter}_{k}")
            for kind, letter in (("weight", "gamma"), ("bias", "beta"))
        }
    layer.load_state_dict(theirs)
    torch.testing.assert_close(bert.bert_block(x, block, H), layer(x), rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------------------------------------------------------
# bad input


def test_more_tokens_than_positions_are_refused():
    ids, segments = batch(n=LONGEST + 1)
    with pytest.raises(ValueError, match="knows 13 positions, got 14 tokens; shorten the text"):
        bert.bert_encoder(ids, segments, weights(), H)
    bert.bert_encoder(ids[:, 1:], segments[:, 1:], weights(), H)


@pytest.mark.parametrize("strange", [-1, V])
def test_a_number_without_a_row_is_refused(strange):
    ids, segments = batch()
    ids[1, 2] = strange
    with pytest.raises(ValueError, match="ids must lie between 0 and 22"):
        bert.bert_embedding(ids, segments, weights().embedding)
    with pytest.raises(ValueError, match=r"segments must lie between 0 and 1, .* got 0 to 2"):
        bert.bert_embedding(batch()[0], 2 * segments, weights().embedding)


@pytest.mark.usefixtures("unchecked")
def test_segments_of_another_shape_are_refused():
    ids, segments = batch()
    with pytest.raises(ValueError, match=r"each of the ids has its segment, got shapes \(2, 7\) and \(2, 6\)"):
        bert.bert_embedding(ids, segments[:, 1:], weights().embedding)


@pytest.mark.parametrize("name", ["W_q", "W_o", "b_v", "W_1", "b_1", "W_2", "gamma_1", "beta_2"])
def test_a_weight_of_a_wrong_shape_is_named(name):
    block = block_weights()
    wrong = block._replace(**{name: np.zeros([size + 1 for size in getattr(block, name).shape])})
    if name == "W_1":
        name = "W_1|b_1"
    with pytest.raises(ValueError, match=f"({name}) must have shape .* fits tokens of 15 features"):
        bert.bert_block(tokens(), wrong, H)


def test_heads_that_do_not_divide_the_features_are_refused():
    with pytest.raises(ValueError, match="15 features cannot be shared out among 4 heads"):
        bert.bert_block(tokens(), block_weights(), 4)


def test_a_table_that_does_not_fit_the_head_is_refused():
    with pytest.raises(ValueError, match=r"table must have shape \(…, 23, 15\) so that it has a row for each bias"):
        bert.mlm_logits(tokens(), head_weights(), weights().embedding.positions)


@pytest.mark.parametrize("values", [(0, D, 0.02), (V, 0, 0.02), (V, D, -0.02), (V, D, math.nan)])
def test_a_first_loss_of_nothing_is_refused(values):
    with pytest.raises(ValueError, match="vocabulary and d are at least 1 and std at least 0"):
        bert.initial_mlm_loss(*values)


@pytest.mark.parametrize("lengths", [[0, 3], [3, N + 1]])
def test_a_text_without_tokens_has_no_mean(lengths):
    with pytest.raises(ValueError, match="lengths must lie between 1 and 7"):
        bert.mean_pooled(tokens(), np.array(lengths))
