r"""One encoder for six matching tasks, and the ways to tell it which task it is at.

The encoder is a BERT that reads both texts, ``[CLS] first [SEP] second [SEP]``; the mean of its last states over the
tokens that are no padding goes to a head of two classes. :data:`WAYS` are what is compared:

    none     nothing tells the task
    token    a token behind [CLS], one for each task
    heads    each task has a head of its own
    beta     a condition reaches the shift of every LayerNorm
    gamma    a condition reaches the scale of every LayerNorm
    full     it reaches both

All begin as the same trained encoder with a new head. Source: Su Jianlin, Scientific Spaces 8337.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .attention import padding_mask
from .bert import mean_pooled
from .bert_torch import STD, Bert
from .layernorm_torch import conditioned, make_conditional
from .matching import (
    TASKS,
    best_threshold,
    conditional_table,
    contest_f1,
    f1,
    leading_share,
    packed,
    rank,
)
from .wordpiece import Encoded, pad

SPREAD = 0.05
r"""Conditions are drawn from (−0.05, 0.05), as Keras does. A first step of Adam at the rate $\eta$ moves $W c$ by
$\eta\|c\|_1$: a condition drawn larger, from N(0, 1) as in torch, is a higher rate for all that it says."""


class PairBatch(NamedTuple):
    """Pieces and segments (B, n), how many of them are real (B,), and of each pair task and label (B,)."""

    ids: Tensor
    segments: Tensor
    lengths: Tensor
    tasks: Tensor
    labels: Tensor


def batched(rows: Sequence[Encoded], tasks: Sequence[int], labels: Sequence[int]) -> PairBatch:
    """Pairs as numbers, padded to the longest of them."""
    if not rows:
        raise ValueError("a batch holds at least one pair, got none")
    ids, segments = (torch.tensor(pad([row[k] for row in rows])) for k in range(2))
    return PairBatch(
        ids, segments, torch.tensor([len(row.ids) for row in rows]), torch.tensor(tasks), torch.tensor(labels)
    )


def expect_tasks(tasks: Tensor, number: int) -> None:
    """Raise ValueError unless `tasks` are integers from 0 to `number` − 1."""
    if tasks.is_floating_point() or tasks.dtype == torch.bool:
        raise ValueError(f"a task is the number of a row, an integer, got {tasks.dtype}; convert it by tasks.long()")
    if tasks.numel() and not 0 <= int(tasks.min()) <= int(tasks.max()) < number:
        raise ValueError(f"tasks must lie between 0 and {number - 1}, got {int(tasks.min())} to {int(tasks.max())}")


class TaskEmbedding(nn.Embedding):
    """A condition (…, k) for each of the numbers (…) of tasks; see :data:`SPREAD`."""

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -SPREAD, SPREAD)

    def forward(self, tasks: Tensor) -> Tensor:
        expect_tasks(tasks, self.num_embeddings)
        return super().forward(tasks)


# ---------------------------------------------------------------------------------------------------------------
# the ways


class Matcher(nn.Module):
    """Two logits, of no and of yes, for each pair: ``model(batch)``. This one does not look at the task.

    It takes over embedding and blocks of the encoder, not its heads. Raises ValueError for a pair that is nothing but
    padding.
    """

    def __init__(self, encoder: Bert, tasks: int = len(TASKS), classes: int = 2) -> None:
        super().__init__()
        self.embedding, self.blocks, self.tasks = encoder.embedding, encoder.blocks, tasks
        self.head = nn.Linear(encoder.sizes.d, classes)
        nn.init.trunc_normal_(self.head.weight, std=STD, a=-2 * STD, b=2 * STD)
        nn.init.zeros_(self.head.bias)

    def pooled(self, b: PairBatch) -> Tensor:
        """The mean of the last states of each pair, (B, d)."""
        mask = padding_mask(b.lengths, b.ids.shape[-1])
        h = self.embedding(b.ids, b.segments)
        for block in self.blocks:
            h = block(h, mask)
        return mean_pooled(h, b.lengths)

    def forward(self, b: PairBatch) -> Tensor:
        expect_tasks(b.tasks, self.tasks)
        return self.head(self.pooled(b))


class MatcherWithToken(Matcher):
    """The task is a token behind [CLS]: one of those that BERT's vocabularies leave unused, from `first` on."""

    def __init__(self, encoder: Bert, tasks: int = len(TASKS), first: int = 1) -> None:
        super().__init__(encoder, tasks)
        if not 0 <= first <= first + tasks <= encoder.sizes.vocabulary:
            raise ValueError(f"{tasks} tokens from {first} on are not in a vocabulary of {encoder.sizes.vocabulary}")
        self.first = first

    def pooled(self, b: PairBatch) -> Tensor:
        """As its parent's; the token is one of those whose mean is taken."""
        ids = torch.cat((b.ids[:, :1], self.first + b.tasks[:, None], b.ids[:, 1:]), dim=1)
        segments = torch.cat((b.segments[:, :1], b.segments), dim=1)
        return super().pooled(b._replace(ids=ids, segments=segments, lengths=b.lengths + 1))


class MatcherWithHeads(Matcher):
    """The tasks share the encoder, and each has a head."""

    def __init__(self, encoder: Bert, tasks: int = len(TASKS)) -> None:
        super().__init__(encoder, tasks, 2 * tasks)

    def forward(self, b: PairBatch) -> Tensor:
        z = super().forward(b).unflatten(-1, (self.tasks, 2))
        return z[torch.arange(len(z), device=z.device), b.tasks]


class ConditionalMatcher(Matcher):
    """The task is a condition of k features that every LayerNorm follows; all begin with W = 0."""

    def __init__(
        self, encoder: Bert, tasks: int = len(TASKS), k: int = 128, *, scale: bool = True, shift: bool = True
    ) -> None:
        super().__init__(encoder, tasks)
        self.condition = TaskEmbedding(tasks, k)
        self.norms = make_conditional(nn.ModuleList((self.embedding, self.blocks)), k, scale=scale, shift=shift)

    def pooled(self, b: PairBatch) -> Tensor:
        """As its parent's, under the condition of each pair's task."""
        with conditioned(self, self.condition(b.tasks)):
            return super().pooled(b)

    def matrices(self) -> list[Tensor]:
        """All that the condition goes through, in the order of the norms: what :func:`conditional_table` takes."""
        return [W for norm in self.norms for W in (norm.W_gamma, norm.W_beta) if W is not None]


WAYS: dict[str, Callable[[Bert, int], Matcher]] = {
    "none": Matcher,
    "token": MatcherWithToken,
    "heads": MatcherWithHeads,
    "beta": lambda encoder, tasks: ConditionalMatcher(encoder, tasks, scale=False),
    "gamma": lambda encoder, tasks: ConditionalMatcher(encoder, tasks, shift=False),
    "full": ConditionalMatcher,
}
"""Each makes a matcher out of an encoder, which it takes over, and a number of tasks."""

# ---------------------------------------------------------------------------------------------------------------
# measuring


def task_gradients(model: nn.Module, losses: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> Tensor:
    """The gradient of each loss with respect to all `parameters` in one row: what :func:`conflicts` compares."""
    rows = []
    for loss in losses:
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


def bootstrap_weights(groups: Tensor, draws: int, source: torch.Generator) -> Tensor:
    """How often each pair counts in each draw, (draws, pairs): groups of pairs are drawn, with replacement.

    Pairs of one report say much the same; to draw them one by one would make the interval too narrow.
    """
    if draws < 1 or not groups.numel():
        raise ValueError(f"there must be a draw and a pair at least, got {draws} and {groups.numel()}")
    number = int(groups.max()) + 1
    drawn = torch.randint(number, (draws, number), generator=source)
    counts = torch.zeros(draws, number).scatter_add_(1, drawn, torch.ones(draws, number))
    return counts[:, groups]


class Facts(NamedTuple):
    """What is known of pairs beside their texts: task, label and number of the first's report (pairs,), and kind."""

    task: Tensor
    label: Tensor
    report: Tensor
    kind: tuple[str, ...]

    def of(self, task: int | None) -> Tensor:
        """A flag for each pair: whether it is one of the task's; for None all of them are."""
        return torch.ones_like(self.task, dtype=torch.bool) if task is None else self.task == task

    def at(self, rows: Tensor) -> Facts:
        """Those of some of the pairs, given by their numbers or by a flag for each."""
        numbers = torch.arange(len(self.label))[rows]
        return Facts(*(part[numbers] for part in self[:3]), tuple(self.kind[k] for k in numbers.tolist()))


def facts_of(pairs: Sequence[Any]) -> Facts:
    """The facts of pairs as :func:`minilib.matching_corpora.pairs` makes them."""
    parts = (torch.tensor([getattr(pair, name) for pair in pairs]) for name in ("task", "label", "report"))
    return Facts(*parts, tuple(pair.kind for pair in pairs))


def scored(predicted: Tensor, known: Facts) -> dict[str, float]:
    """The F1 of the contest, of the loose and of the strict tasks, and the accuracy, to four digits."""
    loose, strict, mean = (round(value.item(), 4) for value in contest_f1(predicted, known.label, known.task))
    right = (predicted == known.label).double().mean().item()
    return {"f1": mean, "loose": loose, "strict": strict, "accuracy": round(right, 4)}


def with_thresholds(margins: Tensor, known: Facts, chosen_margins: Tensor, chosen: Facts) -> dict[str, dict[str, Any]]:
    """What thresholds make of a network's answers, if they are set afterwards, by the margins of other pairs.

    Three ways: "one" threshold for all tasks, by the F1 of the contest, which tells no task from another; "two", for A
    and for B; and "six". Each as `at`, the thresholds of the six tasks, with :func:`scored` and the `answers` packed.
    """
    found = {}
    for name, group in {"one": lambda tasks: 0 * tasks, "two": lambda tasks: tasks % 2, "six": lambda t: t}.items():
        of = group(chosen.task)
        theta = [
            best_threshold(
                chosen_margins[of == k], chosen.label[of == k], chosen.task[of == k] % 2 if name == "one" else None
            )
            for k in range(int(of.max()) + 1)
        ]
        at = torch.tensor(theta)[group(torch.arange(len(TASKS)))]
        said = (margins > at[known.task]).float()
        rounded = [round(value, 3) for value in at.tolist()]
        found[name] = {"at": rounded} | scored(said, known) | {"answers": packed(said.tolist())}
    return found


def alike(margins: Tensor, others: Tensor, tasks: Tensor) -> list[float]:
    """Correlation of what a network says of the same pairs as A and as B, for each of the three lengths.

    `others` are the margins of the same pairs as pairs of the other strictness. 1: the two differ by a threshold and a
    factor, and no pair comes before another in one of them alone.
    """
    loose, strict = torch.where(tasks % 2 == 0, margins, others), torch.where(tasks % 2 == 0, others, margins)
    lengths = (tasks // 2 == k for k in range(len(TASKS) // 2))
    return [round(torch.corrcoef(torch.stack((loose[at], strict[at])))[0, 1].item(), 4) for at in lengths]


@torch.no_grad()
def spoken(conditions: Tensor, matrices: Sequence[Tensor]) -> dict[str, float]:
    """`rank` of all that the conditions say through their matrices, and the `leading` share of its first direction."""
    table = conditional_table(conditions, matrices)
    return {"rank": rank(table), "leading": round(leading_share(table), 5)}


def blind_scores(known: Facts) -> dict[str, dict[str, float]]:
    """What can be had by the kind of a pair without its task, if siblings are taken for a match or if they are not."""
    said = {"sibling yes": ("same", "sibling"), "sibling no": ("same",)}
    return {
        name: scored(torch.tensor([float(kind in yes) for kind in known.kind]), known) for name, yes in said.items()
    }


def summary(predicted: Tensor, known: Facts, draws: int, source: torch.Generator) -> dict[str, Any]:
    """All that an experiment stores of the answers to a test.

    Beside :func:`scored`: `interval`, 95 % of the bootstrap over reports for the F1 of the contest; `tasks`, the F1 of
    each; `kinds`, for each kind of pair the share of right answers under A and under B; `answers`, all of them, by
    :func:`minilib.matching.packed`, so that two networks can be compared pair by pair.
    """
    drawn = contest_f1(predicted, known.label, known.task, bootstrap_weights(known.report, draws, source)).mean
    interval = torch.quantile(drawn, torch.tensor([0.025, 0.975])).tolist()
    tasks = {name: known.task == k for k, name in enumerate(TASKS)}
    right, kinds = (predicted == known.label).double(), {}
    for kind in dict.fromkeys(known.kind):
        at = torch.tensor([other == kind for other in known.kind])
        kinds[kind] = [round(right[at & (known.task % 2 == side)].mean().item(), 4) for side in (0, 1)]
    return scored(predicted, known) | {
        "interval": [round(end, 4) for end in interval],
        "tasks": {name: round(f1(predicted[at], known.label[at]).item(), 4) for name, at in tasks.items()},
        "kinds": kinds,
        "answers": packed(predicted.tolist()),
    }
