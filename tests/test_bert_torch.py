"""What the module of BERT promises."""

from __future__ import annotations

import json
import math
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from minilib import bert  # noqa: E402
from minilib.arrays import gelu  # noqa: E402
from minilib.attention import causal_mask, padding_mask, unilm_mask  # noqa: E402
from minilib.bert import BertSizes  # noqa: E402
from minilib.bert_torch import Bert, text_vectors  # noqa: E402
from minilib.entropy import log_scale  # noqa: E402

pytestmark = pytest.mark.torch

B, H, D_H, N, F, V, LAYERS, LONGEST, E = 2, 3, 5, 7, 19, 23, 4, 11, 6
"""Batch, heads, features of a head, tokens, features inside, pieces, layers, positions, width of a factorised table."""

D = H * D_H
SIZES = BertSizes(V, D, LAYERS, H, F, positions=LONGEST)
ALBERT = BertSizes(V, D, LAYERS, H, F, positions=LONGEST, table=E, shared=True)


def model(sizes=SIZES, seed=0, dtype=torch.float64, **options):
    """A model with random weights of a size that leaves no part idle."""
    torch.manual_seed(seed)
    made = Bert(sizes, **options).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return made.eval()


def batch(n=N, seed=7):
    source = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(high, (B, n), generator=source) for high in (V, 2))


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def counted(module):
    return sum(p.numel() for p in module.parameters())


# ---------------------------------------------------------------------------------------------------------------
# module = formula


@pytest.mark.parametrize("scale", [None, log_scale])
def test_the_module_is_its_formula_with_its_own_parameters(scale):
    mine, (ids, segments) = model(scale=scale), batch()
    number = None if scale is None else scale(N, D_H)
    close(mine(ids, segments), bert.bert_encoder(ids, segments, mine.weights(), H, scale=number))
    if scale is None:
        mask = padding_mask(torch.tensor([N, 3]), N)
        close(mine(ids, segments, mask), bert.bert_encoder(ids, segments, mine.weights(), H, mask))


def test_what_is_read_off_the_states_is_what_the_formulas_say():
    mine, (ids, segments) = model(), batch()
    h = mine(ids, segments)
    close(mine.mlm(h), bert.mlm_logits(h, mine.head(), mine.embedding.pieces.weight))
    pooled = bert.bert_pooled(h, mine.pool.weight, mine.pool.bias)
    close(mine.pooled(h), pooled)
    close(mine.nsp(h), bert.nsp_logits(pooled, mine.follows.weight, mine.follows.bias))


def test_albert_is_the_formulas_with_one_block_in_all_places_and_a_widened_embedding():
    mine, (ids, segments) = model(ALBERT, phi=gelu), batch()
    w, widen = mine.weights(), mine.embedding.widen
    assert len({id(block.W_q) for block in w.blocks}) == 1
    x = bert.albert_embedding(ids, segments, w.embedding, widen.weight, widen.bias)
    close(mine(ids, segments), bert.bert_states(x, w.blocks, H, phi=gelu)[-1])
    close(mine.mlm(x), bert.mlm_logits(x, mine.head(), w.embedding.pieces, phi=gelu))


def test_the_states_are_those_before_the_first_block_and_after_each():
    mine, (ids, segments) = model(), batch()
    states = mine.states(ids, segments)
    assert len(states) == LAYERS + 1
    close(states[0], mine.embedding(ids, segments))
    close(mine.blocks[2](states[2]), states[3])
    maps = torch.stack([b.attention.weights(x) for b, x in zip(mine.blocks, states[:-1], strict=True)])
    close(maps, bert.bert_attention_maps(states, mine.weights().blocks, H))


def test_the_last_states_are_the_last_of_the_states():
    mine, (ids, segments) = model(), batch()
    mask = padding_mask(torch.tensor([N, 3]), N)
    assert torch.equal(mine(ids, segments, mask), mine.states(ids, segments, mask)[-1])


def test_segments_are_zero_unless_given():
    mine, (ids, _) = model(), batch()
    close(mine(ids), mine(ids, torch.zeros_like(ids)))


# ---------------------------------------------------------------------------------------------------------------
# one network, and its use is a mask


def test_under_a_causal_mask_it_is_a_language_model():
    mine, (ids, _) = model(), batch()
    changed = ids.clone()
    changed[:, 4] = (ids[:, 4] + 1) % V
    moved = (mine(ids, mask=causal_mask(N, mine.bias)) - mine(changed, mask=causal_mask(N, mine.bias))).abs().amax(-1)
    assert moved[:, :4].max() < 1e-12 < moved[:, 4:].min()


def test_under_the_mask_of_unilm_the_source_does_not_see_what_is_written_and_otherwise_it_does():
    mine, (ids, _) = model(), batch()
    parts = torch.tensor([0, 0, 0, 0, 1, 1, 1]).expand(B, N)
    longer, shorter = mine(ids, parts, unilm_mask(parts)), mine(ids[:, :5], parts[:, :5], unilm_mask(parts[:, :5]))
    close(longer[:, :5], shorter)
    assert (mine(ids, parts)[:, :4] - mine(ids[:, :5], parts[:, :5])[:, :4]).abs().max() > 1e-3


# ---------------------------------------------------------------------------------------------------------------
# how many parameters


@pytest.mark.parametrize("sizes", [SIZES, ALBERT, BertSizes(29, 12, 2, 4, 17, 13, 3, table=5)])
def test_the_sizes_count_every_parameter_of_the_module(sizes):
    mine = Bert(sizes)
    assert counted(mine) == sizes.pretraining
    assert counted(mine.embedding) == sizes.embedding
    assert counted(mine.blocks[0]) == sizes.block
    assert counted(mine.embedding) + counted(mine.blocks) == sizes.encoder
    assert counted(mine.pool) == sizes.pooler
    assert counted(mine.follows) == sizes.nsp_head


def test_the_table_of_pieces_names_tokens_and_reads_them():
    """Tied weights: a gradient through the logits reaches the rows of pieces that the text does not hold."""
    mine = model()
    ids = torch.tensor([[1, 2, 3]])
    mine.mlm(mine(ids)).square().sum().backward()
    assert (mine.embedding.pieces.weight.grad.abs().sum(-1) > 0).all()


def test_the_gradient_of_a_shared_block_is_the_sum_of_those_of_all_places():
    shared, (ids, _) = model(ALBERT), batch()
    apart = model(BertSizes(V, D, LAYERS, H, F, positions=LONGEST, table=E))
    state = shared.state_dict()
    apart.load_state_dict(state)
    for mine in (shared, apart):
        mine(ids).square().mul(torch.arange(D)).sum().backward()
    sums = sum(block.attention.W_v.weight.grad for block in apart.blocks)
    close(shared.blocks[0].attention.W_v.weight.grad, sums)


# ---------------------------------------------------------------------------------------------------------------
# how it starts


def test_weights_are_cut_off_at_two_deviations_and_so_are_smaller_than_they_are_called():
    torch.manual_seed(0)
    W = Bert(BertSizes(2003, 64, 1, 4, 256)).embedding.pieces.weight
    assert W.abs().max() <= 0.04
    assert W.std().item() == pytest.approx(0.02 * math.sqrt(0.7737413), rel=0.01)


def test_without_a_limit_they_have_the_deviation_that_is_asked_for():
    torch.manual_seed(0)
    mine = Bert(BertSizes(2003, 64, 1, 4, 256))
    mine.reset_parameters(std=0.05, limit=None)
    W = mine.embedding.pieces.weight
    assert W.std().item() == pytest.approx(0.05, rel=0.01)
    assert W.abs().max() > 0.15
    assert all((p == 0).all() for name, p in mine.named_parameters() if name.endswith("bias"))


def test_the_first_loss_is_the_logarithm_of_the_vocabulary_and_half_the_variance_of_a_logit():
    pieces, d, std = 2003, 64, 0.1
    torch.manual_seed(0)
    mine = Bert(BertSizes(pieces, d, 2, 4, 256, positions=32)).eval()
    mine.reset_parameters(std=std, limit=None)
    ids = torch.randint(pieces, (64, 32))
    with torch.no_grad():
        logits = mine.mlm(mine(torch.zeros_like(ids)))  # nothing seen of what is to be named
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).item()
    assert loss == pytest.approx(bert.initial_mlm_loss(pieces, d, std), abs=0.06)
    assert abs(loss - math.log(pieces)) > 0.2


def test_dropout_acts_in_training_only():
    mine, (ids, _) = model(dropout=0.5), batch()
    close(mine(ids), mine(ids))
    mine.train()
    assert (mine(ids) - mine(ids)).abs().max() > 1e-3


def test_dropout_of_attention_takes_weights_away_and_lets_the_others_grow():
    torch.manual_seed(0)
    attention, x, p = model(attention_dropout=0.25).blocks[0].attention.train(), torch.randn(1, N, D).double(), 0.25
    A, v = attention.weights(x), attention.W_v(x).unflatten(-1, (H, D_H)).transpose(1, 2)
    torch.manual_seed(1)
    got = attention(x)
    torch.manual_seed(1)
    kept = nn.functional.dropout(torch.ones_like(A), p)
    assert set(kept.unique().tolist()) == {0.0, 1 / (1 - p)}
    close(got, attention.W_o((kept * A @ v).transpose(1, 2).flatten(-2)))


def test_dropout_of_attention_averages_out_and_never_lets_a_token_see_what_the_mask_hides():
    mine, x = model(attention_dropout=0.25), torch.randn(1, N, D, generator=torch.Generator().manual_seed(2)).double()
    mask, attention = causal_mask(N, x), mine.blocks[0].attention
    with torch.no_grad():
        want = attention(x, mask=mask)
        attention.train()
        torch.manual_seed(0)
        draws = attention(x.expand(4000, N, D), mask=mask)
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - want[0]).abs() < 5 * error + 1e-12).all()
        other = x.clone()
        other[:, 4] += 1
        torch.manual_seed(3)
        before = attention(x, mask=mask)
        torch.manual_seed(3)
        close(attention(other, mask=mask)[:, :4], before[:, :4])


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(0)
    mine, (ids, _) = Bert(SIZES), batch()
    hidden = ids.clone()
    hidden[:, ::3] = 0
    optimiser = torch.optim.Adam(mine.parameters(), 1e-2)
    for _ in range(150):
        loss = nn.functional.cross_entropy(mine.mlm(mine(hidden)[:, ::3]).flatten(0, 1), ids[:, ::3].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.05


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
def test_a_model_compiles_without_a_graph_break(compiled):
    mine, (ids, segments) = model(BertSizes(V, D, 1, H, F, LONGEST), dtype=torch.float32), batch()
    close(compiled(mine)(ids, segments), mine(ids, segments), 1e-5)


# ---------------------------------------------------------------------------------------------------------------
# the same weights elsewhere


@pytest.fixture(scope="module")
def transformers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers")


def oracle_model(transformers, kind, config):
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    made = getattr(transformers, kind)(config).double().eval()
    with torch.no_grad():
        for p in made.parameters():
            p.normal_(0, 0.4)
    return made


def loaded(theirs, settings, **options):
    """Our model with their weights, by the table of names alone."""
    from minilib import bert_corpora as names

    arrays = {name: a.numpy() for name, a in theirs.state_dict().items()}
    widen = names.read_widening(arrays, settings) if settings["model_type"] == "albert" else None
    parts = names.read_weights(arrays, settings), H, names.read_head(arrays, settings), names.read_nsp(arrays, settings)
    return Bert.from_weights(*parts, widen, **options).eval()


@pytest.mark.parametrize(("kind", "sizes", "phi"), [("Bert", SIZES, None), ("Albert", ALBERT, gelu)])
def test_the_encoder_and_both_heads_agree_with_those_of_hugging_face(transformers, kind, sizes, phi):
    from minilib.bert_corpora import configuration

    settings = configuration(sizes)
    config = getattr(transformers, f"{kind}Config")(**settings)
    theirs = oracle_model(transformers, f"{kind}ForPreTraining", config)
    mine = loaded(theirs, settings, **({} if phi is None else {"phi": phi}))
    assert mine.sizes == sizes
    assert mine.bias.dtype == torch.float64
    (ids, segments), mask = batch(), padding_mask(torch.tensor([N, 3]), N)
    with torch.no_grad():
        inputs = {"attention_mask": mask[:, 0].long(), "token_type_ids": segments}
        want, inside = theirs(ids, **inputs), getattr(theirs, kind.lower())(ids, **inputs)
        h = mine(ids, segments, mask)
        close(h, inside.last_hidden_state)
        close(mine.pooled(h), inside.pooler_output)
        close(mine.mlm(h), want.prediction_logits)
        close(mine.nsp(h), want.seq_relationship_logits if kind == "Bert" else want.sop_logits)


@pytest.mark.parametrize(("kind", "sizes", "phi"), [("Bert", SIZES, None), ("Albert", ALBERT, gelu)])
def test_a_file_written_here_is_read_by_transformers(transformers, tmp_path, kind, sizes, phi):
    from minilib.bert_corpora import as_safetensors, configuration, named_arrays

    mine, (ids, segments) = model(sizes, dtype=torch.float32, **({} if phi is None else {"phi": phi})), batch()
    numpy = lambda part: part and type(part)(*(a.detach().numpy() for a in part))  # noqa: E731
    weights = mine.weights().converted(lambda a: a.detach().numpy())
    heads = {"nsp": numpy(mine.nsp_head()), "widen": numpy(mine.widening())}
    arrays = named_arrays(weights, numpy(mine.head()), **heads)
    (tmp_path / "config.json").write_text(json.dumps(configuration(sizes)))
    (tmp_path / "model.safetensors").write_bytes(as_safetensors(arrays))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = getattr(transformers, f"{kind}ForPreTraining").from_pretrained
        theirs, told = read(tmp_path, attn_implementation="eager", output_loading_info=True)
    assert not any(told[what] for what in ("unexpected_keys", "mismatched_keys"))
    assert not [name for name in told["missing_keys"] if "decoder" not in name]  # which is tied, and ours has none
    with torch.no_grad():
        want, h = theirs.eval()(ids, token_type_ids=segments), mine(ids, segments)
        close(mine.mlm(h), want.prediction_logits, 1e-4)
        close(mine.nsp(h), want.seq_relationship_logits if kind == "Bert" else want.sop_logits, 1e-4)


def test_the_vector_of_a_text_is_the_mean_of_its_last_states_whatever_is_read_beside_it():
    bert_model, source = model(), torch.Generator().manual_seed(3)
    rows = [torch.randint(1, V, (n,), generator=source).tolist() for n in (4, 1, 7, 2, 7)]
    found = text_vectors(bert_model, rows, batch=2)
    for row, vector in zip(rows, found, strict=True):
        mean = bert_model(torch.tensor([row]))[0].mean(0)
        close(vector, mean / mean.norm())
    assert found.dtype == torch.float64
    with pytest.raises(ValueError, match="a text at least"):
        text_vectors(bert_model, [])


def test_dropout_in_training_is_at_work_in_the_vectors_too():
    noisy = model(dropout=0.3).train()
    assert not torch.equal(text_vectors(noisy, [[1, 2, 3]]), text_vectors(noisy, [[1, 2, 3]]))


# ---------------------------------------------------------------------------------------------------------------
# bad input


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(ValueError, match=rf"knows {LONGEST} positions, got {LONGEST + 1} tokens"):
        model()(torch.zeros(1, LONGEST + 1, dtype=torch.long))


def test_segments_of_another_shape_are_refused():
    ids, segments = batch()
    with pytest.raises(ValueError, match="each of the ids has its segment"):
        model()(ids, segments[:, 1:])


@pytest.mark.parametrize("spoil", ["shape", "nan", "layers"])
def test_weights_that_do_not_fit_are_refused_and_nothing_is_half_loaded(spoil):
    mine, theirs = model(), model(seed=1).weights()
    before = {name: p.clone() for name, p in mine.state_dict().items()}
    if spoil == "layers":
        theirs = theirs._replace(blocks=theirs.blocks[:-1])
    else:
        W = torch.full((D, D), math.nan) if spoil == "nan" else torch.zeros(D, D + 1)
        theirs = theirs._replace(W_pool=W)
    with pytest.raises(ValueError, match=r"nothing (was )?loaded"):
        mine.load(theirs)
    assert all((before[name] == p).all() for name, p in mine.state_dict().items())


def test_weights_that_fit_are_loaded_from_any_library():
    mine, theirs = model(), model(seed=1)
    ids, segments = batch()
    assert mine.load(theirs.weights().converted(lambda a: a.detach().numpy())) is mine
    close(mine(ids, segments), theirs(ids, segments))


def test_a_model_is_made_from_weights_with_their_sizes_and_precision_and_shares_no_memory_with_them():
    theirs, (ids, segments) = model(dtype=torch.float64), batch()
    mine = Bert.from_weights(theirs.weights(), H, theirs.head(), theirs.nsp_head()).eval()
    assert mine.sizes == SIZES
    close(mine.nsp(mine(ids, segments)), theirs.nsp(theirs(ids, segments)), 0)
    close(mine.mlm(mine(ids, segments)), theirs.mlm(theirs(ids, segments)), 0)
    with torch.no_grad():
        theirs.embedding.pieces.weight.zero_()
    assert mine.embedding.pieces.weight.abs().max() > 0.1


def test_different_blocks_are_not_loaded_into_a_shared_one():
    mine, apart = model(ALBERT), model(BertSizes(V, D, LAYERS, H, F, positions=LONGEST, table=E))
    before = {name: p.clone() for name, p in mine.state_dict().items()}
    with pytest.raises(ValueError, match=r"blocks\.1\.W_q is not blocks\.0\.W_q, .* nothing was loaded"):
        mine.load(apart.weights(), widen=apart.widening())
    assert all((before[name] == p).all() for name, p in mine.state_dict().items())


def test_the_map_that_widens_is_given_if_and_only_if_there_is_one():
    albert, plain = model(ALBERT), model()
    with pytest.raises(ValueError, match="table=6, so widen must be given"):
        albert.load(albert.weights())
    with pytest.raises(ValueError, match="table=None, so widen must not be given"):
        plain.load(plain.weights(), widen=albert.widening())
    assert plain.widening() is None


@pytest.mark.parametrize("part", ["head", "nsp"])
def test_a_head_that_does_not_fit_leaves_the_encoder_as_it_was(part):
    mine, theirs = model(), model(seed=1)
    before = {name: p.clone() for name, p in mine.state_dict().items()}
    wrong = theirs.head() if part == "head" else theirs.nsp_head()
    with pytest.raises(ValueError, match=rf"{part}\.b must have shape .*; nothing loaded"):
        mine.load(theirs.weights(), **{part: wrong._replace(b=torch.zeros(D + 3))})
    assert all((before[name] == p).all() for name, p in mine.state_dict().items())
