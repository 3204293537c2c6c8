"""What norms that follow a condition promise as modules."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from minilib import layernorm as ln  # noqa: E402
from minilib.layernorm_torch import (  # noqa: E402
    AdaptiveResidual,
    ConditionalLayerNorm,
    ConditionalRMSNorm,
    conditioned,
    make_conditional,
)

pytestmark = pytest.mark.torch
B, N, D, K, H = 3, 5, 7, 11, 2


def close(got, want, tolerance=1e-10):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def drawn(module, seed=0):
    """The module with all parameters drawn anew, in float64."""
    source = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=source))
    return module


def tokens(seed=1):
    return torch.randn(B, N, D, generator=torch.Generator().manual_seed(seed)).double()


def condition(seed=2):
    return torch.randn(B, K, generator=torch.Generator().manual_seed(seed)).double()


def network():
    """Two places for one norm, a norm of its own, and linear maps."""
    shared = nn.LayerNorm(D, 0.1)
    parts = [nn.Linear(D, D), shared, nn.Sequential(nn.Linear(D, D), nn.LayerNorm(D)), shared]
    return drawn(nn.Sequential(*parts))


# ---------------------------------------------------------------------------------------------------------------
# the module is the formula


@pytest.mark.parametrize("matrices", [(), ("W_gamma",), ("W_beta",), ("W_gamma", "W_beta")])
def test_the_module_is_the_formula(matrices):
    norm = drawn(ConditionalLayerNorm(D, K, 0.1, scale="W_gamma" in matrices, shift="W_beta" in matrices))
    assert {name for name, _ in norm.named_parameters()} == {"weight", "bias", *matrices}
    x, c = tokens(), condition()
    want = ln.conditional_layer_norm(x, c, norm.weight, norm.bias, norm.W_gamma, norm.W_beta, 0.1)
    close(norm(x, c), want)
    close(norm(x[:, 0], c), want[:, 0])


def test_a_narrow_layer_makes_a_condition_of_its_own():
    for phi in (None, torch.tanh):
        norm, x, c = drawn(ConditionalLayerNorm(D, K, hidden=H, phi=phi)), tokens(), condition()
        assert norm.W_gamma.shape == (D, H)
        h = c @ norm.W_h.T
        h = h if phi is None else phi(h)
        close(norm(x, c), ln.conditional_layer_norm(x, h, norm.weight, norm.bias, norm.W_gamma, norm.W_beta))


def test_the_other_modules_are_their_formulas():
    x, c = tokens(), condition()
    rms = drawn(ConditionalRMSNorm(D, K))
    close(rms(x, c), ln.conditional_rms_norm(x, c, rms.weight, rms.W_gamma))
    block = drawn(AdaptiveResidual(nn.Linear(D, D), D, K))
    s, b, g = (nn.functional.silu(c) @ block.W.T + block.w).chunk(3, -1)
    close(block(x, c), ln.adaptive_residual(x, block.branch, s, b, g))


# ---------------------------------------------------------------------------------------------------------------
# how they start


def test_at_first_the_condition_changes_nothing_and_can_be_moved_to_from_the_first_step():
    norm, x, c = ConditionalLayerNorm(D, K).double(), tokens(), condition().requires_grad_()
    close(norm(x, c), nn.functional.layer_norm(x, (D,)), 1e-14)
    norm(x, c).pow(3).sum().backward()
    assert not c.grad.any()
    assert min(norm.W_gamma.grad.abs().max(), norm.W_beta.grad.abs().max()) > 0.1
    with torch.no_grad():
        for W in (norm.W_gamma, norm.W_beta):
            W -= 0.01 * W.grad
    norm(x, c).pow(3).sum().backward()
    assert c.grad.abs().max() > 1e-3


def test_a_narrow_layer_is_drawn_since_three_maps_of_zero_would_never_move():
    torch.manual_seed(0)
    norm = ConditionalLayerNorm(D, 101, hidden=53)
    assert norm.W_h.std().item() == pytest.approx(0.02, rel=0.05)
    assert not any(W.any() for W in (norm.W_gamma, norm.W_beta))


def test_adaptive_residuals_start_as_the_identity_and_conditional_norms_do_not():
    x, c = tokens(), condition()
    close(AdaptiveResidual(nn.Linear(D, D), D, K).double()(x, c), x, 0)
    assert (ConditionalLayerNorm(D, K).double()(x, c) - x).abs().max() > 0.1


def test_starting_anew_makes_the_matrices_zero_again():
    norm = drawn(ConditionalLayerNorm(D, K, hidden=H))
    norm.reset_parameters()
    assert not any(part.any() for part in (norm.W_gamma, norm.W_beta, norm.bias))
    assert (norm.weight == 1).all()


def test_drawing_all_linear_maps_of_a_network_leaves_the_matrices_at_zero():
    from minilib.bert import BertSizes
    from minilib.bert_torch import Bert

    model = Bert(BertSizes(29, 12, 2, 3, 17, positions=13))
    norms = make_conditional(model, K)
    assert len(norms) == 2 * 2 + 1 + 1  # two for each block, the embedding's, the head's
    model.reset_parameters()
    assert not any(norm.W_gamma.any() or norm.W_beta.any() for norm in norms)


# ---------------------------------------------------------------------------------------------------------------
# in a network that exists


def test_a_network_made_conditional_computes_what_it_did():
    model, x, c = network(), tokens(), condition()
    want, parameters = model(x), dict(model.named_parameters())
    norms = make_conditional(model, K)
    with conditioned(model, c):
        close(model(x), want, 1e-12)
    assert len(norms) == 2
    assert model[1] is model[3]
    assert all(norm.W_beta.dtype == torch.float64 for norm in norms)
    now = dict(model.named_parameters())
    assert all(now[name] is p for name, p in parameters.items())
    assert {name.rpartition(".")[2] for name in now.keys() - parameters.keys()} == {"W_gamma", "W_beta"}


def test_the_condition_reaches_every_norm_and_the_way_back_leads_to_it():
    model, x = network(), tokens()
    norms = make_conditional(model, K)
    drawn(model)
    c, d = (condition(seed).requires_grad_() for seed in (2, 3))
    with conditioned(model, c):
        y = model(x)
    first = norms[0](model[0](x), c)
    want = norms[0](model[2][1](model[2][0](first), c), c)
    close(y, want)
    y.sum().backward()
    assert c.grad.abs().min() > 0
    with conditioned(model, d):
        assert (model(x) - y).abs().amax((1, 2)).min() > 1e-3


def test_after_the_block_the_network_has_no_condition_even_if_it_failed():
    model, x, c = network(), tokens(), condition()
    make_conditional(model, K)
    with pytest.raises(RuntimeError, match="mat1"), conditioned(model, c):
        model(x[..., 1:])
    with pytest.raises(ValueError, match="there is no condition: call norm"):
        model(x)


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
def test_a_norm_compiles_without_a_graph_break(compiled):
    norm, x, c = drawn(ConditionalLayerNorm(D, K)), tokens(), condition()
    close(compiled(norm)(x, c), norm(x, c))


def test_it_learns_two_shifts_of_one_input():
    torch.manual_seed(0)
    norm, x = ConditionalLayerNorm(D, K), torch.randn(1, D).expand(2, D)
    c = nn.Parameter(torch.randn(2, K))
    target = torch.randn(2, D)
    optimiser = torch.optim.Adam([*norm.parameters(), c], 0.05)
    for _ in range(100):
        loss = (norm(x, c) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConditionalLayerNorm(D, K)(torch.ones(B, D)), "there is no condition"),
        (lambda: ConditionalLayerNorm(D, K)(torch.ones(B, D), torch.ones(B, K + 1)), r"c must have 11 .* \(3, 12\)"),
        (lambda: ConditionalLayerNorm(D, K)(torch.ones(B, D), torch.ones(B + 1, K)), "gamma must have the first axes"),
        (lambda: ConditionalLayerNorm(D, 0), "at least 1 of each; got 7, 0 and None"),
        (lambda: ConditionalLayerNorm(D, K, hidden=0), "at least 1 of each"),
        (lambda: make_conditional(nn.Linear(D, D), K), "Linear has no nn.LayerNorm inside"),
        (lambda: make_conditional(nn.Sequential(nn.LayerNorm((N, D))), K), "a norm over one axis with gamma and beta"),
        (lambda: make_conditional(nn.Sequential(nn.LayerNorm(D, bias=False)), K), "with gamma and beta is needed"),
        (lambda: [make_conditional(model, K) for model in [network()] * 2], "follows a condition already"),
        (lambda: conditioned(nn.Linear(D, D), torch.ones(K)).__enter__(), "nothing in Linear follows a condition"),
    ],
)
def test_bad_input_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_is_replaced_where_one_of_the_norms_will_not_do():
    model = nn.Sequential(nn.LayerNorm(D), nn.LayerNorm(D, bias=False))
    with pytest.raises(ValueError, match="a norm over one axis"):
        make_conditional(model, K)
    assert not any(isinstance(part, ConditionalLayerNorm) for part in model)
