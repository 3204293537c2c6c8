r"""Checks of a reader's answers that know the typical mistakes.

An exercise is a question with graded hints, a reference solution, other right answers, and a catalogue of typical wrong
ones, each with the hint that fits it. A check compares an answer with the reference, then with the catalogue; what it
says never contains the solution. A function is compared at random float64 inputs, the same ones in every run.

>>> def mean_square(x):
...     return (x * x).mean()
>>> exercise = Exercise(
...     id="0.1",
...     title="The mean square",
...     question="Write the mean square of a vector $x$.",
...     inputs=lambda rng: (rng.normal(size=5),),
...     reference=mean_square,
...     because="A mean is a sum over the number of its terms.",
...     hints=("Square the entries first.", "Then take their mean."),
...     accepted=(lambda x: x @ x / len(x), lambda x: np.var(x) + np.mean(x) ** 2),
...     mistakes=(Mistake("sum", lambda x: x @ x, "This is the sum. How many entries are there?"),),
... )
>>> exercise.check(...)
○ Not answered yet.
>>> exercise.check(lambda x: x @ x)
✗ Not yet. This is the sum. How many entries are there?
>>> exercise.check(lambda x: np.mean(x**2))
✓ Right. It agrees with the reference at 16 random inputs to within 0.001 %.
"""

from __future__ import annotations

import copy
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

RIGHT, WRONG, OPEN = "right", "not yet", "not answered"
_LOOKS = {RIGHT: "✓ Right.", WRONG: "✗ Not yet.", OPEN: "○ Not answered yet."}


class Note:
    """A text in Markdown that a notebook sets, formulas included."""

    def __init__(self, markdown: str) -> None:
        self.markdown = markdown

    def __repr__(self) -> str:
        return self.markdown

    def _repr_markdown_(self) -> str:
        return self.markdown


@dataclass(frozen=True)
class Verdict:
    """What a check found: a status, words in Markdown, and the name of the mistake if it is a known one.

    True if the answer is right.
    """

    status: str
    words: str = ""
    mistake: str = ""

    def __bool__(self) -> bool:
        return self.status == RIGHT

    def __repr__(self) -> str:
        return f"{_LOOKS[self.status]} {self.words}".rstrip()

    def _repr_markdown_(self) -> str:
        return f"**{_LOOKS[self.status]}** {self.words}".rstrip()


class _Unfit(Exception):
    """An answer that cannot be compared at all, with the verdict that says why."""

    def __init__(self, words: str, status: str = WRONG) -> None:
        super().__init__(words)
        self.verdict = Verdict(status, words)


@dataclass(frozen=True, eq=False)
class Mistake:
    """A typical wrong answer, and the hint for whoever gives it. The hint must not contain the solution."""

    name: str
    answer: Any
    hint: str


@dataclass(frozen=True, eq=False)
class Requirement(Mistake):
    """A condition on a free answer; `answer` is a typical one that fulfils those before it but not this one."""

    holds: Callable[[np.ndarray], bool]


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """A right answer, why it is right, and its source: folded in a notebook, in full when printed."""

    heading: str
    because: str
    source: str
    value: Any

    def __repr__(self) -> str:
        return f"{self.heading}: folds open in a notebook, and print() shows it as text"

    def __str__(self) -> str:
        return f"{self.heading}\n\n{self.because}\n\n{self.source}{self._result()}"

    def _result(self) -> str:
        return "" if callable(self.value) else f"# {np.round(self.value, 4).tolist()}\n"

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        code = highlight(self.source + self._result(), PythonLexer(), HtmlFormatter(noclasses=True, style="default"))
        because = escape(self.because, quote=False)
        return f"<details><summary>{escape(self.heading)}</summary><p>{because}</p>{code}</details>"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Exercise:
    """A question whose answer is compared with a reference.

    With `inputs`, a function that draws arguments from a NumPy generator, the answer is a function, and so are all the
    right and wrong ones. Without, the answer is a number or an array: `reference` and `accepted` are functions without
    arguments that compute it, and a mistake is the value itself. With `several` an answer is a list of arrays.
    `tolerance` is relative to the largest entry of each array.

    Raises ValueError without hints, with fewer than two accepted answers, or if two mistakes share a name.
    """

    id: str
    title: str
    question: str
    reference: Callable[..., Any]
    because: str
    hints: tuple[str, ...]
    accepted: tuple[Callable[..., Any], ...]
    mistakes: tuple[Mistake, ...]
    inputs: Callable[[np.random.Generator], tuple[Any, ...]] | None = None
    several: bool = False
    tolerance: float = 1e-5
    points: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        names = [mistake.name for mistake in self.mistakes]
        if not self.hints or len(self.accepted) < 2 or not names or len(set(names)) < len(names):
            raise ValueError(
                f"exercise {self.id} needs a hint, two accepted answers besides the reference, and mistakes with "
                f"different names; got {len(self.hints)}, {len(self.accepted)} and {names}"
            )

    # -----------------------------------------------------------------------------------------------------------
    # what the reader sees

    def __repr__(self) -> str:
        return f"Exercise {self.id}: {self.title}\n\n{self._text()}"

    def _repr_markdown_(self) -> str:
        return f"**Exercise {self.id}: {self.title}**\n\n{self._text()}"

    def _text(self) -> str:
        return f"{textwrap.dedent(self.question).strip()}\n\n{self._asks()}"

    def _asks(self) -> str:
        if self.inputs is None:
            return f"*Your answer:* {_kind(self._right()[0])}, right to within {self._margin()}."
        call = f"`answer({', '.join(inspect.signature(self.reference).parameters)})`"
        where = f"{self.points} random inputs in float64"
        return (
            f"*Your answer:* a function {call}. It is called at {where} and must be right to within {self._margin()}."
        )

    def _margin(self) -> str:
        share = f"{100 * self.tolerance:g} %"
        return share if all(array.size == 1 for array in self._right()[0]) else f"{share} of the largest entry"

    def hint(self, level: int = 1) -> Note:
        """Give a hint; the higher its level, the more it says."""
        if not 1 <= level <= len(self.hints):
            raise ValueError(f"exercise {self.id} has hints 1 … {len(self.hints)}, got {level}; see also solution()")
        more = f"`hint({level + 1})` says more" if level < len(self.hints) else "`solution()` shows the whole"
        return Note(f"**Hint {level} of {len(self.hints)}.** {self.hints[level - 1]} ({more}.)")

    def solution(self) -> Solution:
        """Give the reference solution, which a notebook shows folded."""
        source = textwrap.dedent(inspect.getsource(self.reference))
        because = " ".join(self.because.split())
        return Solution(f"Solution of exercise {self.id}", because, source, self.right_answers[0])

    @property
    def right_answers(self) -> tuple[Any, ...]:
        """The reference and the other right answers, each as a reader would hand it in."""
        found = (self.reference, *self.accepted)
        return found if self.inputs else tuple(function() for function in found)

    # -----------------------------------------------------------------------------------------------------------
    # the check

    def check(self, answer: Any) -> Verdict:
        """Compare an answer with the reference and with the typical mistakes; ``...`` counts as not answered."""
        try:
            results = self._results(answer)
        except _Unfit as unfit:
            return unfit.verdict
        with np.errstate(all="ignore"):  # what is too large is answered in words
            return self._judge(results)

    def _judge(self, results: list[list[np.ndarray]]) -> Verdict:
        right = [_agree(got, want, self.tolerance) for got, want in zip(results, self._right(), strict=True)]
        if all(right):
            where = f" at {self.points} random inputs" if self.inputs else ""
            return Verdict(RIGHT, f"It agrees with the reference{where} to within {self._margin()}.")
        for mistake in self.mistakes:
            wrong = self._results(mistake.answer)
            if all(_agree(got, want, self.tolerance) for got, want in zip(results, wrong, strict=True)):
                return Verdict(WRONG, mistake.hint, mistake.name)
        return Verdict(WRONG, self._misfit(results) or self._general(right))

    def _general(self, right: list[bool]) -> str:
        seen = "The value is off"
        if self.inputs:
            seen = f"The function is right at {sum(right)} of {len(right)} random inputs"
        return f"{seen}. It is none of the usual slips; `hint()` may help."

    def _misfit(self, results: list[list[np.ndarray]]) -> str:
        """Say what is wrong with the form of the results, or nothing."""
        for got, want in zip(results, self._right(), strict=True):
            if len(got) != len(want):
                return f"A list of {len(want)} arrays is wanted, yours has {len(got)}."
            for array, wanted in zip(got, want, strict=True):
                if array.shape != wanted.shape and not array.size == wanted.size == 1:
                    return f"The result has shape {array.shape} where {wanted.shape} is wanted."
                if not np.isfinite(array).all():
                    return (
                        "The result contains NaN or infinity. Look for a division by zero, for 0 or infinity times "
                        "infinity, and for the log or root of a negative."
                    )
        return ""

    def _right(self) -> list[list[np.ndarray]]:
        return self._results(self.right_answers[0])

    def _results(self, answer: Any) -> list[list[np.ndarray]]:
        """The answer's arrays at each of the random inputs; a value counts as a function without inputs."""
        if answer is ... or answer is None:
            raise _Unfit("" if answer is ... else "The answer is None.", OPEN)
        if self.inputs is None:
            if callable(answer):
                raise _Unfit("A value is asked for, and this is a function. Hand in what it returns.")
            return [_arrays(answer, self.several)]
        if not callable(answer):
            raise _Unfit(f"A function is asked for, and this is of type {type(answer).__name__}. Hand in the function.")
        rng = np.random.default_rng(self.seed)
        draws = [self.inputs(rng) for _ in range(self.points)]
        return [_arrays(self._call(answer, draw), self.several) for draw in draws]

    def _call(self, answer: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        own = copy.deepcopy(arguments)  # a function that writes into its arguments harms only itself
        try:
            with np.errstate(all="ignore"):
                result = answer(*own)
        except Exception as error:  # whatever it is, it is the reader's to see
            names = inspect.signature(self.reference).parameters
            given = ", ".join(f"{name}: {_form(a)}" for name, a in zip(names, arguments, strict=True))
            words = f"The function stopped with an error.\n\n```\n{type(error).__name__}: {error}\n```\n\n"
            raise _Unfit(f"{words}It was called with {given}.") from None
        if result is ... or result is None:
            raise _Unfit("" if result is ... else "The function returns None; it should end with `return`.", OPEN)
        return result


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class OpenExercise(Exercise):
    """A question with many right answers: any array that fulfils all requirements, which take the place of mistakes.

    `reference` and `accepted` are functions without arguments; the first gives the shape that is asked for.
    """

    mistakes: tuple[Requirement, ...]

    def _asks(self) -> str:
        return f"*Your answer:* {_kind(self._right()[0])}. Every one that fulfils the conditions is right."

    def _judge(self, results: list[list[np.ndarray]]) -> Verdict:
        misfit = self._misfit(results)
        if misfit:
            return Verdict(WRONG, misfit)
        for requirement in self.mistakes:
            if not requirement.holds(results[0][0]):
                return Verdict(WRONG, requirement.hint, requirement.name)
        return Verdict(RIGHT, "It fulfils every condition.")


# ---------------------------------------------------------------------------------------------------------------
# arrays


def _agree(got: list[np.ndarray], want: list[np.ndarray], tolerance: float) -> bool:
    return len(got) == len(want) and all(_close(g, w, tolerance) for g, w in zip(got, want, strict=True))


def _close(got: np.ndarray, want: np.ndarray, tolerance: float) -> bool:
    if got.size == want.size == 1:
        got, want = got.ravel(), want.ravel()
    if got.shape != want.shape or (np.isnan(got) != np.isnan(want)).any():
        return False
    # A mistake may show as NaN at certain places.
    got, want = (a[~np.isnan(want)] for a in (got, want))
    return not got.size or bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


def _arrays(result: Any, several: bool) -> list[np.ndarray]:
    if not several:
        return [_array(result)]
    if not isinstance(result, (list, tuple)):
        raise _Unfit(f"A list of arrays is wanted, and this is of type {type(result).__name__}.")
    return [_array(entry) for entry in result]


def _array(value: Any) -> np.ndarray:
    """Copy a value into float64, or say why that cannot be done."""
    kind = type(value).__name__
    try:
        array = np.asarray(_detached(value))
        if array.dtype.kind == "O":  # fractions, symbolic numbers
            array = array.astype(float)
    except (TypeError, ValueError):
        raise _Unfit(f"This is of type {kind} and cannot be read as an array; all rows must be equally long.") from None
    if array.dtype.kind == "c":
        raise _Unfit("The result is complex, and a real one is wanted. Where does the imaginary part come from?")
    if array.dtype.kind == "b" and array.ndim:  # a mask is as good as its zeros and ones; a lone True answers nothing
        array = array.astype(float)
    if array.dtype.kind not in "iuf":
        entries = f" of {array.dtype.type.__name__.rstrip('_')}" if array.ndim else ""
        raise _Unfit(f"Numbers are wanted, and this is of type {kind}{entries}.")
    return np.array(array, dtype=float)


def _detached(value: Any) -> Any:
    """Take torch tensors, also inside a list, out of their graph and off their device."""
    if isinstance(value, (list, tuple)):
        return [_detached(entry) for entry in value]
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _kind(arrays: list[np.ndarray]) -> str:
    shapes = [array.shape for array in arrays]
    if len(shapes) > 1:
        return f"a list of arrays of the shapes {', '.join(map(str, shapes))}"
    return f"an array of shape {shapes[0]}" if shapes[0] else "a number"


def _form(argument: Any) -> str:
    """The shapes of an argument, part by part."""
    if isinstance(argument, (list, tuple)):
        return f"{type(argument).__name__} of {', '.join(map(_form, argument))}"
    return f"shape {argument.shape}" if isinstance(argument, np.ndarray) else "a number"
