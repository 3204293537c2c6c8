"""What the Synthesizer modules promise."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from minilib import synthesizer as syn  # noqa: E402
from minilib.attention import attention_scores, causal_mask, merge_heads, padding_mask, split_heads  # noqa: E402
from minilib.attention_torch import MultiHeadAttention  # noqa: E402
from minilib.synthesizer_torch import (  # noqa: E402
    DenseScores,
    DenseSynthesizer,
    DotScores,
    FactorizedDenseScores,
    FactorizedDenseSynthesizer,
    FactorizedRandomSynthesizer,
    GatedMixture,
    Mixture,
    RandomScores,
    RandomSynthesizer,
    Synthesizer,
)

pytestmark = pytest.mark.torch

S, H, D_H, N, n, A, B, K = 2, 3, 13, 35, 11, 5, 7, 17
D = H * D_H
"""Batch, heads, width of a head, longest, length, factors, rank: different primes, but N = A · B and D = H · D_H."""

LAYERS = {
    "dense": lambda **o: DenseSynthesizer(D, H, N, **o),
    "dense, shared": lambda **o: DenseSynthesizer(D, H, N, shared=True, **o),
    "random": lambda **o: RandomSynthesizer(D, H, N, **o),
    "fixed random": lambda **o: RandomSynthesizer(D, H, N, trained=False, **o),
    "factorized dense, tile": lambda **o: FactorizedDenseSynthesizer(D, H, N, A, B, **o),
    "factorized dense, interleave": lambda **o: FactorizedDenseSynthesizer(D, H, N, A, B, "interleave", **o),
    "factorized dense, shared": lambda **o: FactorizedDenseSynthesizer(D, H, N, A, B, shared=True, **o),
    "factorized random": lambda **o: FactorizedRandomSynthesizer(D, H, N, K, **o),
    "mixture": lambda **o: Mixture([DotScores(D, H, **o), RandomScores(D, H, N), DenseScores(D, H, N, **o)], **o),
    "gated mixture": lambda **o: GatedMixture(DotScores(D, H, **o), RandomScores(D, H, N), **o),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def made(name, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return LAYERS[name](**options).to(dtype)


def tokens(*shape, dtype=torch.float64, seed=1):
    return torch.randn(*shape, D, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------------
# the interface of multi-head attention


@each_layer
def test_a_layer_takes_the_place_of_self_attention(name):
    layer, peer, x = made(name), MultiHeadAttention(D, H).double(), tokens(S, n)
    lengths = torch.tensor([n, 4])
    masks = [None, causal_mask(n, x), padding_mask(lengths, n), causal_mask(n, x) & padding_mask(lengths, n)]
    for mask in masks:
        for arguments in ({"mask": mask}, {"memory": None, "mask": mask}):
            assert layer(x, **arguments).shape == peer(x, **arguments).shape == x.shape
        assert layer.weights(x, mask=mask).shape == peer.weights(x, mask=mask).shape == (S, H, n, n)
    assert layer(x[0]).shape == (n, D)
    assert layer.weights(x[0]).shape == (H, n, n)


@each_layer
def test_the_output_is_the_weights_times_the_values(name):
    layer, x = made(name), tokens(S, n)
    mask = causal_mask(n, x) & padding_mask(torch.tensor([n, 4]), n)
    want = layer.W_o(merge_heads(layer.weights(x, mask=mask) @ split_heads(layer.W_v(x), H)))
    torch.testing.assert_close(layer(x, mask=mask), want)


@each_layer
def test_a_causal_layer_does_not_look_ahead_and_padding_does_not_count(name):
    layer, x = made(name), tokens(S, n)
    late = x.clone()
    late[:, 7:] = tokens(S, n - 7, seed=2)
    mask = causal_mask(n, x)
    before, after = layer(x, mask=mask), layer(late, mask=mask)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert (before[:, 7:] - after[:, 7:]).abs().min(-1).values.max() > 1e-4
    padding = padding_mask(torch.tensor([7, 7]), n)
    torch.testing.assert_close(layer(x, mask=padding)[:, :7], layer(late, mask=padding)[:, :7])
    torch.testing.assert_close(layer(x, mask=padding)[:, :7], layer(x[:, :7]))


@each_layer
def test_a_token_that_may_look_nowhere_gets_the_bias_of_the_output(name):
    layer, x = made(name), tokens(S, n)
    torch.nn.init.normal_(layer.W_o.bias)
    mask = torch.ones(n, n, dtype=torch.bool)
    mask[3] = False
    out = layer(x, mask=mask)
    torch.testing.assert_close(out[:, 3], layer.W_o.bias.expand(S, D))
    assert out.isfinite().all()
    assert not layer.weights(x, mask=mask)[:, :, 3].any()


@each_layer
def test_which_rows_move_when_one_token_does(name):
    layer, x = made(name), tokens(S, n)
    other = x.clone()
    other[:, 4] = tokens(S, seed=2)
    moved = (layer.weights(other) - layer.weights(x)).abs().amax(-1) > 1e-12
    rows = {row for row in range(n) if moved[:, :, row].any()}
    assert rows == (set(range(n)) if "mixture" in name else set() if "random" in name else {4})


# ---------------------------------------------------------------------------------------------------------------
# module = formula


def test_the_modules_of_scores_are_the_formulas():
    x = tokens(S, n)
    for shared in (False, True):
        scores = made("dense, shared" if shared else "dense").scores
        q = split_heads(scores.W_1(x), H)
        torch.testing.assert_close(scores(x), syn.dense_scores(q, scores.W_2.weight, scores.W_2.bias))
        assert scores.W_2.weight.shape == (() if shared else (H,)) + (N, D_H)
    scores = made("random").scores
    torch.testing.assert_close(scores(x), scores.R[:, :n, :n])
    scores = made("factorized random").scores
    torch.testing.assert_close(scores(x), (scores.R_1 @ scores.R_2.mT)[:, :n, :n])
    mixed, gated = made("mixture").scores, made("gated mixture").scores
    for p in (mixed.w, gated.a):
        torch.nn.init.normal_(p)
    shares = mixed.w.exp() / mixed.w.exp().sum()
    torch.testing.assert_close(mixed(x), sum(s * part(x) for s, part in zip(shares, mixed.parts, strict=True)))
    gate = 1 / (1 + torch.exp(-gated.a))
    torch.testing.assert_close(gated(x), (1 - gate) * gated.dot(x) + gate * gated.synthetic(x))


@pytest.mark.parametrize("layout", ["tile", "interleave"])
def test_factorized_dense_scores_are_the_formula_in_each_layout(layout):
    torch.manual_seed(0)
    scores, x = FactorizedDenseScores(D, H, N, A, B, layout).double(), tokens(S, n)
    for layer in (scores.W_a, scores.W_b):
        torch.nn.init.normal_(layer.bias)
    hidden = split_heads(scores.W_1(x), H).clip(min=0)
    u, v = (hidden @ W.weight.mT + W.bias[:, None] for W in (scores.W_a, scores.W_b))
    got = scores(x)
    for j in range(n):
        second = v[..., j % B] if layout == "tile" else v[..., j // A]
        torch.testing.assert_close(got[..., j], u[..., j % A] * second)


def test_dot_scores_and_the_layer_around_them_are_multi_head_attention():
    peer, x = MultiHeadAttention(D, H).double(), tokens(S, n)
    for p in peer.parameters():
        torch.nn.init.normal_(p, std=0.2)
    layer = Synthesizer(DotScores(D, H)).double()
    layer.scores.load_state_dict({k: v for k, v in peer.state_dict().items() if k[:3] in ("W_q", "W_k")})
    layer.load_state_dict({k: v for k, v in peer.state_dict().items() if k[:3] in ("W_v", "W_o")}, strict=False)
    torch.testing.assert_close(layer(x, mask=causal_mask(n, x)), peer(x, mask=causal_mask(n, x)))
    torch.testing.assert_close(layer.weights(x), peer.weights(x))


def test_the_authors_dense_scores_are_the_shared_ones_without_biases():
    """In their code: logits = relu(q) · W, with q the queries of all heads and one W of shape (d_h, N)."""
    layer, x = made("dense, shared", bias=False), tokens(S, n)
    q = torch.einsum("snd,hed->shne", x, layer.scores.W_1.weight.reshape(H, D_H, D))
    want = torch.einsum("shne,je->shnj", q.relu(), layer.scores.W_2.weight[:n])
    torch.testing.assert_close(layer.scores(x), want)


# ---------------------------------------------------------------------------------------------------------------
# initialisation, gradients, training


@each_layer
def test_scores_begin_with_a_variance_near_one(name):
    torch.manual_seed(0)
    wide = {
        "dense": lambda: DenseScores(256, 4, 64),
        "dense, shared": lambda: DenseScores(256, 4, 64, shared=True),
        "random": lambda: RandomScores(256, 4, 64),
        "fixed random": lambda: RandomScores(256, 4, 64, trained=False),
        "factorized dense, tile": lambda: FactorizedDenseScores(256, 4, 64, 8, 8),
        "factorized dense, interleave": lambda: FactorizedDenseScores(256, 4, 64, 8, 8, "interleave"),
        "factorized dense, shared": lambda: FactorizedDenseScores(256, 4, 64, 8, 8, shared=True),
        "factorized random": lambda: FactorizedRandomSynthesizer(256, 4, 64, 8).scores,
        "mixture": lambda: DotScores(256, 4),
        "gated mixture": lambda: RandomScores(256, 4, 64, std=1.0),
    }[name]()
    variance = wide(torch.randn(8, 64, 256)).var().item()
    assert variance == pytest.approx(1, abs=0.2)


def test_the_standard_deviation_of_random_scores_is_the_one_asked_for():
    torch.manual_seed(0)
    x = torch.zeros(64, 256)
    assert RandomScores(256, 4, 64, std=0.02)(x).std().item() == pytest.approx(0.02, rel=0.02)
    assert FactorizedRandomSynthesizer(256, 4, 64, 8, std=0.3).scores(x).std().item() == pytest.approx(0.3, rel=0.05)


def test_fixed_random_scores_are_kept_but_not_trained():
    fixed, trained = made("fixed random"), made("random")
    assert "scores.R" in fixed.state_dict()
    assert {name for name, _ in trained.named_parameters()} - {name for name, _ in fixed.named_parameters()} == {
        "scores.R"
    }


@each_layer
def test_gradients_are_slopes(name):
    layer, x = made(name), tokens(5).requires_grad_()
    mask = causal_mask(5, x)
    parameters = dict(layer.named_parameters())
    for p in parameters.values():
        torch.nn.init.normal_(p, std=0.3)

    def out(x, *weights):
        return torch.func.functional_call(layer, dict(zip(parameters, weights, strict=True)), (x, None, mask))

    assert torch.autograd.gradcheck(out, (x, *parameters.values()), fast_mode=True)


def test_at_first_the_gate_feels_a_quarter_of_the_difference():
    layer, x, G = made("gated mixture"), tokens(S, n), torch.randn(S, H, n, n, dtype=torch.float64)
    (G * layer.scores(x)).sum().backward()
    want = (G * (layer.scores.synthetic(x) - layer.scores.dot(x))).sum() / 4
    torch.testing.assert_close(layer.scores.a.grad, want)


@each_layer
def test_a_layer_learns_one_batch_by_heart(name):
    layer, x, y = (
        made(name, torch.float32),
        tokens(S, n, dtype=torch.float32),
        tokens(S, n, dtype=torch.float32, seed=3),
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    first = None
    for _ in range(150):
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean()
        first = first or loss.item()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-2 * first


# ---------------------------------------------------------------------------------------------------------------
# costs: counted = closed form


def closed_form(name):
    dense = syn.dense_cost(D, H, N, n, shared="shared" in name)
    dot, random = syn.dot_cost(D, n), syn.random_cost(H, N)
    factorized = syn.factorized_dense_cost(D, H, A, B, n, shared="shared" in name)
    return {
        "random": random,
        "fixed random": random,
        "factorized random": syn.factorized_random_cost(H, N, K, n),
        "mixture": syn.mixture_cost(H, n, dot, random, dense),
        # One number for two parts: the other weight is what is left.
        "gated mixture": syn.mixture_cost(H, n, dot, random)._replace(
            parameters=dot.parameters + random.parameters + 1
        ),
    }.get(name, factorized if name.startswith("factorized") else dense)


@each_layer
def test_counted_parameters_are_the_closed_form(name):
    layer = made(name, bias=False)
    counted = sum(a.numel() for a in layer.state_dict().values())
    assert counted == syn.layer_cost(closed_form(name), D, n).parameters


@each_layer
def test_counted_products_are_the_closed_form(name):
    """Torch counts products of matrices, twice; the products entry by entry, h n² each time, it does not see."""
    layer, x = made(name, bias=False), tokens(n)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    unseen = {"mixture": 3, "gated mixture": 2}.get(name, int(name.startswith("factorized dense"))) * H * n * n
    assert counter.get_total_flops() // 2 == syn.layer_cost(closed_form(name), D, n).macs - unseen


@pytest.mark.parametrize("name", ["random", "factorized random"])
def test_fixed_maps_are_made_once_for_a_whole_batch(name):
    layer, x = made(name, bias=False), tokens(S, n)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    own, rest = closed_form(name).macs, syn.layer_cost(syn.Cost(0, 0), D, n).macs
    assert counter.get_total_flops() // 2 == own + S * rest


# ---------------------------------------------------------------------------------------------------------------
# other numbers, other ways to run


@each_layer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close(name, dtype):
    exact, half = made(name), made(name).to(dtype)
    x = tokens(S, n)
    out = half(x.to(dtype), mask=causal_mask(n, x))
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact(x, mask=causal_mask(n, x)), rtol=0, atol=0.1)
    rows = half.weights(x.to(dtype)).double().sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows), rtol=0, atol=n * torch.finfo(dtype).eps)


def test_scores_beyond_65504_overflow_in_float16_as_documented():
    layer = made("dense").half()
    x = 60_000 * torch.ones(n, D, dtype=torch.float16)
    assert not layer.scores(x).isfinite().all()
    assert layer.to(torch.bfloat16).scores(x.to(torch.bfloat16)).isfinite().all()


@each_layer
def test_one_token_passes_its_value_on(name):
    layer, x = made(name), tokens(S, 1)
    torch.testing.assert_close(layer(x), layer.W_o(layer.W_v(x)))


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
@each_layer
def test_a_layer_compiles_without_a_graph_break(name, compiled):
    layer, x = made(name), tokens(S, n)
    whole = compiled(layer)
    torch.testing.assert_close(whole(x, mask=causal_mask(n, x)), layer(x, mask=causal_mask(n, x)))


def test_vmap_over_sequences_is_the_batch():
    q, W, R = tokens(S, n), tokens(N), torch.randn(N, N, dtype=torch.float64)

    def mixed(q):
        scores = syn.softmax_mixture([syn.dense_scores(q, W), syn.random_scores(R, n)], R[0, :2])
        return syn.synthetic_attention(scores, q, causal_mask(n, R))

    torch.testing.assert_close(torch.func.vmap(mixed)(q), mixed(q))


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.usefixtures("unchecked")
@each_layer
def test_a_memory_and_a_sequence_that_is_too_long_are_refused(name):
    layer = made(name)
    x = tokens(S, n)
    for call in (layer, layer.weights):
        with pytest.raises(ValueError, match=r"attends to its own input only.*use MultiHeadAttention"):
            call(x, x)
        with pytest.raises(ValueError, match="exist for 1 to 35 tokens, got 36"):
            call(tokens(S, N + 1))
        with pytest.raises(
            ValueError, match=r"expected shape \(…, n, 39\), positions before features, got \(2, 11, 38\)"
        ):
            call(x[..., 1:])
        with pytest.raises(ValueError, match=r"got \(39,\)"):
            call(x[0, 0])
        with pytest.raises(ValueError, match="mask must be boolean"):
            call(x, mask=torch.ones(n, n))


def test_a_layer_that_cannot_be_made_says_why():
    with pytest.raises(ValueError, match="39 features cannot be shared out among 2 heads"):
        DenseSynthesizer(D, 2, N)
    with pytest.raises(ValueError, match="longest must be at least 1 token, got 0"):
        RandomSynthesizer(D, H, 0)
    with pytest.raises(ValueError, match=r"a · b must be the longest length 35, got 5 · 6 = 30"):
        FactorizedDenseSynthesizer(D, H, N, A, 6)
    with pytest.raises(ValueError, match="layout must be one of tile, interleave, got 'repeat'"):
        FactorizedDenseSynthesizer(D, H, N, A, B, "repeat")
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        FactorizedRandomSynthesizer(D, H, N, 0)
    with pytest.raises(ValueError, match=r"the same d and heads, got \[\(39, 1\), \(39, 3\)\]"):
        Mixture([DotScores(D, H), RandomScores(D, 1, N)])
    with pytest.raises(ValueError, match="at least one"):
        Mixture([])


def test_a_mixture_is_as_short_as_its_shortest_part():
    layer = Mixture([RandomScores(D, H, N), DenseScores(D, H, n), DotScores(D, H)])
    assert layer.longest == n
    assert Mixture([DotScores(D, H)]).longest is None
    assert math.isfinite(Mixture([DotScores(D, H)])(torch.randn(N, D)).sum().item())
    torch.testing.assert_close(
        Mixture([DotScores(D, H)]).scores.parts[0](torch.zeros(n, D)), attention_scores(*[torch.zeros(H, n, D_H)] * 2)
    )
