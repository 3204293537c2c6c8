"""This library and its peers, side by side in one run.

    python -m benchmarks [NAME …] [--quick]

Each module here is one benchmark: a function ``run(quick)`` that returns rows. All times are processor time of one
thread, so that other programs on the machine disturb them little; ours and the peer's are taken in turn, A B A B, and
what counts is the median. A ratio says how many times faster we are than the peer, or how many times less memory we
need. Memory is what torch's allocator holds at the peak of a call beyond what it held before, temporary buffers
inside an operator included.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One comparison in milliseconds. Without a peer there is only a limit to keep.

    `n` is the length of the sequence where cost is followed over lengths; memory is in megabytes, 10⁶ bytes.
    """

    what: str
    ours: float
    limit: float | None = None
    peer: str = ""
    peers: float | None = None
    aim: float | None = None
    note: str = ""
    n: int | None = None
    memory: float | None = None
    peers_memory: float | None = None
    memory_aim: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.peers is None else self.peers / self.ours

    @property
    def memory_ratio(self) -> float | None:
        return None if self.peers_memory is None else self.peers_memory / self.memory

    @property
    def reached(self) -> bool:
        """Whether the time is within its limit and both ratios at least what we aim at."""
        aims = ((self.aim, self.ratio), (self.memory_aim, self.memory_ratio))
        return (self.limit is None or self.ours <= self.limit) and all(aim is None or got >= aim for aim, got in aims)


def milliseconds(call: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def in_turn(*calls: Callable[[], object], rounds: int) -> list[float]:
    """Median time of each call, all called once to warm up and then in turn."""
    for call in calls:
        call()
    times = [[milliseconds(call) for call in calls] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def peak_megabytes(call: Callable[[], object]) -> float:
    """How many megabytes torch's allocator holds at most during a call, beyond what it held before.

    The profiler records each allocation and each release in order; the peak is that of their running sum.
    """
    from torch.profiler import ProfilerActivity, profile

    call()  # what is allocated once and kept is not of this call
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda change: change[0]):
        held += change
        peak = max(peak, held)
    return peak / 1e6


def learning(call: Callable[[], Any], leaves: Iterable[Any]) -> Callable[[], None]:
    """A forward and a backward pass; at its end the gradients of `leaves` go, so that each pass makes its own."""
    leaves = list(leaves)

    def forward_and_backward() -> None:
        call().square().mean().backward()
        for leaf in leaves:
            leaf.grad = None

    return forward_and_backward


def agree(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    """Raise AssertionError unless both compute the same: else their times would say nothing."""
    import torch

    with torch.no_grad():
        torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-5)


def side_by_side(
    what: str,
    n: int,
    ours: Callable[[], object],
    peer: str,
    theirs: Callable[[], object],
    rounds: int,
    **options: Any,
) -> Row:
    """Time and peak memory of two calls at length n; `options` are further fields of the row."""
    times, memory = in_turn(ours, theirs, rounds=rounds), [peak_megabytes(call) for call in (ours, theirs)]
    return Row(what, times[0], None, peer, times[1], n=n, memory=memory[0], peers_memory=memory[1], **options)


def modules_side_by_side(
    what: str, n: int, modules: Sequence[Any], calls: Sequence[Callable[[], Any]], peer: str, rounds: int
) -> Row:
    """Forward and backward of our module and another one with the same weights, which have to agree."""
    agree(*calls)
    passes = [learning(call, module.parameters()) for call, module in zip(calls, modules, strict=True)]
    return side_by_side(f"{what}, forward and backward", n, passes[0], peer, passes[1], rounds, aim=0.9, memory_aim=0.9)


def exponent(lengths: Sequence[int], costs: Sequence[float]) -> float:
    r"""Slope of the straight line through (log n, log cost), by least squares: 2 where cost grows with n²."""
    x, y = [math.log(n) for n in lengths], [math.log(cost) for cost in costs]
    return statistics.linear_regression(x, y).slope


def growth(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The exponents of time and memory of each comparison that was made at several lengths, ours and the peer's."""
    found = []
    for what, peer in dict.fromkeys((row.what, row.peer) for row in rows if row.n is not None):
        same = [row for row in rows if (row.what, row.peer) == (what, peer)]
        if len(same) > 1:
            lengths, columns = [row.n for row in same], ("ours", "peers", "memory", "peers_memory")
            slopes = {name: exponent(lengths, [getattr(row, name) for row in same]) for name in columns}
            found.append({"what": what, "peer": peer, "lengths": lengths, **slopes})
    return found
