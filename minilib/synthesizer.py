r"""Synthesizers: self-attention whose scores are not products of queries and keys.

Self-attention is $O = \mathrm{softmax}(B)\,V$ with scores $B$ of shape (…, n, n). In $B = QK^\top/\sqrt{d_h}$ a score
depends on two tokens. The variants put something else in the place of $B$ and leave all else as it is:

* dense: each token computes its row of scores by itself, without looking at another;
* random: the scores are parameters, trained or not, the same for every input;
* factorized: dense or random with fewer numbers;
* mixed: a weighted sum of any of these, and of $QK^\top$.

Columns of scores are tied to positions. So there is a longest sequence, of $N$ tokens, and a shorter one of $n$ uses
the leading n rows and columns, as the authors' code in Mesh TensorFlow does. Heads, where there are any, come before
the positions, in the scores as in the weights: scores (…, h, n, n) with R of shape (h, N, N).

Sources: Tay et al. 2020, Synthesizer; Su Jianlin, Scientific Spaces 7430.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float

from .arrays import Array, expect_shape, namespace, relu, sigmoid, softmax
from .attention import masked_softmax


def _expect_length(n: int, longest: int) -> None:
    if not 1 <= n <= longest:
        raise ValueError(
            f"these scores exist for 1 to {longest} tokens, got {n}; each column belongs to a position, so cut the "
            f"sequence or make a synthesizer with longest = {n} or more"
        )


def synthetic_weights(
    scores: Float[Array, "*any n m"], mask: Bool[Array, "*some"] | None = None
) -> Float[Array, "*batch n m"]:
    r"""$A = \mathrm{softmax}(B)$ over the keys that `mask` admits, for scores $B$ of any origin.

    Scores that know no batch meet a mask that does: both broadcast. A row for which `mask` admits nothing is 0.
    """
    xp = namespace(scores=scores)
    return masked_softmax(scores if mask is None else xp.broadcast_arrays(scores, mask)[0], mask)


def synthetic_attention(
    scores: Float[Array, "*any n m"], v: Float[Array, "*some m e"], mask: Bool[Array, "*more"] | None = None
) -> Float[Array, "*batch n e"]:
    r"""$O = \mathrm{softmax}(B)\,V$ with the weights of :func:`synthetic_weights`; batches broadcast."""
    namespace(scores=scores, v=v)
    expect_shape("v", v, (scores.shape[-1], None), f"there is one value for each of the {scores.shape[-1]} columns")
    return synthetic_weights(scores, mask) @ v


# ---------------------------------------------------------------------------------------------------------------
# the variants


def dense_scores(
    q: Float[Array, "*batch n m"], W: Float[Array, "*any N m"], b: Float[Array, "*any N"] | None = None
) -> Float[Array, "*batch n n"]:
    r"""$B = \mathrm{relu}(Q)\,W^\top + b$, cut to n columns: each row is a function of its own token alone.

    $Q = X W_1^\top + b_1$ is the first of two layers, `W` and `b` are the second. So W stands where the keys did, one
    row for each position, and no input changes it. Raises ValueError if there are more than N tokens.
    """
    namespace(q=q, W=W, **({} if b is None else {"b": b}))
    expect_shape("W", W, (None, q.shape[-1]), f"its rows meet the {q.shape[-1]} features of q")
    n = q.shape[-2]
    _expect_length(n, W.shape[-2])
    B = relu(q) @ W[..., :n, :].mT
    return B if b is None else B + b[..., None, :n]


def random_scores(R: Float[Array, "*heads N N"], n: int) -> Float[Array, "*heads n n"]:
    r"""$B = R$, its leading n rows and columns: the same scores whatever the input is, and no $1/\sqrt{d_h}$."""
    namespace(R=R)
    expect_shape("R", R, (R.shape[-1], R.shape[-1]), "it has a row and a column for each position")
    _expect_length(n, R.shape[-1])
    return R[..., :n, :n]


def factorized_random_scores(
    R_1: Float[Array, "*heads N k"], R_2: Float[Array, "*heads N k"], n: int
) -> Float[Array, "*heads n n"]:
    r"""$B = R_1 R_2^\top$, its leading n rows and columns: random scores of rank k at most, with 2Nk numbers."""
    namespace(R_1=R_1, R_2=R_2)
    expect_shape("R_2", R_2, tuple(R_1.shape[-2:]), "it has the shape of R_1")
    _expect_length(n, R_1.shape[-2])
    return R_1[..., :n, :] @ R_2[..., :n, :].mT


def tiled_scores(u: Float[Array, "*batch n a"], v: Float[Array, "*batch n b"]) -> Float[Array, "*batch n n"]:
    r"""$B_{ij} = u_{i,\,j \bmod a}\; v_{i,\,j \bmod b}$: both factors of a factorized dense row tiled.

    u repeated b times, v repeated a times, as the paper reads at first sight; N = ab. Columns j and
    $j + \mathrm{lcm}(a, b)$ are equal. :func:`interleaved_scores` has no equal columns.
    """
    xp = namespace(u=u, v=v)
    n, a, b = u.shape[-2], u.shape[-1], v.shape[-1]
    _expect_length(n, a * b)
    lead = (1,) * (u.ndim - 1)
    return (xp.tile(u, (*lead, b)) * xp.tile(v, (*lead, a)))[..., :n]


def interleaved_scores(u: Float[Array, "*batch n a"], v: Float[Array, "*batch n b"]) -> Float[Array, "*batch n n"]:
    r"""$B_{ij} = u_{i,\,j \bmod a}\; v_{i,\,\lfloor j/a \rfloor}$: u tiled, each entry of v repeated a times in a row.

    Every pair of an entry of u with one of v occurs once: an outer product, laid out in a row of N = ab scores.
    """
    xp = namespace(u=u, v=v)
    n, a, b = u.shape[-2], u.shape[-1], v.shape[-1]
    _expect_length(n, a * b)
    outer = u[..., None, :] * v[..., :, None]
    return xp.reshape(outer, (*outer.shape[:-2], a * b))[..., :n]


def mixed_scores(
    scores: Sequence[Float[Array, "... n n"]], alpha: Float[Array, "k *heads"]
) -> Float[Array, "*batch n n"]:
    r"""$B = \sum_i \alpha_i B_i$; `alpha` has a first axis for the k parts, and may have one for heads of shape (k, h).

    The weights are parameters, the same for every input. Scores, not attention weights, are mixed.
    """
    if not scores or alpha.shape[0] != len(scores):
        raise ValueError(f"alpha must have one weight for each of the {len(scores)} parts, got {tuple(alpha.shape)}")
    namespace(alpha=alpha, **{f"scores[{i}]": B for i, B in enumerate(scores)})
    total = alpha[0, ..., None, None] * scores[0]
    for i, B in enumerate(scores[1:], 1):
        total = total + alpha[i, ..., None, None] * B
    return total


def softmax_mixture(
    scores: Sequence[Float[Array, "... n n"]], w: Float[Array, "k *heads"]
) -> Float[Array, "*batch n n"]:
    r"""$B = \sum_i \alpha_i B_i$ with $\alpha = \mathrm{softmax}(w)$, which sum to 1: the mixture of the paper."""
    return mixed_scores(scores, softmax(w, axis=0))


def gated_mixture(
    dot: Float[Array, "*#batch n n"], synthetic: Float[Array, "*#batch n n"], a: Float[Array, "*heads"]
) -> Float[Array, "*batch n n"]:
    r"""$B = (1-\sigma(a))\,QK^\top + \sigma(a)\,R$ with one number $a$, or one for each head: the authors' code.

    At $a = 0$, where training begins, both have the weight ½ and $\partial B/\partial a = \tfrac14(R - QK^\top)$.
    """
    namespace(dot=dot, synthetic=synthetic, a=a)
    gate = sigmoid(a)[..., None, None]
    return (1 - gate) * dot + gate * synthetic


# ---------------------------------------------------------------------------------------------------------------
# what they cost


class Cost(NamedTuple):
    """Weights, biases not among them, and multiplications with addition for one sequence of n tokens."""

    parameters: int
    macs: int


def _head_width(d: int, heads: int) -> int:
    if heads < 1 or d % heads:
        raise ValueError(f"{d} features cannot be shared out among {heads} heads; take a divisor")
    return d // heads


def dot_cost(d: int, n: int) -> Cost:
    r"""$2d^2$ weights for queries and keys; $2nd^2$ to make them, $n^2d$ to multiply them. Heads do not matter."""
    return Cost(2 * d * d, 2 * n * d * d + n * n * d)


def dense_cost(d: int, heads: int, longest: int, n: int, shared: bool = False) -> Cost:
    r"""$d^2 + dN$ weights, or $d^2 + d_hN$ if all heads share the second layer; $nd^2 + n^2d$ products."""
    width = _head_width(d, heads) if shared else d
    return Cost(d * d + width * longest, n * d * d + n * n * d)


def random_cost(heads: int, longest: int) -> Cost:
    r"""$hN^2$ weights, which are the scores: nothing is computed."""
    return Cost(heads * longest**2, 0)


def factorized_random_cost(heads: int, longest: int, rank: int, n: int) -> Cost:
    r"""$2hNk$ weights; $hn^2k$ products, once for a whole batch."""
    return Cost(2 * heads * longest * rank, heads * n * n * rank)


def factorized_dense_cost(d: int, heads: int, a: int, b: int, n: int, shared: bool = False) -> Cost:
    r"""$d^2 + d(a+b)$ weights, or $d^2 + d_h(a+b)$ if shared; $nd^2 + nd(a+b) + hn^2$ products."""
    width = _head_width(d, heads) if shared else d
    return Cost(d * d + width * (a + b), n * d * d + n * d * (a + b) + heads * n * n)


def mixture_cost(heads: int, n: int, *parts: Cost) -> Cost:
    r"""The sum of the parts, a weight for each of them, and $hn^2$ products for each to be weighted."""
    weights, macs = (sum(column) for column in zip(*parts, strict=True))
    return Cost(weights + len(parts), macs + len(parts) * heads * n * n)


def layer_cost(scores: Cost, d: int, n: int) -> Cost:
    r"""The whole layer: the scores, $2d^2$ weights for values and output, $2nd^2 + n^2d$ products with them."""
    return Cost(scores.parameters + 2 * d * d, scores.macs + 2 * n * d * d + n * n * d)


def break_even_length(d: int, heads: int) -> float:
    r"""$N = d\sqrt{2/h}$, where $hN^2 = 2d^2$: beyond it random scores have more weights than $QK^\top$."""
    if heads < 1:
        raise ValueError(f"there must be at least one head, got {heads}")
    return d * math.sqrt(2 / heads)


# ---------------------------------------------------------------------------------------------------------------
# how far a fixed map gets


def static_map(A: Float[Array, "s *batch n m"]) -> Float[Array, "*batch n m"]:
    r"""$\bar A = \frac1s \sum_t A_t$: of all maps that ignore the input the closest to s given ones.

    Closest in $\sum_t \lVert A_t - \bar A \rVert^2$ and, for maps with rows that sum to 1, in
    $\sum_t \mathrm{KL}(A_t \Vert \bar A)$ too.
    """
    xp = namespace(A=A)
    if A.ndim < 3 or A.shape[0] == 0:
        raise ValueError(f"A must hold at least one map, (s, …, n, m), got {tuple(A.shape)}")
    return xp.mean(A, axis=0)


def explained_share(
    A: Float[Array, "s *batch n m"], fixed: Float[Array, "*batch n m"], baseline: Float[Array, "*any"]
) -> Float[Array, "*batch"]:
    r"""$1 - \sum_t\lVert A_t - F\rVert^2 / \sum_t\lVert A_t - F_0\rVert^2$, a fixed map $F$ against a baseline $F_0$.

    1: every map is F. 0: F is no better than the baseline, below 0: worse. NaN if all maps are the baseline.
    """
    xp = namespace(A=A, fixed=fixed, baseline=baseline)
    left, all_of_it = (xp.sum(xp.sum((A - F) ** 2, axis=(-2, -1)), axis=0) for F in (fixed, baseline))
    return 1 - left / all_of_it


def best_mixing(x: Float[Array, "s n d"], y: Float[Array, "s m d"]) -> Float[Array, "m n"]:
    r"""$M = (\sum_t Y_tX_t^\top)(\sum_t X_tX_t^\top)^{-1}$, which minimises $\sum_t \lVert M X_t - Y_t \rVert^2$.

    No fixed mixing of the tokens comes closer to `y`, whether its rows are attention weights or not. There must be at
    least as many columns s·d in all as tokens n, else the array library says that the matrix is singular.
    """
    xp = namespace(x=x, y=y)
    seen, wanted = (xp.sum(z @ x.mT, axis=0) for z in (x, y))
    return xp.linalg.solve(seen, wanted.mT).mT
