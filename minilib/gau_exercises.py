r"""The exercises of the chapter on the gated attention unit, from a moment to a matrix to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import math

import numpy as np

from . import depth as dep
from . import gau as unit
from .arrays import relu, softmax
from .exercises import Exercise, Mistake, OpenExercise, Requirement
from .layernorm import layer_norm

TOKENS, S, D = 7, 3, 5
"""Tokens, shared features and width of the random inputs: no two axes can be mistaken."""

# ---------------------------------------------------------------------------------------------------------------
# moments and initialisation


def power_gain(k):
    square = 2 ** (k - 1) * math.gamma(k + 0.5) / math.sqrt(math.pi)
    return 1 / math.sqrt(square)


def _power_gain_by_a_sum(k):
    x = np.linspace(0, 14, 400_001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return 1 / np.sqrt((x ** (2 * k) * density).sum() * (x[1] - x[0]))


def _power_gain_by_the_library(k):
    return dep.gain(lambda x: relu(x) ** k, np.zeros(1))


def _whole_line(k):
    return power_gain(k) / math.sqrt(2)


def _power_mean(k):
    return 2 ** (k / 2 - 1) * math.gamma((k + 1) / 2) / math.sqrt(math.pi)


POWER_GAIN = Exercise(
    id="4.1",
    title="The gain of a power of relu",
    question=r"""
    $\varepsilon$ is standard normal and $\varphi(x) = \max(x, 0)^k$ with $k \ge 1$: relu for $k = 1$, relu² for
    $k = 2$. By which factor $g$ must $\varphi$ be multiplied so that $g\,\varphi(\varepsilon)$ has the mean *square* 1?
    Use $E|\varepsilon|^{p} = 2^{p/2}\,\Gamma(\tfrac{p+1}2)/\sqrt\pi$ (`math.gamma`), or sum numerically, from −10 to
    10 at least; $k$ lies between 1 and 3.
    """,
    inputs=lambda rng: (float(rng.uniform(1.0, 3.0)),),
    reference=power_gain,
    because=r"""$E[\varphi^2] = \tfrac12 E|\varepsilon|^{2k} = 2^{k-1}\,\Gamma(k+\tfrac12)/\sqrt\pi$, since half of the
    line gives 0. That is $\tfrac12$ for relu and $\tfrac32$ for relu², so the gains are 1.414 and 0.816.""",
    hints=(
        r"Square $\varphi$ first. Which power of $|\varepsilon|$ is that, and on which part of the line?",
        r"$E[\varphi^2]$ is half of $E|\varepsilon|^{2k}$. The gain enters squared.",
    ),
    accepted=(_power_gain_by_a_sum, _power_gain_by_the_library),
    mistakes=(
        Mistake("whole line", _whole_line, "This counts the negative half of the line too, where relu is 0."),
        Mistake(
            "variance",
            lambda k: 1 / math.sqrt(power_gain(k) ** -2 - _power_mean(k) ** 2),
            "This makes the *variance* 1. The mean square also holds the mean, which is not 0 here.",
        ),
        Mistake(
            "not the root",
            lambda k: power_gain(k) ** 2,
            "A factor $g$ multiplies the mean square by $g^2$. Is this $g$?",
        ),
        Mistake("mean to one", lambda k: 1 / _power_mean(k), "This makes the *mean* 1. Square first."),
        Mistake("inverse", lambda k: 1 / power_gain(k), "This is the root mean square itself. The gain undoes it."),
        Mistake("relu", lambda k: math.sqrt(2), "Right at $k = 1$. How does it depend on $k$?"),
        Mistake(
            "not squared",
            lambda k: 1 / math.sqrt(_power_mean(k)),
            r"This makes the mean of $\varphi$ itself into 1, but for a root. Square $\varphi$ before averaging.",
        ),
    ),
    tolerance=1e-4,
)


def truncated_std(fan_in):
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    left = 1 - 4 * density / math.erf(math.sqrt(2))  # variance of N(0, 1) cut off at ±2
    return 1 / math.sqrt(fan_in * left)


def _truncated_std_on_a_grid(fan_in):
    x = np.linspace(-2, 2, 100_001)
    weight = np.exp(-(x**2) / 2)
    return np.sqrt(weight.sum() / (weight * x**2).sum() / fan_in)


TRUNCATED_STD = Exercise(
    id="4.2",
    title="What to ask a truncated sampler for",
    question=r"""
    A sampler draws from $N(0, \sigma^2)$ and throws away what lies beyond $\pm 2\sigma$. Which $\sigma$ must it be
    given so that the entries it *returns* have LeCun's variance, $1/m$ with $m$ = `fan_in`? Four digits suffice.
    """,
    inputs=lambda rng: (int(rng.integers(16, 4096)),),
    reference=truncated_std,
    because=r"""What is returned has the variance $c\,\sigma^2$, $c = 1 - 4\phi(2)/(2\Phi(2)-1) = 0.7737$ with the
    density $\phi$ and the distribution function $\Phi$ of $N(0,1)$. So $\sigma = 1/\sqrt{cm} = 1.1368/\sqrt m$; for
    $m = 768$ that is 0.0410.""",
    hints=(
        "Cutting off the tails makes the spread smaller. By which factor does the *variance* of $N(0,1)$ shrink?",
        r"With $c$ for that factor the entries have the variance $c\,\sigma^2$. Set it equal to $1/m$.",
    ),
    accepted=(
        _truncated_std_on_a_grid,
        lambda fan_in: dep.truncation_correction() * dep.lecun_std(fan_in),
        lambda fan_in: 1.13685 * fan_in**-0.5,
    ),
    mistakes=(
        Mistake(
            "no correction",
            lambda m: m**-0.5,
            "This would be right without the truncation. What does throwing away the tails do to the variance?",
        ),
        Mistake(
            "wrong direction",
            lambda m: math.sqrt(dep.truncated_variance() / m),
            "This is what one *gets* by asking for LeCun's deviation. What must one ask for?",
        ),
        Mistake(
            "variance for deviation",
            lambda m: 1 / (dep.truncated_variance() * math.sqrt(m)),
            "The factor is that of the variance, and $s$ is a deviation. Where does the root go?",
        ),
        Mistake(
            "variance",
            lambda m: 1 / (dep.truncated_variance() * m),
            "This is $s^2$; the sampler wants the deviation $s$.",
        ),
        Mistake(
            "copied", lambda m: 0.02, "0.02 is what many programs take, whatever the width. It has to depend on $m$."
        ),
    ),
    tolerance=1e-3,
)


def he_std(shape):
    _, inward, *kernel = shape
    return math.sqrt(2 / (inward * math.prod(kernel)))


def _he_std_by_counting(shape):
    weight = np.zeros(shape)
    return (weight[0].size / 2) ** -0.5


def _he_std_by_the_library(shape):
    return dep.he_std(dep.fans(shape)[0])


HE_STD = Exercise(
    id="4.3",
    title="Fan-in or fan-out?",
    question=r"""
    He's initialisation has the variance 2 over the number of inputs that *each output* adds up. Given the `shape` of
    the weight of a two-dimensional convolution as PyTorch stores it, `(out, in, height, width)`, what is the standard
    deviation?
    """,
    inputs=lambda rng: (tuple(int(n) for n in rng.choice([2, 3, 5, 7, 11, 13], size=4, replace=False)),),
    reference=he_std,
    because=r"""An output adds up in · height · width products, so the standard deviation is
    $\sqrt{2/(\mathrm{in}\cdot\mathrm{height}\cdot\mathrm{width})}$. Keras stores the same weight as
    `(height, width, in, out)`; a rule that reads the axes in the wrong order goes unnoticed for square matrices.""",
    hints=(
        "Take one output at one place. How many numbers of the weight does it use?",
        "All of `weight[0]`. The variance is 2 over that many.",
    ),
    accepted=(_he_std_by_counting, _he_std_by_the_library),
    mistakes=(
        Mistake(
            "fan-out",
            lambda shape: math.sqrt(2 / dep.fans(shape)[1]),
            "This counts the outputs that each input reaches. The rule wants the inputs that each output adds up.",
        ),
        Mistake(
            "no kernel",
            lambda shape: math.sqrt(2 / shape[1]),
            "This would be right for a matrix. How many places does the kernel look at?",
        ),
        Mistake(
            "Keras",
            lambda shape: math.sqrt(2 / dep.fans_keras(shape)[0]),
            "This reads the axes as Keras stores them. In PyTorch the outputs come first.",
        ),
        Mistake(
            "LeCun", lambda shape: he_std(shape) / math.sqrt(2), "Right up to a constant: which activation follows?"
        ),
        Mistake("variance", lambda shape: he_std(shape) ** 2, "This is the variance."),
        Mistake(
            "Xavier",
            lambda shape: dep.xavier_std(*dep.fans(shape)),
            "This is the mean of both directions, Xavier's rule. He's looks at one of them.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# the unit


def squared_relu(q, k):
    n, s = q.shape
    return np.maximum(q @ k.T, 0) ** 2 / (n * s)


def _squared_relu_entry_by_entry(q, k):
    n, s = len(q), len(q[0])
    A = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            score = sum(q[i, f] * k[j, f] for f in range(s))
            A[i, j] = score * score / (n * s) if score > 0 else 0.0
    return A


def _squared_relu_scaled_first(q, k):
    return relu(np.einsum("if,jf->ij", q / math.sqrt(q.size), k)) ** 2


SQUARED_RELU = Exercise(
    id="4.4",
    title="The kernel of the unit",
    question=r"""
    Write the matrix $A = \frac{1}{ns}\,\mathrm{relu}(q\,k^\top)^2$ of $n$ tokens: `q` and `k` have the shape $(n, s)$,
    queries go on the rows of $A$. The square is taken entry by entry.
    """,
    inputs=lambda rng: tuple(rng.normal(size=(2, TOKENS, S))),
    reference=squared_relu,
    because="The scores are the products of all rows of q with all rows of k; what is negative becomes 0.",
    hints=(
        "Begin with the matrix of all scores, query by key.",
        "Set the negative scores to 0, square, and divide once: the factor is outside the square.",
    ),
    accepted=(_squared_relu_entry_by_entry, _squared_relu_scaled_first, lambda q, k: unit.squared_relu(q, k)),
    mistakes=(
        Mistake(
            "paper's scale",
            lambda q, k: unit.squared_relu_by_length(q, k),
            "This divides by $n^2$, as the FLASH paper's appendix does. The question has another factor.",
        ),
        Mistake(
            "inside the square",
            lambda q, k: np.maximum(q @ k.T / q.size, 0) ** 2,
            "The factor got into the square, so the division is done twice.",
        ),
        Mistake("not squared", lambda q, k: np.maximum(q @ k.T, 0) / q.size, "The scores are not squared."),
        Mistake("no relu", lambda q, k: (q @ k.T) ** 2 / q.size, "Squares of *negative* scores have slipped in."),
        Mistake("transposed", lambda q, k: squared_relu(k, q), "Keys are on the rows. The queries belong there."),
        Mistake(
            "softmax", lambda q, k: softmax(q @ k.T / math.sqrt(S)), "This is softmax. Here no row has to sum to 1."
        ),
        Mistake(
            "row by row",
            lambda q, k: unit.row_normalised(squared_relu(q, k)),
            "Each row was made to sum to 1. The factor is the same number for all rows.",
        ),
        Mistake("no s", lambda q, k: squared_relu(q, k) * S, "One of the two divisors is missing."),
        Mistake("no n", lambda q, k: squared_relu(q, k) * TOKENS, "One of the two divisors is missing."),
    ),
)


def lambda_exponent():
    u, v, z, w_o = 1, 1, 1, 1
    scores = z + z
    return u + v + 2 * scores + w_o


def _lambda_exponent_by_scaling():
    x, W, W_o = (np.random.default_rng(k).normal(size=shape) for k, shape in enumerate(((5, 3), (10, 3), (3, 4))))

    def size(lam):
        u, v, z = unit.gau_parts(x, lam * W, 2, phi=relu)
        return np.linalg.norm((u * (unit.squared_relu(z, z) @ v)) @ (lam * W_o).T)

    return np.log2(size(2.0) / size(1.0))


LAMBDA_EXPONENT = Exercise(
    id="4.5",
    title="How fast do small weights shrink the branch?",
    question=r"""
    All four matrices of a gated attention unit, $W_u, W_v, W_z$ and $W_o$, are multiplied by the same
    $\lambda > 0$. Take $\varphi$ to be homogeneous, $\varphi(\lambda x) = \lambda\varphi(x)$, as relu is. The output
    $O = (U \circ AV)\,W_o$ with $A = \frac1{ns}\mathrm{relu}(\mathcal Q(Z)\mathcal K(Z)^\top)^2$ (and no offsets in
    $\mathcal Q$ and $\mathcal K$) is then multiplied by $\lambda^p$. What is $p$?
    """,
    reference=lambda_exponent,
    because=r"""$U$, $V$ and $Z$ get one $\lambda$ each. A score is a product of two $Z$, so $\lambda^2$, and its square
    in $A$ is $\lambda^4$. Together with $W_o$: $1 + 1 + 4 + 1 = 7$. Swish is not homogeneous and bends down for
    small arguments, so for it 7 is only the limit.""",
    hints=(
        r"Follow $\lambda$ through one matrix after the other. How often does $Z$ enter a score?",
        r"$\mathcal Q(Z)\mathcal K(Z)^\top$ has $Z$ twice, and then it is squared. Add the other three.",
    ),
    accepted=(_lambda_exponent_by_scaling, lambda: 2 * (1 + 1) + 3),
    mistakes=(
        Mistake(
            "one each",
            4,
            "One for each matrix, or $A$ alone? $Z$ meets itself in scores that are squared, and the others count too.",
        ),
        Mistake("square forgotten", 5, "The scores are right, but $A$ holds their squares."),
        Mistake("one missing", 6, "Close. Which of the four matrices has been left out?"),
        Mistake("swish", 9, "That is about what swish does near $\\lambda = 1$. Here the activation is homogeneous."),
        Mistake("eight", 8, "One too many. The gate multiplies $AV$ only once."),
        Mistake("three", 3, "These are the factors of $O$ that are not $A$. What about $A$ itself?"),
    ),
)


def row_mass(n, s, mu, nu2):
    diagonal = s**2 * nu2**2 / (n * s)
    mean, variance = s * mu**2, s * (nu2**2 - mu**4)
    return diagonal, (n - 1) * (mean**2 + variance) / (n * s)


def _row_mass_by_the_library(n, s, mu, nu2):
    return np.array(unit.squared_relu_mass(n, s, mu, nu2))


def _row_mass_by_second_moments(n, s, mu, nu2):
    pairs = s * nu2 * nu2 + s * (s - 1) * mu**4  # E[(Σ q k)²], equal and different features
    return s * nu2**2 / n, pairs / s - pairs / (n * s)


def _row_mass_inputs(rng):
    mu = float(rng.uniform(0.1, 0.4))
    return int(rng.integers(64, 1024)), int(rng.integers(8, 128)), mu, float(mu**2 + rng.uniform(0.1, 0.4))


ROW_MASS = Exercise(
    id="4.6",
    title="Small entries, many of them",
    question=r"""
    The $s$ features of each token's $z$ are independent, with mean $\mu$ and mean square $\nu^2$ (`nu2`), tokens are
    independent too, and $q = k = z$. Leave out the relu: $A_{ij} = (z_i\cdot z_j)^2/(ns)$. Estimate the diagonal entry
    of a row by putting the mean of $z_i \cdot z_i$ into the square. Then give the *exact* expectation of the **sum** of
    the other $n - 1$ entries. Return the pair (diagonal, rest).
    """,
    inputs=_row_mass_inputs,
    reference=row_mass,
    because=r"""$z_i\cdot z_i$ has the mean $s\nu^2$, so the diagonal is $(s\nu^2)^2/(ns) = s\nu^4/n$. For $i \ne j$
    the product has mean $s\mu^2$ and variance $s(\nu^4 - \mu^4)$, so its square has the mean
    $s^2\mu^4 + s(\nu^4-\mu^4)$, and there are $n-1$ of them: $\frac{n-1}n(s\mu^4 + \nu^4 - \mu^4)$. It does not vanish
    as $n$ grows, while the diagonal does.""",
    hints=(
        r"The mean of a square is the square of the mean *plus the variance*. What are both for $z_i \cdot z_j$?",
        r"One feature of $z_i\cdot z_j$ has the mean $\mu^2$ and the mean square $\nu^4$; $s$ independent ones add up.",
    ),
    accepted=(_row_mass_by_the_library, _row_mass_by_second_moments),
    mistakes=(
        Mistake(
            "variance forgotten",
            lambda n, s, mu, nu2: (s * nu2**2 / n, (n - 1) * s * mu**4 / n),
            "The square of the mean was taken for the mean of the square in the rest, as the essay does.",
        ),
        Mistake(
            "one entry",
            lambda n, s, mu, nu2: (s * nu2**2 / n, row_mass(n, s, mu, nu2)[1] / (n - 1)),
            "This is one entry off the diagonal. How many are there in a row?",
        ),
        Mistake(
            "counts itself",
            lambda n, s, mu, nu2: (s * nu2**2 / n, s * mu**4 + nu2**2 - mu**4),
            "Close for long texts. How many *others* are there in a row?",
        ),
        Mistake(
            "variance of a product",
            lambda n, s, mu, nu2: (s * nu2**2 / n, (n - 1) * (s * mu**4 + (nu2 - mu**2) ** 2) / n),
            "The product of the two variances is not the variance of a product whose factors have a mean.",
        ),
        Mistake(
            "nu for nu squared",
            lambda n, s, mu, nu2: (s * nu2 / n, row_mass(n, s, mu, nu2)[1]),
            r"Look at the diagonal again: the mean of $z_i\cdot z_i$ gets squared, and `nu2` is $\nu^2$ already.",
        ),
        Mistake(
            "divided by n squared",
            lambda n, s, mu, nu2: tuple(s / n * mass for mass in row_mass(n, s, mu, nu2)),
            "This divides by $n^2$; the question divides by $ns$.",
        ),
        Mistake(
            "not divided",
            lambda n, s, mu, nu2: tuple(n * s * mass for mass in row_mass(n, s, mu, nu2)),
            "The scores are right. What became of the divisor?",
        ),
        Mistake("swapped", lambda n, s, mu, nu2: row_mass(n, s, mu, nu2)[::-1], "The pair is the other way round."),
        Mistake(
            "variance with the mean",
            lambda n, s, mu, nu2: (s * nu2**2 / n, (n - 1) * (s * mu**4 + nu2**2) / n),
            r"The mean *square* of a feature's product, $\nu^4$, was taken for its variance.",
        ),
    ),
)


def equal_e(d, s):
    return (12 * d * d - d * s) / (3 * d)


def _equal_e_by_a_line(d, s):
    at_zero, at_one = (unit.gau_parameters(d, e, s) - 4 * s for e in (0, 1))
    return (unit.block_parameters(d) - at_zero) / (at_one - at_zero)


EQUAL_E = Exercise(
    id="4.7",
    title="One unit for a whole layer",
    question=r"""
    Attention and feed-forward have $12d^2$ weights. A gated attention unit has $W_u$ and $W_v$ of $d \times e$, $W_z$
    of $d \times s$ and $W_o$ of $e \times d$. How wide must $e$ be, so that *one* unit has as many? Biases, $\gamma$
    and $\beta$ do not count; $e$ need not come out whole.
    """,
    inputs=lambda rng: (int(rng.integers(64, 1024)), int(rng.integers(16, 128))),
    reference=equal_e,
    because=r"""$3de + ds = 12d^2$ gives $e = 4d - s/3$. Two units for a layer, each with $e = 2d$, come to
    $12d^2 + 2ds$.""",
    hints=("How many weights has the unit, as a sum of four products?", "Three of the four matrices contain $e$."),
    accepted=(_equal_e_by_a_line, lambda d, s: 4 * d - s / 3),
    mistakes=(
        Mistake("s forgotten", lambda d, s: 4 * d, "Close if $s$ is small. Does $W_z$ cost nothing?"),
        Mistake(
            "two units",
            lambda d, s: 2 * d - s / 3,
            "This is for *two* units in place of the layer. The question is about one.",
        ),
        Mistake(
            "two units, without z", lambda d, s: 2 * d, "This is the width of *two* units. Here is one, with $W_z$."
        ),
        Mistake(
            "one gate", lambda d, s: 6 * d - s / 2, "Only two of the matrices were counted with $e$. Which is missing?"
        ),
        Mistake("four with e", lambda d, s: 3 * d - s / 4, r"$W_z$ leads to $s$ features, not to $e$."),
        Mistake("feed-forward only", lambda d, s: (8 * d - s) / 3, "$8d^2$ is the feed-forward part alone."),
        Mistake(
            "sign", lambda d, s: 4 * d + s / 3, r"The weights of $W_z$ are taken from the budget, not added to it."
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# depth


def _block_inputs(rng):
    x, branch = rng.normal(size=(2, TOKENS, D))
    return 3 * x + 1, branch, float(rng.uniform(1.5, 4.0))


def deepnorm_block(x, branch, alpha):
    y = alpha * x + branch
    centred = y - y.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True))


def _deepnorm_block_by_the_library(x, branch, alpha):
    return layer_norm(alpha * x + branch, eps=0.0)


def _deepnorm_block_divided(x, branch, alpha):
    y = x + branch / alpha  # the norm takes no notice of a common factor
    return (y - y.mean(1)[:, None]) / y.std(1)[:, None]


def _normed(y, axis=-1, ddof=0):
    return (y - y.mean(axis, keepdims=True)) / y.std(axis, keepdims=True, ddof=ddof)


DEEPNORM_BLOCK = Exercise(
    id="4.8",
    title="A block of DeepNorm",
    question=r"""
    Write one post-norm block of DeepNet, $\mathrm{LN}(\alpha x + F)$. `x` and `branch`, which is $F$, have the shape
    (tokens, features). The norm has neither gain nor offset nor $\epsilon$.
    """,
    inputs=_block_inputs,
    reference=deepnorm_block,
    because=r"""$\alpha$ is on the skip, so that the branch is small beside it: since LN forgets a common factor, it is
    the same as $\mathrm{LN}(x + F/\alpha)$.""",
    hints=(
        r"Add first, then normalise each token by itself.",
        r"Subtract each row's mean and divide by the root of its mean squared deviation. Which addend gets $\alpha$?",
    ),
    accepted=(_deepnorm_block_by_the_library, _deepnorm_block_divided),
    mistakes=(
        Mistake(
            "on the branch",
            lambda x, branch, alpha: _normed(x + alpha * branch),
            r"With $\alpha > 1$ here the branch is made *larger*. Deep stacks need the opposite.",
        ),
        Mistake(
            "on both",
            lambda x, branch, alpha: _normed(x + branch),
            r"This does not depend on $\alpha$ at all. Did it multiply the whole sum? LN forgets a common factor.",
        ),
        Mistake(
            "not normalised", lambda x, branch, alpha: alpha * x + branch, "The sum is right. What is done to it next?"
        ),
        Mistake(
            "norm of the skip",
            lambda x, branch, alpha: _normed(alpha * x) + branch,
            "Only the skip was normalised. In a post-norm block the norm comes after the addition.",
        ),
        Mistake(
            "over tokens",
            lambda x, branch, alpha: _normed(alpha * x + branch, axis=0),
            "The statistics are over tokens. Each token is normalised by itself, over its features.",
        ),
        Mistake(
            "unbiased",
            lambda x, branch, alpha: _normed(alpha * x + branch, ddof=1),
            "The variance of a layer norm divides by the number of features, not by one less.",
        ),
        Mistake(
            "not centred",
            lambda x, branch, alpha: (y := alpha * x + branch) / np.sqrt((y**2).mean(-1, keepdims=True)),
            "This is RMSNorm. What does LN do first?",
        ),
    ),
)


def largest_ratio(depth, share):
    return math.sqrt(share ** (-2 / depth) - 1)


def _largest_ratio_by_bisection(depth, share):
    low, high = 0.0, 100.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if dep.identity_share(middle, depth) > share else (low, middle)
    return low


def _largest_ratio_by_logarithms(depth, share):
    return np.sqrt(np.expm1(-2 * np.log(share) / depth))


LARGEST_RATIO = Exercise(
    id="4.9",
    title="How small must a branch be?",
    question=r"""
    In a post-norm stack every branch has the size $r$ relative to its skip and is orthogonal to it, so that each norm
    divides by $\sqrt{1+r^2}$. Which $r$ leaves the input the share `share` along the skips after `depth` sub-layers?
    """,
    inputs=lambda rng: (int(rng.integers(4, 200)), float(rng.uniform(0.2, 0.95))),
    reference=largest_ratio,
    because=r"""$(1+r^2)^{-l/2} = p$ gives $r = \sqrt{p^{-2/l} - 1}$. For 90 % after 100 sub-layers it is 0.046: not
    $1/l$ but about $1/\sqrt l$, since orthogonal steps add in the square.""",
    hints=(
        r"By which factor does one norm shrink what came along the skip? And $l$ of them?",
        r"$(1+r^2)^{-l/2}$ is the share. Take the power $-2/l$ of both sides.",
    ),
    accepted=(_largest_ratio_by_bisection, _largest_ratio_by_logarithms),
    mistakes=(
        Mistake(
            "not orthogonal",
            lambda depth, share: share ** (-1 / depth) - 1,
            r"This divides by $1 + r$ in each norm. Orthogonal addends add in the square.",
        ),
        Mistake("no root", lambda depth, share: share ** (-2 / depth) - 1, "This is $r^2$."),
        Mistake(
            "root of the norm forgotten",
            lambda depth, share: math.sqrt(share ** (-1 / depth) - 1),
            r"This divides by $1 + r^2$ in each norm. What is the *length* of the sum of two orthogonal vectors?",
        ),
        Mistake(
            "halved",
            lambda depth, share: math.sqrt(share ** (-4 / depth) - 1),
            "This is for half as many steps. `depth` counts sub-layers, and each of them has its norm.",
        ),
        Mistake(
            "lost for left",
            lambda depth, share: largest_ratio(depth, 1 - share),
            "With this $r$ the share is *lost*. It should be left.",
        ),
        Mistake(
            "shares added",
            lambda depth, share: (1 - share) / depth,
            "This divides the loss evenly. Orthogonal steps do not add up along a line.",
        ),
        Mistake(
            "one over the depth",
            lambda depth, share: 1 / depth,
            "Orthogonal steps add in the square, not along a line.",
        ),
        Mistake(
            "small r",
            lambda depth, share: math.sqrt(-2 * math.log(share) / depth),
            r"Close where $r$ is small: this takes $\log(1+r^2)$ for $r^2$.",
        ),
    ),
)


def adam_scales(layers):
    return math.sqrt(2 * layers), 1 / math.sqrt(2 * layers)


def _adam_scales_by_the_rule(layers):
    return np.array(dep.RULES["Adam"].at(layers))


def _adam_scales_by_logarithms(layers):
    # λ/α = 1/(2N) and αλ = 1: log λ = −log α = −½ log 2N
    half = np.log(2 * layers) / 2
    return np.exp([half, -half])


ADAM_SCALES = Exercise(
    id="4.10",
    title="Scales for Adam",
    question=r"""
    A post-norm stack $x_{l+1} = \mathrm{LN}(\alpha x_l + F_l)$ has $N$ layers of *two* sub-layers each, and its weights
    are multiplied by $\lambda$ at the start. The gradient by a weight is in proportion to $\lambda/\alpha$. Adam's
    first step moves each weight by $\eta$ in the direction of the sign, so the loss changes by about $\eta$ times the
    sum of the sizes of all gradients. Choose $\alpha$ and $\lambda$ so that the sum of $\lambda/\alpha$ over all
    sub-layers is 1, and that $\alpha\lambda = 1$. Return the pair $(\alpha, \lambda)$.
    """,
    inputs=lambda rng: (int(rng.integers(2, 500)),),
    reference=adam_scales,
    because=r"""$2N\lambda/\alpha = 1$ and $\lambda = 1/\alpha$ give $\alpha^2 = 2N$: $(\sqrt{2N}, 1/\sqrt{2N})$, for
    $N = 100$ (14.14, 0.0707).""",
    hints=(
        "Over how many sub-layers goes the sum?",
        r"$2N\lambda/\alpha = 1$. Put $\lambda = 1/\alpha$ in and solve for $\alpha$.",
    ),
    accepted=(_adam_scales_by_the_rule, _adam_scales_by_logarithms),
    mistakes=(
        Mistake(
            "layers for sub-layers",
            lambda layers: (math.sqrt(layers), 1 / math.sqrt(layers)),
            "This counts one sub-layer for each layer.",
        ),
        Mistake(
            "alpha on the branch",
            lambda layers: (1 / math.sqrt(2 * layers), 1 / math.sqrt(2 * layers)),
            r"Is this $\alpha$ the factor of the branch? It belongs to the skip. And $\alpha\lambda$ shall be 1.",
        ),
        Mistake(
            "swapped",
            lambda layers: adam_scales(layers)[::-1],
            r"The pair is the other way round: a deep stack wants a strong skip and small weights.",
        ),
        Mistake(
            "SGD",
            lambda layers: tuple(dep.RULES["SGD"].at(layers)),
            r"These are the scales for SGD, whose change of the loss goes with the *square* of the gradient.",
        ),
        Mistake(
            "LAMB",
            lambda layers: tuple(dep.RULES["LAMB"].at(layers)),
            r"With these $\alpha\lambda$ is not 1, and the sum over the sub-layers still grows with the depth.",
        ),
        Mistake(
            "DeepNorm",
            lambda layers: tuple(dep.deepnorm(layers)),
            "These are DeepNet's constants, which follow from another condition. Solve the two equations.",
        ),
        Mistake(
            "all in lambda",
            lambda layers: (1.0, 1 / (2 * layers)),
            r"The first equation holds, but not the second, $\alpha\lambda = 1$.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# a matrix to invent

ROWS, LOWEST = 16, -0.27846455
"""Tokens of the last exercise, and the smallest value of swish."""


def crowd():
    angle = 2 * np.pi * np.arange(16) / 16
    return np.stack([np.ones(16), 0.25 * np.cos(angle), 0.25 * np.sin(angle)], axis=1)


def _crowd_of_positive_numbers():
    z = np.full((16, 3), 1.0)
    steps = np.linspace(-0.3, 0.3, 16)
    z[:, 0] += steps
    z[:, 1] -= steps
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def _kernel(z):
    return unit.squared_relu(z, z)


def _diagonal_is_largest(z):
    A = _kernel(z)
    others = np.where(np.eye(len(A)) > 0, -np.inf, A)
    return bool((others.max(axis=1) < np.diag(A)).all())


def _rest_outweighs(z):
    A = _kernel(z)
    return bool((A.sum(axis=1) > 6 * np.diag(A)).all())


def _sphere():
    """Rows in all directions, small enough for swish."""
    height, angle = np.linspace(-0.9, 0.9, ROWS), 2.4 * np.arange(ROWS)
    across = np.sqrt(1 - height**2)
    return 0.27 * np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)


CROWD = OpenExercise(
    id="4.11",
    title="The largest entry and the least weight",
    question=rf"""
    Find the shared features $z$ of {ROWS} tokens, an array of shape ({ROWS}, 3), such that in
    $A = \frac1{{ns}}\mathrm{{relu}}(zz^\top)^2$ each diagonal entry is larger than *every* other entry of its row, and
    yet in every row the other entries *together* are more than five times the diagonal one. Each number must be one
    that swish can return, so at least $-0.278$. Then think: why is this the usual case for features with a mean, and
    what does it do to the claim that $A$ is nearly diagonal?
    """,
    reference=crowd,
    because=r"""All rows point in nearly the same direction and differ a little. The diagonal is the largest entry of
    each row, by little, and 15 others stand beside it. Features with a mean $\mu > 0$ do this by themselves: every
    score has the mean $s\mu^2$, so that a row's other entries grow in number while each stays smaller than the
    diagonal one. To be the largest entry is not to be most of the row.""",
    hints=(
        "When is a vector's product with itself larger than with all others of the same length?",
        "Take rows of equal length and almost equal direction.",
    ),
    accepted=(_crowd_of_positive_numbers, lambda: crowd() / 2),
    mistakes=(
        Requirement(
            "below swish",
            np.random.default_rng(0).normal(size=(16, 3)).tolist(),
            "Swish never returns a number below about $-0.278$. That is what gives the features a mean.",
            holds=lambda z: bool((z >= LOWEST).all()),
        ),
        Requirement(
            "diagonal",
            np.ones((16, 3)).tolist(),
            "In some row an entry beside the diagonal is at least as large as the diagonal one.",
            holds=_diagonal_is_largest,
        ),
        Requirement(
            "alone",
            _sphere().tolist(),
            "The diagonal is the largest, but in some row the others together do not make five times as much.",
            holds=_rest_outweighs,
        ),
    ),
)


EXERCISES = (
    POWER_GAIN,
    TRUNCATED_STD,
    HE_STD,
    SQUARED_RELU,
    LAMBDA_EXPONENT,
    ROW_MASS,
    EQUAL_E,
    DEEPNORM_BLOCK,
    LARGEST_RATIO,
    ADAM_SCALES,
    CROWD,
)
"""All exercises of the chapter, easy to open-ended."""
