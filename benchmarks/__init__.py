"""This library and its peers, side by side in one run.

    python -m benchmarks [NAME …] [--quick]

Each module here is one benchmark: a function ``run(quick)`` that returns rows. All times are processor time of one
thread, so that other programs on the machine disturb them little; ours and the peer's are taken in turn, A B A B, and
what counts is the median. A ratio says how many times faster we are than the peer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One comparison in milliseconds. Without a peer there is only a limit to keep."""

    what: str
    ours: float
    limit: float | None = None
    peer: str = ""
    peers: float | None = None
    aim: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.peers is None else self.peers / self.ours

    @property
    def reached(self) -> bool:
        """Whether the time is within its limit and the ratio at least what we aim at."""
        return (self.limit is None or self.ours <= self.limit) and (self.aim is None or self.ratio >= self.aim)


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
