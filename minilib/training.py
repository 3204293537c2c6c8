r"""The one training loop of the course: schedules, clipping, accumulation, averaged weights, checkpoints.

One step, for parameters $\theta$, the mean loss $L$ of `accumulate` batches and an optimiser such as Adam:
$$g = \nabla L(\theta), \qquad g \leftarrow g\,\min(1, \tau/\|g\|), \qquad
\theta \leftarrow \mathrm{optimiser}(\theta, g, \eta_k), \qquad
\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta.$$

Everything random is a function of the seed and the step: batch k is ``batch(k)``, and before each step torch is seeded
afresh from (seed, step), which decides the dropout. So a checkpoint needs no state of a data iterator or a random
generator, and a run that was killed ends with the same bits as one that was not, on the same machine with the same
number of threads.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# ---------------------------------------------------------------------------------------------------------------
# schedules


@dataclass(frozen=True)
class PiecewiseLinear:
    """A line through `points` (step, value), constant before the first and after the last."""

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        if not self.points or any(a >= b for (a, _), (b, _) in pairwise(self.points)):
            raise ValueError(f"points must have increasing steps, at least one, got {self.points}")

    def __call__(self, step: int) -> float:
        for (left, low), (right, high) in pairwise(self.points):
            if step <= right:
                return low + (high - low) * max(0.0, (step - left) / (right - left))
        return self.points[-1][1]


@dataclass(frozen=True)
class Cosine:
    r"""$\eta_k = \text{floor} + (\text{peak} - \text{floor})\,\tfrac12\bigl(1 + \cos\pi\tfrac{k-w}{n-w}\bigr)$ after a
    linear warm-up over the first w = `warm_up` of n = `steps` steps. Loshchilov & Hutter 2017."""

    peak: float
    steps: int
    warm_up: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up < self.steps:
            raise ValueError(f"warm_up must lie in [0, steps), got {self.warm_up} of {self.steps} steps")

    def __call__(self, step: int) -> float:
        if step < self.warm_up:
            return self.peak * (step + 1) / (self.warm_up + 1)
        share = min(1.0, (step - self.warm_up) / (self.steps - self.warm_up))
        return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


def constant(value: float) -> PiecewiseLinear:
    """The same `value` at every step."""
    return PiecewiseLinear(((0, value),))


def warm_up(peak: float, steps: int) -> PiecewiseLinear:
    r"""$\eta_k = \text{peak}\cdot\min\bigl(1, \tfrac{k+1}{n+1}\bigr)$, n = `steps`; no step is lost to a rate of 0."""
    return PiecewiseLinear(((-1, 0.0), (steps, peak)))


# ---------------------------------------------------------------------------------------------------------------
# configuration and record


@dataclass(frozen=True)
class Config:
    r"""What decides the result of a run, besides the model, the loss and the batches.

    `rate` is the schedule of the learning rate $\eta_k$, k = 0, 1, …; `clip` is $\tau$ and None leaves the gradient as
    it is; `accumulate` batches make one step; `average` is $\beta$, None keeps no average.
    """

    steps: int
    rate: Callable[[int], float]
    clip: float | None = 1.0
    accumulate: int = 1
    average: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.accumulate < 1:
            raise ValueError(f"steps and accumulate must be positive, got {self.steps} and {self.accumulate}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, or None for no clipping, got {self.clip}")
        if self.average is not None and not 0 <= self.average < 1:
            raise ValueError(f"average must lie in [0, 1), or be None for no average, got {self.average}")


@dataclass(frozen=True)
class Record:
    """What happened at each step, and the averaged weights as a state dict (None if none were kept).

    `gradient_norms` are those of all parameters together, before clipping.
    """

    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    average: dict[str, Tensor] | None = None

    @property
    def step(self) -> int:
        """The number of steps done."""
        return len(self.losses)


class Diverged(ArithmeticError):
    """A loss or a gradient is NaN or infinite. The model keeps the weights from before that step."""

    def __init__(self, what: str, value: float, step: int, rate: float) -> None:
        super().__init__(
            f"the {what} is {value} at step {step} (learning rate {rate:.3g}); the weights are those before the step. "
            "Lower the rate, clip harder, or look at the batch of that step"
        )
        self.step = step


# ---------------------------------------------------------------------------------------------------------------
# the loop


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batch: Callable[[int], Any],
    config: Config,
    *,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.Adam,
    checkpoint: Path | None = None,
    every: int = 100,
    watch: Callable[[int, nn.Module], None] | None = None,
    show: bool = False,
) -> Record:
    """Train `model` in place on the mean ``loss(model, batch(k))``, k = 0, 1, …, and return the record.

    Step s sees the batches s·accumulate, …, (s+1)·accumulate − 1; ``batch(k)`` must depend on k alone (see
    :func:`generator`). `optimizer` makes one from the parameters; its rate is overruled by the schedule. With a
    `checkpoint` the run is saved there `every` so many steps and at the end, and goes on from there if the file exists.
    `watch` is called after each step with the number of steps done. Nothing is printed unless `show` asks for a bar.
    The caller's random state stays untouched.

    Raises Diverged if a loss or gradient is not finite, and ValueError if the checkpoint belongs to another run.
    """
    if every < 1:
        raise ValueError(f"every must be a positive number of steps, got {every}")
    run = _Run(model, optimizer(model.parameters()), config)
    if checkpoint is not None and checkpoint.exists():
        run.resume(checkpoint)
    with torch.random.fork_rng(devices=_cuda_devices(model)):
        for step in range(run.record.step, config.steps):
            run.step(loss, batch)
            if watch is not None:
                watch(step + 1, model)
            if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == config.steps):
                run.save(checkpoint)
            if show:
                _show(step + 1, config.steps, run.record.losses[-1])
    return run.record


class _Run:
    """A model in training: all that a checkpoint holds."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, config: Config) -> None:
        self.model, self.optimizer, self.config = model, optimizer, config
        average = None if config.average is None else _copy(model.state_dict())
        self.record = Record(average=average)

    def step(self, loss: Callable, batch: Callable) -> None:
        k, config = self.record.step, self.config
        rate = config.rate(k)
        torch.manual_seed(_mix(config.seed, k))
        self.model.train()
        value, norm = self._gradient(loss, batch, k, rate)
        if config.clip is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), config.clip, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.record.average is not None:
            average_into(self.record.average, self.model.state_dict(), config.average)
        self.record.losses.append(value)
        self.record.gradient_norms.append(norm.item())
        self.record.rates.append(rate)

    def _gradient(self, loss: Callable, batch: Callable, k: int, rate: float) -> tuple[float, Tensor]:
        """Leave the mean gradient of the step's batches in the parameters; return the mean loss and the norm."""
        self.optimizer.zero_grad()
        parts, total = self.config.accumulate, 0.0
        for part in range(k * parts, (k + 1) * parts):
            value = loss(self.model, batch(part)) / parts
            if not torch.isfinite(value):
                raise Diverged("loss", value.item() * parts, k, rate)
            value.backward()
            total += value.item()
        norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if not torch.isfinite(norm):
            raise Diverged("norm of the gradient", norm.item(), k, rate)
        return total, norm

    def save(self, path: Path) -> None:
        state = {
            "run": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "record": {f.name: getattr(self.record, f.name) for f in fields(Record)},
        }
        write_atomically(path, lambda file: torch.save(state, file))

    def resume(self, path: Path) -> None:
        state = _load(path, next(self.model.parameters()).device)
        ours, theirs = self._identity(), state["run"]
        different = [key for key in ours if theirs.get(key) != ours[key]]
        if different:
            what = "; ".join(f"{key}: {theirs.get(key)} there, {ours[key]} here" for key in different)
            raise ValueError(
                f"{path.name} belongs to another run ({what}); "
                "resume with the same configuration, or delete the file to start again"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.record = Record(**state["record"])

    def _identity(self) -> dict[str, str]:
        """What must agree between the run that saved and the run that goes on."""
        settings = {f.name: repr(getattr(self.config, f.name)) for f in fields(Config)}
        defaults = {name: value for name, value in self.optimizer.defaults.items() if name != "lr"}
        return settings | {"optimizer": f"{type(self.optimizer).__name__}({defaults})"}


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})


def generator(seed: int, k: int) -> torch.Generator:
    """Return a generator that depends on the seed and the number k of the batch alone, for use in ``batch(k)``."""
    return torch.Generator().manual_seed(_mix(seed, k))


def epoch_rows(number: int, size: int, seed: int, k: int) -> Tensor:
    """The rows of batch k, (size,): all of `number` once in a random order, then again in another; a rest is left out.

    Raises ValueError if there is not even one batch of that `size`.
    """
    if not 1 <= size <= number:
        raise ValueError(f"a batch holds at least 1 and at most all {number} rows, got size = {size}")
    epoch, place = divmod(k, number // size)
    order = torch.randperm(number, generator=generator(seed, epoch))
    return order[place * size : (place + 1) * size]


def _mix(seed: int, k: int) -> int:
    # A hash and not seed + k: otherwise run 1 would see at step k what run 0 sees at step k + 1.
    return int.from_bytes(hashlib.blake2b(f"{seed} {k}".encode(), digest_size=7).digest())


@torch.no_grad()
def average_into(average: dict[str, Tensor], state: dict[str, Tensor], beta: float) -> None:
    r"""$\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$ for the floats of a state dict; the rest is copied.

    The average starts at the initial weights, whose share after n steps is $\beta^n$.
    """
    for name, value in state.items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - beta)
        else:
            average[name].copy_(value)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


@contextmanager
def disturbed(parameter: Tensor, epsilon: float) -> Iterator[Tensor]:
    r"""$\theta + \delta$ inside, with $\delta = \varepsilon\,g/\|g\|$, g its gradient; afterwards $\theta$.

    To first order it raises the loss by $\varepsilon\|g\|$, and no other disturbance of its length by more. Put around
    a second forward and backward pass, with the table of the pieces as the parameter, it is adversarial training
    ("FGM"); the gradients of both passes add up. The way back must end inside. Yields $\delta$, which is 0 where g is.

    Raises ValueError without a gradient, or if it or `epsilon` is not finite. Miyato, Dai & Goodfellow 2017.
    """
    if parameter.grad is None:
        raise ValueError("the parameter has no gradient yet; call backward() before the parameter is disturbed")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon is the length of the disturbance, non-negative and finite, got {epsilon}")
    gradient = parameter.grad.detach()
    norm = gradient.norm()
    if not norm.isfinite():
        raise ValueError(f"the gradient of the parameter has the norm {norm.item()}; lower the learning rate")
    delta = epsilon * gradient / norm if norm > 0 else torch.zeros_like(gradient)
    before = parameter.detach().clone()
    with torch.no_grad():
        parameter.add_(delta)
    try:
        yield delta
    finally:
        with torch.no_grad():
            parameter.copy_(before)  # the same bits, which subtracting δ would not give


def fgm_loss(loss: Callable[[], Tensor], parameter: Tensor, epsilon: float) -> Tensor:
    r"""$L(\theta) + L(\theta + \delta)$ as a loss for :func:`train`, with $\delta$ of :func:`disturbed`.

    ``loss()`` is called twice. Both ways back end in here and leave the sum of their gradients, for which there must be
    none yet; what is returned has none any more.
    """
    first = loss()
    first.backward()
    with disturbed(parameter, epsilon):
        second = loss()
        second.backward()
    return (first + second).detach().requires_grad_()


# ---------------------------------------------------------------------------------------------------------------
# files and progress


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one move.

    Whoever reads `path` sees the old content or the new, never a part, even if this process is killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        return torch.load(path, weights_only=True, map_location=device)
    except Exception as error:
        raise ValueError(f"{path.name} is not a readable checkpoint; delete it to start again") from error


def bar(done: int, total: int, width: int = 30) -> str:
    """Return a bar as text, e.g. ``[#####.....] 5/10``."""
    full = width * done // total
    return f"[{'#' * full}{'.' * (width - full)}] {done}/{total}"


def _show(done: int, total: int, loss: float) -> None:
    print(f"\r{bar(done, total)} loss {loss:.4f}", end="\n" if done == total else "", file=sys.stderr, flush=True)
