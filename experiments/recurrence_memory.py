r"""Which recurrent cells learn to remember, and does their Jacobian at initialisation say so beforehand?

The task: at each step one of 8 symbols is shown; the first one carries a mark, and after `lag` more steps, all of them
distractors, the network has to name it. Chance is 1/8. The symbols arrive as one-hot vectors of mean square 1 per
feature, so the distractors push as hard as the symbol did. This and not the adding problem, because it is right or
wrong (an accuracy, with a chance level), and because here it is not enough to keep everything: the distractors have to
be kept out.

Before the first step of training the derivatives through the whole lag are measured in closed form, on sequences of
the task: of the last state by the first (`gain_state`), of the last output by the first input (`gain_input`), and what
share of the output's sensitivity to all inputs falls to the first one (`share_input`, the root of a ratio of squares).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from minilib.recurrence import back_through_time
from minilib.recurrence_numpy import Network, gru_reset_after_network, lstm_network, rnn_network
from minilib.recurrence_torch import GRU, LSTM, RNN
from minilib.training import Config as Training
from minilib.training import Diverged, constant, generator, train

SYMBOLS = 8
D_X = SYMBOLS + 1
Cell = RNN | LSTM | GRU


@dataclass(frozen=True)
class Config:
    """One run: a cell, how long it has to remember, and how it is trained (Adam, clipped at norm 1)."""

    cell: str
    lag: int
    seed: int
    d: int = 32
    batch: int = 32
    steps: int = 600
    rate: float = 3e-3
    held_out: int = 256
    points: int = 20


def _rnn(d: int, gain: float) -> RNN:
    cell = RNN(D_X, d)
    with torch.no_grad():
        cell.U.mul_(gain)
    return cell


def _lstm(d: int, forget_bias: float, input_bias: float) -> LSTM:
    """The input gate starts as far shut as the forget gate is open, as in a GRU."""
    cell = LSTM(D_X, d, forget_bias=forget_bias)
    with torch.no_grad():
        cell.b.chunk(4)[0].fill_(input_bias)
    return cell


CELLS: dict[str, Callable[[int, int], Cell]] = {
    "rnn": lambda d, lag: _rnn(d, 1.0),
    "rnn gain 2": lambda d, lag: _rnn(d, 2.0),
    "lstm bias 0": lambda d, lag: LSTM(D_X, d, forget_bias=0.0),
    "lstm bias 1": lambda d, lag: LSTM(D_X, d, forget_bias=1.0),
    "lstm bias 4": lambda d, lag: LSTM(D_X, d, forget_bias=4.0),
    "lstm bias 4/-4": lambda d, lag: _lstm(d, 4.0, -4.0),
    "lstm chrono": lambda d, lag: LSTM(D_X, d, longest=lag + 2),
    "gru bias 0": lambda d, lag: GRU(D_X, d, update_bias=0.0),
    "gru bias 4": lambda d, lag: GRU(D_X, d, update_bias=4.0),
}
"""The cells as functions of the width and the lag; U is orthogonal (times the gain) in each block."""


def grid(quick: bool) -> list[Config]:
    """Three lags, the short ones first, all cells, five seeds, and two hopeless cells five times as long at lag 30.

    Or, quick, every cell once, tiny.
    """
    if quick:
        return [Config(cell, lag=5, seed=0, d=7, batch=4, steps=6, held_out=16, points=3) for cell in CELLS]
    longer = [Config(cell, 30, seed, steps=3000) for cell, seed in product(("lstm bias 0", "gru bias 0"), range(5))]
    return [Config(cell, lag, seed) for lag, cell, seed in product((10, 30, 100), CELLS, range(5))] + longer


def sequences(size: int, lag: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs of shape (lag + 1, size, D_X) and the marked symbol of each."""
    shown = torch.randint(SYMBOLS, (lag + 1, size), generator=noise)
    mark = torch.zeros(lag + 1, size, 1)
    mark[0] = 1
    x = torch.cat([nn.functional.one_hot(shown, SYMBOLS) * math.sqrt(SYMBOLS), mark], dim=-1)
    return x, shown[0]


class Recall(nn.Module):
    """A cell and a linear map from its last output to the symbols."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(cell.d, SYMBOLS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x).h[-1])


def build(config: Config) -> Recall:
    """The network before training; the same cell, lag and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Recall(CELLS[config.cell](config.d, config.lag))


# ---------------------------------------------------------------------------------------------------------------
# before training


def _network(cell: Cell, x: Tensor) -> Network:
    """Run the cell's weights over a sequence on numbers."""
    weights = [weight.numpy() for weight in (cell.W, cell.U, cell.b)]
    if isinstance(cell, GRU):
        return gru_reset_after_network(x.numpy(), *weights, cell.b_u.numpy())
    return (lstm_network if isinstance(cell, LSTM) else rnn_network)(x.numpy(), *weights)


@torch.no_grad()
def gains(cell: Cell, x: Tensor) -> dict[str, float]:
    r"""Root mean square gains $\|\cdot\|_F/\sqrt{\mathrm{rows}}$ over the lag, averaged in the square over sequences.

    All rows of $\partial s_T/\partial\cdot$ go back through time at once, the unit vectors as a further batch axis. The
    output $h$ is the last part of the state, so its rows are the last d.
    """
    net, parts, batch = _network(cell, x), 2 if isinstance(cell, LSTM) else 1, x.shape[1]
    rows = np.broadcast_to(np.eye(parts * cell.d)[:, None, :], (parts * cell.d, batch, parts * cell.d))
    back = back_through_time(net.vjp, tuple(np.split(rows, parts, axis=-1)), net.slopes, net.U)
    state = sum((part[1] ** 2).sum() for part in back[:-1])
    by_input = ((back.a[:, -cell.d :] @ cell.W.numpy()) ** 2).sum((1, 2, 3)) / (batch * cell.d)
    return {
        "gain_state": _digits(state / (batch * len(rows))),
        "gain_input": _digits(by_input[0]),
        "share_input": _digits(by_input[0] / by_input.sum()),
    }


def _digits(square: float) -> float:
    """The root, to as many digits as another machine would find too."""
    return float(f"{math.sqrt(square):.6g}")


def early_gradient(model: Recall, x: Tensor, y: Tensor) -> float:
    """Root mean square norm, over the sequences, of the loss's gradient by the marked input."""
    x = x.clone().requires_grad_()
    nn.functional.cross_entropy(model(x), y, reduction="sum").backward()
    model.zero_grad()
    return _digits(x.grad[0].square().sum().item() / x.shape[1])


# ---------------------------------------------------------------------------------------------------------------
# training


def run(config: Config) -> dict[str, object]:
    """Measure the gains at initialisation, train, and return the curves on held-out sequences.

    `learned_at` is the step of the curve's first point with 90 % right, None if there is none.
    """
    model, held_out = build(config), sequences(config.held_out, config.lag, generator(config.seed, -1))
    some = held_out[0][:, :16].double(), held_out[1][:16]
    result: dict[str, object] = gains(model.cell.double(), some[0])
    result["gradient_input"] = early_gradient(model.double(), *some)
    curve = [(0, *score(model.float(), *held_out))]
    result["diverged"] = fit(model, config, held_out, curve)
    steps, losses, accuracies = map(list, zip(*curve, strict=True))
    result |= {"steps": steps, "losses": losses, "accuracies": accuracies, "accuracy": accuracies[-1]}
    result["learned_at"] = next((s for s, a in zip(steps, accuracies, strict=True) if a >= 0.9), None)
    return result


def fit(model: Recall, config: Config, held_out: tuple[Tensor, Tensor], curve: list) -> int | None:
    """Train, add points to the curve, and return the step at which the loss stopped being finite, if it did."""
    every = max(1, config.steps // config.points)

    def watch(step: int, model: nn.Module) -> None:
        if step % every == 0 or step == config.steps:
            curve.append((step, *score(model, *held_out)))

    def batch(k: int) -> tuple[Tensor, Tensor]:
        return sequences(config.batch, config.lag, generator(config.seed, k))

    settings = Training(config.steps, rate=constant(config.rate), clip=1.0, seed=config.seed)
    try:
        train(model, lambda model, xy: nn.functional.cross_entropy(model(xy[0]), xy[1]), batch, settings, watch=watch)
    except Diverged as stop:
        return stop.step
    return None


@torch.no_grad()
def score(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Cross-entropy and accuracy."""
    logits = model(x)
    loss = nn.functional.cross_entropy(logits, y).item()
    return round(loss, 4), round((logits.argmax(-1) == y).double().mean().item(), 4)
