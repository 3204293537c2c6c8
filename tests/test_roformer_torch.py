"""What the modules of RoFormer promise."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from minilib import roformer as rof  # noqa: E402
from minilib.arrays import exact_gelu  # noqa: E402
from minilib.attention import causal_mask, padding_mask  # noqa: E402
from minilib.bert import EPS  # noqa: E402
from minilib.depth import cosine, rms, truncation_correction  # noqa: E402
from minilib.depth_torch import truncated_normal_  # noqa: E402
from minilib.entropy import log_scale  # noqa: E402
from minilib.entropy_torch import SSMax  # noqa: E402
from minilib.layernorm import rms_norm  # noqa: E402
from minilib.roformer import V1, V2, Changes, RoformerSizes  # noqa: E402
from minilib.roformer_torch import Roformer, RoformerBlock, RoformerV2  # noqa: E402
from minilib.rope import rope_angles  # noqa: E402

pytestmark = pytest.mark.torch

B, H, D_H, N, F, V, LAYERS = 2, 3, 10, 7, 19, 23, 5
"""Batch, heads, features of a head, tokens, features inside, pieces, layers: pairwise different."""

D = H * D_H
SIZES = RoformerSizes(V, D, LAYERS, H, F)
ONE_EACH = [dataclasses.replace(V1, **{name: True}) for name in Changes.names()]
ALL_BUT_ONE = [dataclasses.replace(V2, **{name: False}) for name in Changes.names()]

each_version = pytest.mark.parametrize("changes", [V1, V2], ids=["first", "second"])


def model(changes=V1, seed=0, dtype=torch.float64, sizes=SIZES, **options):
    """A model with random weights of a size that leaves no part idle."""
    torch.manual_seed(seed)
    made = Roformer(sizes, changes, **options).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return made.eval()


def batch(n=N, seed=7):
    source = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(high, (B, n), generator=source) for high in (V, 2))


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------------------------
# module = formula


@pytest.mark.parametrize("scale", [None, log_scale])
@each_version
def test_the_module_is_its_formula_with_its_own_parameters(changes, scale):
    mine, (ids, segments) = model(changes, scale=scale), batch()
    encoder = rof.roformer_v2_encoder if changes.rms else rof.roformer_encoder
    number = None if scale is None else scale(N, D_H)
    close(mine(ids, segments), encoder(ids, segments, mine.weights(), H, scale=number))
    mask = padding_mask(torch.tensor([N, 3]), N)
    masked = mine(ids, segments, mask)
    if scale is None:
        close(masked, encoder(ids, segments, mine.weights(), H, mask))
    assert (masked[1] - mine(ids, segments)[1]).abs().max() > 1e-3


def naive_norm(x, norm):
    if not isinstance(norm, nn.LayerNorm):
        return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * norm.weight + norm.bias


def naive(mine, changes, ids, segments):
    """States and logits by a plain text with a question at each change."""
    phi = torch.relu if changes.relu else exact_gelu

    def linear(x, W):
        return x @ W.weight.T + (0 if changes.no_bias else W.bias)

    def heads(x):
        return x.unflatten(-1, (H, D_H)).transpose(1, 2)

    turn = torch.polar(torch.ones(N, D_H // 2).double(), rope_angles(N, D_H, torch.zeros(1).double()))

    def turned(x):
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * turn).flatten(-2)

    e = mine.embedding
    x = naive_norm(e.pieces.weight[ids] + e.segments.weight[segments], e.norm)
    for block in mine.blocks:
        a = block.attention
        q, k, v = turned(heads(linear(x, a.W_q))), turned(heads(linear(x, a.W_k))), heads(linear(x, a.W_v))
        o = torch.softmax(q @ k.mT / D_H**0.5, -1) @ v
        y = naive_norm(x + linear(o.transpose(1, 2).flatten(-2), a.W_o), block.norm_1)
        x = naive_norm(y + linear(phi(linear(y, block.feed.W_1)), block.feed.W_2), block.norm_2)
    h = x if changes.plain_head else naive_norm(phi(linear(x, mine.head.dense)), mine.head.norm)
    bias = 0 if changes.plain_head or changes.no_bias else mine.bias
    return x, h @ e.pieces.weight.T + bias


@pytest.mark.parametrize("changes", [V1, *ONE_EACH, *ALL_BUT_ONE, V2])
def test_every_change_alone_and_all_but_one_are_what_they_say(changes):
    mine, (ids, segments) = model(changes), batch()
    states, logits = naive(mine, changes, ids, segments)
    close(mine(ids, segments), states)
    close(mine.mlm(mine(ids, segments)), logits)


@pytest.mark.parametrize("changes", [V1, *ONE_EACH, V2])
def test_each_change_but_those_of_training_gives_another_function(changes):
    """Embedding order matters under dropout only, the initialisation before training only."""
    first, mine, (ids, segments) = model(V1), model(changes), batch()
    mine.load_state_dict({k: v for k, v in first.state_dict().items() if k in mine.state_dict()})
    different = (mine.mlm(mine(ids, segments)) - first.mlm(first(ids, segments))).abs().max() > 1e-2
    assert different == (changes not in (V1, Changes(embedding_order=True), Changes(v2_init=True)))


def test_the_second_version_is_the_first_with_all_changes():
    torch.manual_seed(3)
    one = RoformerV2(SIZES)
    torch.manual_seed(3)
    other = Roformer(SIZES, V2)
    ids, _ = batch()
    close(one(ids), other(ids), 0)
    assert [*one.state_dict()] == [*other.state_dict()]


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=6))[::7])
def test_the_parameters_are_as_many_as_the_sizes_say(flags):
    mine = Roformer(SIZES, Changes(*flags))
    assert sum(p.numel() for p in mine.parameters()) == SIZES.total(mine.changes)


def test_the_second_version_holds_six_matrices_a_layer_and_two_tables():
    shapes = [tuple(p.shape) for p in RoformerV2(SIZES).parameters()]
    assert shapes == [(V, D), (2, D), *[*[(D, D)] * 4, (F, D), (D, F)] * LAYERS]


def test_segments_are_those_of_the_first_part_unless_given():
    mine, (ids, segments) = model(), batch()
    close(mine(ids), mine(ids, torch.zeros_like(ids)), 0)
    assert (mine(ids) - mine(ids, segments)).abs().max() > 0.1


def test_the_states_begin_with_the_embedding_and_end_with_the_output():
    mine, (ids, segments) = model(V2), batch()
    states = mine.states(ids, segments)
    assert len(states) == LAYERS + 1
    close(states[0], mine.embedding(ids, segments), 0)
    close(states[-1], mine(ids, segments), 0)


def test_logits_of_a_selection_are_the_selection_of_the_logits():
    mine, (ids, _) = model(), batch()
    masked = ids > 11
    close(mine.mlm(mine(ids)[masked]), mine.mlm(mine(ids))[masked])


def test_the_table_of_the_logits_is_that_of_the_embedding():
    mine, (ids, _) = model(V2), batch()
    h = mine(ids)
    with torch.no_grad():
        mine.embedding.pieces.weight *= 2
    close(mine.mlm(h), 2 * h @ mine.embedding.pieces.weight.T / 2)
    mine.mlm(mine(ids)).sum().backward()
    assert mine.embedding.pieces.weight.grad.abs().sum(-1).min() > 0


@each_version
def test_a_text_longer_than_any_seen_will_do_and_a_shift_of_the_padding_changes_nothing(changes):
    """Distances are all that a model knows of places: padding in front leaves the states as they are."""
    mine, (ids, segments) = model(changes), batch()
    pad = torch.zeros(B, 300, dtype=torch.int64)
    real = torch.cat([pad, torch.ones_like(ids)], -1).bool()[:, None, :]
    late = mine(torch.cat([pad, ids], -1), torch.cat([pad, segments], -1), real)
    close(late[:, 300:], mine(ids, segments), 1e-9)


@each_version
def test_under_a_causal_mask_no_state_depends_on_a_later_token(changes):
    mine, (ids, _) = model(changes), batch()
    other = ids.clone()
    other[:, 4] = (other[:, 4] + 1) % V
    before, after = (mine(i, None, causal_mask(N, torch.zeros(1))) for i in (ids, other))
    close(after[:, :4], before[:, :4], 0)
    assert (after[:, 4:] != before[:, 4:]).any(-1).all()


@each_version
def test_the_gradient_is_the_slope(changes):
    sizes = RoformerSizes(5, 4, 2, 1, 3)
    mine, ids = model(changes, sizes=sizes), torch.tensor([[3, 0, 1]])
    names, parameters = zip(*mine.named_parameters(), strict=True)

    def loss(*values):
        h = torch.func.functional_call(mine, dict(zip(names, values, strict=True)), (ids,))
        return (h**3).sum()

    given = [p.detach().requires_grad_() for p in parameters]
    assert torch.autograd.gradcheck(loss, given, fast_mode=True)


@each_version
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_half_precision_stays_near_the_double_beyond_what_it_can_count(changes, dtype):
    mine, (ids, segments) = Roformer(SIZES, changes).eval(), batch(n=301)
    want = mine.double()(ids, segments)
    got = mine.to(dtype)(ids, segments)
    assert got.dtype == dtype
    assert (got.double() - want).norm() < {torch.bfloat16: 0.03, torch.float32: 2e-6}[dtype] * want.norm()


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
@each_version
def test_a_model_compiles_without_a_graph_break(changes, compiled):
    mine, (ids, segments) = model(changes, dtype=torch.float32, sizes=dataclasses.replace(SIZES, layers=1)), batch()
    close(compiled(mine)(ids, segments), mine(ids, segments), 1e-5)


@each_version
def test_it_learns_one_batch_by_heart(changes):
    torch.manual_seed(5)
    mine, (ids, _) = Roformer(RoformerSizes(V, 24, 2, 2, 48), changes), batch()
    shown = ids.clone()
    shown[:, ::3] = 0
    optimizer = torch.optim.Adam(mine.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(mine.mlm(mine(shown)).flatten(0, 1), ids.flatten())
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


# ---------------------------------------------------------------------------------------------------------------
# dropout


def embedded(changes, dropout=0.5):
    torch.manual_seed(0)
    mine = Roformer(SIZES, changes, dropout=dropout).train()
    return mine, mine.embedding(torch.zeros(100, N, dtype=torch.int64))


def test_behind_a_norm_the_size_of_a_token_is_one_whatever_was_dropped_and_before_it_is_not():
    _, late = embedded(V1)
    _, early = embedded(V2)
    assert rms(early).sub(1).abs().max() < 1e-3
    assert rms(late).std() > 0.1
    for x in (late, early):
        assert (x == 0).double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_dropout_is_of_the_training_only_and_acts_on_either_branch():
    """One branch is silent, and what the other adds is another each time."""
    x = torch.randn(B, N, D)
    for name in ("attention.W_o", "feed.W_2"):
        torch.manual_seed(0)
        block = RoformerBlock(SIZES, V2, dropout=0.5)
        nn.init.zeros_(block.get_submodule(name).weight)
        assert (block(x) - block(x)).abs().max() > 1e-2
        block.eval()
        close(block(x), block(x), 0)


# ---------------------------------------------------------------------------------------------------------------
# initialisation

WIDE = RoformerSizes(1009, 384, 6, 6, 1536)
"""The second version, small, but for the vocabulary."""


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return RoformerV2(WIDE)


def test_the_weights_have_the_deviation_of_their_fan_in_after_the_truncation(fresh):
    for name, p in fresh.named_parameters():
        std = rof.v2_std(p.shape[1], WIDE.layers)
        assert p.std().item() == pytest.approx(std, rel=0.1 if "segments" in name else 0.01), name
        assert p.abs().max() <= 2 * truncation_correction() * std * 1.0001
    assert fresh.blocks[0].feed.W_2.weight.std().item() == pytest.approx(0.02083 / 2, rel=0.01)


def test_the_first_version_starts_as_bert_and_its_initialisation_is_a_change_of_its_own():
    torch.manual_seed(0)
    first, other = (Roformer(RoformerSizes(101, 96, 3, 2, 192), changes) for changes in (V1, Changes(v2_init=True)))
    for mine, std in ((first, lambda p: 0.02), (other, lambda p: rof.v2_std(p.shape[1], 3))):
        for name, p in mine.named_parameters():
            if p.ndim == 2:
                assert p.std().item() == pytest.approx(std(p), rel=0.15 if "segments" in name else 0.03), name
            else:
                assert (p == (1 if name.endswith("norm.weight") or ("norm_" in name and "weight" in name) else 0)).all()


def test_a_port_that_cuts_at_two_instead_of_two_deviations_cuts_nothing_and_is_a_seventh_too_wide():
    """The bounds of torch's trunc_normal_ are numbers, not deviations."""
    std, W = rof.v2_std(768, 12), torch.empty(1024, 768)
    asked = std * truncation_correction()
    torch.manual_seed(0)
    absolute = nn.init.trunc_normal_(W, std=asked).std().item()
    relative = nn.init.trunc_normal_(W, std=asked, a=-2 * asked, b=2 * asked).std().item()
    ours = truncated_normal_(W, std).std().item()
    assert [one / std for one in (absolute, relative, ours)] == pytest.approx([1.1368, 1, 1], rel=3e-3)


def test_a_port_that_takes_the_first_axis_for_the_fan_in_errs_by_these_factors():
    """In torch's layout that is the fan-out: no error for a square matrix, two for the others, and the wide normal."""
    torch.manual_seed(0)
    found = {}
    for name, (rows, columns) in {"W_q": (768, 768), "W_1": (3072, 768), "W_2": (768, 3072)}.items():
        ported = nn.init.trunc_normal_(torch.empty(rows, columns), std=truncation_correction() * rof.v2_std(rows, 12))
        found[name] = ported.std().item() / rof.v2_std(columns, 12)
    assert found == pytest.approx({"W_q": 1.1368, "W_1": 0.5684, "W_2": 2.2737}, rel=3e-3)
    assert found["W_1"] * found["W_2"] == pytest.approx(truncation_correction() ** 2, rel=6e-3)


def branches(mine, x):
    """Root mean square of what each sub-layer adds, and the output."""
    found = []
    for block in mine.blocks:
        a = block.attention(x)
        y = block.norm_1(x + a)
        f = block.feed(y)
        x = block.norm_2(y + f)
        found.append((rms(a).mean().item(), rms(f).mean().item()))
    return found, x


@torch.no_grad()
def test_the_branches_start_as_small_as_foretold_and_the_input_is_what_is_left(fresh):
    torch.manual_seed(1)
    for n, texts in ((1, 211), (61, 5)):
        x = rms_norm(torch.randn(texts, n, WIDE.d))
        found, out = branches(fresh, x)
        want = rof.v2_branches(WIDE.layers, n)
        assert found[0] == pytest.approx(want, rel=0.06)
        if n == 1:
            assert [f for a, f in found] == pytest.approx([want.feed] * 6, rel=0.1)
            assert cosine(x, out).mean().item() == pytest.approx(rof.v2_identity_share(WIDE.layers), abs=0.02)


@torch.no_grad()
def test_behind_the_embedding_tokens_share_half_of_their_square_and_the_mean_keeps_it(fresh):
    ids = torch.randint(WIDE.vocabulary, (3, 101), generator=torch.Generator().manual_seed(0))
    x = fresh.embedding(ids)
    alike = cosine(x[:, :-1], x[:, 1:]).mean().item()
    assert alike == pytest.approx(0.5, abs=0.05)
    (first, *_), out = branches(fresh, x)
    assert first == pytest.approx(rof.v2_branches(WIDE.layers, 101, alike), rel=0.08)
    assert cosine(x, out).mean().item() == pytest.approx(rof.v2_identity_share(WIDE.layers, 101, alike), abs=0.03)


def test_a_law_with_a_parameter_keeps_its_start():
    mine = Roformer(SIZES, V2, scale=SSMax(H))
    assert mine.blocks[0].attention.scale is mine.blocks[-1].attention.scale
    assert mine.blocks[0].attention.scale.s.unique().item() == pytest.approx(1 / math.log(512))


# ---------------------------------------------------------------------------------------------------------------
# an independent implementation


NAMES = {
    "attention.self.query": "attention.W_q",
    "attention.self.key": "attention.W_k",
    "attention.self.value": "attention.W_v",
    "attention.output.dense": "attention.W_o",
    "attention.output.LayerNorm": "norm_1",
    "intermediate.dense": "feed.W_1",
    "output.dense": "feed.W_2",
    "output.LayerNorm": "norm_2",
}
"""Modules of a layer as Hugging Face calls them, and as we do."""


def as_ours(theirs):
    """The weights of RoFormerForMaskedLM by our names."""
    names = {
        "roformer.embeddings.word_embeddings.": "embedding.pieces.",
        "roformer.embeddings.token_type_embeddings.": "embedding.segments.",
        "roformer.embeddings.LayerNorm.": "embedding.norm.",
        "cls.predictions.transform.dense.": "head.dense.",
        "cls.predictions.transform.LayerNorm.": "head.norm.",
        "cls.predictions.": "",
    }
    for i, (one, other) in itertools.product(range(LAYERS), NAMES.items()):
        names[f"roformer.encoder.layer.{i}.{one}."] = f"blocks.{i}.{other}."
    found = {}
    for name, value in theirs.state_dict().items():
        if "embed_positions" in name or "decoder" in name:
            continue
        head = next(start for start in names if name.startswith(start))
        found[names[head] + name.removeprefix(head)] = value
    return found


@pytest.fixture(scope="module")
def oracle():
    """RoFormer of Hugging Face with random weights in float64, its table of sines too, and the same weights in ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        from transformers.models.roformer.modeling_roformer import RoFormerForMaskedLM
    options = {"hidden_size": D, "embedding_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": H}
    config = transformers.RoFormerConfig(vocab_size=V, intermediate_size=F, max_position_embeddings=13, **options)
    torch.manual_seed(0)
    theirs = RoFormerForMaskedLM(config).double().eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_(0, 0.4)
        theirs.cls.predictions.decoder.bias = theirs.cls.predictions.bias
        table = theirs.roformer.encoder.embed_positions
        stored, angles = table.create_weight(), rope_angles(13, D_H, torch.zeros(1).double())
        close(stored.double(), torch.cat([angles.sin(), angles.cos()], -1), 1e-6)  # it is made in float32
        table.weight.copy_(torch.cat([angles.sin(), angles.cos()], -1))
    ours = Roformer(SIZES).double().eval()
    ours.load_state_dict(as_ours(theirs))
    return theirs, ours


def test_the_first_version_agrees_with_roformer_of_hugging_face(oracle):
    theirs, ours = oracle
    ids, segments = batch()
    mask = padding_mask(torch.tensor([N, 3]), N)
    with torch.no_grad():
        want = theirs(ids, mask[:, 0].long(), segments, output_hidden_states=True)
        states = ours.states(ids, segments, mask)
        logits = ours.mlm(states[-1])
    for got, other in zip(states, want.hidden_states, strict=True):
        close(got[0], other[0])
        close(got[1, :3], other[1, :3])
    close(logits[0], want.logits[0])
    close(logits[1, :3], want.logits[1, :3])
    close(rof.roformer_encoder(ids, segments, ours.weights(), H, mask), states[-1])


def test_every_weight_of_theirs_has_its_place(oracle):
    theirs, ours = oracle
    assert as_ours(theirs).keys() == ours.state_dict().keys()


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Roformer(RoformerSizes(V, 9, 1, 3, F)),
            "an even number of features, since two make a plane; got 9 / 3",
        ),
        (lambda: model()(batch()[0], batch()[1][:, 1:]), r"got shapes \(2, 7\) and \(2, 6\)"),
        (lambda: model()(batch()[0], None, torch.ones(N, N)), "mask must be boolean"),
        (lambda: RoformerBlock(SIZES)(torch.ones(B, N, D + 1)), r"expected shape \(…, n, 30\)"),
        (
            lambda: model(ALL_BUT_ONE[0]).weights(),
            "of the first version or of the second, got a mixture.*no_bias=False",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_nan_in_one_text_stays_there():
    mine, (ids, _) = model(V2), batch()
    ids[1], ids[0] = 5, 6
    with torch.no_grad():
        mine.embedding.pieces.weight[5] = float("nan")
    h = mine(ids)
    assert h[1].isnan().any()
    assert torch.isfinite(h[0]).all()
