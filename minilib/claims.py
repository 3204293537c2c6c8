"""The ledger: every claim with the value predicted, the value measured, and a verdict that is checked.

A claim is entered under the verdict that the chapter gives it, and the entry fails if the measurement says otherwise.
That goes for refuted claims too: when one of them becomes true, the notebook stops and says so.

* *holds*: the measurement agrees with the prediction.
* *holds with a correction*: it does not agree with the source's value, but it does with the better formula.
* *does not hold here*: it disagrees, and nothing simple mends it.

A measurement may be one number, or one for each seed. Then **every** seed must agree for *holds*, **every** seed must
disagree for *does not hold here*, and the table shows the mean with its 95 % confidence interval (Student's t).
``python -m minilib.claims`` gathers the ledgers of all notebooks.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

MIME = "application/vnd.openbox.claims+json"
HOLDS, CORRECTED, REFUTED = "holds", "holds with a correction", "does not hold here"
_LOOKS = {HOLDS: ("✓", "#006d2c"), CORRECTED: ("~", "#8c510a"), REFUTED: ("✗", "#a50f15")}


class BrokenClaim(AssertionError):
    """A measurement no longer supports the verdict under which its claim was entered."""


@dataclass(frozen=True)
class Range:
    """A prediction that is an inequality: strictly between `low` and `high`."""

    low: float
    high: float

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"< {_digits(self.high)}"
        return f"> {_digits(self.low)}" if math.isinf(self.high) else f"{_digits(self.low)} … {_digits(self.high)}"


def less(high: float) -> Range:
    """Predict a value below `high`."""
    return Range(-math.inf, high)


def more(low: float) -> Range:
    """Predict a value above `low`."""
    return Range(low, math.inf)


def between(low: float, high: float) -> Range:
    """Predict a value between `low` and `high`."""
    if not low < high:
        raise ValueError(f"between needs the smaller number first, got {low} and {high}")
    return Range(low, high)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger, all values as they are shown."""

    id: str
    claim: str
    source: str
    predicted: str
    measured: str
    tolerance: str
    seeds: int
    verdict: str
    better: str = ""


class Ledger:
    """The claims of one chapter, in the order in which they were checked.

    `source` is whose claim an entry is unless it says otherwise. A measurement is shown with three significant digits,
    or `digits` of them where fewer are the same on every machine; it is always checked in full.
    """

    def __init__(self, chapter: str, source: str) -> None:
        self.chapter, self.source, self.entries, self._shown = chapter, source, [], 0

    def holds(
        self,
        id: str,
        claim: str,
        *,
        predicted: float | Range,
        measured: float | Sequence[float],
        tolerance: float | None = None,
        rel: float | None = None,
        digits: int = 3,
        source: str = "",
    ) -> None:
        """Enter a claim that holds: each measurement within `tolerance` (absolute, or `rel`ative) of the prediction."""
        values, allowed = _values(measured), _allowed(predicted, tolerance, rel)
        if not all(_agrees(value, predicted, allowed) for value in values):
            raise BrokenClaim(_broken(id, claim, HOLDS, predicted, values, allowed))
        self._enter(id, claim, source, predicted, values, allowed, digits, HOLDS)

    def corrected(
        self,
        id: str,
        claim: str,
        *,
        predicted: float | Range,
        measured: float | Sequence[float],
        better: float,
        formula: str,
        tolerance: float | None = None,
        rel: float | None = None,
        digits: int = 3,
        source: str = "",
    ) -> None:
        """Enter a claim whose value is off, and the better value with its formula (LaTeX): checks both."""
        values, allowed = _values(measured), _allowed(better, tolerance, rel)
        off, good = ([_agrees(value, against, allowed) for value in values] for against in (predicted, better))
        if any(off) or not all(good):
            words = _broken(id, claim, CORRECTED, predicted, values, allowed)
            raise BrokenClaim(f"{words}\n  the better value {_digits(better)} agrees with {sum(good)} of {len(good)}")
        self._enter(
            id, claim, source, predicted, values, allowed, digits, CORRECTED, f"{_digits(better)} = ${formula}$"
        )

    def refuted(
        self,
        id: str,
        claim: str,
        *,
        predicted: float | Range,
        measured: float | Sequence[float],
        tolerance: float | None = None,
        rel: float | None = None,
        digits: int = 3,
        source: str = "",
    ) -> None:
        """Enter a claim that does not hold here: no measurement within the tolerance of the prediction."""
        values, allowed = _values(measured), _allowed(predicted, tolerance, rel)
        if any(_agrees(value, predicted, allowed) for value in values):
            raise BrokenClaim(_broken(id, claim, REFUTED, predicted, values, allowed))
        self._enter(id, claim, source, predicted, values, allowed, digits, REFUTED)

    def _enter(
        self,
        id: str,
        claim: str,
        source: str,
        predicted: float | Range,
        values: list[float],
        allowed: float,
        digits: int,
        verdict: str,
        better: str = "",
    ) -> None:
        if any(entry.id == id for entry in self.entries):
            raise ValueError(f"claim {id!r} is in the ledger already; give each claim an id of its own")
        said = str(predicted) if isinstance(predicted, Range) else _digits(predicted)
        margin = f"± {_digits(allowed)}" if allowed else ""
        seen = _interval(values, digits)
        entry = Entry(id, claim, source or self.source, said, seen, margin, len(values), verdict, better)
        self.entries.append(entry)

    def new(self) -> Rows:
        """The entries made since the last call, to be shown where they were measured."""
        start, self._shown = self._shown, len(self.entries)
        return Rows(self.entries[start:])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        record = {"chapter": self.chapter, "entries": [asdict(entry) for entry in self.entries]}
        rows = Rows(self.entries)
        return {MIME: record, "text/html": rows._repr_html_(), "text/plain": repr(rows)}

    def __str__(self) -> str:
        return repr(Rows(self.entries))


class Rows:
    """Some entries of a ledger, as text or as a table."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = list(entries)

    def __repr__(self) -> str:
        rows = [
            f"{_LOOKS[e.verdict][0]} {e.id}: {e.claim}; predicted {e.predicted} {e.tolerance}".rstrip()
            + f", measured {e.measured}: {e.verdict}"
            + (f", better {e.better}" if e.better else "")
            for e in self.entries
        ]
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in _COLUMNS)
        return f"<table><tr>{head}</tr>{''.join(map(_html_row, self.entries))}</table>"


_COLUMNS = ("claim", "source", "predicted", "measured", "verdict")


def _html_row(entry: Entry) -> str:
    sign, color = _LOOKS[entry.verdict]
    verdict = f"<span style='color:{color}'>{sign} {entry.verdict}</span>"
    if entry.better:
        verdict += f"<br>better: {escape(entry.better, quote=False)}"
    predicted = f"{entry.predicted} {entry.tolerance}"
    cells = (escape(entry.claim), escape(entry.source), escape(predicted), escape(entry.measured), verdict)
    return "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>"


def _values(measured: float | Sequence[float]) -> list[float]:
    values = [float(v) for v in measured] if hasattr(measured, "__len__") else [float(measured)]
    if not values:
        raise ValueError("measured is empty; give a number, or one number for each seed")
    return values


def _allowed(predicted: float | Range, tolerance: float | None, rel: float | None) -> float:
    if isinstance(predicted, Range):
        if tolerance or rel is not None:
            raise ValueError("an inequality has no tolerance; put the margin into the inequality")
        return 0.0
    if (tolerance is None) == (rel is None):
        raise ValueError("give one of tolerance (absolute) and rel (relative to the prediction)")
    return abs(rel * predicted) if tolerance is None else tolerance


def _agrees(value: float, predicted: float | Range, allowed: float) -> bool:
    if isinstance(predicted, Range):
        return predicted.low < value < predicted.high
    return abs(value - predicted) <= allowed


def _digits(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}g}"


# Student's t, two-sided 95 %, by degrees of freedom; beyond the table the normal value is within 2 %.
_T95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_T95 += (2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


def half_width(values: Sequence[float]) -> float:
    r"""$t_{0.975,\,n-1}\,s/\sqrt n$: half the width of the 95 % confidence interval of the mean of n ≥ 2 values."""
    n = len(values)
    if n < 2:
        raise ValueError("an interval needs at least two values")
    return (_T95[n - 2] if n - 2 < len(_T95) else 1.96) * statistics.stdev(values) / math.sqrt(n)


def _interval(values: list[float], digits: int) -> str:
    """The mean, its interval unless that is below the digits shown, and the number of seeds."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return _digits(mean, digits)
    half = half_width(values)
    margin = "" if half < 0.5 * 10.0 ** (1 - digits) * abs(mean) else f" ± {float(f'{half:.1g}'):g}"
    return f"{_digits(mean, digits)}{margin} (n = {len(values)})"


def _broken(id: str, claim: str, verdict: str, predicted: float | Range, values: list[float], allowed: float) -> str:
    agree = sum(_agrees(value, predicted, allowed) for value in values)
    margin = f" ± {_digits(allowed)}" if allowed else ""
    return (
        f"claim {id!r} is entered as {verdict!r}, but the measurement says otherwise:\n  {claim}\n"
        f"  predicted {predicted}{margin}\n  measured  {', '.join(map(_digits, values))}\n"
        f"  {agree} of {len(values)} agree with the prediction\n"
        "Look at the measurement first; if it is right, give the claim another verdict and change the text around it."
    )


# ---------------------------------------------------------------------------------------------------------------
# all chapters


def ledgers(notebooks: Path) -> list[dict[str, Any]]:
    """Read the ledgers that the committed chapters display; raise ValueError where one shows none.

    Chapters are numbered from 01; the notebook before them may show a ledger as an example.
    """
    found = []
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        if path.name.startswith("00_"):
            continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = (output for cell in cells for output in cell.get("outputs", []))
        shown = [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]
        if not shown:
            raise ValueError(
                f"{path.name} shows no ledger; end it with a cell that displays it, and run make notebooks"
            )
        found.append(shown[-1])
    return found


def as_markdown(found: list[dict[str, Any]]) -> str:
    """One table for each chapter, with the verdicts counted at the top."""
    entries = [entry for ledger in found for entry in ledger["entries"]]
    held, corrected, refuted = (sum(e["verdict"] == v for e in entries) for v in (HOLDS, CORRECTED, REFUTED))
    lines = [
        "# Claims",
        "",
        "Every claim of the course, as last measured. Each is checked again whenever its notebook runs; a refuted",
        "claim fails when it becomes true. Made by `make claims`.",
        "",
        "*Source* is who says so: *Su* with a number is kexue.fm/archives/number, *this chapter* our own prediction,",
        "*a guess* or *a quick reading* what one easily concludes and nobody need have written. *Predicted* is a",
        "number with its tolerance, or a bound. *Measured* is one number, or the mean of n seeds ± half the width of",
        "its 95 % confidence interval. The verdict rests on the seeds and not on the interval: with ✓ every single",
        "one agrees with the prediction, with ✗ every single one disagrees.",
        "",
        f"Of {len(entries)} claims {held} hold, {corrected} hold with a correction, and {refuted} do not hold here.",
    ]
    for ledger in found:
        name = ledger["chapter"]
        lines += [
            "",
            f"## [{name}](notebooks/{name}.ipynb)",
            "",
            "| id | claim | source | predicted | measured | verdict |",
        ]
        lines += ["|---|---|---|---|---|---|", *map(_markdown_row, ledger["entries"])]
    return "\n".join(lines) + "\n"


def _markdown_row(entry: dict[str, Any]) -> str:
    verdict = f"{_LOOKS[entry['verdict']][0]} {entry['verdict']}"
    if entry["better"]:
        verdict += f"; better: {entry['better']}"
    predicted = f"{entry['predicted']} {entry['tolerance']}".strip()
    cells = (f"`{entry['id']}`", entry["claim"], entry["source"], predicted, entry["measured"], verdict)
    # A bar inside a cell would end it.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: Sequence[str] | None = None, say: Callable[[str], Any] = print) -> int:
    """Write results/claims.json and CLAIMS.md, or with --check say whether they are up to date."""
    parser = argparse.ArgumentParser(prog="python -m minilib.claims", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a file differs")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    found = ledgers(options.root / "notebooks")
    texts = {
        options.root / "results" / "claims.json": json.dumps(found, indent=1, ensure_ascii=False) + "\n",
        options.root / "CLAIMS.md": as_markdown(found),
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if options.check:
        for path in stale:
            say(f"{path.name} does not agree with the notebooks; run make claims")
        return bool(stale)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    say(f"{sum(len(ledger['entries']) for ledger in found)} claims, chapters: {len(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
