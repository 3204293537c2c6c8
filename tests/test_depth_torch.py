"""What deep residual stacks promise."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from minilib import depth as dep  # noqa: E402
from minilib.attention_torch import MultiHeadAttention  # noqa: E402
from minilib.depth_torch import (  # noqa: E402
    FeedForward,
    ResidualStack,
    Trace,
    gradients,
    increments,
    probe_stack,
    signal,
    truncated_normal_,
    updates,
    variance_scaling_,
    xavier_,
)

pytestmark = pytest.mark.torch

B, T, D, WIDTH, HEADS = 3, 7, 10, 23, 2
"""Batch, positions, features, width of the feed-forward, heads."""


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Noise(nn.Module):
    """A sub-layer that answers with a fixed random direction of so much rms, whatever it is shown."""

    def __init__(self, d, ratio):
        super().__init__()
        self.register_buffer("direction", torch.randn(d))
        self.direction *= ratio / self.direction.square().mean().sqrt()

    def forward(self, x):
        return self.direction.expand_as(x)


def transformer(layers, kind="post", **options):
    sublayers = [f for _ in range(layers) for f in (MultiHeadAttention(D, HEADS), FeedForward(D, WIDTH))]
    return ResidualStack(sublayers, D, kind, **options).double()


# ---------------------------------------------------------------------------------------------------------------
# initialisation


def test_the_truncated_normal_has_the_deviation_asked_for_and_torchs_own_has_not():
    W = torch.empty(1009, 997)
    ours = truncated_normal_(W, 0.02).clone()
    assert ours.std().item() == pytest.approx(0.02, rel=5e-3)
    assert ours.abs().max() <= 2 * 0.02 * dep.truncation_correction()
    absolute = nn.init.trunc_normal_(W, std=0.02).clone()
    assert absolute.abs().max() > 4 * 0.02  # its bounds are ±2, a hundred deviations away
    relative = nn.init.trunc_normal_(W, std=0.02, a=-0.04, b=0.04)
    assert relative.std().item() == pytest.approx(0.02 * math.sqrt(dep.truncated_variance()), rel=5e-3)


@pytest.mark.parametrize("limit", [1.0, 3.0])
def test_the_limit_counts_in_deviations_before_truncation(limit):
    W = truncated_normal_(torch.empty(1009, 503), 0.3, limit)
    assert W.std().item() == pytest.approx(0.3, rel=5e-3)
    assert W.abs().max().item() == pytest.approx(limit * dep.truncation_correction(limit) * 0.3, rel=2e-2)


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize(
    ("scale", "mode", "std"),
    [
        (1.0, "fan_in", dep.lecun_std(307)),
        (2.0, "fan_in", dep.he_std(307)),
        (1.0, "fan_out", dep.lecun_std(809)),
        (1.0, "fan_avg", dep.xavier_std(307, 809)),
    ],
)
def test_variance_scaling_draws_with_the_standard_deviation_of_its_name(scale, mode, std, distribution):
    W = variance_scaling_(torch.empty(809, 307), scale, mode, distribution)
    assert W.std().item() == pytest.approx(std, rel=1e-2)
    assert abs(W.mean().item()) < 5 * std / W.numel() ** 0.5
    farthest = {"normal": 3.5, "truncated_normal": 2.28, "uniform": math.sqrt(3)}[distribution]
    assert (W.abs().max().item() < 1.001 * farthest * std) == (distribution != "normal")


def test_swapped_fans_break_the_mean_square_of_a_matrix_that_is_not_square():
    x = torch.randn(101, 809)
    right, swapped = (variance_scaling_(torch.empty(shape)) for shape in ((307, 809), (809, 307)))
    assert (x @ right.T).square().mean().item() == pytest.approx(1, rel=0.1)
    assert (x @ swapped).square().mean().item() == pytest.approx(809 / 307, rel=0.1)


def test_xavier_scales_all_linear_maps_but_the_named_and_leaves_norms_alone():
    d = 211
    stack = ResidualStack([MultiHeadAttention(d, 1), FeedForward(d, 2 * d)], d)
    nn.init.constant_(stack.blocks[0].norm.weight, 3.0)
    xavier_(stack, 0.25, ("W_q", "W_k"))
    attention, feed = (block.sublayer for block in stack.blocks)
    for name, gain in {"W_q": 1, "W_k": 1, "W_v": 0.25, "W_o": 0.25}.items():
        linear = attention.get_submodule(name)
        assert linear.weight.std().item() == pytest.approx(gain * d**-0.5, rel=0.05)
        assert (linear.bias == 0).all()
    for linear in (feed.W_1, feed.W_2):
        assert linear.weight.std().item() == pytest.approx(0.25 * dep.xavier_std(d, 2 * d), rel=0.05)
    assert (stack.blocks[0].norm.weight == 3).all()


# ---------------------------------------------------------------------------------------------------------------
# the blocks, against torch's


def torchs_layer(stack, pre):
    """The layer of ``nn.TransformerEncoder`` with the weights of the first two blocks."""
    theirs = nn.TransformerEncoderLayer(D, HEADS, WIDTH, dropout=0.0, batch_first=True, norm_first=pre).double()
    attention, feed = stack.blocks[0].sublayer, stack.blocks[1].sublayer
    theirs.self_attn.load_state_dict(attention.to_torch().state_dict())
    theirs.linear1.load_state_dict(feed.W_1.state_dict())
    theirs.linear2.load_state_dict(feed.W_2.state_dict())
    theirs.norm1.load_state_dict(stack.blocks[0].norm.state_dict())
    theirs.norm2.load_state_dict(stack.blocks[1].norm.state_dict())
    return theirs


@pytest.mark.parametrize("kind", ["post", "pre"])
def test_a_stack_is_torchs_encoder_layer_forward_and_backward(kind):
    stack = transformer(1, kind)
    for p in stack.parameters():
        p.data += 0.1 * torch.randn_like(p)
    theirs = torchs_layer(stack, kind == "pre")
    x, mask = torch.randn(B, T, D).double(), torch.ones(T, T).tril().bool()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, want = stack(a, mask), theirs(b, src_mask=~mask)
    if kind == "pre":  # torch's encoder, not its layer, has the last norm
        want = nn.functional.layer_norm(want, (D,), stack.norm.weight, stack.norm.bias)
    torch.testing.assert_close(ours, want, rtol=1e-11, atol=1e-11)
    probe = torch.randn(B, T, D).double()
    (ours * probe).sum().backward()
    (want * probe).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)
    got = stack.blocks[1].sublayer.W_1.weight.grad
    torch.testing.assert_close(got, theirs.linear1.weight.grad, rtol=1e-9, atol=1e-9)


def test_deepnorms_alpha_is_on_the_skip():
    feed = FeedForward(D, WIDTH)
    x = torch.randn(B, T, D)
    want = nn.functional.layer_norm(2.5 * x + feed(x), (D,))
    torch.testing.assert_close(ResidualStack([feed], D, alpha=2.5)(x), want)


def test_rezero_starts_as_the_identity_and_learns_to_leave_it():
    stack, x = ResidualStack([FeedForward(D, WIDTH) for _ in range(5)], D, "rezero"), torch.randn(B, T, D)
    torch.testing.assert_close(stack(x), x, rtol=0, atol=0)
    (stack(x) - torch.randn(B, T, D)).square().mean().backward()
    assert all(block.a.grad != 0 for block in stack.blocks)
    assert all((block.sublayer.W_1.weight.grad == 0).all() for block in stack.blocks)


@pytest.mark.parametrize("kind", ["post", "pre", "rezero"])
def test_a_mask_reaches_the_attention_and_no_future_leaks(kind):
    stack, mask = transformer(2, kind), torch.ones(T, T).tril().bool()
    for p in stack.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x = torch.randn(B, T, D).double()
    y = x.clone()
    y[:, 4:, 0] += 1
    torch.testing.assert_close(stack(x, mask)[:, :4], stack(y, mask)[:, :4], rtol=0, atol=1e-12)
    assert (stack(x)[:, :4] - stack(y)[:, :4]).abs().max() > 1e-6


@pytest.mark.parametrize("kind", ["post", "pre", "rezero"])
def test_the_trace_is_what_the_stack_does(kind):
    stack, x = transformer(2, kind), torch.randn(B, T, D).double()
    trace = stack.trace(x)
    assert len(trace.states) == 5
    assert len(trace.terms) == 4
    torch.testing.assert_close(trace.output, stack(x), rtol=0, atol=0)
    for block, before, after in zip(stack.blocks, trace.states, trace.states[1:], strict=False):
        torch.testing.assert_close(block(before), after, rtol=0, atol=0)


def test_another_norm_can_be_given():
    stack = ResidualStack([FeedForward(D, WIDTH)], D, norm=nn.RMSNorm)
    assert isinstance(stack.blocks[0].norm, nn.RMSNorm)
    torch.testing.assert_close(stack(torch.randn(B, D)).square().mean(-1), torch.ones(B), rtol=1e-4, atol=0)


# ---------------------------------------------------------------------------------------------------------------
# the measures, against the theory


@pytest.mark.parametrize("ratio", [1.0, 0.4875])
def test_post_norm_forgets_its_input_as_fast_as_the_formula_says(ratio):
    d, depth = 1009, 12
    stack = ResidualStack([Noise(d, ratio) for _ in range(depth)], d)
    seen = signal(stack.trace(nn.functional.layer_norm(torch.randn(5, d), (d,))))
    want = [dep.identity_share(ratio, k) for k in range(depth + 1)]
    assert seen.cosine == pytest.approx(want, abs=0.06)
    assert seen.rms == pytest.approx([1] * (depth + 1), rel=1e-3)
    assert seen.ratio == pytest.approx([ratio] * depth, rel=1e-3)


def test_pre_norm_grows_and_its_steps_shrink_as_the_formulas_say():
    d, depth = 1009, 24
    stack = ResidualStack([Noise(d, 1.0) for _ in range(depth)], d, "pre")
    trace = stack.trace(nn.functional.layer_norm(torch.randn(5, d), (d,)))
    seen = signal(trace)
    assert [r**2 for r in seen.rms] == pytest.approx([dep.pre_norm_square(1, k) for k in range(depth + 1)], rel=0.1)
    assert seen.cosine == pytest.approx([dep.pre_norm_cosine(1, k) for k in range(depth + 1)], abs=0.05)
    assert seen.ratio == pytest.approx([dep.pre_norm_step(1, k) for k in range(depth)], rel=0.1)
    torch.testing.assert_close(trace.output.square().mean(-1), torch.ones(5), rtol=1e-3, atol=0)


def test_a_large_alpha_shrinks_the_branch_against_its_skip():
    noise, x = Noise(101, 1.0), torch.randn(5, 101)
    one, ten = (signal(ResidualStack([noise], 101, alpha=alpha).trace(x)).ratio[0] for alpha in (1.0, 10.0))
    assert one == pytest.approx(10 * ten, rel=1e-5)


def test_the_identity_path_fades_but_the_whole_gradient_does_not():
    """At depth 24 the skips alone keep 2^{-12} of the gradient; the branches carry the rest."""
    stack = probe_stack(12, dep.Scales(1.0, 1.0))
    x = torch.randn(64, 64, requires_grad=True)
    trace = stack.trace(x)
    found = gradients(stack, trace, (trace.output * torch.randn(64, 64)).mean())
    assert 0.3 < found.states[0] / found.states[-1] < 10
    assert dep.identity_share(1.0, 24) < 3e-4


def test_gradient_norms_are_those_of_backward():
    stack, x = transformer(2), torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    trace = stack.trace(x)
    found = gradients(stack, trace, trace.output[..., 0].square().mean())
    assert all(p.grad is None for p in stack.parameters())
    stack(x)[..., 0].square().mean().backward()
    assert found.states[0] == pytest.approx(x.grad.norm().item())
    for norm, block in zip(found.blocks, stack.blocks, strict=True):
        assert norm == pytest.approx(math.sqrt(sum(p.grad.square().sum().item() for p in block.parameters())))
    assert len(found.states) == 5


def test_a_branch_that_is_not_used_has_the_gradient_zero():
    stack = ResidualStack([Noise(D, 1.0), FeedForward(D, WIDTH)], D)
    trace = stack.trace(torch.randn(B, D, requires_grad=True))
    assert gradients(stack, trace, trace.states[1][..., 0].square().mean()).blocks[1] == 0


def test_updates_say_how_far_a_step_moves_each_state():
    stack, x = transformer(2), torch.randn(B, T, D).double()
    before = stack.trace(x)
    with torch.no_grad():
        stack.blocks[1].sublayer.W_2.bias[0] += 0.3
    moved = updates(before, stack.trace(x))
    assert moved[:2] == [0, 0]
    assert min(moved[2:]) > 0.01
    skip, branch = before.terms[1]
    branch[..., 0] += 0.3
    want = stack.blocks[1].norm(skip + branch) - before.states[2]
    assert moved[2] == pytest.approx((want.norm() / before.states[2].norm()).item())


def test_updates_are_relative_to_the_state_before_the_step():
    before, after = (Trace([torch.full((2, 3), value)], [], torch.zeros(2, 3)) for value in (2.0, 3.0))
    assert updates(before, after) == [0.5]


# ---------------------------------------------------------------------------------------------------------------
# increments


def probed(layers, rule, seed):
    torch.manual_seed(seed)
    stack = probe_stack(layers, dep.RULES[rule].at(layers))
    y = stack(torch.randn(64, 64))
    weights = [p for block in stack.blocks for p in block.sublayer.parameters()]
    return increments((y - torch.randn(64, 64)).square().sum(-1).mean(), weights)


def test_the_increments_are_the_slope_of_the_loss_along_the_step():
    stack, x, target = probe_stack(2, dep.Scales(1.3, 0.7)).double(), torch.randn(5, 64).double(), torch.randn(5, 64)

    def loss():
        return (stack(x) - target).square().mean()

    weights = [p for block in stack.blocks for p in block.sublayer.parameters()]
    g = torch.autograd.grad(loss(), weights)
    steps = {
        "sgd": g,
        "adam": [part.sign() for part in g],
        "lamb": [p.detach().square().mean().sqrt() * part.sign() for p, part in zip(weights, g, strict=True)],
    }
    found = increments(loss(), weights)
    for name, step in steps.items():
        ends = []
        for eta in (1e-7, -1e-7):
            for p, s in zip(weights, step, strict=True):
                p.data -= eta * s
            ends.append(loss().item())
            for p, s in zip(weights, step, strict=True):
                p.data += eta * s
        assert getattr(found, name) == pytest.approx((ends[1] - ends[0]) / 2e-7, rel=1e-4)


@pytest.mark.parametrize("rule", ["SGD", "Adam", "LAMB"])
def test_the_increments_grow_with_the_exponents_of_the_rules(rule):
    depths = torch.tensor([4.0, 8.0, 16.0, 32.0])
    runs = torch.tensor([[probed(int(n), rule, seed) for n in depths] for seed in range(2)]).mean(0)
    for k, optimizer in enumerate(("SGD", "Adam", "LAMB")):
        want = dep.increment_exponent(optimizer, dep.RULES[rule])
        assert dep.power_exponent(depths, runs[:, k]).item() == pytest.approx(want, abs=0.06)


def test_the_probe_starts_with_branches_as_large_as_their_skip_times_lambda_squared_over_alpha():
    scales = dep.Scales(1.7, 0.6)
    seen = signal(probe_stack(1, scales, d=307).trace(torch.randn(503, 307)))
    assert seen.ratio[0] == pytest.approx(scales.lam**2 / scales.alpha, rel=0.1)


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance_scaling_(torch.empty(3, 5), mode="fan"), "got 1.0, 'fan', 'truncated_normal'"),
        (lambda: variance_scaling_(torch.empty(3, 5), distribution="gauss"), "a distribution of normal"),
        (lambda: variance_scaling_(torch.empty(3, 5), scale=0.0), "expected a scale > 0"),
        (lambda: variance_scaling_(torch.empty(5)), "two axes or more"),
        (lambda: ResidualStack([], D), "at least one sub-layer, got none"),
        (lambda: ResidualStack([nn.Identity()], D, "sandwich"), "kind must be one of post, pre, rezero"),
        (lambda: ResidualStack([nn.Identity()], D, "pre", alpha=2.0), "alpha 1 unless it is post"),
        (lambda: probe_stack(0, dep.Scales(1.0, 1.0)), "at least one sub-layer"),
    ],
)
def test_bad_input_is_named_with_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gradients_need_an_input_that_takes_part():
    stack = transformer(1)
    trace = stack.trace(torch.randn(B, T, D).double())
    with pytest.raises(ValueError, match=r"call x.requires_grad_\(\) before stack.trace"):
        gradients(stack, trace, trace.output.sum())
