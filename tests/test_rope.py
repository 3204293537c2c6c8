"""What rotary positions promise."""

from __future__ import annotations

import math
import warnings

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.rope import (
    decay_bound,
    halves_order,
    linear_rotary_attention,
    linear_rotary_weights,
    mean_product,
    partial_rope,
    rope,
    rope_angles,
    rope_halves,
    wavelengths,
)

B, N, D = 2, 7, 10
LAYOUTS = [rope, rope_halves]

each_layout = pytest.mark.parametrize("turn", LAYOUTS, ids=lambda f: f.__name__)


def numbers(seed=0, shape=(B, N, D)):
    return np.random.default_rng(seed).normal(size=shape)


def at(position, d=D):
    """The angles of one position."""
    return rope_angles(np.array([position]), d, np.zeros(1))


# ---------------------------------------------------------------------------------------------------------------
# theorems


@each_layout
@settings(deadline=None)
@given(m=st.integers(-1000, 1000), n=st.integers(-1000, 1000), shift=st.integers(-1000, 1000))
def test_rotation_leaves_only_relative_position(turn, m, n, shift):
    q, k = numbers(0, (1, D)), numbers(1, (1, D))
    here = (turn(q, at(m)) * turn(k, at(n))).sum()
    there = (turn(q, at(m + shift)) * turn(k, at(n + shift))).sum()
    assert there == pytest.approx(here, abs=1e-10)
    assert here == pytest.approx((turn(q, at(m - n)) * k).sum(), abs=1e-10)


@each_layout
def test_rotation_keeps_norms_and_position_zero_as_it_is(turn):
    x = numbers()
    y = turn(x, rope_angles(N, D, x))
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-13)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    assert np.abs(y[:, 1:] - x[:, 1:]).max() > 0.1


@each_layout
def test_turning_twice_is_turning_by_the_sum(turn):
    x = numbers(0, (1, D))
    np.testing.assert_allclose(turn(turn(x, at(3)), at(8)), turn(x, at(11)), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(turn(turn(x, at(3)), at(-3)), x, rtol=1e-12, atol=1e-14)


def test_neighbouring_features_are_a_complex_number_that_is_multiplied():
    x = numbers()
    z = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(
        1j * np.outer(np.arange(N), 10_000.0 ** (-2 * np.arange(D // 2) / D))
    )
    want = np.stack([z.real, z.imag], axis=-1).reshape(B, N, D)
    np.testing.assert_allclose(rope(x, rope_angles(N, D, x)), want, rtol=1e-12, atol=1e-14)


@each_layout
@settings(deadline=None, max_examples=50)
@given(places=st.lists(st.integers(-500, 500), min_size=N, max_size=N), shift=st.integers(-500, 500))
def test_a_shift_of_all_places_leaves_every_score_wherever_the_places_are(turn, places, shift):
    """Not only for tokens that stand side by side: any set of places, moved as a whole."""
    q, k, m = numbers(0), numbers(1), np.array(places)
    here, there = (
        turn(q, rope_angles(at, D, q)) @ np.swapaxes(turn(k, rope_angles(at, D, k)), -1, -2) for at in (m, m + shift)
    )
    np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-10)


def test_the_two_layouts_are_a_permutation_of_each_other():
    """Feature 2j of the one is feature j of the other, 2j + 1 is j + d/2; scores agree if both sides are permuted."""
    x, y, angles, order = numbers(), numbers(1), rope_angles(N, D, numbers()), halves_order(D)
    assert order == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    np.testing.assert_allclose(rope_halves(x[..., order], angles), rope(x, angles)[..., order], rtol=1e-14)
    scores = rope(x, angles) @ np.swapaxes(rope(y, angles), -1, -2)
    others = rope_halves(x[..., order], angles) @ np.swapaxes(rope_halves(y[..., order], angles), -1, -2)
    np.testing.assert_allclose(others, scores, rtol=1e-12, atol=1e-13)


def test_weights_change_their_layout_with_the_rows_of_each_head():
    """As the weights of LLaMA are reordered for Hugging Face."""
    heads, width, x = 3, 17, numbers(2, (B, N, 17))
    W = numbers(3, (heads, D, width))
    angles = rope_angles(N, D, x)
    for r in range(heads):
        moved = W[r][halves_order(D)]
        np.testing.assert_allclose(
            rope_halves(x @ moved.T, angles), rope(x @ W[r].T, angles)[..., halves_order(D)], rtol=1e-12, atol=1e-13
        )


def test_mixing_the_layouts_breaks_the_theorem_and_raises_no_error():
    """One layout for the queries and the other for the keys: the product knows the places again."""
    q, k = numbers(0, (1, D)), numbers(1, (1, D))
    same, mixed = (
        [(rope(q, at(m + 3)) * turn(k, at(m))).sum() for m in range(0, 500, 7)] for turn in (rope, rope_halves)
    )
    assert np.ptp(same) < 1e-12
    assert np.ptp(mixed) > 1


def test_turned_values_would_make_the_output_depend_on_the_place():
    """Why v is left alone: its turn is by its own place, not by a distance."""
    v = numbers(0, (1, D))
    assert np.abs(rope(v, at(3)) - rope(v, at(4))).max() > 0.1


def test_a_norm_without_gamma_commutes_with_the_turn_and_one_with_gamma_does_not():
    """Queries may be normalised before the turn or after it, if every feature of a plane is treated alike."""
    x, angles, gamma = numbers(), rope_angles(N, D, numbers()), 1 + np.arange(D)
    root = np.sqrt((x * x).mean(-1, keepdims=True))
    np.testing.assert_allclose(rope(x / root, angles), rope(x, angles) / root, rtol=1e-12, atol=1e-14)
    assert np.abs(rope(x * gamma, angles) - rope(x, angles) * gamma).max() > 0.1


@each_layout
def test_a_part_is_turned_and_the_rest_is_as_it_was(turn):
    x, angles = numbers(), rope_angles(N, 4, numbers())
    y = partial_rope(x, angles, turn)
    np.testing.assert_array_equal(y[..., :4], turn(x[..., :4], angles))
    np.testing.assert_array_equal(y[..., 4:], x[..., 4:])
    whole = rope_angles(N, D, x)
    np.testing.assert_array_equal(partial_rope(x, whole, turn), turn(x, whole))


def test_the_matrix_of_a_turn_is_orthogonal():
    for turn in LAYOUTS:
        R = turn(np.eye(D)[:, None, :], at(5))[:, 0]
        np.testing.assert_allclose(R @ R.T, np.eye(D), atol=1e-14)


# ---------------------------------------------------------------------------------------------------------------
# what a distance does


def test_the_mean_product_of_a_vector_with_itself_is_twice_the_sum_of_cosines():
    """E⟨q, R q⟩ is the trace of R: measured on a sample, and on unit vectors without any chance."""
    m, d = np.array([0.0, 1.0, 8.0, 64.0, 256.0]), 64
    want = mean_product(m, d)
    np.testing.assert_allclose(want, [64, 61.834, 44.828, 27.812, 22.636], atol=5e-4)
    traces = [np.trace(rope(np.eye(d)[:, None, :], at(int(one), d))[:, 0]) for one in m]
    np.testing.assert_allclose(traces, want, rtol=1e-12)
    q = numbers(0, (20_000, 1, d))
    measured = [(q * rope(q, at(int(one), d))).sum(-1).mean() for one in m]
    np.testing.assert_allclose(measured, want, atol=0.4)


def test_the_products_of_independent_vectors_have_mean_zero_and_variance_d_at_every_distance():
    """So nothing decays: what falls with the distance falls because query and key point the same way."""
    d, q, k = 64, numbers(0, (20_000, 1, 64)), numbers(1, (20_000, 1, 64))
    for m in (0, 1, 64, 1000):
        products = (q * rope(k, at(m, d))).sum(-1)
        assert products.mean() == pytest.approx(0, abs=4 * math.sqrt(d / 20_000))
        assert products.var() == pytest.approx(d, rel=0.05)


def test_the_bound_is_half_the_planes_at_distance_zero_and_takes_these_values():
    """All S_j = j at 0."""
    for d in (2, 10, 64, 128):
        assert decay_bound(np.zeros(1), d)[0] == pytest.approx((d / 2 + 1) / 2)
    m = np.array([0.0, 1, 2, 5, 10, 20, 50, 100, 200, 256, 500, 1000])
    want = [32.5, 31.54, 28.96, 20.85, 17.95, 15.24, 12.63, 10.23, 7.24, 6.54, 6.19, 4.47]
    np.testing.assert_allclose(decay_bound(m, 128), want, atol=5e-3)


def test_the_bound_does_not_fall_from_each_distance_to_the_next():
    index = decay_bound(np.arange(257.0), 128)
    rises = np.flatnonzero(np.diff(index) > 0) + 1
    assert rises[0] == 19
    assert len(rises) > 50
    assert index.argmin() == 236
    assert index.min() == pytest.approx(6.415, abs=5e-4)
    small = decay_bound(np.array([50.0, 100.0, 256.0, 1000.0]), 64)
    np.testing.assert_allclose(small, [5.73, 7.47, 3.84, 4.09], atol=5e-3)


def abel(q, k, m, d):
    """The product at a distance, and its bound by Abel's summation."""
    h = (q[..., ::2] + 1j * q[..., 1::2]) * (k[..., ::2] - 1j * k[..., 1::2])
    steps = np.abs(np.diff(h, axis=-1, append=0)).max(-1)
    return np.abs((rope(q, at(m, d)) * k).sum(-1)), steps * d / 2 * decay_bound(np.array([float(m)]), d)


def test_the_bound_holds_and_is_far_above_what_it_bounds():
    d, q, k = 128, numbers(0, (1000, 1, 128)), numbers(1, (1000, 1, 128))
    for m in (0, 1, 19, 236, 1000):
        product, bound = abel(q, k, m, d)
        assert (product <= bound).all()
        assert (product / bound).max() < 0.1


def test_the_bound_is_reached_where_all_planes_agree():
    """q = k with equal planes at distance 0: h is constant but for its last step."""
    d = 10
    product, bound = abel(np.ones((1, d)), np.ones((1, d)), 0, d)
    assert product[0] == pytest.approx(d)
    assert bound[0] == pytest.approx(2 * sum(range(1, d // 2 + 1)))
    lone, its_bound = abel(np.ones((1, 2)), np.ones((1, 2)), 0, 2)
    assert lone[0] == pytest.approx(its_bound[0])


def test_a_distance_has_any_shape_and_its_sign_does_not_matter():
    m = np.arange(-6.0, 6.0).reshape(3, 4)
    for f in (mean_product, decay_bound):
        assert f(m, D).shape == (3, 4)
        np.testing.assert_allclose(f(-m, D), f(m, D), rtol=1e-12)
        assert f(m, D)[1, 2] == pytest.approx(float(f(np.array(0.0), D)))


def test_a_larger_base_decays_later():
    m = np.arange(20.0, 400.0)
    assert (mean_product(m, 64, base=1e6) > mean_product(m, 64)).mean() > 0.95


# ---------------------------------------------------------------------------------------------------------------
# linear attention


def features(seed, width=D):
    """elu(·) + 1 of random numbers: positive."""
    x = numbers(seed, (B, N, width))
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def test_linear_attention_is_the_quadratic_one():
    q, k, v, angles = features(0), features(1), numbers(2, (B, N, 3)), rope_angles(N, D, numbers())
    got = linear_rotary_attention(q, k, v, angles)
    np.testing.assert_allclose(got, linear_rotary_weights(q, k, angles) @ v, rtol=1e-11, atol=1e-13)
    for i in range(N):
        turned = [(rope(q[0, [i]], at(i)) * rope(k[0, [j]], at(j))).sum() for j in range(N)]
        total = sum((q[0, i] * k[0, j]).sum() for j in range(N))
        np.testing.assert_allclose(got[0, i], np.array(turned) @ v[0] / total, rtol=1e-11, atol=1e-13)


def test_linear_attention_without_a_turn_has_rows_that_sum_to_one_and_with_it_has_not():
    q, k = features(0), features(1)
    np.testing.assert_allclose(linear_rotary_weights(q, k, np.zeros((N, D // 2))).sum(-1), 1)
    far = rope_angles(50 * np.arange(N), D, q)
    A = linear_rotary_weights(q, k, far)
    assert (A < 0).any()
    assert (np.abs(A.sum(-1) - 1) > 0.1).all()


def test_linear_attention_sees_distances_and_not_places():
    q, k, v = features(0), features(1), numbers(2, (B, N, 3))
    near, late = (linear_rotary_attention(q, k, v, rope_angles(np.arange(N) + m, D, q)) for m in (0, 311))
    np.testing.assert_allclose(late, near, rtol=1e-10, atol=1e-12)


def test_one_plus_the_cosine_may_be_turned_above_and_below():
    """The turn keeps norms, so 1 + q̂·R k̂ stays between 0 and 2: a linear kernel whose weights remain weights."""
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (numbers(0), numbers(1))]
    q, k = (rope(x, rope_angles(50 * np.arange(N), D, x)) for x in unit)
    kernel = 1 + q @ np.swapaxes(k, -1, -2)
    assert 0 <= kernel.min() < 1 < kernel.max() <= 2


# ---------------------------------------------------------------------------------------------------------------
# angles


def test_angles_are_positions_times_a_geometric_series():
    angles = rope_angles(N, D, numbers(), base=100.0)
    assert angles.shape == (N, D // 2)
    for m in range(N):
        for j in range(D // 2):
            assert angles[m, j] == pytest.approx(m * 100.0 ** (-2 * j / D), rel=1e-13)


def test_angles_of_given_positions_are_rows_of_those_of_a_length():
    whole = rope_angles(N, D, numbers())
    np.testing.assert_array_equal(rope_angles(np.array([5, 0, 2]), D, numbers()), whole[[5, 0, 2]])


def test_the_wavelengths_are_where_a_plane_has_turned_once():
    assert wavelengths(D) == pytest.approx((2 * math.pi / rope_angles(2, D, numbers())[1]).tolist())
    assert (wavelengths(64)[0], wavelengths(64)[-1]) == pytest.approx((2 * math.pi, 47_117), rel=1e-5)
    assert wavelengths(128)[-1] == pytest.approx(54_410, rel=1e-5)
    longer = [sum(length > 512 for length in wavelengths(d)) for d in (64, 128)]
    assert longer == [16, 33]


@pytest.mark.torch
@pytest.mark.parametrize(("name", "first", "share"), [("bfloat16", 257, 0.812), ("float16", 2049, 0.25)])
def test_half_precision_cannot_count_so_far(name, first, share):
    torch = pytest.importorskip("torch")
    m = torch.arange(4096)
    lost = m.to(getattr(torch, name)).long() != m
    assert lost.nonzero()[0].item() == first
    assert lost.double().mean().item() == pytest.approx(share, abs=5e-4)
    # The fastest plane of such a table may point the other way, ours, counted in float32, does not.
    dtype = getattr(torch, name)
    angle = {torch.bfloat16: 1.99, torch.float16: 0.8}[dtype]
    assert (m.to(dtype).double().cos() - m.double().cos()).abs().max() > angle
    ours = rope_angles(4096, 2, torch.zeros(1, dtype=dtype))[:, 0]
    assert (ours.double() - m.double()).abs().max() == 0


def test_an_angle_in_float32_is_off_by_a_ten_millionth_of_the_place():
    n, d = 100_000, 128
    m = np.array([1, 100, 10_000, n])
    off = np.abs(rope_angles(m, d, np.zeros(1, np.float32)) - rope_angles(m, d, np.zeros(1))).max(-1)
    assert (off < 3e-7 * m).all()
    assert off[-1] > 1e-3


@pytest.mark.torch
def test_positions_are_told_apart_in_bfloat16_where_bfloat16_cannot_count():
    torch = pytest.importorskip("torch")
    x = torch.ones(300, 4, dtype=torch.bfloat16)
    assert torch.arange(300).to(torch.bfloat16)[257] == 256
    angles = rope_angles(300, 4, x)
    assert angles.dtype == torch.float32
    turned = rope(x, angles)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned, rope(x.double(), rope_angles(300, 4, x.double())).bfloat16(), atol=2e-2, rtol=0)
    assert (turned[257] != turned[256]).any()


# ---------------------------------------------------------------------------------------------------------------
# dialects, dtypes, gradients


def formulas(convert, whole):
    x = convert(numbers())
    angles = rope_angles(N, D, x)
    part, distance, q, k = rope_angles(N, 4, x), convert(np.arange(5.0)), convert(features(0)), convert(features(1))
    linear = linear_rotary_attention(q, k, x, angles), linear_rotary_weights(q, k, angles)
    falling = mean_product(distance, D), decay_bound(distance, D, base=100.0)
    turned = rope(x, angles), rope_halves(x, angles), partial_rope(x, part), partial_rope(x, part, rope_halves)
    return [angles, rope_angles(whole(np.arange(3)), D, x), *turned, *linear, *falling]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_same(formulas(np.asarray, np.asarray), formulas(xp.asarray, xp.asarray), xp, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_float32(formulas(lambda a: xp.asarray(a, dtype=xp.float32), xp.asarray), xp)


@pytest.mark.torch
def test_the_gradient_is_the_slope():
    torch = pytest.importorskip("torch")
    x = torch.tensor(numbers(), requires_grad=True)
    angles = rope_angles(N, D, x)
    for turn in LAYOUTS:
        assert torch.autograd.gradcheck(lambda x, turn=turn: turn(x, angles), (x,))
    q, k = (torch.tensor(features(i)[:1], requires_grad=True) for i in range(2))
    assert torch.autograd.gradcheck(
        lambda q, k, v: linear_rotary_attention(q, k, v, angles), (q, k, x[:1]), fast_mode=True
    )
    assert torch.autograd.gradcheck(lambda m: decay_bound(m, D), torch.tensor([3.0, 40.0]).double().requires_grad_())


@pytest.mark.torch
@each_layout
def test_vmap_over_texts_is_the_batch(turn):
    torch = pytest.importorskip("torch")
    x = torch.asarray(numbers())
    angles = rope_angles(N, D, x)
    torch.testing.assert_close(torch.func.vmap(lambda one: turn(one, angles))(x), turn(x, angles), rtol=0, atol=0)


# ---------------------------------------------------------------------------------------------------------------
# independent implementations


H = 3


@pytest.fixture(scope="module")
def queries():
    """Heads of queries and keys in float64, (batch, heads, positions, features), and their angles."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    q, k = (torch.asarray(numbers(seed, (B, H, N, D))) for seed in (0, 1))
    return q, k, rope_angles(N, D, q)


def quietly(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


def agree(ours, theirs, tolerance=1e-13):
    torch = pytest.importorskip("torch")
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.torch
def test_neighbours_are_the_planes_of_roformer(queries):
    q, k, angles = queries
    peer = quietly("transformers.models.roformer.modeling_roformer").RoFormerSelfAttention
    torch = pytest.importorskip("torch")
    table = torch.cat([angles.sin(), angles.cos()], -1)[None, None]
    theirs = peer.apply_rotary_position_embeddings(table, q, k)
    for mine, other in zip((q, k), theirs, strict=True):
        agree(rope(mine, angles), other)


@pytest.mark.torch
def test_neighbours_are_the_planes_of_gpt_j_which_turns_a_part(queries):
    q, _, _ = queries
    module = quietly("transformers.models.gptj.modeling_gptj")
    angles = rope_angles(N, 4, q)
    of_a_part = q[..., :4].transpose(1, 2)  # theirs has the heads after the positions
    theirs = module.apply_rotary_pos_emb(of_a_part, angles.sin()[None], angles.cos()[None]).transpose(1, 2)
    agree(partial_rope(q, angles)[..., :4], theirs)
    table = module.create_sinusoidal_positions(N, 4)
    torch = pytest.importorskip("torch")
    agree(torch.cat([angles.sin(), angles.cos()], -1).float(), table, 1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_halves_are_the_planes_of_llama_and_gpt_neox(queries, name):
    q, k, angles = queries
    torch = pytest.importorskip("torch")
    module = quietly(f"transformers.models.{name}.modeling_{name}")
    both = torch.cat([angles, angles], -1)[None]
    for mine, other in zip((q, k), module.apply_rotary_pos_emb(q, k, both.cos(), both.sin()), strict=True):
        agree(rope_halves(mine, angles), other)


@pytest.mark.torch
def test_gpt_neox_turns_a_part_of_each_head_in_halves(queries):
    q, k, _ = queries
    torch = pytest.importorskip("torch")
    module = quietly("transformers.models.gpt_neox.modeling_gpt_neox")
    angles = rope_angles(N, 4, q)
    both = torch.cat([angles, angles], -1)[None]
    theirs, _ = module.apply_rotary_pos_emb(q, k, both.cos(), both.sin())
    agree(partial_rope(q, angles, rope_halves), theirs)


@pytest.mark.torch
def test_neighbours_are_the_planes_of_rotary_embedding_torch(queries):
    q, _, angles = queries
    peer = quietly("rotary_embedding_torch").RotaryEmbedding(D)
    agree(rope(q, angles).float(), peer.rotate_queries_or_keys(q.float()).detach(), 2e-6)


@pytest.mark.torch
def test_neighbours_are_the_planes_of_x_transformers(queries):
    q, _, angles = queries
    module = quietly("x_transformers.x_transformers")
    freqs, scale = module.RotaryEmbedding(D).forward_from_seq_len(N)
    agree(rope(q, angles).float(), module.apply_rotary_pos_emb(q.float(), freqs, scale), 2e-6)


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rope_angles(N, 5, numbers()), "d must be even and positive.*got 5"),
        (lambda: rope_angles(N, 0, numbers()), "d must be even and positive"),
        (lambda: rope_angles(N, D, numbers(), base=0.0), "base must be positive, got 0.0"),
        (lambda: rope_angles(-1, D, numbers()), "n must be non-negative"),
        (lambda: rope(numbers(), rope_angles(N + 1, D, numbers())), r"x must have shape \(…, 8, 10\).*8 positions"),
        (lambda: rope_halves(numbers(), rope_angles(N, 4, numbers())), "7 positions and 2 planes"),
        (lambda: rope(numbers().astype(int), rope_angles(N, D, numbers())), "must hold floats"),
        (lambda: rope(numbers(), rope_angles(N - 2, D, numbers())), r"5 positions.*rope_angles\(n, d, x\) makes"),
        (lambda: halves_order(7), "d must be even and positive.*got 7"),
        (lambda: wavelengths(64, base=-1.0), "base must be positive, got -1.0"),
        (lambda: wavelengths(3), "d must be even"),
        (lambda: mean_product(np.arange(3), D), "distance must hold floats"),
        (lambda: decay_bound(np.arange(3.0), 5), "d must be even"),
        (lambda: decay_bound(np.arange(3.0), D, base=0.0), "base must be positive"),
        (lambda: partial_rope(numbers(), rope_angles(N, 12, numbers())), "6 planes need 12 features, got 10"),
        (lambda: partial_rope(numbers(), rope_angles(N + 1, 4, numbers())), "8 positions and 2 planes"),
        (lambda: linear_rotary_attention(features(0), features(0, 8), numbers(), at(0)), r"k must have shape"),
        (lambda: linear_rotary_weights(features(0), features(0), at(0)), "1 positions and 5 planes"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
