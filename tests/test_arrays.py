"""What the alphabet of formulas promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.arrays import (
    at_least_float32,
    chunks,
    exact_gelu,
    expect_shape,
    gelu,
    namespace,
    positions,
    relu,
    sigmoid,
    silu,
    softmax,
    unstack,
)

SHAPE = (2, 3, 5)
"""Pairwise different primes, so that no two axes can be mistaken."""

EPS = 2.0**-52
"""Spacing of the float64 numbers just above 1."""


# Of the module and not of each test, since Hypothesis runs one test many times.
@pytest.fixture(scope="module", params=["numpy", pytest.param("torch", marks=pytest.mark.torch), "array_api_strict"])
def xp(request):
    """Each library in turn that the formulas must run on."""
    return pytest.importorskip(request.param)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def numbers(shape=SHAPE, seed=0, scale=3.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def cumulative(x):
    """The normal distribution function."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def tanh_gelu(x):
    return x / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    sigmoid: lambda x: 1 / (1 + math.exp(-x)),
    relu: lambda x: x if x > 0 else 0.0,
    silu: lambda x: x / (1 + math.exp(-x)),
    gelu: tanh_gelu,
}
"""Each entrywise function with a second, differently written formula for one number."""

each_activation = pytest.mark.parametrize("f", ACTIVATIONS, ids=lambda f: f.__name__)
moderate = st.lists(st.floats(-20, 20), min_size=1, max_size=7)


# ---------------------------------------------------------------------------------------------------------------
# values


@each_activation
@settings(deadline=None)
@given(values=moderate)
def test_an_activation_is_its_formula_entry_by_entry(xp, f, values):
    got = np.asarray(f(xp.asarray(values, dtype=xp.float64)))
    want = [ACTIVATIONS[f](v) for v in values]
    # Absolute, and per unit of |x|: the tanh forms add 1 to what may be close to −1.
    np.testing.assert_allclose(got, want, rtol=4 * EPS, atol=4 * EPS * max(1, *map(abs, values)))


@settings(deadline=None)
@given(values=moderate)
def test_sigmoid_is_point_symmetric_about_one_half(xp, values):
    x = xp.asarray(values, dtype=xp.float64)
    np.testing.assert_allclose(np.asarray(sigmoid(x) + sigmoid(-x)), 1, rtol=2 * EPS)


@each_activation
def test_an_activation_saturates_at_its_limits_without_overflow(xp, f):
    """Warnings are errors here, so that an overflow inside would be seen although the value comes out right."""
    x = xp.asarray([-1e4, -1e3, -100.0, 0.0, 100.0, 1e3, 1e4], dtype=xp.float32)
    left, middle, right = ([0.0] * 3, 0.5, [1.0] * 3) if f is sigmoid else ([0.0] * 3, 0.0, [100.0, 1e3, 1e4])
    np.testing.assert_allclose(np.asarray(f(x)), [*left, middle, *right], atol=1e-40, rtol=0)


def test_relu_keeps_what_is_positive_and_nothing_else(xp):
    x = xp.asarray([-math.inf, -1.5, -0.0, 0.0, 1e-300, 2.5, math.inf], dtype=xp.float64)
    np.testing.assert_array_equal(np.asarray(relu(x)), [0, 0, 0, 0, 1e-300, 2.5, math.inf])


@pytest.mark.torch
def test_the_slope_of_relu_is_one_where_it_is_positive_and_zero_elsewhere_the_kink_included(torch):
    x = torch.tensor([-1.5, -0.0, 0.0, 2.5], requires_grad=True)
    relu(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 1]


def test_silu_is_the_input_times_its_sigmoid_and_has_its_minimum_where_theory_says(xp):
    x = xp.linspace(-4, 4, 8001, dtype=xp.float64)
    np.testing.assert_allclose(np.asarray(silu(x)), np.asarray(x * sigmoid(x)), rtol=1e-14, atol=1e-15)
    lowest = int(np.argmin(np.asarray(silu(x))))
    # The slope σ(x)(1 + x(1−σ(x))) is zero where x = −1 − e^x.
    at = float(x[lowest])
    assert at == pytest.approx(-1 - math.exp(at), abs=2e-3)


def test_gelu_is_within_5e_4_of_the_exact_one_but_not_within_4e_4():
    x = np.linspace(-8, 8, 16_001)
    error = np.abs(gelu(x) - [v * cumulative(v) for v in x])
    assert 4e-4 < error.max() < 5e-4


def test_the_exact_gelu_is_within_3e_10_of_its_definition_and_its_tail_within_1_3e_9_of_itself(xp):
    x = xp.linspace(-12, 12, 24_001, dtype=xp.float64)
    got, want = np.asarray(exact_gelu(x)), np.array([v * cumulative(v) for v in np.linspace(-12, 12, 24_001)])
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-10)
    np.testing.assert_allclose(got[:12_000], want[:12_000], rtol=1.3e-9, atol=1e-15)


def test_the_exact_gelu_minus_its_mirror_image_is_the_input(xp):
    x = xp.linspace(-9, 9, 181, dtype=xp.float64)
    np.testing.assert_allclose(np.asarray(exact_gelu(x) - exact_gelu(-x)), np.asarray(x), rtol=1e-14, atol=1e-14)


def test_the_exact_gelu_keeps_the_dtype_and_saturates_without_overflow(xp):
    x = xp.asarray([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=xp.float32)
    got = exact_gelu(x)
    assert got.dtype == xp.float32
    np.testing.assert_allclose(np.asarray(got), [0, 0, 0, 100, 1e4], atol=1e-40, rtol=0)


@pytest.mark.torch
def test_gelu_is_the_tanh_form_of_torch(torch):
    x = torch.linspace(-8, 8, 1001, dtype=torch.float64)
    torch.testing.assert_close(gelu(x), torch.nn.functional.gelu(x, approximate="tanh"), rtol=1e-12, atol=1e-14)


@each_activation
def test_nan_goes_through_an_activation_and_stays_where_it_is(xp, f):
    got = np.asarray(f(xp.asarray([1.0, math.nan, -1.0], dtype=xp.float64)))
    assert np.isnan(got).tolist() == [False, True, False]


# ---------------------------------------------------------------------------------------------------------------
# softmax


@settings(deadline=None)
@given(values=moderate)
def test_softmax_is_each_exponential_over_their_sum(xp, values):
    got = np.asarray(softmax(xp.asarray(values, dtype=xp.float64)))
    whole = math.fsum(math.exp(v) for v in values)
    np.testing.assert_allclose(got, [math.exp(v) / whole for v in values], rtol=1e-13)


@settings(deadline=None)
@given(values=moderate, shift=st.floats(-1e6, 1e6))
def test_softmax_does_not_change_when_all_numbers_shift(xp, values, shift):
    x = xp.asarray(values, dtype=xp.float64)
    # Adding the shift rounds the numbers themselves, by half a spacing at most, hence the exponentials by as much.
    rounding = EPS * (abs(shift) + 20)
    np.testing.assert_allclose(np.asarray(softmax(x + shift)), np.asarray(softmax(x)), rtol=2 * rounding + 1e-13)


@settings(deadline=None)
@given(values=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=7))
def test_softmax_sums_to_one_and_keeps_the_order_however_large_the_numbers(xp, values):
    p = np.asarray(softmax(xp.asarray(values, dtype=xp.float64)))
    assert p.sum() == pytest.approx(1, rel=1e-14)
    assert (np.diff(p[np.argsort(values, kind="stable")]) >= 0).all()


def test_softmax_of_huge_float32_numbers_picks_the_largest(xp):
    x = xp.asarray([[-1e4, 1e4, 0.0], [1e4, 1e4, -1e4]], dtype=xp.float32)
    np.testing.assert_array_equal(np.asarray(softmax(x)), [[0, 1, 0], [0.5, 0.5, 0]])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_softmax_runs_along_the_axis_that_is_asked_for(xp, axis):
    x = numbers()
    got = np.asarray(softmax(xp.asarray(x), axis=axis))
    lines = [softmax(line) for line in np.moveaxis(x, axis, -1).reshape(-1, SHAPE[axis])]
    np.testing.assert_allclose(np.moveaxis(got, axis, -1).reshape(-1, SHAPE[axis]), lines, rtol=1e-13)


def test_softmax_runs_along_the_last_axis_unless_told_otherwise(xp):
    x = xp.asarray(numbers())
    np.testing.assert_array_equal(np.asarray(softmax(x)), np.asarray(softmax(x, axis=2)))


# ---------------------------------------------------------------------------------------------------------------
# dtypes


EVERY = (softmax, *ACTIVATIONS)
each_function = pytest.mark.parametrize("f", EVERY, ids=lambda f: f.__name__)


@each_function
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_and_the_shape_of_the_input_are_kept(xp, f, dtype):
    # Softmax needs an axis, and numbers on it.
    for shape in [SHAPE] if f is softmax else [SHAPE, (), (0,)]:
        y = f(xp.asarray(numbers(shape), dtype=getattr(xp, dtype)))
        assert y.dtype == getattr(xp, dtype)
        assert tuple(y.shape) == shape


@pytest.mark.torch
@each_function
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_and_errs_by_a_few_of_its_own_spacings(torch, f, dtype):
    dtype = getattr(torch, dtype)
    x = torch.tensor(numbers(), dtype=dtype)
    got = f(x)
    assert got.dtype == dtype
    # gelu rounds after each of its eight operations, the others once.
    spacings = (8 if f is gelu else 1) * torch.finfo(dtype).eps
    scale = x.double().abs().clamp(min=1)
    assert ((got.double() - f(x.double())).abs() / scale).max() < spacings


# ---------------------------------------------------------------------------------------------------------------
# gradients and the compiler


@pytest.mark.torch
@each_function
def test_the_gradient_in_torch_is_the_slope_in_numpy(torch, f):
    x, probe = numbers(), numbers(seed=1)
    leaf = torch.tensor(x, requires_grad=True)
    (f(leaf) * torch.tensor(probe)).sum().backward()
    eps = 1e-6
    steps = eps * np.eye(x.size).reshape(-1, *SHAPE)
    slope = [((f(x + e) - f(x - e)) * probe).sum() / (2 * eps) for e in steps]
    np.testing.assert_allclose(leaf.grad, np.reshape(slope, SHAPE), rtol=1e-7, atol=1e-8)


@pytest.mark.torch
@each_function
def test_gradients_stay_finite_where_the_function_saturates(torch, f):
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    f(x).sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.torch
# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
@pytest.mark.parametrize(
    "f",
    [*EVERY, lambda x: sum(chunks(x, 3, 1)), lambda x: sum(unstack(x)), lambda x: positions(7, x)],
    ids=[*(f.__name__ for f in EVERY), "chunks", "unstack", "positions"],
)
def test_every_function_compiles_without_a_graph_break(torch, f, compiled):
    x = torch.tensor(numbers(), dtype=torch.float32)
    torch.testing.assert_close(compiled(f)(x), f(x))


# ---------------------------------------------------------------------------------------------------------------
# cutting and counting


@settings(deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3), number=st.integers(1, 4))
def test_chunks_are_equal_pieces_in_order_along_any_axis(xp, data, sizes, number):
    axis = data.draw(st.integers(-len(sizes), len(sizes) - 1))
    sizes[axis] *= number
    x = np.arange(math.prod(sizes)).reshape(sizes)
    pieces = chunks(xp.asarray(x), number, axis)
    assert isinstance(pieces, tuple)
    for got, want in zip(pieces, np.split(x, number, axis), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


def test_chunks_are_cut_from_the_last_axis_unless_told_otherwise(xp):
    first, *_ = chunks(xp.asarray(numbers()), 5)
    np.testing.assert_array_equal(np.asarray(first), numbers()[..., :1])


@pytest.mark.parametrize(("number", "axis"), [(2, 1), (7, 1), (3, -1), (0, 0), (-1, 0)])
def test_chunks_that_do_not_come_out_even_are_refused(xp, number, axis):
    """torch.chunk would return pieces of unequal size, or fewer of them, without a word."""
    with pytest.raises(ValueError, match=rf"axis {axis} of shape \(2, 3, 5\) cannot be cut into {number} equal chunks"):
        chunks(xp.asarray(numbers()), number, axis)


@pytest.mark.torch
def test_the_gradient_of_chunks_is_that_of_slices(torch):
    x, weights = torch.tensor(numbers(), requires_grad=True), (2.0, 3.0, 5.0)
    (cut,) = torch.autograd.grad(sum(w * (c**2).sum() for w, c in zip(weights, chunks(x, 3, 1), strict=True)), x)
    (want,) = torch.autograd.grad(sum(w * (x[:, k] ** 2).sum() for k, w in enumerate(weights)), x)
    torch.testing.assert_close(cut, want, rtol=0, atol=0)


def test_unstacking_gives_each_entry_along_the_first_axis_in_order(xp):
    for shape in (SHAPE, (7,)):
        x = numbers(shape)
        entries = unstack(xp.asarray(x))
        assert isinstance(entries, tuple)
        for got, want in zip(entries, x, strict=True):
            assert tuple(got.shape) == shape[1:]
            np.testing.assert_array_equal(np.asarray(got), want)


def test_unstacking_nothing_gives_nothing(xp):
    assert unstack(xp.zeros((0, 3))) == ()


@pytest.mark.torch
def test_the_gradient_of_unstacking_is_that_of_indexing(torch):
    x = torch.tensor(numbers(), requires_grad=True)
    (ours,) = torch.autograd.grad(sum((k + 1) * (x_k**2).sum() for k, x_k in enumerate(unstack(x))), x)
    (want,) = torch.autograd.grad(sum((k + 1) * (x[k] ** 2).sum() for k in range(2)), x)
    torch.testing.assert_close(ours, want, rtol=0, atol=0)


@pytest.mark.torch
def test_unstacking_works_under_vmap_along_any_axis(torch):
    x = torch.tensor(numbers())

    def last_against_first(x):
        first, *_, last = unstack(x)
        return last - 2 * first

    for axis, want in ((0, x[:, 2] - 2 * x[:, 0]), (1, x[1] - 2 * x[0]), (2, (x[1] - 2 * x[0]).T)):
        got = torch.func.vmap(last_against_first, in_dims=axis)(x)
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@settings(deadline=None)
@given(n=st.integers(0, 300))
def test_positions_count_from_zero_in_whole_numbers(xp, n):
    p = positions(n, xp.zeros(1))
    assert np.asarray(p).tolist() == list(range(n))
    assert np.issubdtype(np.asarray(p).dtype, np.integer)


@pytest.mark.torch
def test_positions_lie_where_the_array_lies_and_do_not_take_its_precision(torch):
    p = positions(1000, torch.zeros(3, dtype=torch.bfloat16))
    assert p.tolist() == list(range(1000))
    assert positions(7, torch.zeros(3, device="meta")).device.type == "meta"


def test_positions_follow_the_device_of_any_library():
    strict = pytest.importorskip("array_api_strict")
    other = strict.Device("device1")
    assert positions(7, strict.zeros(3, device=other)).device == other


def test_a_negative_number_of_positions_is_refused(xp):
    with pytest.raises(ValueError, match="n must be non-negative, got -1"):
        positions(-1, xp.zeros(1))


# ---------------------------------------------------------------------------------------------------------------
# namespaces and shapes


def test_the_namespace_is_that_of_the_arrays_and_speaks_the_standard(xp):
    found = namespace(x=xp.zeros(2), y=xp.zeros(3, dtype=xp.float32))
    assert xp.__name__ in found.__name__
    for name in ("concat", "astype", "linalg", "clip", "isdtype"):
        assert hasattr(found, name)


@pytest.mark.parametrize(("given", "wanted"), [("float32", "float32"), ("float64", "float64")])
def test_numbers_are_summed_in_float32_at_least(xp, given, wanted):
    assert at_least_float32(xp.zeros(2, dtype=getattr(xp, given))) == getattr(xp, wanted)


@pytest.mark.torch
def test_the_narrow_floats_of_torch_are_summed_in_float32():
    torch = pytest.importorskip("torch")
    for narrow in (torch.float16, torch.bfloat16):
        assert at_least_float32(torch.zeros(2, dtype=narrow)) == torch.float32


def test_values_are_not_looked_at(xp):
    assert namespace(x=xp.asarray([math.nan, math.inf])) is namespace(x=xp.zeros(0))


@pytest.mark.parametrize("kind", ["int64", "bool", "complex128"])
def test_an_array_that_does_not_hold_real_floats_is_named(xp, kind):
    wrong = xp.zeros(2, dtype=getattr(xp, kind))
    with pytest.raises(ValueError, match=f"y must hold floats, got dtype .*{kind}.*; convert it, e.g. to float64"):
        namespace(x=xp.zeros(2), y=wrong)


@pytest.mark.parametrize(("value", "kind"), [([1.0], "list"), (1.0, "float"), (None, "NoneType"), ("1", "str")])
def test_what_is_no_array_is_named_with_how_to_make_one(value, kind):
    with pytest.raises(ValueError, match=f"y must be an array, got {kind}; wrap it in numpy.asarray or torch.tensor"):
        namespace(x=np.zeros(2), y=value)


def test_no_array_at_all_is_refused():
    with pytest.raises(ValueError, match="array"):
        namespace()


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_two_libraries_are_not_mixed(library):
    other = pytest.importorskip(library).zeros(2)
    with pytest.raises(ValueError, match=f"one library, got a: numpy, b: {library}; convert them to the same one"):
        namespace(a=np.zeros(2), b=other)


@pytest.mark.usefixtures("unchecked")
@each_function
def test_every_function_refuses_whole_numbers_by_name(f):
    with pytest.raises(ValueError, match="x must hold floats, got dtype int64"):
        f(np.arange(3))


sizes = st.integers(0, 3)


@settings(deadline=None)
@given(shape=st.lists(sizes, max_size=4), wanted=st.lists(st.none() | sizes, max_size=3))
def test_a_shape_is_accepted_exactly_when_its_last_axes_fit(shape, wanted):
    last = list(reversed(shape))
    fits = len(shape) >= len(wanted) and all(w in (None, last[k]) for k, w in enumerate(reversed(wanted)))
    try:
        expect_shape("x", np.zeros(shape), tuple(wanted), "it fits")
    except ValueError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    ("shape", "wanted", "message"),
    [
        ((2, 3), (5,), "W must have shape (…, 5) so that rows fit; got (2, 3)"),
        ((2, 3), (None, 5), "W must have shape (…, …, 5) so that rows fit; got (2, 3)"),
        ((3,), (2, 3), "W must have shape (…, 2, 3) so that rows fit; got (3,)"),
    ],
)
def test_a_shape_that_does_not_fit_is_answered_with_both_shapes_and_the_reason(shape, wanted, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared below)
        expect_shape("W", np.zeros(shape), wanted, "rows fit")
    assert str(caught.value) == message
