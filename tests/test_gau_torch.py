"""What the modules of the gated attention unit promise."""

from __future__ import annotations

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from minilib import gau as unit  # noqa: E402
from minilib.arrays import relu  # noqa: E402
from minilib.attention import attention, causal_mask, padding_mask  # noqa: E402
from minilib.depth_torch import PostNorm  # noqa: E402
from minilib.gau_torch import FLASH, GAU  # noqa: E402
from minilib.rope import rope_angles  # noqa: E402

pytestmark = pytest.mark.torch

B, N, D, E, S = 3, 7, 5, 11, 2

each_kernel = pytest.mark.parametrize("kernel", unit.KERNELS)
MODULES = [(GAU, {}), (FLASH, {"chunk": 3}), (FLASH, {"chunk": 3, "causal": True})]
each_module = pytest.mark.parametrize(("kind", "options"), MODULES, ids=["GAU", "FLASH", "causal FLASH"])


def module(kind=GAU, seed=0, dtype=torch.float64, **options):
    """A module with a random offset and scale, so that no part is idle."""
    torch.manual_seed(seed)
    made = kind(D, E, S, **options).to(dtype)
    for p in (made.gamma, made.beta):
        torch.nn.init.normal_(p)
    return made


def tokens(seed=1, n=N, width=D, dtype=torch.float64):
    return torch.randn(B, n, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ---------------------------------------------------------------------------------------------------------------
# module = formula


@each_kernel
@pytest.mark.parametrize("rotary", [True, False])
def test_the_unit_is_its_formula_with_its_own_parameters(kernel, rotary):
    mine, x, mask = module(kernel=kernel, rotary=rotary), tokens(), causal_mask(N, torch.zeros(1))
    angles = rope_angles(N, S, x) if rotary else None
    want = unit.gau(x, mine.W, mine.W_o, mine.gamma, mine.beta, unit.KERNELS[kernel], mask, angles)
    torch.testing.assert_close(mine(x, mask), want, rtol=0, atol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_flash_is_its_formula_with_its_own_parameters(causal):
    mine, x = module(FLASH, chunk=3, causal=causal), tokens()
    real = torch.arange(N) < torch.tensor([[7], [4], [1]])
    parameters = mine.W, mine.W_o, mine.gamma, mine.beta
    want = unit.flash(x, *parameters, 3, causal, real, rope_angles(N, S, x))
    torch.testing.assert_close(mine(x, real), want, rtol=0, atol=0)


@each_kernel
def test_its_weights_are_those_by_which_it_multiplies_the_values(kernel):
    mine, x, mask = module(kernel=kernel), tokens(), causal_mask(N, torch.zeros(1))
    u, v, _ = unit.gau_parts(x, mine.W, S)
    want = (u * (mine.weights(x, mask) @ v)) @ mine.W_o.T
    torch.testing.assert_close(mine(x, mask), want, rtol=1e-10, atol=1e-12)


def test_with_an_open_gate_it_is_attention():
    mine, x = module(kernel="softmax", rotary=False), tokens()
    with torch.no_grad():
        _, v, z = unit.gau_parts(x, mine.W, S)
        q, k = (mine.gamma[i] * z + mine.beta[i] for i in range(2))
        u = unit.gau_parts(x, mine.W, S).u
        torch.testing.assert_close(mine(x), (u * attention(q, k, v)) @ mine.W_o.T, rtol=1e-10, atol=1e-12)


@each_module
def test_gradient_is_slope(kind, options):
    mine = module(kind, **options)

    def run(x, *parameters):
        names = [name for name, _ in mine.named_parameters()]
        return torch.func.functional_call(mine, dict(zip(names, parameters, strict=True)), (x,))

    parameters = [p.detach().requires_grad_() for p in mine.parameters()]
    assert torch.autograd.gradcheck(run, (tokens()[:1].requires_grad_(), *parameters), fast_mode=False)


@each_module
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_stays_near_the_double(kind, options, dtype):
    n = 300  # beyond what bfloat16 can count
    mine, x = module(kind, **options), tokens(n=n)
    want = mine(x)
    got = mine.to(dtype)(x.to(dtype))
    assert got.dtype == dtype
    close = {torch.float16: 0.01, torch.bfloat16: 0.08, torch.float32: 1e-5}[dtype]
    assert (got.double() - want).norm() < close * want.norm()


@each_module
def test_a_batch_is_each_text_alone_and_a_text_needs_no_batch(kind, options):
    mine, x = module(kind, **options), tokens()
    torch.testing.assert_close(torch.stack([mine(one) for one in x]), mine(x), rtol=1e-10, atol=1e-12)


@each_module
def test_vmap_over_texts_is_the_batch(kind, options):
    mine, x = module(kind, **options), tokens()
    torch.testing.assert_close(torch.func.vmap(mine)(x), mine(x), rtol=1e-10, atol=1e-12)


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
@each_module
def test_a_module_compiles_without_a_graph_break(kind, options, compiled):
    mine, x = module(kind, dtype=torch.float32, **options), tokens(dtype=torch.float32)
    whole = compiled(mine)
    torch.testing.assert_close(whole(x), mine(x))


def test_a_residual_block_hands_its_mask_to_the_unit():
    block, x, mask = PostNorm(module(), torch.nn.LayerNorm(D).double()), tokens(), causal_mask(N, torch.zeros(1))
    x_changed = x.clone()
    x_changed[:, -1] = 0
    torch.testing.assert_close(block(x, mask)[:, :-1], block(x_changed, mask)[:, :-1], rtol=0, atol=0)


# ---------------------------------------------------------------------------------------------------------------
# initialisation


@pytest.mark.parametrize(("init", "truncated"), list(itertools.product(unit.INITS, [False, True])))
def test_the_weights_have_the_deviations_of_their_initialisation(init, truncated):
    torch.manual_seed(0)
    d, e, s, lam = 64, 128, 96, 0.5
    mine = GAU(d, e, s, init=init, lam=lam, truncated=truncated)
    for W, std in zip((*mine.W.split((e, e, s)), mine.W_o), unit.INITS[init](d, e, s), strict=True):
        assert W.std().item() == pytest.approx(lam * std, rel=0.03)
        assert (W.abs().max().item() <= 2 * lam * std * 1.1369) == truncated
    assert (mine.gamma == 1).all()
    assert (mine.beta == 0).all()


def test_lam_zero_makes_the_unit_zero_and_depth_enters_as_lam():
    x = tokens(dtype=torch.float32)
    assert not GAU(D, E, S, lam=0.0)(x).any()
    assert GAU(768, lam=24 ** (-1 / 3), truncated=True).W.std().item() == pytest.approx(0.01251, rel=0.01)


def test_the_widths_have_their_usual_values():
    mine = GAU(48)
    assert (mine.e, mine.s) == (96, 128)
    assert sum(p.numel() for p in mine.parameters()) == unit.gau_parameters(48, 96, 128)
    assert sum(p.numel() for p in FLASH(48).parameters()) == unit.gau_parameters(48, 96, 128) + 4 * 128


def test_it_learns_one_batch_by_heart():
    for kind, options in [(GAU, {"kernel": k}) for k in unit.KERNELS] + MODULES[1:]:
        torch.manual_seed(5)
        mine, head = kind(16, 32, 8, **options), torch.nn.Linear(16, 1)
        x, y = torch.randn(B, N, 16), torch.randn(B, N)
        optimizer = torch.optim.Adam([*mine.parameters(), *head.parameters()], lr=0.02)
        for _ in range(200):
            optimizer.zero_grad()
            loss = ((head(mine(x))[..., 0] - y) ** 2).mean()
            loss.backward()
            optimizer.step()
        assert loss.item() < 1e-2, (kind, options)


# ---------------------------------------------------------------------------------------------------------------
# what the backward pass keeps


def kept(run, *known):
    """Numbers that autograd keeps for the backward pass of `run`, without the parameters, each storage once."""
    seen = {}

    def pack(t):
        seen[t.untyped_storage().data_ptr()] = t  # held on to, so that no address is used twice
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = run()
    addresses = {p.untyped_storage().data_ptr() for p in known}
    assert out.requires_grad
    return sum(t.untyped_storage().nbytes() // 8 for address, t in seen.items() if address not in addresses)


def relu_squared(q, k, mask):
    """As the library's, with torch's relu, which keeps its result; the library's clip keeps its input besides."""
    return torch.relu(q @ k.mT / (len(q) * q.shape[-1]) ** 0.5) ** 2


def test_the_unit_keeps_what_the_count_says():
    d, e, s, n = 64, 128, 16, 400
    torch.manual_seed(0)
    mine, x = GAU(d, e, s).double(), torch.randn(n, d, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(relu_squared(x, x, None), unit.squared_relu(x, x))
    numbers = kept(lambda: unit.gau(x, mine.W, mine.W_o, mine.gamma, mine.beta, relu_squared), *mine.parameters()) / n
    assert numbers == pytest.approx(unit.gau_kept(n, d, e, s), rel=0.03)


def test_attention_and_feed_forward_keep_what_the_count_says():
    d, heads, n = 64, 8, 400
    torch.manual_seed(0)
    W = [torch.randn(m, d, dtype=torch.float64, requires_grad=True) for m in (3 * d, d, 4 * d)]
    W.append(torch.randn(d, 4 * d, dtype=torch.float64, requires_grad=True))
    x, x2 = (torch.randn(n, d, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def run():
        q, k, v = (a.unflatten(-1, (heads, -1)).transpose(0, 1) for a in (x @ W[0].T).chunk(3, -1))
        y = torch.softmax(q @ k.mT, -1) @ v
        return (y.transpose(0, 1).flatten(1) @ W[1].T).sum() + (torch.nn.functional.gelu(x2 @ W[2].T) @ W[3].T).sum()

    assert kept(run, *W) / n == pytest.approx(unit.block_kept(n, d, heads), rel=0.03)


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAU(0), "at least one feature, got d = 0"),
        (lambda: GAU(8, s=3), "rotary needs an even s"),
        (lambda: GAU(8, kernel="relu"), "kernel must be one of relu2/ns, relu2/n2, softmax, softmax-log, got 'relu'"),
        (lambda: GAU(8, init="He"), "init must be one of LeCun, Xavier, 0.02, got 'He'"),
        (lambda: GAU(8, lam=-1.0), "lam must be non-negative"),
        (lambda: FLASH(8, chunk=0), "chunk must be at least 1 token, got 0"),
        (lambda: module()(tokens(width=D + 1)), r"x must have shape \(…, n, 5\)"),
        (lambda: module()(tokens(n=0)), "with n ≥ 1 tokens"),
        (lambda: module(rotary=False)(tokens().long()), "x must hold floats"),
        (lambda: module()(tokens(), torch.ones(N, N)), "mask must be boolean"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_odd_s_will_do_without_rotation():
    assert GAU(8, s=3, rotary=False)(torch.ones(2, 8)).shape == (2, 8)


@each_kernel
def test_a_token_that_may_look_nowhere_gets_zero_and_a_finite_gradient(kernel):
    mine, x, mask = module(kernel=kernel), tokens().requires_grad_(), padding_mask(torch.tensor([7, 4, 0]), N)
    y = mine(x, mask)
    assert not y[2].any()
    y.sum().backward()
    assert all(torch.isfinite(g).all() for g in (x.grad, mine.W.grad, mine.gamma.grad))


@each_module
def test_nan_in_one_text_stays_there(kind, options):
    mine, x = module(kind, **options), tokens()
    x[1, 2] = float("nan")
    y = mine(x)
    assert y[1].isnan().any()
    assert torch.isfinite(y[[0, 2]]).all()


@each_module
def test_a_single_token_will_do(kind, options):
    assert torch.isfinite(module(kind, **options)(tokens(n=1))).all()


# ---------------------------------------------------------------------------------------------------------------
# an independent implementation, with its conventions mapped


def with_bias(linear, extra):
    """Weight of a linear layer with its bias as one more column, for inputs with one more feature, `extra`, of 1."""
    return torch.cat([linear.weight, linear.bias[:, None] / extra], dim=1)


def peer(kind, **options):
    """One of FLASH-pytorch: relative positions and residual off, all else random."""
    flash = pytest.importorskip("flash_pytorch", reason="FLASH-pytorch is not installed")
    torch.manual_seed(0)
    theirs = getattr(flash, kind)(
        dim=D, query_key_dim=S, expansion_factor=E / D, norm_klass=torch.nn.Identity, **options
    )
    theirs = theirs.double()
    theirs.norm = torch.nn.Identity()
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_()
        theirs.rel_pos_bias.relative_attention_bias.weight.zero_()
    return theirs


def ours_from(theirs, offset_scale, out, order):
    """W, W_o, gamma, beta in our layout, and the bias that we have not; theirs is [v, u] and z."""
    v, u = with_bias(theirs.to_hidden[0], 1.0).chunk(2)
    W = torch.cat([u, v, with_bias(theirs.to_qk[0], 1.0)])
    return W, out.weight, offset_scale.gamma[order], offset_scale.beta[order], out.bias


@pytest.mark.parametrize("causal", [False, True])
def test_the_unit_is_that_of_flash_pytorch_which_divides_by_the_length_before_the_square(causal):
    theirs, x = peer("GAU", causal=causal, add_residual=False), tokens()
    W, W_o, gamma, beta, bias = ours_from(theirs, theirs.offsetscale, theirs.to_out[0], [0, 1])
    ones = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)

    def by_n(q, k, mask):  # theirs divides causal rows by n too
        A = relu(q @ k.mT / N) ** 2
        return A.tril() if causal else A

    torch.testing.assert_close(unit.gau(ones, W, W_o, gamma, beta, by_n) + bias, theirs(x), rtol=1e-10, atol=1e-12)
    if not causal:
        got = unit.gau(ones, W, W_o, gamma, beta, unit.squared_relu_by_length) + bias
        torch.testing.assert_close(got, theirs(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_flash_is_that_of_flash_pytorch_which_divides_by_the_size_of_a_group(causal):
    n, chunk = 9, 3
    theirs, x = peer("FLASH", causal=causal, group_size=chunk), tokens(n=n)
    # theirs: quad_q, lin_q, quad_k, lin_k; causal sums over chunks are divided by one chunk, not by all before
    W, W_o, gamma, beta, bias = ours_from(theirs, theirs.qk_offset_scale, theirs.to_out, [0, 2, 1, 3])
    ones = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
    u, v, z = unit.gau_parts(ones, W, S)
    q, k, q_lin, k_lin = unit.queries_keys(z, gamma, beta)

    def by_chunk(q, k, mask):
        A = relu(q @ k.mT / chunk) ** 2
        return A.tril() if causal else A

    if causal:
        before = torch.arange(n).div(chunk, rounding_mode="floor")[:, None].clip(min=1)
        q_lin = q_lin * before
    mixed = unit.mixed_chunk_attention(q, k, q_lin, k_lin, v, chunk, causal, kernel=by_chunk)
    torch.testing.assert_close((u * mixed) @ W_o.T + bias + x, theirs(x), rtol=1e-10, atol=1e-12)


def test_the_two_scales_are_the_same_text_but_for_s_over_n():
    x, mine = tokens(), module(rotary=False)
    by_ns, by_n2 = (unit.gau(x, mine.W, mine.W_o, mine.gamma, mine.beta, k) for k in list(unit.KERNELS.values())[:2])
    torch.testing.assert_close(by_n2, S / N * by_ns, rtol=1e-10, atol=1e-12)
    assert math.isclose(128 / 512, 0.25)
