r"""The exercises of the chapter on six matching tasks, from a norm to three gradients to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import numpy as np

from . import layernorm as ln
from . import matching as match
from .bert import BertSizes
from .exercises import Exercise, Mistake, OpenExercise, Requirement

B, N, D, K = 3, 5, 7, 2
"""Samples, tokens, features and features of a condition in the random inputs: no two axes can be mistaken."""

# ---------------------------------------------------------------------------------------------------------------
# the norm


def _norm_inputs(rng):
    return (
        2 + 3 * rng.normal(size=(B, N, D)),
        rng.normal(size=(B, K)),
        rng.normal(size=D),
        rng.normal(size=D),
        rng.normal(size=(D, K)),
        rng.normal(size=(D, K)),
    )


def _hat(x, axis=-1, ddof=0):
    return (x - x.mean(axis, keepdims=True)) / x.std(axis, keepdims=True, ddof=ddof)


def conditional_norm(x, c, gamma, beta, W_gamma, W_beta):
    x_hat = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    scale, shift = gamma + c @ W_gamma.T, beta + c @ W_beta.T
    return scale[:, None] * x_hat + shift[:, None]


def _norm_sample_by_sample(x, c, gamma, beta, W_gamma, W_beta):
    y = np.empty_like(x)
    for b in range(len(x)):
        for i in range(x.shape[1]):
            t = x[b, i] - x[b, i].mean()
            y[b, i] = (gamma + W_gamma @ c[b]) * t / np.sqrt((t**2).mean()) + beta + W_beta @ c[b]
    return y


CONDITIONAL_NORM = Exercise(
    id="7.1",
    title="A norm that follows a condition",
    question=r"""
    Write $y = (\gamma + W_\gamma c)\circ\hat x + \beta + W_\beta c$, with $\hat x$ the normalised features of a token,
    without $\epsilon$. `x` has the shape (samples, tokens, features), `c` (samples, k): one condition for all tokens of
    a sample. Both matrices have the shape (features, k). All are NumPy arrays.
    """,
    inputs=_norm_inputs,
    reference=conditional_norm,
    because="Scale and shift are one vector for each sample; an axis of length 1 lets them stand for all its tokens.",
    hints=(
        "First normalise each token over its features. Then make the scale and the shift of each sample.",
        "`c @ W.T` has the shape (samples, features). Which axis must it get to meet the tokens?",
    ),
    accepted=(
        _norm_sample_by_sample,
        lambda x, c, gamma, beta, W_gamma, W_beta: ln.conditional_layer_norm(x, c, gamma, beta, W_gamma, W_beta, 0.0),
    ),
    mistakes=(
        Mistake(
            "one for gamma",
            lambda x, c, gamma, beta, W_gamma, W_beta: conditional_norm(x, c, np.ones(D), beta, W_gamma, W_beta),
            r"This has $1 + W_\gamma c$ for the scale, as in adaLN. Here the network has a scale already.",
        ),
        Mistake(
            "product of scales",
            lambda x, c, gamma, beta, W_gamma, W_beta: (
                (gamma * (1 + c @ W_gamma.T))[:, None] * _hat(x) + (beta + c @ W_beta.T)[:, None]
            ),
            r"The change of the scale got multiplied by $\gamma$. It is added to it.",
        ),
        Mistake(
            "beta left out",
            lambda x, c, gamma, beta, W_gamma, W_beta: conditional_norm(x, c, gamma, 0 * beta, W_gamma, W_beta),
            r"$\beta$ of the trained network is missing.",
        ),
        Mistake(
            "not normalised",
            lambda x, c, gamma, beta, W_gamma, W_beta: (
                (gamma + c @ W_gamma.T)[:, None] * x + (beta + c @ W_beta.T)[:, None]
            ),
            "This is FiLM without the norm: `x` is used as it is.",
        ),
        Mistake(
            "over tokens",
            lambda x, c, gamma, beta, W_gamma, W_beta: (
                (gamma + c @ W_gamma.T)[:, None] * _hat(x, 1) + (beta + c @ W_beta.T)[:, None]
            ),
            "The statistics are over the tokens of a sample. Here each token is normalised by itself.",
        ),
        Mistake(
            "unbiased",
            lambda x, c, gamma, beta, W_gamma, W_beta: (
                (gamma + c @ W_gamma.T)[:, None] * _hat(x, ddof=1) + (beta + c @ W_beta.T)[:, None]
            ),
            "The variance divides by the number of features, not by one less (`torch.std` does the latter).",
        ),
        Mistake(
            "matrices swapped",
            lambda x, c, gamma, beta, W_gamma, W_beta: conditional_norm(x, c, gamma, beta, W_beta, W_gamma),
            "The two matrices have changed places.",
        ),
        Mistake(
            "condition alone",
            lambda x, c, gamma, beta, W_gamma, W_beta: conditional_norm(x, c, 0 * gamma, 0 * beta, W_gamma, W_beta),
            r"This is the condition alone. It is *added* to the $\gamma$ and $\beta$ of the network.",
        ),
        Mistake(
            "variance",
            lambda x, c, gamma, beta, W_gamma, W_beta: (
                (gamma + c @ W_gamma.T)[:, None] * (x - x.mean(-1, keepdims=True)) / x.var(-1, keepdims=True)
                + (beta + c @ W_beta.T)[:, None]
            ),
            "The features are divided by their variance. It is the standard deviation that makes it 1.",
        ),
        Mistake(
            "no condition",
            lambda x, c, gamma, beta, W_gamma, W_beta: gamma * _hat(x) + beta,
            "This is the plain norm: the condition plays no part.",
        ),
    ),
)


def _gradient_inputs(rng):
    x, g = rng.normal(size=(2, N, D))
    return _hat(x), g, rng.normal(size=(D, K)), rng.normal(size=(D, K))


def condition_gradient(x_hat, g, W_gamma, W_beta):
    return W_gamma.T @ (g * x_hat).sum(0) + W_beta.T @ g.sum(0)


def _condition_gradient_token_by_token(x_hat, g, W_gamma, W_beta):
    return sum((g_i * x_i) @ W_gamma + g_i @ W_beta for g_i, x_i in zip(g, x_hat, strict=True))


def _condition_gradient_by_differences(x_hat, g, W_gamma, W_beta):
    def loss(c):
        return (g * ((W_gamma @ c) * x_hat + W_beta @ c)).sum()  # linear in c

    return np.array([loss(e) for e in np.eye(W_gamma.shape[1])])


CONDITION_GRADIENT = Exercise(
    id="7.2",
    title="What reaches the condition",
    question=r"""
    One sample: $y_i = (\gamma + W_\gamma c)\circ\hat x_i + \beta + W_\beta c$ for each of its tokens $i$. Given
    `x_hat` and `g` = $\partial L/\partial y$, both of the shape (tokens, features), and the two matrices (features, k),
    what is $\partial L/\partial c$? Then look at it (there is nothing to hand in): what is it where both matrices
    are 0?
    """,
    inputs=_gradient_inputs,
    reference=condition_gradient,
    because=r"""$c$ acts on all tokens, so the tokens are summed:
    $\partial_c L = W_\gamma^\top\sum_i g_i\circ\hat x_i + W_\beta^\top\sum_i g_i$. With both matrices at 0 it is 0.""",
    hints=(
        r"Write $L$ as a function of $W_\gamma c$ alone. What is its gradient? And that by $c$?",
        "The same condition acts on all tokens. What does that do to the gradient?",
    ),
    accepted=(_condition_gradient_token_by_token, _condition_gradient_by_differences),
    mistakes=(
        Mistake(
            "mean over tokens",
            lambda x_hat, g, W_gamma, W_beta: condition_gradient(x_hat, g, W_gamma, W_beta) / N,
            "This is the mean over the tokens. What acts on each of them has the sum.",
        ),
        Mistake(
            "features forgotten",
            lambda x_hat, g, W_gamma, W_beta: (W_gamma + W_beta).T @ g.sum(0),
            r"The scale multiplies $\hat x$. Where is it?",
        ),
        Mistake(
            "shift only",
            lambda x_hat, g, W_gamma, W_beta: W_beta.T @ g.sum(0),
            "This is what comes by way of the shift. The scale is a second way.",
        ),
        Mistake(
            "scale only",
            lambda x_hat, g, W_gamma, W_beta: W_gamma.T @ (g * x_hat).sum(0),
            "This is what comes by way of the scale. The shift is a second way.",
        ),
        Mistake(
            "matrices swapped",
            lambda x_hat, g, W_gamma, W_beta: condition_gradient(x_hat, g, W_beta, W_gamma),
            "The two matrices are exchanged: that of the scale sees the normalised token.",
        ),
        Mistake(
            "first token",
            lambda x_hat, g, W_gamma, W_beta: W_gamma.T @ (g * x_hat)[0] + W_beta.T @ g[0],
            "Only the first token was asked.",
        ),
        Mistake(
            "sums multiplied",
            lambda x_hat, g, W_gamma, W_beta: W_gamma.T @ (g.sum(0) * x_hat.sum(0)) + W_beta.T @ g.sum(0),
            "The sum of products was taken for the product of sums.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# what it costs, what it says


def added_parameters(layers, d, k, T):
    norms = 2 * layers + 1
    return norms * 2 * k * d + T * k


def _added_by_the_library(layers, d, k, T):
    return match.conditional_parameters(BertSizes(100, d, layers, 1, 4 * d), T, k)


def _added_norm_by_norm(layers, d, k, T):
    total = k * T
    for _ in range(layers + layers + 1):
        total += d * k + d * k
    return total


def _added_inputs(rng):
    return tuple(int(rng.integers(*ends)) for ends in ((2, 30), (64, 1024), (3, 200), (2, 40)))


ADDED_PARAMETERS = Exercise(
    id="7.3",
    title="What the condition costs",
    question=r"""
    An encoder of BERT's form has `layers` blocks of two LayerNorms each, and one more LayerNorm after its embedding,
    all of width `d`. Each gets $W_\gamma$ and $W_\beta$, without biases, for a condition of `k` features out of a table
    of `T` tasks. How many parameters are added?
    """,
    inputs=_added_inputs,
    reference=added_parameters,
    because=r"""$2L+1$ norms of two matrices with $kd$ entries, and $T$ rows of $k$: $(2L+1)\,2kd + Tk$. For BERT-large
    ($L = 24$, $d = 1024$, $k = 128$) and six tasks that is 12,845,824.""",
    hints=("How many norms are there?", "Two matrices for each norm, and one table for all."),
    accepted=(_added_by_the_library, _added_norm_by_norm),
    tolerance=1e-9,
    mistakes=(
        Mistake(
            "embedding's norm",
            lambda layers, d, k, T: 2 * layers * 2 * k * d + T * k,
            "The norm after the embedding was left out.",
        ),
        Mistake(
            "one norm a layer",
            lambda layers, d, k, T: (layers + 1) * 2 * k * d + T * k,
            "This counts one norm for each block.",
        ),
        Mistake(
            "one matrix", lambda layers, d, k, T: (2 * layers + 1) * k * d + T * k, "Only one matrix for each norm."
        ),
        Mistake("no table", lambda layers, d, k, T: (2 * layers + 1) * 2 * k * d, "Where do the conditions come from?"),
        Mistake(
            "a table for each",
            lambda layers, d, k, T: (2 * layers + 1) * (2 * k * d + T * k),
            "The table of the tasks is one for all norms, not one for each.",
        ),
        Mistake(
            "biases",
            lambda layers, d, k, T: (2 * layers + 1) * 2 * (k + 1) * d + T * k,
            r"These matrices have no biases: $\gamma$ and $\beta$ are that already.",
        ),
        Mistake(
            "for each task",
            lambda layers, d, k, T: (2 * layers + 1) * 2 * k * d * T + T * k,
            "The tasks share the matrices; only the condition is their own.",
        ),
    ),
)


def _threshold_inputs(rng):
    return (
        rng.normal(size=(5, K)),
        rng.normal(size=D),
        rng.normal(size=(D, K)),
        rng.normal(size=(D, 2)),
        rng.normal(size=2),
    )


def thresholds(C, beta, W_beta, W, b):
    w = W[:, 1] - W[:, 0]
    return -(b[1] - b[0]) - (beta + C @ W_beta.T) @ w


def _thresholds_from_both_logits(C, beta, W_beta, W, b):
    z = (beta + C @ W_beta.T) @ W + b
    return z[:, 0] - z[:, 1]


def _thresholds_by_the_library(C, beta, W_beta, W, b):
    heads = match.effective_heads(C, np.ones(D), beta, None, W_beta, W[:, 1] - W[:, 0], b[1] - b[0])
    return heads.thresholds


THRESHOLDS = Exercise(
    id="7.4",
    title="The threshold of each task",
    question=r"""
    After the last norm, whose shift alone follows the condition, stands a shared head with two logits:
    $z = (\gamma\circ\hat x + \beta + W_\beta c_t)\,W + b$, where $W$ (features, 2) has the columns of "no" and "yes".
    The answer is yes where $z_{\text{yes}} > z_{\text{no}}$. Write that as
    $\langle\gamma\circ w, \hat x\rangle > \theta_t$ with $w$ the column of yes less that of no, and return all
    $\theta_t$. `C` (tasks, k) has the conditions on its rows.
    """,
    inputs=_threshold_inputs,
    reference=thresholds,
    because=r"""$z_{\text{yes}} - z_{\text{no}} = \langle\gamma\circ w,\hat x\rangle + \langle\beta + W_\beta c_t,
    w\rangle + b_{\text{yes}} - b_{\text{no}}$. All but the first goes to the other side.""",
    hints=(
        "Subtract the two logits. What depends on the text, and what on the task alone?",
        "The threshold is what does not depend on the text, with the other sign.",
    ),
    accepted=(_thresholds_from_both_logits, _thresholds_by_the_library),
    mistakes=(
        Mistake(
            "sign",
            lambda *a: -thresholds(*a),
            "Close: on which side of the inequality does it stand? And w is the column of yes *less* that of no.",
        ),
        Mistake(
            "bias of the head",
            lambda C, beta, W_beta, W, b: thresholds(C, beta, W_beta, W, 0 * b),
            "The head has a bias.",
        ),
        Mistake(
            "common shift",
            lambda C, beta, W_beta, W, b: thresholds(C, 0 * beta, W_beta, W, b),
            r"$\beta$ is the same for all tasks, and still belongs to the threshold.",
        ),
        Mistake(
            "yes alone",
            lambda C, beta, W_beta, W, b: -b[1] - (beta + C @ W_beta.T) @ W[:, 1],
            "This asks when the logit of yes is above 0. It has to be above that of no.",
        ),
        Mistake(
            "one sign wrong",
            lambda C, beta, W_beta, W, b: (b[1] - b[0]) - (beta + C @ W_beta.T) @ (W[:, 1] - W[:, 0]),
            "One of the two parts has the wrong sign.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# blind to the task


def _blind_inputs(rng):
    return (rng.uniform(0.05, 0.95, size=int(rng.integers(2, 7))),)


def best_blind(t):
    edges = np.concatenate([[0], np.sort(t), [1]])
    share = np.arange(len(t) + 1) / len(t)
    return float(np.diff(edges) @ np.maximum(share, 1 - share))


def _best_blind_on_a_grid(t):
    s = (np.arange(200_000) + 0.5) / 200_000
    share = np.searchsorted(np.sort(t), s) / len(t)
    return np.maximum(share, 1 - share).mean()


BEST_BLIND = Exercise(
    id="7.5",
    title="As good as one can be without the task",
    question=r"""
    A pair has a score s, uniform on [0, 1]; task $t$ says yes above its threshold, one entry of `t`. All tasks are
    equally frequent. How often is a model right at best that sees the score and does not know the task? Give it for
    two thresholds and for six, in any order.
    """,
    inputs=_blind_inputs,
    reference=best_blind,
    because=r"""At a score above $m$ of the $T$ thresholds the share $m/T$ of the tasks says yes, so the better answer
    is right in the share $\max(m/T, 1 - m/T)$. Sum it over the bands between the sorted thresholds. For two of them
    it is $1 - |t_1 - t_2|/2$.""",
    hints=(
        "Fix the score. In which share of the tasks is yes right, and in which share is the better answer right?",
        "The sorted thresholds cut [0, 1] into bands, and in each of them the share is constant.",
    ),
    accepted=(_best_blind_on_a_grid, lambda t: match.best_blind_accuracy(match.bands(t.tolist()))),
    tolerance=1e-4,
    mistakes=(
        Mistake(
            "outermost",
            lambda t: 1 - (t.max() - t.min()) / 2,
            "Right for two thresholds. Between the inner ones of six most tasks agree.",
        ),
        Mistake(
            "first two",
            lambda t: 1 - abs(float(t[0] - t[1])) / 2,
            "Right for two thresholds. There may be six of them, in any order, and all count.",
        ),
        Mistake(
            "whole band",
            lambda t: 1 - (t.max() - t.min()),
            "In the contested band one is not always wrong: the answer of some tasks is met there.",
        ),
        Mistake(
            "loss",
            lambda t: match.best_blind_loss(match.bands(t.tolist())),
            "This is the least cross-entropy, not the accuracy.",
        ),
        Mistake(
            "share of yes",
            lambda t: float(1 - t.mean()),
            "This is the share of yes among the labels, right for who always says yes.",
        ),
        Mistake(
            "errors",
            lambda t: 1 - best_blind(t),
            "This is how often it is wrong.",
        ),
        Mistake(
            "not sorted out",
            lambda t: float(np.mean([best_blind(np.array([a, b])) for a in t for b in t])),
            "This compares the tasks by twos. One answer has to do for all of them at once.",
        ),
    ),
)


def blind_f1(q):
    yes = (1 + 2 / (2 + q)) / 2
    no = (2 * (1 - q) / (2 - q) + 1) / 2
    return yes, no


def _blind_f1_by_counting(q):
    # For each task: (matches, of which contested, others, of which contested), out of 2 pairs.
    def f1(hits, said, true):
        return 2 * hits / (said + true)

    yes = (f1(1, 1, 1) + f1(1, 1 + q, 1)) / 2
    no = (f1(1 - q, 1 - q, 1) + f1(1, 1, 1)) / 2
    return np.array([yes, no])


def _blind_f1_from_precision_and_recall(q):
    precision, recall = 1 / (1 + q), 1 - q  # of B if the contested are matches, of A if they are not
    return [(1 + 2 * precision / (precision + 1)) / 2, (1 + 2 * recall / (1 + recall)) / 2]


BLIND_F1 = Exercise(
    id="7.6",
    title="Whom F1 favours",
    question=r"""
    Half of the pairs of each task are matches. In task A the share `q` of the *matches* is contested (the strict task
    calls such pairs no match), in task B the share `q` of the *others* is (the loose task calls them a match). A model
    sees of which kind a pair is, contested, a match for both, or for none, but not the task. Give the mean of the
    two F1, if it says yes to all contested pairs, and if it says no to all of them. Return both, in this order.
    (Section 6 is the case $q = 2/3$.)
    """,
    inputs=lambda rng: (float(rng.uniform(0.1, 0.9)),),
    reference=blind_f1,
    because=r"""Yes: A is perfect; B finds all its matches, but its precision is $1/(1+q)$, so
    $F_1 = 2/(2+q)$. No: B is perfect; A finds the share $1-q$ of its matches, so $F_1 = 2(1-q)/(2-q)$. The accuracy
    is $1 - q/4$ both times; F1 forgives the false yes more easily than the missed match. With
    $q = 2/3$: 0.875 and 0.75.""",
    hints=(
        "In each case one of the two tasks is answered without a fault. What about the other?",
        r"$F_1 = 2\,\mathrm{hits}/(\text{said yes} + \text{matches})$. Take one match and one other pair, and count.",
    ),
    accepted=(_blind_f1_by_counting, _blind_f1_from_precision_and_recall),
    mistakes=(
        Mistake("swapped", lambda q: blind_f1(q)[::-1], "The two have changed places."),
        Mistake("accuracy", lambda q: (1 - q / 4, 1 - q / 4), "This is the accuracy, the same for both. F1 differs."),
        Mistake(
            "the worse task",
            lambda q: (2 / (2 + q), 2 * (1 - q) / (2 - q)),
            "These are the F1 of the task that suffers. The contest takes the mean of both.",
        ),
        Mistake(
            "precision and recall",
            lambda q: ((1 + 1 / (1 + q)) / 2, (1 + 1 - q) / 2),
            "Precision or recall was taken for F1, which is the harmonic mean of the two.",
        ),
        Mistake(
            "pooled",
            lambda q: (4 / (4 + q), 2 * (2 - q) / (4 - q)),
            "Both tasks were put into one F1. Here each has its own, and then comes the mean.",
        ),
        Mistake(
            "share of all pairs",
            lambda q: blind_f1(2 * q) if q < 0.5 else blind_f1(min(2 * q, 1.0)),
            "The share was taken of all pairs. It is one of the matches in A, and one of the others in B.",
        ),
        Mistake(
            "without the two",
            lambda q: tuple(value / 2 for value in blind_f1(q)),
            "There is a 2 in F1.",
        ),
        Mistake(
            "arithmetic mean of both",
            lambda q: ((1 + (1 / (1 + q) + 1) / 2) / 2, (1 + (1 - q + 1) / 2) / 2),
            "The mean of precision and recall in F1 is the harmonic one.",
        ),
    ),
)


def _contest_inputs(rng):
    tasks = rng.permutation(np.arange(6).repeat(7))
    return rng.integers(2, size=42).astype(float), rng.integers(2, size=42), tasks


def contest(p, y, task):
    def f1(at):
        return 2 * (p * y)[at].sum() / (p[at].sum() + y[at].sum())

    return (f1(task % 2 == 0) + f1(task % 2 == 1)) / 2


def _contest_from_precision_and_recall(p, y, task):
    found = []
    for side in (0, 1):
        hits = sum(a == b == 1 for a, b, t in zip(p, y, task, strict=True) if t % 2 == side)
        precision, recall = hits / p[task % 2 == side].sum(), hits / y[task % 2 == side].sum()
        found.append(2 / (1 / precision + 1 / recall))
    return np.mean(found)


def _side(p, y, task, side):
    at = task % 2 == side
    return 2 * (p * y)[at].sum() / (p[at].sum() + y[at].sum())


def _of_each(p, y, task):
    return [2 * (p * y)[task == t].sum() / (p[task == t].sum() + y[task == t].sum()) for t in range(6)]


CONTEST = Exercise(
    id="7.7",
    title="The score of the contest",
    question=r"""
    Answers `p` and labels `y` are 0 or 1, `task` is the number of each pair's task in the order ssA, ssB, slA, slB,
    llA, llB. The contest takes F1 over all pairs of the three A tasks together, F1 over all pairs of the three B tasks
    together, and the mean of the two. Write it.
    """,
    inputs=_contest_inputs,
    reference=contest,
    because="Pairs of all lengths are pooled before anything is divided; even numbers are A.",
    hints=(
        "Which numbers of tasks are A?",
        r"$F_1 = 2\sum p y/\sum(p + y)$ over the chosen pairs, twice.",
    ),
    accepted=(_contest_from_precision_and_recall, lambda p, y, task: float(match.contest_f1(p, y, task).mean)),
    mistakes=(
        Mistake(
            "mean over six",
            lambda p, y, task: np.mean(_of_each(p, y, task)),
            "This is the mean over six tasks. The lengths are pooled first.",
        ),
        Mistake(
            "all pooled",
            lambda p, y, task: 2 * (p * y).sum() / (p.sum() + y.sum()),
            "All pairs were put into one F1. A and B have one each.",
        ),
        Mistake("accuracy", lambda p, y, task: (p == y).mean(), "This is the accuracy."),
        Mistake("without the two", lambda p, y, task: contest(p, y, task) / 2, "There is a 2 in F1."),
        Mistake(
            "A alone",
            lambda p, y, task: _side(p, y, task, 0),
            "This is the F1 of the A tasks alone.",
        ),
        Mistake("B alone", lambda p, y, task: _side(p, y, task, 1), "This is the F1 of the B tasks alone."),
        Mistake(
            "by length",
            lambda p, y, task: np.mean(
                [2 * (p * y)[task // 2 == k].sum() / (p + y)[task // 2 == k].sum() for k in range(3)]
            ),
            "The pairs were pooled by their lengths. The contest pools them by strictness.",
        ),
        Mistake(
            "halves",
            lambda p, y, task: contest(p, y, np.where(task < 3, 0, 1)),
            "The first three numbers were taken for A. A and B alternate.",
        ),
        Mistake(
            "the other answer",
            lambda p, y, task: contest(1 - p, 1 - y, task),
            "This is the F1 of finding those that do *not* match.",
        ),
        Mistake(
            "arithmetic mean",
            lambda p, y, task: np.mean(
                [
                    ((p * y)[task % 2 == s].sum() / n[task % 2 == s].sum())
                    for s in (0, 1)
                    for n in (p.astype(float), y.astype(float))
                ]
            ),
            "The mean of precision and recall in F1 is the harmonic one.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# three tasks that a fair sum betrays


def betrayed():
    angles = np.radians([80.0, -60.0, -80.0])
    sizes = np.array([2.0, 1.0, 1.0])
    return sizes[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _betrayed_by_many_features():
    # the first task alone against two that nearly agree, a little of a common direction in all
    return np.array([[1.0, 5.0], [1.0, -2.0], [1.0, -2.5]])


def _each(g):
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12)


def _all_are_there(g):
    return bool((np.linalg.norm(g, axis=1) > 0.1).all() and np.abs(g).max() < 1e3)


def _sum_helps_all(g):
    return bool((_each(g) @ _each(g.sum(0, keepdims=True))[0] > 0.01).all())


def _balanced_hurts_one(g):
    f = match.balanced(g)
    return bool((_each(g) @ f).min() < -0.01 * np.linalg.norm(f))


BETRAYED = OpenExercise(
    id="7.8",
    title="Three tasks and a fair sum",
    question=r"""
    A step along $-f$ with $f = \sum_t g_t/\lVert g_t\rVert$ never raises one of *two* losses, to first order. Find the
    gradients of three tasks, an array of shape (3, 2), each longer than 0.1 and no entry beyond 1000, such that the
    plain sum $g_1 + g_2 + g_3$ makes an angle of less than 90° with *all three*, and $f$ makes one of more than 90°
    with one of them (by more than half a degree in both cases). Then think: which of the two sums asks the majority,
    and which the loudest?
    """,
    reference=betrayed,
    because=r"""Two tasks nearly agree and the third, with a longer gradient, pulls against them but for a common
    part. The plain sum lets the long one make up for the two; with equal lengths the two outvote it. To divide by the
    norm is fair for two tasks, and a vote of the majority for more.""",
    hints=(
        "Let two of the three nearly agree. What must the third be like, so that $f$ goes against it?",
        "In the plain sum the third can be as strong as both others together. Give all three a small common direction.",
    ),
    accepted=(_betrayed_by_many_features, lambda: 3 * betrayed()[[1, 0, 2]]),
    mistakes=(
        Requirement(
            "a task without gradient",
            [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
            "One of the gradients is (nearly) zero, or out of bounds.",
            holds=_all_are_there,
        ),
        Requirement(
            "the sum hurts",
            [[1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]],
            "The plain sum makes a right angle or more with one of the three already.",
            holds=_sum_helps_all,
        ),
        Requirement(
            "the fair sum helps",
            [[1.0, 0.0], [0.9, 0.3], [0.9, -0.3]],
            "Both sums help all three. Let two of them outvote the third.",
            holds=_balanced_hurts_one,
        ),
    ),
)

EXERCISES = (
    CONDITIONAL_NORM,
    CONDITION_GRADIENT,
    ADDED_PARAMETERS,
    THRESHOLDS,
    BEST_BLIND,
    BLIND_F1,
    CONTEST,
    BETRAYED,
)
"""All exercises of the chapter, easy to open-ended."""
