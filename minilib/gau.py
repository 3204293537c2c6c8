r"""The gated attention unit and FLASH: one head whose result is multiplied by a gate, in place of attention + FFN.

$$U = \phi(XW_u),\quad V = \phi(XW_v),\quad Z = \phi(XW_z),\quad A = \text{kernel}(\mathcal Q(Z), \mathcal K(Z)),\quad
O = (U \circ AV)\,W_o$$
with $\phi$ = swish and $\mathcal Q, \mathcal K$ a scale and an offset for each feature, then the rotation by position.
n is the number of tokens, d the width of x, e that of u and v (2d as a rule), s that of z (128).

Weights have PyTorch's layout, outputs on the rows: `W`, (2e+s, d), holds $W_u, W_v, W_z$ in this order, `W_o` is
(d, e). A kernel is a function of q, k and a mask that returns the n × m matrix A; :data:`KERNELS` are ours by name. The
number of keys that a row divides by is the number that it *sees*, so causal and padded rows are means as well.

Sources: Hua et al. 2022 (FLASH); Su Jianlin, Scientific Spaces 8934 (the unit, 1/(ns)), 9019 (softmax, lengths), 8990
(its magnitude), 9052 (GAU-α); So et al. 2021 (relu²).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Bool, Float

from .arrays import Array, at_least_float32, expect_shape, namespace, positions, relu, running_sum, silu
from .attention import attention_scores, attention_weights, causal_mask, visible_keys
from .depth import lecun_std, xavier_std
from .entropy import log_scale
from .rope import rope

Kernel = Callable[[Array, Array, Array | None], Array]
"""From q (…, n, s), k (…, m, s) and a mask that broadcasts to (…, n, m), or None: the matrix A (…, n, m)."""

# ---------------------------------------------------------------------------------------------------------------
# kernels


def _seen(k: Array, mask: Array | None) -> Array:
    """How many keys each row sees, (…, n, 1); without a mask all m of them, (1, 1)."""
    if mask is not None:
        return visible_keys(mask, k)
    xp = namespace(k=k)
    return xp.full((1, 1), k.shape[-2], dtype=at_least_float32(k), device=k.device)


def _squared_relu(q: Array, k: Array, mask: Array | None, scale: Array) -> Array:
    xp = namespace(q=q, k=k)
    A = relu(attention_scores(q, k, xp.astype(scale, q.dtype))) ** 2
    return A if mask is None else A * xp.astype(mask, A.dtype)


def squared_relu(
    q: Float[Array, "*#batch n s"], k: Float[Array, "*#batch m s"], mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*rows n m"]:
    r"""$a_{ij} = \frac{1}{n_i s}\,\mathrm{relu}(q_i \cdot k_j)^2$, $n_i$ the keys that row i sees; Su 8934.

    The scale is taken before the square, as $\mathrm{relu}(q_i\cdot k_j/\sqrt{n_i s})^2$: float16 overflows at 65,504.
    A row without any key is 0.
    """
    return _squared_relu(q, k, mask, (_seen(k, mask) * q.shape[-1]) ** -0.5)


def squared_relu_by_length(
    q: Float[Array, "*#batch n s"], k: Float[Array, "*#batch m s"], mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*rows n m"]:
    r"""$a_{ij} = \mathrm{relu}(q_i \cdot k_j/n_i)^2$: the appendix of Hua et al. 2022; $s/n_i$ times ours."""
    return _squared_relu(q, k, mask, 1 / _seen(k, mask))


def softmax_weights(
    q: Float[Array, "*#batch n s"], k: Float[Array, "*#batch m s"], mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*rows n m"]:
    r"""$a_{ij} = \mathrm{softmax}_j(q_i \cdot k_j/\sqrt s)$ over the keys that row i sees."""
    return attention_weights(q, k, mask)


def softmax_log_weights(
    q: Float[Array, "*#batch n s"], k: Float[Array, "*#batch m s"], mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*rows n m"]:
    r"""$a_{ij} = \mathrm{softmax}_j\bigl(\frac{\log n_i}{\log 512}\,q_i \cdot k_j/\sqrt s\bigr)$: plain at 512 keys."""
    scale = log_scale(_seen(k, mask), q.shape[-1])
    return attention_weights(q * namespace(q=q, k=k).astype(scale, q.dtype), k, mask, 1.0)


KERNELS: dict[str, Kernel] = {
    "relu2/ns": squared_relu,
    "relu2/n2": squared_relu_by_length,
    "softmax": softmax_weights,
    "softmax-log": softmax_log_weights,
}
"""The kernels by name."""


def row_normalised(A: Float[Array, "*batch n m"]) -> Float[Array, "*batch n m"]:
    r"""$a_{ij}/\sum_l a_{il}$, 0 where a row sums to 0. For relu² the scale of q cancels: no temperature is left."""
    xp = namespace(A=A)
    total = xp.sum(A, axis=-1, keepdims=True)
    return A / xp.where(total > 0, total, xp.ones_like(total))


# ---------------------------------------------------------------------------------------------------------------
# the unit


class GAUParts(NamedTuple):
    """What the unit makes of its input: the gate u (…, n, e), the values v (…, n, e), the shared z (…, n, s)."""

    u: Array
    v: Array
    z: Array


def gau_parts(
    x: Float[Array, "*batch n d"], W: Float[Array, "rows d"], s: int, phi: Callable[[Array], Array] | None = None
) -> GAUParts:
    r"""$(u, v, z) = \phi(x\,W^\top)$ cut into widths e, e, s, with $\phi$ = swish unless another function is given."""
    namespace(x=x, W=W)
    rows = W.shape[0]
    e = (rows - s) // 2
    if not 0 < s < rows or rows != 2 * e + s:
        raise ValueError(f"W must have 2e + s rows, those of W_u, W_v and W_z, got {rows} with s = {s}")
    expect_shape("W", W, (rows, x.shape[-1]), f"its columns belong to an input of width {x.shape[-1]}")
    y = (phi or silu)(x @ W.T)
    return GAUParts(y[..., :e], y[..., e : 2 * e], y[..., 2 * e :])


def scale_offset(
    z: Float[Array, "*batch s"], gamma: Float[Array, "parts s"], beta: Float[Array, "parts s"] | None = None
) -> tuple[Array, ...]:
    r"""$(\gamma_1 \circ z + \beta_1, \gamma_2 \circ z + \beta_2, …)$, one for each row; $\beta = 0$ unless given."""
    namespace(z=z, gamma=gamma) if beta is None else namespace(z=z, gamma=gamma, beta=beta)
    expect_shape("gamma", gamma, (None, z.shape[-1]), f"each row has one entry for each of the {z.shape[-1]} features")
    scaled = [z * gamma[i, :] for i in range(gamma.shape[0])]
    if beta is None:
        return tuple(scaled)
    expect_shape("beta", beta, tuple(gamma.shape), "it belongs to gamma")
    return tuple(y + beta[i, :] for i, y in enumerate(scaled))


def queries_keys(
    z: Float[Array, "*batch n s"],
    gamma: Float[Array, "parts s"],
    beta: Float[Array, "parts s"] | None = None,
    angles: Float[Array, "n s_2"] | None = None,
) -> tuple[Array, ...]:
    """The scale-offsets of z, turned by `angles` where given: q and k of the unit, q, k, q_lin and k_lin of FLASH."""
    pieces = scale_offset(z, gamma, beta)
    return pieces if angles is None else tuple(rope(piece, angles) for piece in pieces)


def gau(
    x: Float[Array, "*batch n d"],
    W: Float[Array, "rows d"],
    W_o: Float[Array, "d_o e"],
    gamma: Float[Array, "2 s"],
    beta: Float[Array, "2 s"] | None = None,
    kernel: Kernel = squared_relu,
    mask: Bool[Array, "*any"] | None = None,
    angles: Float[Array, "n s_2"] | None = None,
) -> Float[Array, "*batch n d_o"]:
    r"""$O = (U \circ A V)\,W_o^\top$ with $A$ = `kernel` of the two scale-offsets of Z, turned by `angles` if given.

    `gamma` and `beta` are of q and of k; `angles` come from ``rope_angles(n, s, x)``. With $A = I$ it is a gated
    feed-forward layer, with $U = 1$ attention with a single head. The unit has no residual and no norm of its own.
    """
    u, v, z = gau_parts(x, W, gamma.shape[-1])
    expect_shape("W_o", W_o, (None, u.shape[-1]), f"it takes the gated values, of width e = {u.shape[-1]}")
    q, k = queries_keys(z, gamma, beta, angles)
    return (u * (kernel(q, k, mask) @ v)) @ W_o.T


# ---------------------------------------------------------------------------------------------------------------
# FLASH: quadratic inside a chunk, linear across


def _in_chunks(x: Array, chunk: int) -> Array:
    """(…, n, f) to (…, g, c, f), zeros put after the end to fill the last chunk."""
    xp, n = namespace(x=x), x.shape[-2]
    if missing := -n % chunk:
        zeros = xp.zeros((*x.shape[:-2], missing, x.shape[-1]), dtype=x.dtype, device=x.device)
        x = xp.concat([x, zeros], axis=-2)
    return xp.reshape(x, (*x.shape[:-2], -1, chunk, x.shape[-1]))


def _before(sums: Array) -> Array:
    """Sum of all chunks before each, along the third last axis: 0, then the running sum without its last entry.

    Not the running sum minus the chunk's own share: what is subtracted would leave its rounding, and its NaN.
    """
    xp = namespace(sums=sums)
    return xp.concat([xp.zeros_like(sums[..., :1, :, :]), running_sum(sums[..., :-1, :, :], axis=-3)], axis=-3)


def _expect_chunk(chunk: int) -> None:
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 token, got {chunk}")


def mixed_chunk_attention(
    q: Float[Array, "*batch n s"],
    k: Float[Array, "*batch n s"],
    q_lin: Float[Array, "*batch n s"],
    k_lin: Float[Array, "*batch n s"],
    v: Float[Array, "*batch n e"],
    chunk: int = 256,
    causal: bool = False,
    real: Bool[Array, "*batch n"] | None = None,
    kernel: Kernel = squared_relu,
) -> Float[Array, "*batch n e"]:
    r"""$\hat V_g = A_g V_g + \frac1m\, Q^{lin}_g \sum_h K^{lin\top}_h V_h$ for each chunk g of `chunk` = c tokens.

    $A_g$ = `kernel` of $Q_g, K_g$, inside the chunk. The sum runs over all chunks, or with `causal` over those before
    g, the first getting 0; m is the number of tokens in it. `real`, (…, n), is False at padding, whose values must be
    finite. A length that c does not divide is filled up inside. Cost O(nc + nse) in place of O(n²). Hua et al. 2022.
    """
    _expect_chunk(chunk)
    xp, n = namespace(q=q, k=k, q_lin=q_lin, k_lin=k_lin, v=v), v.shape[-2]
    here = xp.ones((n,), dtype=xp.bool, device=v.device) if real is None else real
    expect_shape("real", here, (n,), f"it says of each of the {n} tokens whether it is one")
    counts = _in_chunks(xp.astype(here, at_least_float32(v))[..., None], chunk)
    q, k, q_lin, k_lin, v = (_in_chunks(a, chunk) for a in (q, k, q_lin, k_lin, v))
    mask = counts.mT > 0
    near = kernel(q, k, mask & causal_mask(chunk, v) if causal else mask) @ v
    collect = _before if causal else lambda a: xp.sum(a, axis=-3, keepdims=True)
    share = 1 / xp.clip(collect(xp.sum(counts, axis=-2, keepdims=True)), min=1)
    sums = collect((k_lin * xp.astype(counts, v.dtype)).mT @ v)
    far = q_lin @ (sums * xp.astype(share, v.dtype))
    y = near + far
    return xp.reshape(y, (*y.shape[:-3], -1, y.shape[-1]))[..., :n, :]


def mixed_chunk_weights(
    q: Float[Array, "*batch n s"],
    k: Float[Array, "*batch n s"],
    q_lin: Float[Array, "*batch n s"],
    k_lin: Float[Array, "*batch n s"],
    chunk: int = 256,
    causal: bool = False,
    kernel: Kernel = squared_relu,
) -> Float[Array, "*batch n n"]:
    r"""The n × n matrix by which :func:`mixed_chunk_attention` multiplies the values: to look at, and to check it."""
    _expect_chunk(chunk)
    xp = namespace(q=q, k=k, q_lin=q_lin, k_lin=k_lin)
    group = positions(q.shape[-2], q) // chunk
    same = group[:, None] == group[None, :]
    near = kernel(q, k, same & causal_mask(q.shape[-2], q) if causal else same)
    seen = group[None, :] < group[:, None] if causal else xp.ones_like(same)
    return near + (q_lin @ k_lin.mT) * xp.astype(seen, q.dtype) / xp.astype(visible_keys(seen, k), q.dtype)


def flash(
    x: Float[Array, "*batch n d"],
    W: Float[Array, "rows d"],
    W_o: Float[Array, "d_o e"],
    gamma: Float[Array, "4 s"],
    beta: Float[Array, "4 s"] | None = None,
    chunk: int = 256,
    causal: bool = False,
    real: Bool[Array, "*batch n"] | None = None,
    angles: Float[Array, "n s_2"] | None = None,
    kernel: Kernel = squared_relu,
) -> Float[Array, "*batch n d_o"]:
    r"""$O = (U \circ \hat V)\,W_o^\top$, $\hat V$ of :func:`mixed_chunk_attention`; four scale-offsets of one Z.

    `gamma` and `beta` are of q, k, q_lin, k_lin in this order. All four are turned by `angles`. See :func:`gau`.
    """
    u, v, z = gau_parts(x, W, gamma.shape[-1])
    expect_shape("W_o", W_o, (None, u.shape[-1]), f"it takes the gated values, of width e = {u.shape[-1]}")
    pieces = queries_keys(z, gamma, beta, angles)
    return (u * mixed_chunk_attention(*pieces, v, chunk, causal, real, kernel)) @ W_o.T


# ---------------------------------------------------------------------------------------------------------------
# initialisation


class Stds(NamedTuple):
    """Standard deviations of the entries of W_u, W_v, W_z and W_o."""

    u: float
    v: float
    z: float
    o: float

    def scaled(self, lam: float) -> Stds:
        r"""All four times $\lambda$ = `lam`."""
        return Stds(*(lam * std for std in self))


def lecun_stds(d: int, e: int, s: int) -> Stds:
    r"""$1/\sqrt{\mathrm{fan\_in}}$: d for $W_u, W_v, W_z$, e for $W_o$; s plays no part."""
    return Stds(*[lecun_std(d)] * 3, lecun_std(e))


def xavier_stds(d: int, e: int, s: int) -> Stds:
    r"""$\sqrt{2/(\mathrm{fan\_in}+\mathrm{fan\_out})}$ of each matrix: s is small, so $W_z$ comes out large."""
    return Stds(xavier_std(d, e), xavier_std(d, e), xavier_std(d, s), xavier_std(e, d))


def small_stds(d: int, e: int, s: int) -> Stds:
    """0.02 for all, as BERT and the code of Hua et al. 2022 start, whatever the widths."""
    return Stds(0.02, 0.02, 0.02, 0.02)


INITS: dict[str, Callable[[int, int, int], Stds]] = {"LeCun": lecun_stds, "Xavier": xavier_stds, "0.02": small_stds}
"""Initialisations by name, from the widths d, e, s."""


class Gains(NamedTuple):
    r"""Root mean square of the pre-activations of u, v, z for inputs of mean square 1, and gain $\sqrt e\,\sigma_o$."""

    u: float
    v: float
    z: float
    o: float


def gains(stds: Stds, d: int, e: int) -> Gains:
    r"""$\sqrt d\,\sigma_u, \sqrt d\,\sigma_v, \sqrt d\,\sigma_z, \sqrt e\,\sigma_o$."""
    return Gains(*(math.sqrt(d) * std for std in stds[:3]), math.sqrt(e) * stds.o)


# ---------------------------------------------------------------------------------------------------------------
# magnitude at initialisation


class Mass(NamedTuple):
    """What a row of A holds on the diagonal, and off it in total."""

    diagonal: float | Array
    rest: float | Array


def squared_relu_mass(n: int, s: int, mean: float | Array, square: float | Array, overlap: float | Array = 0.0) -> Mass:
    r"""$\frac{s\nu^4}{n}$ and $\frac{n-1}{n}\,(s\mu^4 + \nu^4 - \mu^4 + s\omega)$ under relu²/(ns), q = k = z.

    `mean` $\mu$ and `square` $\nu^2$ are moments of z. $q_i\cdot k_j$ has mean $s\mu^2$ and variance
    $s(\nu^4-\mu^4) + s^2\omega$, and the mean of a square holds both; that relu cuts off a tail is left out. `overlap`
    $\omega = E[\varepsilon\phi(\varepsilon)]^4/d$ is there because inputs of d features are not quite orthogonal; 0 is
    the limit of large d. See :func:`swish_overlap`.
    """
    return Mass(s * square**2 / n, (n - 1) / n * (s * mean**4 + square**2 - mean**4 + s * overlap))


def swish_overlap(gain: float, d: int) -> float:
    r"""$\omega = (g/2)^4/d$ for z = swish(gε): $E[\varepsilon\,\mathrm{swish}(g\varepsilon)] = g/2$ for every g.

    Since swish(x) − swish(−x) = x. Inputs $x_i, x_j$ overlap by $x_i\cdot x_j/d \sim N(0, 1/d)$, and every feature of z
    passes on the square of $g/2$ of that: s features agree about it, so their sum scatters with s² and not with s.
    """
    return (gain / 2) ** 4 / d


def squared_relu_mean(mean: float, variance: float) -> float:
    r"""$E[\mathrm{relu}(X)^2] = (m^2+v)\,\Phi(m/\sqrt v) + m\sqrt v\,\phi(m/\sqrt v)$ for $X \sim N(m, v)$, v ≥ 0.

    $\phi$ and $\Phi$ are the normal density and distribution function.
    """
    if not variance >= 0:
        raise ValueError(f"variance must be non-negative, got {variance}")
    if variance == 0:
        return max(mean, 0.0) ** 2
    t = mean / math.sqrt(variance)
    below = (1 + math.erf(t / math.sqrt(2))) / 2
    return (mean**2 + variance) * below + mean * math.sqrt(variance / (2 * math.pi)) * math.exp(-t * t / 2)


def rotary_mass(cosines: Float[Array, "n"], s: int, mean: float, square: float, overlap: float = 0.0) -> Mass:
    r"""As :func:`squared_relu_mass` where rope turns q and k: $q_i\cdot k_j$ has mean $s\mu^2 c_{|i-j|}$ only.

    `cosines` $c_m$ are the means of $\cos m\theta_j$ over the planes j, for distances m = 0 … n − 1: of
    ``cos(rope_angles(n, s, x))`` over its last axis. The variance is $s(\nu^4-\mu^4) + s^2c_m^2\omega$. Mean over rows.
    """
    n, total = cosines.shape[0], 0.0
    for m, c in enumerate(map(float, cosines)):
        variance = s * (square**2 - mean**4) + (s * c) ** 2 * overlap
        total += (n - m) * squared_relu_mean(s * mean**2 * c, variance) if m else 0.0
    return Mass(s * square**2 / n, 2 * total / (n * n * s))


def softmax_mass(
    n: int, s: int, mean: float | Array, square: float | Array, scale: float = 1.0, overlap: float | Array = 0.0
) -> Mass:
    r"""$p$ and $1-p$ with $p = 1/\bigl(1+(n-1)\,e^{m + v/2 - D}\bigr)$ under softmax($\kappa\,z_i\cdot z_j/\sqrt s$).

    $\kappa$ is `scale`. $D = \kappa\sqrt s\,\nu^2$ is the logit on the diagonal; those off it, of mean
    $m = \kappa\sqrt s\,\mu^2$ and variance $v = \kappa^2(\nu^4-\mu^4+s\omega)$, are taken as normal.
    """
    off = scale * math.sqrt(s) * mean**2 + scale**2 * (square**2 - mean**4 + s * overlap) / 2
    p = 1 / (1 + (n - 1) * math.e ** (off - scale * math.sqrt(s) * square))
    return Mass(p, 1 - p)


def rotary_softmax_mass(
    cosines: Float[Array, "n"], s: int, mean: float, square: float, scale: float = 1.0, overlap: float = 0.0
) -> Mass:
    r"""As :func:`softmax_mass` with the means $m\,c_{|i-j|}$; `cosines` as in :func:`rotary_mass`."""
    n, total, root = cosines.shape[0], 0.0, math.sqrt(s)
    for m, c in enumerate(map(float, cosines)):
        variance = scale**2 * (square**2 - mean**4 + s * c * c * overlap)
        total += (n - m) * math.exp(scale * root * (mean**2 * c - square) + variance / 2) if m else 0.0
    p = 1 / (1 + 2 * total / n)
    return Mass(p, 1 - p)


def row_scatter(s: int, square: float | Array, fourth: float | Array) -> float | Array:
    r"""$\chi = \frac4s\,(E[z^4]/\nu^4 - 1)$: relative variance of $\|z_i\|^4$, by which rows of relu² weights differ.

    Exact to first order on the diagonal; the rest of a row scatters a little less. `square` is $\nu^2 = E[z^2]$,
    `fourth` is $E[z^4]$.
    """
    return 4 * (fourth / square**2 - 1) / s


def output_rms(
    mass: Mass,
    v_mean: float | Array,
    v_square: float | Array,
    u_square: float | Array,
    gain: float = 1.0,
    scatter: float | Array = 0.0,
) -> float | Array:
    r"""$\mathrm{rms}(O) \approx g\,\nu_u\sqrt{(1+\chi)(a^2\nu_v^2 + 2ar\mu_v^2 + r^2\mu_v^2)}$, rows of `mass` (a, r).

    The entries off the diagonal are small, but the values that they weigh have a mean $\mu_v > 0$ and add up. `gain` g
    is that of $W_o$, `scatter` $\chi$ that of :func:`row_scatter`, 0 under softmax, whose rows sum to 1. The scatter
    of the values is left out. With LeCun's initialisation and normed inputs it is within 15 percent of the mean over
    seeds for d, n ≥ 64 and s ≥ 32; single seeds scatter by as much.
    """
    a, r = mass
    square = a * a * v_square + 2 * a * r * v_mean**2 + (r * v_mean) ** 2
    return gain * (u_square * (1 + scatter) * square) ** 0.5


def essay_rms(n: int, s: int, square: float | Array) -> float | Array:
    r"""$s\nu^6/n$: rms(O) if $A \approx \frac{s\nu^4}{n} I$, as Su 8990 has it; 0.011 for s = 128, n = 512."""
    return s * square**3 / n


def limit_rms(s: int, mean: float | Array, square: float | Array, overlap: float | Array = 0.0) -> float | Array:
    r"""$\nu\mu\,(s\mu^4+\nu^4-\mu^4+s\omega)$: what :func:`output_rms` under relu²/(ns) tends to as n grows; not 0."""
    return square**0.5 * mean * (s * mean**4 + square**2 - mean**4 + s * overlap)


# ---------------------------------------------------------------------------------------------------------------
# cost


def gau_parameters(d: int, e: int, s: int) -> int:
    r"""$3de + ds + 4s$: four matrices, and scale and offset of q and k."""
    return 3 * d * e + d * s + 4 * s


def block_parameters(d: int, width: int = 4) -> int:
    r"""$4d^2 + 2wd^2$: attention and a feed-forward layer of `width` w times d, without biases; $12d^2$."""
    return (4 + 2 * width) * d * d


def gau_macs(n: int, d: int, e: int, s: int) -> int:
    r"""$3de + ds + n(s+e)$ multiplications with addition per token: matrices, scores, sum of the values."""
    return 3 * d * e + d * s + n * (s + e)


def block_macs(n: int, d: int, width: int = 4) -> int:
    r"""$(4+2w)d^2 + 2nd$ per token: attention and feed-forward layer; the number of heads plays no part."""
    return block_parameters(d, width) + 2 * n * d


def flash_macs(n: int, d: int, e: int, s: int, chunk: int = 256) -> float:
    r"""$3de + ds + c(s+e) + 2se$ per token: the chunk is all that a token sees at quadratic cost."""
    return 3 * d * e + d * s + min(n, chunk) * (s + e) + 2 * s * e


def gau_kept(n: int, d: int, e: int, s: int) -> int:
    r"""$d + 6e + 4s + 2n$ numbers per token that the backward pass of a GAU with relu² needs.

    x; the 2e + s pre-activations; u, v and z; q and k; relu(S) and A; AV and $U\circ AV$. Without fused kernels.
    """
    return d + 6 * e + 4 * s + 2 * n


def block_kept(n: int, d: int, heads: int, width: int = 4) -> int:
    r"""$(6+2w)d + hn$ per token of attention + feed-forward: x, q, k, v, A of each head, AV; x, both sides of φ."""
    return (6 + 2 * width) * d + heads * n


def macs_crossing(d: int, e: int, s: int, width: int = 4) -> float:
    r"""$n^* = \frac{(2+w)d^2 - 3de - ds}{s+e-d}$: beyond it two GAUs cost more than attention + feed-forward.

    Negative where they do at every length, as with e = 2d. Raises ValueError if e + s does not exceed d.
    """
    if not e + s > d:
        raise ValueError(f"e + s must exceed d, else two GAUs are never dearer for long texts; got {e} + {s} and {d}")
    return ((2 + width) * d * d - 3 * d * e - d * s) / (s + e - d)


def kept_crossing(d: int, e: int, s: int, heads: int, width: int = 4) -> float:
    r"""$n^* = \frac{12e + 8s - (4+2w)d}{h-4}$: beyond it two GAUs keep less for the backward pass, before it more.

    Raises ValueError for 4 heads or fewer, with which attention keeps no more per key than two GAUs do.
    """
    if not heads > 4:
        raise ValueError(f"heads must exceed 4, the numbers per key that two GAUs keep; got {heads}")
    return (12 * e + 8 * s - (4 + 2 * width) * d) / (heads - 4)
