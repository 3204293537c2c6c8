"""What the attention module promises."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from minilib import attention as att  # noqa: E402
from minilib.attention_torch import MultiHeadAttention  # noqa: E402

pytestmark = pytest.mark.torch

B, N, M, HEADS, D_H = 2, 7, 11, 3, 10
D = HEADS * D_H


def inputs(dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(B, N, D, dtype=dtype), torch.randn(B, M, D, dtype=dtype)


def module(dtype=torch.float64, **options):
    """A module whose biases are not zero either."""
    torch.manual_seed(0)
    ours = MultiHeadAttention(D, HEADS, **options).to(dtype)
    for p in ours.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p)
    return ours


def some_mask(keys=M):
    """A random mask in which query 3 of the first sequence may look nowhere."""
    mask = torch.rand(B, N, keys, generator=torch.Generator().manual_seed(2)) < 0.6
    mask[0, 3] = False
    return mask


def log_law(n, d):
    """The natural logarithm of the number of keys."""
    return torch.log(n) if isinstance(n, torch.Tensor) else math.log(n)


# ---------------------------------------------------------------------------------------------------------------
# module = formula


@pytest.mark.parametrize("masked", [False, True])
def test_the_module_is_the_formula_with_its_own_weights(masked):
    ours, (x, memory) = module(bias=False), inputs()
    mask = some_mask() if masked else None
    W = [layer.weight for layer in (ours.W_q, ours.W_k, ours.W_v, ours.W_o)]
    want = att.multi_head_attention(x, memory, *W, heads=HEADS, mask=mask)
    torch.testing.assert_close(ours(x, memory, mask), want)


@pytest.mark.parametrize("options", [{}, {"rotary": True}, {"scale": log_law}, {"scale": log_law, "rotary": True}])
@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_kernel_gives_the_weights_times_the_values(options, masked):
    ours, (x, memory) = module(**options), inputs()
    mask = some_mask() if masked else None
    A, v = ours.weights(x, memory, mask), att.split_heads(ours.W_v(memory), HEADS)
    assert A.shape == (B, HEADS, N, M)
    torch.testing.assert_close(ours(x, memory, mask), ours.W_o(att.merge_heads(A @ v)))


def test_without_a_memory_a_sequence_looks_at_itself():
    ours, (x, _) = module(), inputs()
    torch.testing.assert_close(ours(x), ours(x, x), rtol=0, atol=0)


def test_a_single_sequence_is_a_batch_of_one():
    ours, (x, _) = module(rotary=True), inputs()
    mask = att.causal_mask(N, x)
    torch.testing.assert_close(ours(x[0], mask=mask), ours(x, mask=mask)[0])


def test_one_token_attends_to_itself_alone():
    ours, (x, _) = module(scale=log_law), inputs()
    assert (ours.weights(x[:, :1]) == 1).all()
    torch.testing.assert_close(ours(x[:, :1]), ours.W_o(ours.W_v(x[:, :1])))


def test_a_row_that_may_look_nowhere_gives_the_bias_and_a_finite_gradient():
    for options in ({}, {"scale": log_law}):
        ours, (x, memory) = module(**options), inputs()
        out = ours(x, memory, some_mask())
        torch.testing.assert_close(out[0, 3], ours.W_o.bias)
        out.square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in ours.parameters())


def test_nan_spreads_even_from_behind_a_mask():
    ours, (x, _) = module(), inputs()
    x[0, 6] = math.nan
    out = ours(x, mask=att.causal_mask(N, x))
    assert torch.isnan(out[0]).all()
    assert torch.isfinite(out[1]).all()


# ---------------------------------------------------------------------------------------------------------------
# scale laws


def test_a_law_is_asked_with_the_number_of_keys_and_the_features_of_a_head():
    asked = []
    ours, (x, memory) = module(scale=lambda n, d: asked.append((n, d)) or 0.5), inputs()
    scores = att.attention_scores(
        att.split_heads(ours.W_q(x), HEADS), att.split_heads(ours.W_k(memory), HEADS), scale=0.5
    )
    torch.testing.assert_close(ours.weights(x, memory), scores.softmax(-1))
    assert asked == [(M, D_H)]


def test_under_a_causal_mask_each_row_counts_the_keys_it_sees():
    """Row i of a causal sequence is the last row of its first i + 1 tokens, whatever the law."""
    ours, (x, _) = module(scale=log_law), inputs()
    whole = ours(x, mask=att.causal_mask(N, x))
    for i in range(N):
        torch.testing.assert_close(whole[:, i], ours(x[:, : i + 1])[:, -1])


def test_padding_does_not_count():
    ours, (x, _) = module(scale=log_law), inputs()
    lengths = torch.tensor([4, 6])
    padded = ours(x, mask=att.padding_mask(lengths, N))
    for b, n in enumerate(lengths):
        torch.testing.assert_close(padded[b, :n], ours(x[b, :n]))


def test_a_law_may_have_parameters_and_one_scale_for_each_head():
    class Learned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.s = torch.nn.Parameter(torch.linspace(0.1, 0.9, HEADS, dtype=torch.float64)[:, None, None])

        def forward(self, n, d):
            return self.s * log_law(n, d)

    ours, (x, _) = module(scale=Learned()), inputs()
    assert "scale.s" in dict(ours.named_parameters())
    for mask in (None, att.causal_mask(N, x)):
        A = ours.weights(x, mask=mask)
        for r in range(HEADS):
            alone = module(scale=lambda n, d, r=r: float(ours.scale.s[r].detach()) * log_law(n, d))
            torch.testing.assert_close(A[:, r], alone.weights(x, mask=mask)[:, r])
    ours(x).sum().backward()
    assert (ours.scale.s.grad != 0).all()


# ---------------------------------------------------------------------------------------------------------------
# rotary


def test_rotary_scores_know_only_the_distance():
    ours, _ = module(rotary=True), inputs()
    x = torch.randn(1, 1, D, dtype=torch.float64).expand(1, N, D)
    scores = ours.weights(x)[0].log()
    for shift in range(1, N):
        steps = scores.diagonal(shift, -2, -1) - scores.diagonal(0, -2, -1)[:, :-shift]
        torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))


def test_rotary_breaks_the_symmetry_between_positions_and_plain_attention_keeps_it():
    x, _ = inputs()
    order = torch.tensor([2, 0, 1, 3, 4, 5, 6])
    for rotary in (False, True):
        ours = module(rotary=rotary)
        moved = (ours(x[:, order]) - ours(x)[:, order]).abs().max()
        assert (moved > 1e-3) == rotary


# ---------------------------------------------------------------------------------------------------------------
# the peer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [False, True])
def test_the_module_is_its_peer_forward_and_backward(bias, batch_first, masked):
    torch.manual_seed(0)
    peer = torch.nn.MultiheadAttention(D, HEADS, bias=bias, batch_first=batch_first, dtype=torch.float64)
    for p in peer.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p)
    ours, (x, memory) = MultiHeadAttention.from_torch(peer), inputs()
    mask = (some_mask() | (torch.arange(M) == 0)) if masked else None  # the peer gives NaN for a row without keys
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    turn = (lambda t: t) if batch_first else (lambda t: t.transpose(0, 1))
    hidden = None if mask is None else ~mask.repeat_interleave(HEADS, dim=0)
    want, A = peer(turn(b), turn(memory), turn(memory), attn_mask=hidden, average_attn_weights=False)
    out = ours(a, memory, mask)
    torch.testing.assert_close(out, turn(want))
    torch.testing.assert_close(ours.weights(x, memory, mask), A)
    probe = torch.randn_like(out)
    (out * probe).sum().backward()
    (turn(want) * probe).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.W_k.weight.grad, peer.in_proj_weight.grad.chunk(3)[1])
    torch.testing.assert_close(ours.W_o.weight.grad, peer.out_proj.weight.grad)


@pytest.mark.parametrize("bias", [True, False])
def test_weights_go_to_torch_and_come_back(bias):
    ours, (x, _) = module(bias=bias), inputs()
    peer = ours.to_torch()
    torch.testing.assert_close(peer(x, x, x)[0], ours(x))
    back = MultiHeadAttention.from_torch(peer, scale=log_law, rotary=True)
    for name, p in ours.named_parameters():
        torch.testing.assert_close(back.get_parameter(name), p, rtol=0, atol=0)
    assert (back.scale, back.rotary) == (log_law, True)


# ---------------------------------------------------------------------------------------------------------------
# dtypes, start, training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masked", [False, True])
def test_narrow_floats_give_the_same_within_their_rounding(dtype, masked):
    mask = some_mask(N) if masked else None
    x = inputs()[0].to(dtype)
    for options in ({}, {"rotary": True, "scale": log_law}):
        ours = module(**options).to(dtype)
        got = ours(x, mask=mask)
        assert got.dtype == dtype
        want = ours.double()(x.double(), mask=mask)
        close = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1.5e-1}[dtype]
        torch.testing.assert_close(got.double(), want, rtol=close, atol=close)


def test_at_the_start_scores_have_unit_variance_and_the_output_has_no_bias():
    torch.manual_seed(3)
    ours = MultiHeadAttention(240, 3)
    x = torch.randn(4, 50, 240)
    q, k = att.split_heads(ours.W_q(x), 3), att.split_heads(ours.W_k(x), 3)
    assert att.attention_scores(q, k).var().item() == pytest.approx(1, rel=0.05)
    assert not any(layer.bias.any() for layer in (ours.W_q, ours.W_k, ours.W_v, ours.W_o))


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
def test_the_module_compiles_without_a_graph_break(compiled):
    ours, (x, _) = module(rotary=True, scale=log_law), inputs()
    mask = att.causal_mask(N, x)
    whole = compiled(ours)
    torch.testing.assert_close(whole(x, mask=mask), ours(x, mask=mask))


def test_one_batch_can_be_learnt_by_heart():
    """Each token has to find the one with the same key and bring back its value."""
    torch.manual_seed(4)
    ours = MultiHeadAttention(24, 3)
    x, target = torch.randn(1, 5, 24), torch.randn(1, 5, 24)
    optimizer = torch.optim.Adam(ours.parameters(), lr=0.02)
    for _ in range(300):
        loss = (ours(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MultiHeadAttention(10, 3), "10 features cannot be shared out among 3 heads; take a divisor"),
        (lambda: MultiHeadAttention(10, 0), "among 0 heads"),
        (lambda: MultiHeadAttention(9, 3, rotary=True), r"even number of features, got 9 / 3 = 3"),
        (lambda: module()(torch.randn(N, D + 1)), rf"expected shape \(…, n, {D}\).*got \(7, 31\)"),
        (lambda: module()(torch.randn(D)), "positions before features"),
        (lambda: module()(inputs()[0], mask=some_mask(N).double()), "mask must be boolean"),
        (lambda: module()(inputs()[0], mask=torch.ones(N, dtype=bool)), r"expected shape \(…, n, m\)"),
        (lambda: MultiHeadAttention.from_torch(torch.nn.Linear(3, 3)), "nn.MultiheadAttention, got Linear"),
        (lambda: MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(6, 2, dropout=0.1)), "dropout"),
        (lambda: MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(6, 2, kdim=3)), "kdim"),
        (lambda: MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(6, 2, add_bias_kv=True)), "add_bias_kv"),
        (lambda: MultiHeadAttention(6, 2, scale=log_law).to_torch(), "neither a scale law nor rotary"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
