"""Derivations whose lines are checked.

A line of a derivation is a formula in LaTeX and the function that computes it. As it is added, the line is compared
with the line before it at random float64 points; a line that does not hold raises :class:`FalseLine`, which names the
line, the point and both values. What is left is a derivation of which every line has been seen to hold.

>>> d = Derivation("A square", x=(-2.0, 2.0))
>>> d.start("(x+1)^2", lambda x: (x + 1) ** 2)
>>> d.equals("x^2 + 2x + 1", lambda x: x**2 + 2 * x + 1, because="binomial theorem")
>>> print(d)
A square
  1      (x+1)^2
  2    = x^2 + 2x + 1   ✓ to rounding   (binomial theorem)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Point = Mapping[str, Any]
Region = tuple[str, Callable[..., bool]]
"""A condition in words, and the predicate that says of a point whether it is fulfilled."""


class FalseLine(AssertionError):
    """A line of a derivation does not follow from the line before it."""


class Line(NamedTuple):
    """One line: its sign (=, ≈, ≤, ≥), its LaTeX, how well it was seen to hold, its reason and condition."""

    sign: str
    latex: str
    mark: str
    because: str
    condition: str


class Derivation:
    """A chain of lines, each compared with the one before it.

    Keyword arguments say where the random points come from: ``u=(-2.0, 2.0)`` is uniform in an interval,
    ``x=lambda rng: rng.normal(size=5)`` anything else. The functions of the lines take the names that they need.
    """

    def __init__(
        self, title: str, *, points: int = 64, seed: int = 0, **sources: tuple[float, float] | Callable[[Any], Any]
    ) -> None:
        if not sources:
            raise ValueError("a derivation needs at least one variable to draw points for, e.g. x=(-1.0, 1.0)")
        rng = np.random.default_rng(seed)
        self.title, self.lines = title, []
        self._points = [{name: _draw(name, source, rng) for name, source in sources.items()} for _ in range(points)]
        self._last: Callable[[Point], Any] | None = None

    def start(self, latex: str, value: Callable[..., Any]) -> None:
        """Write the first line. There is nothing to compare it with, but it must be finite."""
        if self.lines:
            raise ValueError("the derivation has started already; go on with equals, approximates, at_most or at_least")
        self._last = _by_name(value)
        for point in self._points:
            _finite(self._last(point), "the first line", latex, point)
        self.lines.append(Line("", latex, "", "", ""))

    def equals(
        self,
        latex: str,
        value: Callable[..., Any],
        *,
        because: str,
        given: Region | None = None,
        tolerance: float = 1e-10,
    ) -> None:
        """Add a line that equals the one before it, up to `tolerance` relative to the larger of the two.

        With `given` the line is claimed, and checked, only where that condition holds, and so is all that follows.
        """
        self._restrict(given)
        error = self._compare("=", latex, value, lambda new, old: _relative(new, old), tolerance)
        close = "✓ to rounding" if error < 1e-12 else f"✓ within {_round_up(error)}"
        self._add("=", latex, value, close, because, given)

    def approximates(
        self, latex: str, value: Callable[..., Any], *, within: float, because: str, where: Region | None = None
    ) -> None:
        """Add a line whose error relative to the one before it is at most `within`, in the region `where`.

        The region stays in force for the lines that follow, since they build on this one.
        """
        self._restrict(where)
        error = self._compare("≈", latex, value, lambda new, old: _relative(new, old), within)
        self._add("≈", latex, value, f"≈ within {100 * error:.2g} percent", because, where)

    def at_most(self, latex: str, value: Callable[..., Any], *, because: str, given: Region | None = None) -> None:
        """Add an upper bound of the line before it. The chain goes on from the bound."""
        self._restrict(given)
        share = self._compare("≤", latex, value, lambda new, old: _ratio(old, new), 1.0)
        self._add("≤", latex, value, f"≤ reached to {100 * share:.0f} percent", because, given)

    def at_least(self, latex: str, value: Callable[..., Any], *, because: str, given: Region | None = None) -> None:
        """Add a lower bound of the line before it. The chain goes on from the bound."""
        self._restrict(given)
        share = self._compare("≥", latex, value, _ratio, 1.0)
        self._add("≥", latex, value, f"≥ reached to {100 * share:.0f} percent", because, given)

    def _restrict(self, region: Region | None) -> None:
        if self._last is None:
            raise ValueError("begin the derivation with start(latex, value)")
        if region is None:
            return
        words, holds = region
        kept = [point for point in self._points if _by_name(holds)(point)]
        if len(kept) < 8:
            raise ValueError(f"only {len(kept)} points fulfil {words!r}; draw the variables where it holds more often")
        self._points = kept

    def _compare(
        self, sign: str, latex: str, value: Callable, measure: Callable[[Any, Any], float], limit: float
    ) -> float:
        """Return the worst `measure` over all points, or raise FalseLine where it is beyond `limit` or not a number."""
        new, worst = _by_name(value), 0.0
        for point in self._points:
            now, before = (_finite(f(point), f"line {len(self.lines) + 1}", latex, point) for f in (new, self._last))
            if np.shape(now) != np.shape(before):
                raise FalseLine(f"line {len(self.lines) + 1}, {latex}: shape {np.shape(now)} after {np.shape(before)}")
            error = measure(now, before)
            if not error <= limit * (1 + 1e-12):
                raise FalseLine(
                    f"line {len(self.lines) + 1} of {self.title!r} does not hold:\n"
                    f"  {self.lines[-1].latex}  =  {before}\n  {sign} {latex}  =  {now}\n"
                    f"  at {_in_words(point)}\n  measured {error:.3g}, allowed {limit:.3g}"
                )
            worst = max(worst, error)
        return worst

    def _add(self, sign: str, latex: str, value: Callable, mark: str, because: str, region: Region | None) -> None:
        self.lines.append(Line(sign, latex, mark, because, region[0] if region else ""))
        self._last = _by_name(value)

    def __str__(self) -> str:
        rows = [self.title]
        for number, line in enumerate(self.lines, 1):
            notes = [line.mark, line.condition and f"if {line.condition}", line.because and f"({line.because})"]
            rows.append(f"  {number}  {line.sign:>3} {line.latex}" + "".join(f"   {note}" for note in notes if note))
        return "\n".join(rows)

    __repr__ = __str__

    def _repr_latex_(self) -> str:
        rows = [_in_tex(line) for line in self.lines]
        return "$$\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}$$"


_TEX_SIGNS = {"": "", "=": "=", "≈": r"\approx", "≤": r"\le", "≥": r"\ge"}


def _in_tex(line: Line) -> str:
    """The formula with its mark at the right, the reason in a smaller row of its own beneath it."""
    row = rf"&{_TEX_SIGNS[line.sign]}\; {line.latex} && \text{{{line.mark}}}"
    words = "; ".join(w for w in (line.condition and f"if {line.condition}", line.because) if w)
    return row + (rf" \\[-2pt] &\quad\small\text{{{words}}}" if words else "")


def _draw(name: str, source: Any, rng: np.random.Generator) -> Any:
    if callable(source):
        return source(rng)
    low, high = source
    if not low < high:
        raise ValueError(f"{name} = ({low}, {high}) is no interval; the first number must be the smaller")
    return rng.uniform(low, high)


def _by_name(function: Callable[..., Any]) -> Callable[[Point], Any]:
    """Call `function` with those variables of a point that it names; with all of them if it takes **anything."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return lambda point: function(**point)
    names = [p.name for p in parameters if p.default is p.empty]
    return lambda point: function(*(point[name] for name in names))


def _finite(value: Any, where: str, latex: str, point: Point) -> np.ndarray:
    array = np.asarray(value, dtype=float)
    if not np.isfinite(array).all():
        raise FalseLine(f"{where}, {latex}, is {value} at {_in_words(point)}")
    return array


def _relative(new: np.ndarray, old: np.ndarray) -> float:
    scale = max(np.abs(new).max(), np.abs(old).max())
    return float(np.abs(new - old).max() / scale) if scale else 0.0


def _ratio(smaller: np.ndarray, larger: np.ndarray) -> float:
    """The largest share of `larger` that `smaller` reaches; above 1 where the inequality fails. For values ≥ 0."""
    if (smaller < 0).any() or (larger < 0).any():
        return float("nan") if (smaller > larger).any() else 0.0
    share = np.divide(smaller, larger, out=np.where(smaller > 0, np.inf, 0.0), where=larger > 0)
    return float(share.max())


def _round_up(error: float) -> str:
    """The next power of ten: the digits of a rounding error differ between machines, its order does not."""
    return f"1e{int(np.ceil(np.log10(error))):d}"


def _in_words(point: Point) -> str:
    return ", ".join(f"{name} = {np.array2string(np.asarray(v), precision=6)}" for name, v in point.items())
