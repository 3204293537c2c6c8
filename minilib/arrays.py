"""The alphabet shared by all formulas: one text for NumPy, torch and every array API library.

A formula asks :func:`namespace` for its array library and then speaks the Python array API standard. Where torch
has a fused kernel (softmax, sigmoid, …) the functions here delegate to it; elsewhere they are written out.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from array_api_compat import array_namespace, is_array_api_obj, is_torch_namespace
from jaxtyping import Float, Int

Array = Any
"""An array of any library that follows the array API standard; jaxtyping checks its shape and dtype."""


def namespace(**arrays: Array) -> ModuleType:
    """Return the array library that all the named floating-point arrays share.

    Raises ValueError if one is not an array, if two libraries are mixed, or if one does not hold real floats. The
    values themselves are not looked at: NaN in gives NaN out, as in NumPy and torch.
    """
    if not arrays:
        raise ValueError("namespace needs at least one named array, e.g. namespace(x=x)")
    for name, a in arrays.items():
        if not is_array_api_obj(a):
            raise ValueError(
                f"{name} must be an array, got {type(a).__name__}; wrap it in numpy.asarray or torch.tensor"
            )
    try:
        xp = array_namespace(*arrays.values())
    except TypeError:
        kinds = ", ".join(f"{name}: {type(a).__module__.partition('.')[0]}" for name, a in arrays.items())
        raise ValueError(f"all arrays must come from one library, got {kinds}; convert them to the same one") from None
    for name, a in arrays.items():
        if not xp.isdtype(a.dtype, "real floating"):
            raise ValueError(f"{name} must hold floats, got dtype {a.dtype}; convert it, e.g. to float64")
    return xp


def expect_shape(name: str, a: Array, shape: tuple[int | None, ...], why: str) -> None:
    """Raise ValueError unless the last axes of `a` have the given sizes (None: any size)."""
    got = tuple(a.shape)
    tail = got[len(got) - len(shape) :]
    if len(got) < len(shape) or any(want is not None and want != has for want, has in zip(shape, tail, strict=True)):
        wanted = ", ".join("…" if s is None else str(s) for s in shape)
        raise ValueError(f"{name} must have shape (…, {wanted}) so that {why}; got {got}")


def softmax(x: Float[Array, "*shape"], axis: int = -1) -> Float[Array, "*shape"]:
    r"""$\mathrm{softmax}(x)_i = e^{x_i} / \sum_j e^{x_j}$, shifted by the maximum so that it cannot overflow."""
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        return x.softmax(axis)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\sigma(x) = 1/(1+e^{-x}) = \tfrac12(\tanh\tfrac x2 + 1)$; the second form neither overflows nor branches."""
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        return x.sigmoid()
    return 0.5 * (xp.tanh(0.5 * x) + 1)


def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\max(x, 0)$, with the slope 0 at the kink in torch."""
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        return x.relu()  # keeps its output for the way back, which is needed anyway; clip keeps its input, too
    return xp.clip(x, min=0)


def silu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$x\,\sigma(x)$, also called swish."""
    xp = namespace(x=x)
    return xp.nn.functional.silu(x) if is_torch_namespace(xp) else x * sigmoid(x)


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\tfrac x2\bigl(1+\tanh\bigl(\sqrt{2/\pi}\,(x+0.044715\,x^3)\bigr)\bigr)$, the tanh form of GELU.

    Within 5e-4 of $x\,\Phi(x)$, which is :func:`exact_gelu`. Source: Hendrycks & Gimpel 2016.
    """
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        return xp.nn.functional.gelu(x, approximate="tanh")
    return 0.5 * x * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def exact_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$x\,\Phi(x) = \max(x, 0) - |x|\,\Phi(-|x|)$, $\Phi$ the normal distribution function: GELU as it is defined.

    The array API standard has no erf. Outside torch $\Phi(-z) = \tfrac12\mathrm{erfc}(z/\sqrt2)$ comes from a Chebyshev
    fit with a relative error below 1.3e-9, so that the result is off by less than 3e-10 everywhere.
    Source: Hendrycks & Gimpel 2016.
    """
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        return xp.nn.functional.gelu(x)
    z = xp.abs(x) * math.sqrt(0.5)
    t, polynomial = 1 / (1 + 0.5 * z), 0.0
    for coefficient in _ERFC:
        polynomial = polynomial * t + coefficient
    return xp.clip(x, min=0) - xp.abs(x) * (0.5 * t * xp.exp(polynomial - z * z))


_ERFC = (
    0.169763397286,
    -1.04869240406,
    2.66507817366,
    -3.45643124397,
    2.2269429975,
    -0.534171938121,
    0.0773604648391,
    -0.0479369186347,
    -0.161762085346,
    -0.0826782582862,
    0.0830261155156,
    0.375014066608,
    0.999999756941,
    -1.26551212281,
)
r"""Of $\ln(\mathrm{erfc}(z)/t) + z^2$ as a polynomial in $t = 1/(1 + z/2)$, the highest power first."""


def chunks(x: Array, number: int, axis: int = -1) -> tuple[Array, ...]:
    """Cut `x` into `number` equal pieces along `axis`; raise ValueError if that does not come out even."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must be one of the {x.ndim} of shape {tuple(x.shape)}, got {axis}")
    size = x.shape[axis]
    if number < 1 or size % number:
        raise ValueError(f"axis {axis} of shape {tuple(x.shape)} cannot be cut into {number} equal chunks")
    if is_torch_namespace(array_namespace(x)):
        return x.chunk(number, axis)  # its gradient is one concatenation, that of slices a sum of padded arrays
    step, axis = size // number, axis % x.ndim
    lead = (slice(None),) * axis
    return tuple(x[(*lead, slice(start, start + step), ...)] for start in range(0, size, step))


def unstack(x: Float[Array, "T *rest"]) -> tuple[Array, ...]:
    """Return $x_1, …, x_T$ along the first axis. Its gradient in torch is one stack; T indexings cost T whole sums."""
    if is_torch_namespace(array_namespace(x)):
        return x.unbind()
    return tuple(x[t, ...] for t in range(x.shape[0]))


def positions(n: int, like: Array) -> Int[Array, "n"]:
    """Return 0, 1, …, n−1 on the device of `like`. Integers: bfloat16 cannot count past 256."""
    if n < 0:
        raise ValueError(f"n must be non-negative, got {n}")
    xp = array_namespace(like)
    return xp.arange(n, device=like.device)


def at_least_float32(like: Array) -> Any:
    """Return float64 for an array of it, else float32: to count and to sum in, where narrower numbers cannot.

    bfloat16 cannot count past 256, float16 not past 2048.
    """
    xp = namespace(like=like)
    return xp.float64 if like.dtype == xp.float64 else xp.float32


def running_sum(x: Array, axis: int = -1) -> Array:
    r"""$y_i = x_0 + \dots + x_i$ along `axis`, of numbers of any kind."""
    return array_namespace(x).cumulative_sum(x, axis=axis)
