r"""The exercises of the chapter on synthesizers, from a line of counting to a map to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import math

import numpy as np

from . import attention as att
from . import synthesizer as syn
from .arrays import relu, sigmoid, softmax
from .exercises import Exercise, Mistake, OpenExercise, Requirement

TOKENS, LONGEST, D, M = 5, 7, 3, 11
"""Tokens, longest sequence, features and hidden features of the random inputs: no two axes can be mistaken."""

# ---------------------------------------------------------------------------------------------------------------
# counting


def break_even():
    d, h = 1024, 16
    return math.floor(d * math.sqrt(2 / h)) + 1


def _break_even_by_search():
    N = 1
    while syn.random_cost(16, N).parameters <= syn.dot_cost(1024, N).parameters:
        N += 1
    return N


BREAK_EVEN = Exercise(
    id="3.1",
    title="When is random the larger one?",
    question=r"""
    A layer has $d = 1024$ features and 16 heads. Queries and keys are made by two matrices of $d \times d$. Random
    scores need a map of $N \times N$ for each head instead, $N$ being the longest sequence. What is the smallest $N$ at
    which the maps have *more* weights than the two matrices? Biases do not count.
    """,
    reference=break_even,
    because=r"""$hN^2 > 2d^2$ where $N > d\sqrt{2/h} = 362.04$. A model for 512 tokens pays for its random maps twice
    what queries and keys would cost.""",
    hints=(
        "Write both numbers of weights, one in terms of $d$, the other in terms of $N$. Where does the number of heads "
        "come in?",
        r"$hN^2$ against $2d^2$: solve for $N$ and take the next whole number.",
    ),
    accepted=(
        _break_even_by_search,
        lambda: int(np.argmax(16 * np.arange(2000) ** 2 > 2 * 1024**2)),
        lambda: math.ceil(math.sqrt(2 * 1024 * 64)),
    ),
    mistakes=(
        Mistake(
            "one map for all heads",
            math.ceil(1024 * math.sqrt(2)),
            "This would be right if all heads shared one map. Each has its own.",
        ),
        Mistake(
            "one matrix",
            math.floor(1024 / math.sqrt(16)) + 1,
            "Queries *and* keys are made by a matrix each.",
        ),
        Mistake(
            "heads on the wrong side",
            math.ceil(1024 * math.sqrt(32)),
            "More heads make the maps dearer, not cheaper. The two matrices cost the same for any number of heads.",
        ),
        Mistake("one less", break_even() - 1, "At this length the maps are still the smaller ones, if only just."),
        Mistake(
            "not a whole number",
            1024 * math.sqrt(1 / 8),
            "This is where both are equal. A sequence has a whole number of tokens.",
        ),
        Mistake("width", 1024, "Why $d$? The maps are not as wide as the features, and there are several of them."),
    ),
)


def columns(a, b):
    return a * b // math.gcd(a, b)


def _columns_by_a_walk(a, b):
    """Walk along a row until both factors begin anew together."""
    j = 1
    while j % a or j % b:
        j += 1
    return j


def _columns_by_looking(a, b):
    j = np.arange(a * b)
    return len(np.unique(np.stack([j % a, j % b]), axis=1).T)


COLUMNS = Exercise(
    id="3.2",
    title="How many different columns?",
    question=r"""
    A factorized dense synthesizer makes the scores of a row from two short vectors, $u$ of $a$ and $v$ of $b$ entries:
    $u$ is repeated as a whole $b$ times, $v$ as a whole $a$ times, and the two rows of $ab$ numbers are multiplied
    entry by entry, $B_j = u_{j \bmod a}\,v_{j \bmod b}$. How many of the $ab$ columns are different from one another,
    if $u$ and $v$ are drawn at random? Write it as a function of $a$ and $b$.
    """,
    inputs=lambda rng: tuple(int(n) for n in rng.integers(2, 40, size=2)),
    reference=columns,
    because=r"""Columns $i$ and $j$ are equal if $i - j$ is a multiple of both $a$ and $b$, that is, of their least
    common multiple. There are $\mathrm{lcm}(a, b)$ of them: all $ab$ if the two are coprime, but only 16 of 256 at
    $a = b = 16$.""",
    hints=(
        "Try $a = 2$ and $b = 4$ on paper. When do both vectors begin anew at the same place?",
        "The pair ($j$ mod $a$, $j$ mod $b$) decides the column. After how many columns does the pair come back for "
        "the first time? `math` has a function for it.",
    ),
    accepted=(_columns_by_a_walk, _columns_by_looking, lambda a, b: math.lcm(a, b)),
    mistakes=(
        Mistake(
            "all of them",
            lambda a, b: a * b,
            "True for some $a$ and $b$ only. Try $a = b = 2$: which columns do you get?",
        ),
        Mistake("the longer one", max, "True if one divides the other. Try $a = 2$, $b = 3$."),
        Mistake(
            "sum",
            lambda a, b: a + b,
            "This is how many numbers the two vectors hold. They are not put one after the other, they multiply.",
        ),
        Mistake(
            "common divisor",
            math.gcd,
            "This says how often each different column occurs. The question is how many different ones there are.",
        ),
        Mistake(
            "the shorter one", min, "Try $a = 2$, $b = 4$: the columns do not begin anew before the longer one does."
        ),
    ),
)


def ranks():
    return np.array([5, 7, 25, 36, 36, 6])


def _ranks_measured():
    """Draw every kind once, and let NumPy count."""
    rng, n = np.random.default_rng(0), 36
    draw = lambda *shape: rng.normal(size=shape)  # noqa: E731
    q, pieces = relu(draw(n, 24)), (draw(24, 6), draw(24, 6))
    u, v = (q @ piece for piece in pieces)
    kinds = [
        att.attention_scores(draw(n, 5), draw(n, 5)),
        syn.factorized_random_scores(draw(n, 7), draw(n, 7), n),
        syn.dense_scores(draw(n, 24), draw(n, 24), draw(n)),
        syn.random_scores(draw(n, n), n),
        syn.interleaved_scores(u, v),
        syn.tiled_scores(u, v),
    ]
    return [np.linalg.matrix_rank(B) for B in kinds]


RANKS = Exercise(
    id="3.3",
    title="How many directions can the scores take?",
    question=r"""
    Six kinds of scores for $n = N = 36$ tokens, one head: (1) $QK^\top$ with 5 features a head; (2) factorized random,
    $R_1R_2^\top$ with $k = 7$; (3) dense, $\mathrm{relu}(Q)\,W^\top + b$ with 24 hidden features and a bias for each
    column; (4) random; (5) factorized dense with $a = b = 6$, every pair of entries once, $B_{ij} = u_{i,\,j \bmod
    a}\,v_{i,\,\lfloor j/a\rfloor}$, from 24 hidden features; (6) the same with both factors tiled, $B_{ij} = u_{i,\,j
    \bmod a}\,v_{i,\,j \bmod b}$. What is the highest rank that each can have? Give the six numbers in this order.
    """,
    reference=ranks,
    because=r"""A product of an $n \times k$ and a $k \times n$ matrix has rank $k$ at most: 5, 7 and, without the bias,
    24. The bias adds one direction, the row $b$ under a column of ones. Random scores are free: 36. The entry-by-entry
    product multiplies ranks, at most $6 \cdot 6 = 36$, because its rows are quadratic in the hidden features; tiled
    twice it has but 6 different columns.""",
    hints=(
        "A product cannot have a higher rank than its factors. Which of the six are products of narrow matrices?",
        "A bias adds one direction. Multiplying entry by entry can multiply ranks, but a matrix has no higher rank "
        "than it has different columns. If in doubt: `np.linalg.matrix_rank` of a random draw.",
    ),
    accepted=(_ranks_measured, lambda: [5, 7, 24 + 1, 6 * 6, min(36, 6 * 6), math.lcm(6, 6)]),
    mistakes=(
        Mistake(
            "bias forgotten",
            [5, 7, 24, 36, 36, 6],
            "Five of six. What does the bias of the dense scores add, as a matrix of its own?",
        ),
        Mistake(
            "factors added",
            [5, 7, 25, 36, 12, 6],
            "In (5) the ranks of the two factors are added. They are not summed but multiplied entry by entry.",
        ),
        Mistake(
            "hidden features limit the product",
            [5, 7, 25, 36, 25, 6],
            "In (5) a row is not linear in the hidden features: two of them are multiplied.",
        ),
        Mistake(
            "hidden features are all there is",
            [5, 7, 25, 36, 24, 6],
            "In (5) two of the hidden features are multiplied in each entry, so 24 is no limit. Try it with NumPy.",
        ),
        Mistake(
            "tiles added",
            [5, 7, 25, 36, 36, 12],
            "In (6) count the different columns, $6 + 6$ numbers or not.",
        ),
        Mistake(
            "tiles as good as pairs",
            [5, 7, 25, 36, 36, 36],
            "Look again at (6): how many different columns has it?",
        ),
        Mistake(
            "all full",
            [36, 36, 36, 36, 36, 36],
            "A matrix of 36 × 36 numbers need not have rank 36. How narrow is the narrowest factor of each?",
        ),
        Mistake(
            "relu fills up",
            [5, 7, 36, 36, 36, 6],
            "In (3) the relu acts before the second layer. What the second layer makes is still a product with a "
            "narrow factor.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# who looks at whom


def moving_rows():
    return np.array([9, 1, 0, 1, 9, 6])


def _moved(kind, causal=False, place=3):
    """How many rows of the weights change if one token of nine does."""
    rng, n = np.random.default_rng(0), 9
    draw = lambda *shape: rng.normal(size=shape)  # noqa: E731
    x, W_q, W_k, W, R, other = draw(n, D), draw(D, D), draw(D, D), draw(n, D), draw(n, n), draw(D)
    changed = np.concatenate([x[:place], other[None], x[place + 1 :]])
    mask = att.causal_mask(n, x) if causal else None

    def weights(x):
        parts = {"dot": att.attention_scores(x @ W_q, x @ W_k), "dense": syn.dense_scores(x @ W_q, W), "random": R}
        return att.masked_softmax(sum(parts[name] for name in kind.split("+")), mask)

    return int((np.abs(weights(x) - weights(changed)).max(axis=-1) > 1e-12).sum())


def _moving_rows_measured():
    kinds = "dot", "dense", "random", "dense+random", "dot+random"
    return [*(_moved(kind) for kind in kinds), _moved("dot", causal=True)]


def _moving_rows_as_sets():
    rows = range(1, 10)
    own = [i for i in rows if i == 4]
    return np.array([len(rows), len(own), len(own[:0]), len(own), len(rows), len([i for i in rows if i >= 4])])


MOVING_ROWS = Exercise(
    id="3.4",
    title="Which rows notice?",
    question=r"""
    Of nine tokens the fourth is replaced by another. How many *rows* of the attention weights $\mathrm{softmax}(B)$ can
    change, if the scores are (1) $QK^\top$, (2) dense, (3) random, (4) dense plus random, (5) $QK^\top$ plus random,
    all without a mask, and (6) $QK^\top$ with a causal mask? Give the six numbers in this order.
    """,
    reference=moving_rows,
    because=r"""$QK^\top$: the fourth query changes its whole row, and the fourth key an entry in every row, which
    softmax passes on to the rest of the row: 9. Dense: a row knows its own token alone: 1. Random: none. A sum
    changes where a part does: 1 and 9. With the causal mask the fourth key is seen by the rows 4 to 9 only: 6.""",
    hints=(
        "Row $i$ holds the weights with which token $i$ looks at the others. From which tokens is it computed?",
        "The fourth token is a query in one row and a key in every row that may look at it. What is left of this when "
        "the keys are constant, or the queries as well?",
    ),
    accepted=(_moving_rows_measured, _moving_rows_as_sets),
    mistakes=(
        Mistake(
            "queries only",
            [1, 1, 0, 1, 1, 1],
            "With $QK^\\top$ the token is a query in one row, and something else in the others.",
        ),
        Mistake(
            "random moves",
            [9, 1, 1, 1, 9, 6],
            "Random scores are parameters. Which of them is computed from the token?",
        ),
        Mistake(
            "dense like dot",
            [9, 9, 0, 9, 9, 6],
            "In dense scores a row is computed from its own token. Where would another token enter?",
        ),
        Mistake(
            "outputs for weights",
            [9, 9, 9, 9, 9, 6],
            "These are the rows of the *output*, which move through the values. The question is the weights.",
        ),
        Mistake("no mask", [9, 1, 0, 1, 9, 9], "Under a causal mask, which rows may look at the fourth token at all?"),
        Mistake(
            "mask turned round",
            [9, 1, 0, 1, 9, 4],
            "Causal: a token looks at itself and *back*. These are the rows that the fourth token may look at.",
        ),
        Mistake(
            "later rows only",
            [9, 1, 0, 1, 9, 5],
            "Almost: a causal mask admits a token itself, too.",
        ),
        Mistake(
            "mixtures cut off",
            [9, 1, 0, 0, 0, 6],
            "A sum with a constant still changes where the other part does.",
        ),
    ),
)


def constant_keys(W):
    return math.sqrt(W.shape[1]) * W


def _constant_keys_entry_by_entry(W):
    N, m = W.shape
    K = np.empty((N, m))
    for j in range(N):
        for f in range(m):
            K[j, f] = W[j, f] * m**0.5
    return K


def _constant_keys_by_equations(W):
    """Ask attention itself what it makes of unit vectors as queries and keys, and solve for the keys."""
    unit = np.eye(W.shape[1])
    return np.linalg.solve(att.attention_scores(unit, unit).T, W.T).T


CONSTANT_KEYS = Exercise(
    id="3.5",
    title="Dense is attention with constant keys",
    question=r"""
    Take dense scores without relu and bias, $B = QW^\top$, where $Q$ of shape $(n, m)$ is computed from the tokens and
    $W$ of shape $(N, m)$ is a parameter. Which keys $K$, the same for every input, make ordinary attention scores
    $QK^\top/\sqrt m$ equal to $B$? Write $K$, of shape $(N, m)$, as a function of $W$.
    """,
    inputs=lambda rng: (rng.normal(size=(LONGEST, int(rng.integers(2, 20)))),),
    reference=constant_keys,
    because=r"""$QK^\top/\sqrt m = QW^\top$ for every $Q$ if and only if $K = \sqrt m\,W$. So a dense synthesizer asks
    questions of a list of $N$ things that it knows by heart, one for each position.""",
    hints=(
        "Both are products of $Q$ with something. Compare the two somethings.",
        r"$K^\top/\sqrt m$ must be $W^\top$. Which axis of `W` has $m$ entries?",
    ),
    accepted=(_constant_keys_entry_by_entry, _constant_keys_by_equations),
    mistakes=(
        Mistake(
            "scale forgotten", lambda W: W, "Attention divides by something that the dense scores do not divide by."
        ),
        Mistake(
            "divided again",
            lambda W: W / math.sqrt(W.shape[1]),
            "Attention divides once already. The keys have to make up for it, not to do it again.",
        ),
        Mistake(
            "root of the length",
            lambda W: math.sqrt(W.shape[0]) * W,
            "The scale of attention comes from the number of features, not of positions.",
        ),
        Mistake("no root", lambda W: W.shape[1] * W, "The scale is right but for the root."),
        Mistake(
            "transposed",
            lambda W: math.sqrt(W.shape[1]) * W.T,
            "Keys have positions on the rows and features on the columns, as $W$ has.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# the variants by hand


def _dense_inputs(rng):
    shapes = (TOKENS, D), (M, D), (M,), (LONGEST, M), (LONGEST,)
    return tuple(rng.normal(size=shape) for shape in shapes)


def dense_weights(X, W_1, b_1, W_2, b_2):
    n = len(X)
    B = np.maximum(X @ W_1.T + b_1, 0) @ W_2[:n].T + b_2[:n]
    e = np.exp(B - B.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _dense_weights_by_the_library(X, W_1, b_1, W_2, b_2):
    return softmax(syn.dense_scores(X @ W_1.T + b_1, W_2, b_2))


def _dense_weights_token_by_token(X, W_1, b_1, W_2, b_2):
    rows = []
    for x in X:
        hidden = W_1 @ x + b_1
        B = W_2 @ (hidden * (hidden > 0)) + b_2
        e = np.exp(B[: len(X)])
        rows.append(e / e.sum())
    return np.stack(rows)


def _dense_with(change):
    """A wrong answer: `change` makes the weights out of hidden features before relu, second layer and its bias."""
    return lambda X, W_1, b_1, W_2, b_2: change(X @ W_1.T + b_1, W_2[: len(X)], b_2[: len(X)])


DENSE_WEIGHTS = Exercise(
    id="3.6",
    title="Dense attention weights",
    question=r"""
    Write the attention weights $\mathrm{softmax}(\mathrm{relu}(XW_1^\top + b_1)\,W_2^\top + b_2)$ of a dense
    synthesizer. `X` holds $n$ tokens, `W_1` has shape $(m, d)$. The second layer was made for $N > n$ tokens, `W_2` of
    shape $(N, m)$ and `b_2` of $(N,)$; of its $N$ scores a shorter sequence uses the first $n$. The result has shape
    $(n, n)$, and each token's weights on a row add up to 1.
    """,
    inputs=_dense_inputs,
    reference=dense_weights,
    because=r"""First the scores, then the cut, then softmax along the last axis. Cut after softmax, the rows would
    add up to less than 1: part of the attention would go to tokens that are not there.""",
    hints=(
        "Three steps: scores, cut, softmax. In which order, and along which axis?",
        "Cut the second layer to its first n rows *before* the softmax, and take the softmax of each row.",
    ),
    accepted=(_dense_weights_by_the_library, _dense_weights_token_by_token),
    mistakes=(
        Mistake(
            "softmax over the queries",
            _dense_with(lambda h, W, b: softmax(relu(h) @ W.T + b, axis=0)),
            "Each *column* adds up to 1 here. Whose weights are to add up to 1?",
        ),
        Mistake(
            "cut after the softmax",
            lambda X, W_1, b_1, W_2, b_2: softmax(relu(X @ W_1.T + b_1) @ W_2.T + b_2)[:, : len(X)],
            "These rows add up to less than 1: part of the attention goes to positions behind the end.",
        ),
        Mistake(
            "no relu",
            _dense_with(lambda h, W, b: softmax(h @ W.T + b)),
            "Without the relu the two layers are one.",
        ),
        Mistake(
            "relu of the scores",
            _dense_with(lambda h, W, b: softmax(relu(h @ W.T + b))),
            "The relu acts on the hidden features, between the two layers.",
        ),
        Mistake(
            "a relu too many",
            _dense_with(lambda h, W, b: softmax(relu(relu(h) @ W.T + b))),
            "The first relu is right. After the second layer there is none.",
        ),
        Mistake(
            "scaled",
            _dense_with(lambda h, W, b: softmax((relu(h) @ W.T + b) / math.sqrt(W.shape[1]))),
            "Dense scores are not divided by a root of the features; the formula of the question has none.",
        ),
        Mistake(
            "no second bias",
            _dense_with(lambda h, W, b: softmax(relu(h) @ W.T)),
            "The bias of the second layer is left out, or it stands on the rows, where softmax takes it out again. It "
            "belongs to the columns.",
        ),
        Mistake(
            "scores",
            _dense_with(lambda h, W, b: relu(h) @ W.T + b),
            "These are the scores. The weights are what softmax makes of them.",
        ),
    ),
)


def _random_inputs(rng):
    heads = 2
    return rng.normal(size=(TOKENS, heads * D)), rng.normal(size=(heads, LONGEST, LONGEST))


def causal_random(v, R):
    h, n, d_h = len(R), len(v), v.shape[-1] // len(R)
    B = np.where(np.tri(n, dtype=bool), R[:, :n, :n], -np.inf)
    A = np.exp(B) / np.exp(B).sum(axis=-1, keepdims=True)
    V = v.reshape(n, h, d_h).transpose(1, 0, 2)
    return (A @ V).transpose(1, 0, 2).reshape(n, h * d_h)


def _causal_random_by_the_library(v, R):
    n = len(v)
    pieces = att.split_heads(v, len(R))
    return att.merge_heads(syn.synthetic_attention(syn.random_scores(R, n), pieces, att.causal_mask(n, v)))


def _causal_random_row_by_row(v, R):
    outputs = []
    for i in range(len(v)):
        per_head = zip(R, np.split(v, len(R), axis=-1), strict=True)
        outputs.append(np.concatenate([softmax(B[i, : i + 1]) @ piece[: i + 1] for B, piece in per_head]))
    return np.array(outputs)


def _random_with(weights):
    """A wrong answer: `weights` makes the attention weights out of the scores, the mask, and the heads' features."""

    def answer(v, R):
        n, pieces = len(v), att.split_heads(v, len(R))
        return att.merge_heads(weights(R[:, :n, :n], att.causal_mask(n, v), pieces.shape[-1]) @ pieces)

    return answer


CAUSAL_RANDOM = Exercise(
    id="3.7",
    title="Random attention that may not look ahead",
    question=r"""
    Write the output of random attention with $h$ heads and a causal mask: token $i$ mixes the values of the tokens up
    to and including itself. `v` of shape $(n, h\,d_h)$ holds the values, the features of the heads side by side; `R` of
    shape $(h, N, N)$ holds the scores of each head, of which $n < N$ tokens use the leading $n$ rows and columns. The
    result has the shape of `v`; there is no output matrix.
    """,
    inputs=_random_inputs,
    reference=causal_random,
    because=r"""Cut R, forbid the future by $-\infty$ before the softmax, so that each row adds up to 1 over what it
    may see, and mix each head's own features. Random scores have no $1/\sqrt{d_h}$: there is no product whose
    variance would grow with $d_h$.""",
    hints=(
        "Do one head first: cut, mask, softmax, times the values. Where does the mask have to act for the rows to "
        "add up to 1?",
        "Scores of the future become minus infinity before the softmax. `np.split(v, h, axis=-1)` gives each head its "
        "values, `np.concatenate` puts the results together again.",
    ),
    accepted=(_causal_random_by_the_library, _causal_random_row_by_row),
    mistakes=(
        Mistake(
            "scaled",
            _random_with(lambda R, mask, d: att.masked_softmax(R / math.sqrt(d), mask)),
            r"The scores are divided by $\sqrt{d_h}$. That belongs to a product of queries and keys; is there one "
            r"here?",
        ),
        Mistake(
            "mask after the softmax",
            _random_with(lambda R, mask, d: softmax(R) * mask),
            "The weights of what is left do not add up to 1: the future has taken its share before it was struck out.",
        ),
        Mistake(
            "zero for minus infinity",
            _random_with(lambda R, mask, d: softmax(R * mask)),
            "A score of 0 is no ban: it still gets the weight $e^0$.",
        ),
        Mistake(
            "looking ahead",
            _random_with(lambda R, mask, d: att.masked_softmax(R, mask.T)),
            "Each token looks at itself and *ahead*. Which triangle of the scores is the past?",
        ),
        Mistake("no mask", _random_with(lambda R, mask, d: softmax(R)), "What became of the mask?"),
        Mistake(
            "not itself",
            lambda v, R: _random_with(lambda R, mask, d: att.masked_softmax(R, mask & ~np.eye(len(v), dtype=bool)))(
                v, R
            ),
            "Here a token may not look at itself, and the first has nothing to look at. Up to *and including* itself.",
        ),
        Mistake(
            "softmax over the queries",
            _random_with(lambda R, mask, d: softmax(np.where(mask, R, -np.inf), axis=-2)),
            "Each *column* adds up to 1 here. Along which axis does a token share out its attention?",
        ),
        Mistake(
            "one head's map for all",
            _random_with(lambda R, mask, d: att.masked_softmax(R[:1], mask)),
            "All heads use the map of the first one.",
        ),
        Mistake(
            "cut across tokens",
            lambda v, R: _random_with(lambda B, mask, d: att.masked_softmax(B, mask))(
                v.reshape(len(R), len(v), -1).transpose(1, 0, 2).reshape(v.shape), R
            ),
            "The reshape went across tokens. First $(n, h, d_h)$, and then move the axis of the heads to the front.",
        ),
        Mistake(
            "put back in the wrong order",
            lambda v, R: causal_random(v, R).reshape(len(v), len(R), -1).transpose(1, 0, 2).reshape(v.shape),
            "Each head is right, but they are put back in the wrong order: tokens come first, then heads.",
        ),
        Mistake(
            "heads interleaved",
            lambda v, R: (
                causal_random(v.reshape(len(v), -1, len(R)).swapaxes(1, 2).reshape(v.shape), R)
                .reshape(len(v), len(R), -1)
                .swapaxes(1, 2)
                .reshape(v.shape)
            ),
            "The features were dealt out to the heads in turn. They lie side by side: first all of the first head.",
        ),
    ),
)


def _factor_inputs(rng):
    return rng.normal(size=(TOKENS, 3)), rng.normal(size=(TOKENS, 4))


def every_pair(u, v):
    a, b = u.shape[-1], v.shape[-1]
    return np.tile(u, (1, b)) * np.repeat(v, a, axis=-1)


def _every_pair_as_outer_products(u, v):
    return np.stack([np.outer(right, left).ravel() for left, right in zip(u, v, strict=True)])


def _every_pair_by_index(u, v):
    j = np.arange(u.shape[1] * v.shape[1])
    return u[:, j % u.shape[1]] * v[:, j // u.shape[1]]


def _tiled(u, v):
    return np.tile(u, (1, v.shape[-1])), np.tile(v, (1, u.shape[-1]))


EVERY_PAIR = Exercise(
    id="3.8",
    title="Every pair once",
    question=r"""
    Two factors of dense scores: `u` of shape $(n, a)$ and `v` of shape $(n, b)$. Write the scores
    $B_{ij} = u_{i,\,j \bmod a}\;v_{i,\,\lfloor j/a \rfloor}$ for $j = 0, \dots, ab-1$, in which every pair of an entry
    of $u$ with one of $v$ occurs exactly once; shape $(n, ab)$.
    """,
    inputs=_factor_inputs,
    reference=every_pair,
    because=r"""$j \bmod a$ runs through $u$ again and again: a tile. $\lfloor j/a\rfloor$ stays at each entry of
    $v$ for $a$ steps: `np.repeat`. It is the outer product of the two, written in a row.""",
    hints=(
        "Write down $j$ mod $a$ and $⌊j/a⌋$ for $a = 3$, $b = 2$ and $j = 0, …, 5$.",
        "NumPy has two functions that lengthen a row: one repeats it as a whole, the other each of its entries. Here "
        "each of the factors needs a different one.",
    ),
    accepted=(
        _every_pair_as_outer_products,
        _every_pair_by_index,
        lambda u, v: np.einsum("ia,ib->iba", u, v).reshape(len(u), -1),
    ),
    mistakes=(
        Mistake(
            "both tiled",
            lambda u, v: np.multiply(*_tiled(u, v)),
            "Both factors are repeated as a whole. Look at the index of $v$ again: it rests before it moves on.",
        ),
        Mistake(
            "roles swapped",
            lambda u, v: np.repeat(u, v.shape[-1], axis=-1) * np.tile(v, (1, u.shape[-1])),
            "Every pair occurs once, but in another order: here $u$ rests and $v$ runs.",
        ),
        Mistake(
            "both repeated",
            lambda u, v: np.repeat(u, v.shape[-1], axis=-1) * np.repeat(v, u.shape[-1], axis=-1),
            "Both factors rest at each of their entries. One of them has to run.",
        ),
        Mistake(
            "added",
            lambda u, v: np.tile(u, (1, v.shape[-1])) + np.repeat(v, u.shape[-1], axis=-1),
            "The pairs are right, but they are added. Of sums softmax makes a product of two separate softmaxes.",
        ),
        Mistake(
            "side by side",
            lambda u, v: np.concatenate([u, v], axis=-1),
            "The factors stand side by side, $a + b$ numbers. Each of one is to meet each of the other.",
        ),
        Mistake(
            "not in a row",
            lambda u, v: u[:, None, :] * v[:, :, None],
            "All products are there, as an array with an axis too many. The scores of a token are one row.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# mixtures


def _mixture_inputs(rng):
    first, second = softmax(2 * rng.normal(size=(2, TOKENS, TOKENS)))
    return first, second, float(rng.uniform(0.1, 0.4))


def mixture_of_maps(A_1, A_2, alpha):
    A = A_1 ** (1 - alpha) * A_2**alpha
    return A / A.sum(axis=-1, keepdims=True)


def _mixture_through_scores(A_1, A_2, alpha):
    return softmax((1 - alpha) * np.log(A_1) + alpha * np.log(A_2))


def _mixture_by_the_library(A_1, A_2, alpha):
    return softmax(syn.mixed_scores([np.log(A_1), np.log(A_2)], np.array([1 - alpha, alpha])))


MIXTURE_OF_MAPS = Exercise(
    id="3.9",
    title="What is mixed in a mixture?",
    question=r"""
    A mixture adds *scores*: $B = (1-\alpha)B_1 + \alpha B_2$. Somebody gives you only the attention weights of the two
    parts, $A_1 = \mathrm{softmax}(B_1)$ and $A_2 = \mathrm{softmax}(B_2)$, each row a distribution. Write the weights
    $\mathrm{softmax}(B)$ of the mixture as a function of `A_1`, `A_2` and `alpha`. Then think: what can a part with
    weight near 0 at a key do to the mixture that it could not do to an average of the maps?
    """,
    inputs=_mixture_inputs,
    reference=mixture_of_maps,
    because=r"""$B_i = \ln A_i$ up to a number for each row, which softmax does not see. So $e^B \propto
    A_1^{1-\alpha}A_2^{\alpha}$: the geometric mean with weights, divided by its sum. Either part has a veto: where
    one is near 0, so is the mixture. An average would keep what the other gives.""",
    hints=(
        "You do not know the scores, but nearly: what does $\\ln A_1$ differ from $B_1$ by, in each row?",
        "Adding scores multiplies their exponentials. After that, a row no longer adds up to 1.",
    ),
    accepted=(_mixture_through_scores, _mixture_by_the_library),
    mistakes=(
        Mistake(
            "average of the weights",
            lambda A_1, A_2, alpha: (1 - alpha) * A_1 + alpha * A_2,
            "Here the *weights* are averaged. The mixture adds scores, before the softmax.",
        ),
        Mistake(
            "not normalised",
            lambda A_1, A_2, alpha: A_1 ** (1 - alpha) * A_2**alpha,
            "Close, but these rows add up to less than 1.",
        ),
        Mistake(
            "softmax of the weights",
            lambda A_1, A_2, alpha: softmax((1 - alpha) * A_1 + alpha * A_2),
            "Weights are put where scores belong. Softmax is not its own inverse; what undoes an exponential?",
        ),
        Mistake(
            "shares swapped",
            lambda A_1, A_2, alpha: mixture_of_maps(A_2, A_1, alpha),
            r"The shares have changed places: $\alpha$ belongs to the second part.",
        ),
        Mistake(
            "plain product",
            lambda A_1, A_2, alpha: mixture_of_maps(A_1**2, A_2**2, 0.5),
            r"This is what $B_1 + B_2$ would give. What became of $\alpha$?",
        ),
        Mistake(
            "normalised over the queries",
            lambda A_1, A_2, alpha: A_1 ** (1 - alpha) * A_2**alpha / (A_1 ** (1 - alpha) * A_2**alpha).sum(axis=0),
            "Each *column* adds up to 1 here. The keys are on the columns, and each query shares out its weight among "
            "them.",
        ),
    ),
)


def _gate_inputs(rng):
    return float(rng.uniform(0.3, 2.0)), *rng.normal(size=(3, TOKENS, TOKENS))


def gate_gradient(a, S, R, G):
    gate = 1 / (1 + math.exp(-a))
    return gate * (1 - gate) * float(((R - S) * G).sum())


def _gate_gradient_by_differences(a, S, R, G, eps=1e-5):
    def loss(a):
        return (G * syn.gated_mixture(S, R, np.array(a))).sum()

    return (loss(a + eps) - loss(a - eps)) / (2 * eps)


def _gate_gradient_by_the_chain_rule(a, S, R, G):
    slope = 0.25 / np.cosh(a / 2) ** 2
    return slope * np.trace(G.T @ R) - slope * np.vdot(G, S)


def _summed(factor):
    return lambda a, S, R, G: factor(float(sigmoid(np.array(a)))) * ((R - S) * G).sum()


GATE_GRADIENT = Exercise(
    id="3.10",
    title="The slope of a gate",
    question=r"""
    The authors' code mixes by a gate: $B = (1-\sigma(a))\,S + \sigma(a)\,R$, with $S = QK^\top$, random scores $R$ and
    *one* number $a$ for the whole map. The loss $L$ reaches the scores with the gradient $G = \partial L/\partial B$.
    Write $\partial L/\partial a$ as a function of `a` and the arrays `S`, `R`, `G`, all of shape $(n, n)$.
    """,
    inputs=_gate_inputs,
    reference=gate_gradient,
    because=r"""$\partial B_{ij}/\partial a = \sigma(a)(1-\sigma(a))\,(R_{ij} - S_{ij})$, and all entries share the
    one $a$: $\partial L/\partial a = \sigma(1-\sigma)\sum_{ij} G_{ij}(R_{ij} - S_{ij})$. At $a = 0$, where training
    begins, the slope of the gate is ¼, as large as it can be.""",
    hints=(
        r"Differentiate one entry of $B$ by $a$. What is the slope of $\sigma$, in terms of $\sigma$ itself?",
        "All entries depend on the same $a$: weigh each one's slope by `G` and add up.",
    ),
    accepted=(_gate_gradient_by_differences, _gate_gradient_by_the_chain_rule),
    mistakes=(
        Mistake("sign", _summed(lambda g: -g * (1 - g)), "With larger $a$, does the share of `R` rise or fall?"),
        Mistake(
            "slope at zero",
            _summed(lambda g: 0.25),
            "A quarter is the slope of the gate at $a = 0$. Here $a$ is any number.",
        ),
        Mistake(
            "gate for its slope",
            _summed(lambda g: g),
            r"This has the gate where its slope belongs. What is the derivative of $\sigma(a)$?",
        ),
        Mistake(
            "no slope",
            _summed(lambda g: 1.0),
            r"This is the gradient by $\sigma(a)$. One more link of the chain leads to $a$.",
        ),
        Mistake(
            "mean",
            lambda a, S, R, G: gate_gradient(a, S, R, G) / G.size,
            "The entries are averaged. `G` says already how much each of them counts.",
        ),
        Mistake(
            "one part only",
            lambda a, S, R, G: gate_gradient(a, 0 * S, R, G),
            r"The share of $S$ depends on $a$ too.",
        ),
        Mistake(
            "entry by entry",
            lambda a, S, R, G: gate_gradient(a, 0 * S, 0 * R + 1, 1 + 0 * G) / G.size * (R - S) * G,
            "These are the contributions of the single entries. There is one $a$, so there is one number.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# what a fixed map cannot do


def retrieval_floor(p):
    return 1 - (p**2).sum()


def _retrieval_floor_of_the_best_row(p):
    w = p  # where the slope of w² + 1 − 2 p·w vanishes
    return w @ w + 1 - 2 * p @ w


def _retrieval_floor_by_least_squares(p):
    """A case for each place of the mark and each token, which alone is 1 then; its square counts by its chance."""
    root, unit = np.sqrt(p)[:, None, None], np.eye(len(p))
    tokens = np.concatenate(root * np.stack([unit] * len(p)))
    wanted = np.concatenate((root * unit[:, :, None])[..., 0])
    w = np.linalg.lstsq(tokens, wanted, rcond=None)[0]
    return ((tokens @ w - wanted) ** 2).sum() / (wanted**2).sum()


RETRIEVAL_FLOOR = Exercise(
    id="3.11",
    title="Retrieving without looking",
    question=r"""
    The features of $n$ tokens are independent, of mean 0 and variance 1. One token carries a mark, at place $j$ with
    the probability $p_j$, and its features are to be retrieved. A fixed row of attention answers $\sum_j w_j x_j$ with
    the same $w$ every time. How small can the mean square error become, relative to the mean square of what is wanted?
    Write it as a function of the array `p`. Then think: which task does the smallest answer belong to, and which the
    largest?
    """,
    inputs=lambda rng: (rng.dirichlet(np.ones(LONGEST)),),
    reference=retrieval_floor,
    because=r"""If the mark is at $j$ the error is $(1-w_j)^2 + \sum_{i\ne j}w_i^2$, on average
    $\sum_j w_j^2 + 1 - 2\sum_j p_jw_j$. It is smallest at $w = p$, where it is $1 - \sum_j p_j^2$: 0 if the place is
    certain, which is copying; $1 - 1/n$ if every place is equally likely. Attention that looks gets 0 in both.""",
    hints=(
        "Write the error for a mark at place $j$: what is missing of the right token, and what comes in from the "
        "others?",
        "On average over $j$ the error is a quadratic function of the weights. Set its slope to 0, and put the best "
        "weights in.",
    ),
    accepted=(_retrieval_floor_of_the_best_row, _retrieval_floor_by_least_squares),
    mistakes=(
        Mistake(
            "uniform places",
            lambda p: 1 - 1 / len(p),
            "This is right if every place is equally likely. What can the row make of a likely place?",
        ),
        Mistake(
            "bet on the likeliest",
            lambda p: 2 * (1 - p.max()),
            "This is the error of a row that always answers with the likeliest token. A wrong token costs twice: "
            "what it brings in, and what is missing. Hedge.",
        ),
        Mistake(
            "share of errors",
            lambda p: 1 - p.max(),
            "This is how often the likeliest token is the wrong one. The question is about a square error.",
        ),
        Mistake(
            "what is explained",
            lambda p: (p**2).sum(),
            "This is the part that a fixed row gets right. The question is what remains.",
        ),
        Mistake(
            "others forgotten",
            lambda p: (p * (1 - p) ** 2).sum(),
            "This counts what is missing of the right token. The row lets the others in as well.",
        ),
    ),
)


def entropy_of_random(n, s):
    return math.log(n) - s * s / 2


def _entropy_by_quadrature(n, s):
    """A softmax over many Gaussian scores: sums over the row become expectations."""
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    p, e = weight / weight.sum(), np.exp(s * node)
    return np.log(n) + np.log(p @ e) - p @ (s * node * e) / (p @ e)


ENTROPY_OF_RANDOM = Exercise(
    id="3.12",
    title="How sharp is a map that was just drawn?",
    question=r"""
    The scores of a row of random attention are drawn from $N(0, s^2)$. For many tokens $n$, the sums of the row may be
    replaced by expectations: $\sum_j e^{B_j} \approx n\,\mathbb E\,e^B$. What then is the entropy
    $-\sum_j a_j \ln a_j$ of the weights $a_j = e^{B_j}/\sum_l e^{B_l}$, in nats, as a function of $n$ and $s$?
    """,
    inputs=lambda rng: (int(rng.integers(100, 5000)), float(rng.uniform(0.2, 2.0))),
    reference=entropy_of_random,
    because=r"""$-\ln a_j = \ln\sum_l e^{B_l} - B_j$, so the entropy is $\ln n + \ln\mathbb E\,e^B - \mathbb
    E[Be^B]/\mathbb E\,e^B$. For a Gaussian these are $s^2/2$ and $s^2$: the entropy is $\ln n - s^2/2$. At $s =
    0.02$ a random map begins as the plain mean of all tokens, at $s = 1$ half a nat below.""",
    hints=(
        r"Write $-\ln a_j$ first. The entropy is its mean with the weights $a_j$.",
        r"For $B \sim N(0, s^2)$: $\mathbb E\,e^{tB} = e^{t^2s^2/2}$. Its slope at $t = 1$ gives $\mathbb E[Be^B]$.",
    ),
    accepted=(_entropy_by_quadrature, lambda n, s: np.log(n * np.exp(s**2 / 2)) - s**2),
    mistakes=(
        Mistake("uniform", lambda n, s: math.log(n), "This is the entropy of equal weights, the limit of small $s$."),
        Mistake(
            "normaliser forgotten",
            lambda n, s: math.log(n) - s * s,
            r"$\ln\mathbb E\,e^B$ is missing. It is not 0, though the mean of $B$ is.",
        ),
        Mistake(
            "mean score forgotten",
            lambda n, s: math.log(n) + s * s / 2,
            "No weights have a higher entropy than equal ones. The mean of $B_j$ is taken *with the weights*.",
        ),
        Mistake(
            "linear in s",
            lambda n, s: math.log(n) - s / 2,
            "Take the square of the standard deviation into the exponent, not the standard deviation.",
        ),
        Mistake(
            "share of the maximum",
            lambda n, s: 1 - s * s / 2 / math.log(n),
            "This is the entropy as a share of the largest one. The question wants nats.",
        ),
        Mistake(
            "bits",
            lambda n, s: entropy_of_random(n, s) / math.log(2),
            r"These are bits. In nats the logarithm is $\ln$.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# a map to invent

N_COPY = 7
"""Tokens of the last exercise."""


def copying_map():
    i, j = np.arange(N_COPY)[:, None], np.arange(N_COPY)
    return 4.0 * (2 * (i - 1) * j - j**2)


def _copying_map_on_a_circle():
    turn = 2 * np.pi * np.arange(N_COPY) / N_COPY
    query, key = (np.stack([np.cos(angle), np.sin(angle)], axis=1) for angle in (turn - turn[1], turn))
    return 12 * query @ key.T


def _copying_map_of_factors():
    """Tangents of a parabola at half steps bound the range of queries in which a key wins."""
    key = np.arange(N_COPY) - 3.0
    R_1, R_2 = np.stack([key - 1, np.ones(N_COPY)], axis=1), np.stack([2 * key, -(key**2)], axis=1)
    return syn.factorized_random_scores(5 * R_1, R_2, N_COPY)


def _weight_on_the_previous(B):
    return np.diagonal(softmax(B), offset=-1)


COPYING_MAP = OpenExercise(
    id="3.13",
    title="Two numbers for each place",
    question=rf"""
    Copying the previous token needs a map with $A_{{i,i-1}} \approx 1$. Its scores seem to need full rank. They do not:
    find scores $B$ of {N_COPY} × {N_COPY} numbers, of rank 2 at most and none larger than 1000 in size, such that
    $\mathrm{{softmax}}(B)$, without any mask, gives each token but the first more than 0.9 to the one before it. So
    factorized random scores with $k = 2$ can copy. Then think: can rank 1 do it?
    """,
    reference=copying_map,
    because=r"""$-c\,(j - (i-1))^2$ is largest at $j = i-1$. Its part $-c\,(i-1)^2$ is the same in a whole row, and
    softmax does not see it. What is left, $c\,(2(i-1)j - j^2)$, is a product of $(i-1, 1)$ with $(2j, -j^2)$: rank
    2. With rank 1, $B_{ij} = r_is_j$, a row is largest where $s$ is largest or smallest: at two places for all rows
    together.""",
    hints=(
        "Softmax does not notice a number added to a whole row. Which simple function of $i$ and $j$ is largest at "
        "$j = i - 1$?",
        "Put the queries and the keys on a curve in the plane so that each key is the farthest one in the direction of "
        "its query. A circle will do, or a square expanded by the binomial formula.",
    ),
    accepted=(_copying_map_on_a_circle, _copying_map_of_factors),
    mistakes=(
        Requirement(
            "size",
            1000.0 * copying_map(),
            "The scores are larger than 1000. Sharp is good, but not at any price.",
            holds=lambda B: bool(np.abs(B).max() <= 1000),
        ),
        Requirement(
            "own token",
            4.0 * (2 * np.arange(N_COPY)[:, None] * np.arange(N_COPY) - np.arange(N_COPY) ** 2),
            "The largest weight of some row is not on the token before it. Look at `softmax(B).argmax(-1)`.",
            holds=lambda B: bool((softmax(B)[1:].argmax(-1) == np.arange(N_COPY - 1)).all()),
        ),
        Requirement(
            "too flat",
            0.1 * copying_map(),
            "Each row is largest in the right place, but some rows are not sharp enough: the scores of a map are not "
            "the map, softmax comes after them.",
            holds=lambda B: bool(_weight_on_the_previous(B).min() > 0.9),
        ),
        Requirement(
            "rank",
            20.0 * np.eye(N_COPY, k=-1),
            "The map is right, but its scores have a higher rank. If they are the square of a difference: which of its "
            "terms is the same in a whole row?",
            holds=lambda B: np.linalg.matrix_rank(B, tol=1e-6 * np.abs(B).max()) <= 2,
        ),
    ),
)


EXERCISES = (
    BREAK_EVEN,
    COLUMNS,
    RANKS,
    MOVING_ROWS,
    CONSTANT_KEYS,
    DENSE_WEIGHTS,
    CAUSAL_RANDOM,
    EVERY_PAIR,
    MIXTURE_OF_MAPS,
    GATE_GRADIENT,
    RETRIEVAL_FLOOR,
    ENTROPY_OF_RANDOM,
    COPYING_MAP,
)
"""All exercises of the chapter, easy to open-ended."""
