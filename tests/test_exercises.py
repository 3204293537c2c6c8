"""What checks of a reader's answers promise."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib import exercises
from minilib.exercises import OPEN, RIGHT, WRONG, Exercise, Mistake, OpenExercise, Requirement

M, N = 3, 5
"""Rows and columns of the sample's matrix: different primes, so that no two axes can be mistaken."""


def apply(A, v):
    return A @ v


TO_VECTOR = Exercise(
    id="0.1",
    title="Matrix times vector",
    question="Write $Av$.",
    inputs=lambda rng: (rng.normal(size=(M, N)), rng.normal(size=N)),
    reference=apply,
    because="By definition.",
    hints=("Rows.", "Times the column."),
    accepted=(lambda A, v: (A * v).sum(1), lambda A, v: np.einsum("ij,j", A, v)),
    mistakes=(
        Mistake("sum", lambda A, v: (A @ v).sum(), "One number is too few."),
        Mistake("absolute", lambda A, v: np.abs(A @ v), "What became of the sign?"),
    ),
)

NUMBER = Exercise(
    id="0.2",
    title="A number",
    question="Seventeen squared.",
    reference=lambda: 289.0,
    because="$17^2 = 289$",
    hints=("Multiply.",),
    accepted=(lambda: sum(range(1, 34, 2)), lambda: np.square(17.0)),
    mistakes=(Mistake("double", 34, "This is twice the number."),),
    tolerance=2e-3,
)

SEVERAL = replace(
    TO_VECTOR,
    several=True,
    reference=lambda A, v: [2 * A, 2 * v],
    accepted=(lambda A, v: (A + A, v + v), lambda A, v: [A / 0.5, v / 0.5]),
    mistakes=(Mistake("first only", lambda A, v: [2 * A, v], "And the second?"),),
)

FREE = OpenExercise(
    id="0.3",
    title="A rotation",
    question="Give an orthogonal matrix with determinant 1.",
    reference=lambda: np.eye(2),
    because="It turns by nothing.",
    hints=("Think of a turn.",),
    accepted=(lambda: -np.eye(2), lambda: np.array([[0.0, -1.0], [1.0, 0.0]])),
    mistakes=(
        Requirement("orthogonal", [[2, 0], [0, 0.5]], "Lengths change.", lambda Q: np.allclose(Q @ Q.T, np.eye(2))),
        Requirement("mirror", [[0, 1], [1, 0]], "This is a mirror.", lambda Q: bool(np.linalg.det(Q) > 0)),
    ),
)

SAMPLES = [TO_VECTOR, NUMBER, SEVERAL, FREE]


STEMS = sorted(path.stem for path in Path(exercises.__file__).parent.glob("*_exercises.py"))
BY_CHAPTER = {stem: importlib.import_module(f"minilib.{stem}").EXERCISES for stem in STEMS}
CHAPTERS = [exercise for chapter in BY_CHAPTER.values() for exercise in chapter]
OWN = [pytest.param(e, f"test_{stem}", id=f"{e.id} {e.title}") for stem, es in BY_CHAPTER.items() for e in es]
ROSTER = [pytest.param(e, id=f"{e.id} {e.title}") for e in SAMPLES + CHAPTERS]
CATALOGUE = [pytest.param(e, m, id=f"{e.id} {m.name}") for e in SAMPLES + CHAPTERS for m in e.mistakes]
COMPARED = [pytest.param(e, id=f"{e.id} {e.title}") for e in SAMPLES + CHAPTERS if not isinstance(e, OpenExercise)]
every_exercise = pytest.mark.parametrize("exercise", ROSTER)
every_compared_exercise = pytest.mark.parametrize("exercise", COMPARED)
every_exercise_of_a_chapter = pytest.mark.parametrize(("exercise", "tests"), OWN)
every_mistake = pytest.mark.parametrize(("exercise", "mistake"), CATALOGUE)


def seeded(exercise, seeds=7):
    """The same exercise at several sets of random inputs; without inputs there is but one."""
    return [replace(exercise, seed=seed) for seed in range(seeds if exercise.inputs else 1)]


# ---------------------------------------------------------------------------------------------------------------
# every exercise


@every_exercise
def test_all_right_answers_are_accepted_at_many_random_inputs(exercise):
    for one in seeded(exercise):
        for answer in one.right_answers:
            assert one.check(answer).status == RIGHT, one.check(answer)


@every_mistake
def test_every_wrong_answer_gets_its_own_hint_and_no_other(exercise, mistake):
    for one in seeded(exercise):
        verdict = one.check(mistake.answer)
        assert (verdict.status, verdict.words, verdict.mistake) == (WRONG, mistake.hint, mistake.name)
        assert not verdict


@every_exercise
def test_right_answers_are_written_differently(exercise):
    code = [inspect.unwrap(f).__code__ for f in (exercise.reference, *exercise.accepted)]
    code = [(c.co_code, c.co_names, repr(c.co_consts)) for c in code]
    assert len(set(code)) == len(code) >= 3


def perturbed(answer, how):
    """The answer, or what a function answers, with `how` applied to each array."""
    if callable(answer):
        return lambda *inputs: perturbed(answer(*inputs), how)
    if isinstance(answer, list):
        return [how(array) for array in answer]
    return how(np.array(answer, dtype=float))


def one_entry_off(array):
    array = array.copy()
    array.flat[0] += 0.01 * np.abs(array).max()
    return array


@pytest.mark.parametrize("how", [lambda a: 1.01 * a, lambda a: 0.99 * a, one_entry_off])
@every_compared_exercise
def test_one_percent_off_is_refused_without_pretending_to_know_why(exercise, how):
    for one in seeded(exercise):
        verdict = one.check(perturbed(one.right_answers[0], how))
        assert (verdict.status, verdict.mistake) == (WRONG, "")
        assert "none of the usual slips" in verdict.words


@every_compared_exercise
def test_a_tenth_of_the_stated_tolerance_is_forgiven(exercise):
    assert exercise.check(perturbed(exercise.right_answers[0], lambda a: a * (1 + 0.1 * exercise.tolerance)))


def lines(function):
    """The lines of a function's source, without the one that names it."""
    source = inspect.getsource(function)
    return {line.strip() for line in source.splitlines() if "return" in line or "=" in line}


def said(exercise):
    """All that a check can say to somebody who has not found the answer, and all that stands there before."""
    wrong = [*(m.answer for m in exercise.mistakes), ..., None, "?", 1.5, [1j], lambda *_: "?", lambda *_: 1 / 0]
    verdicts = [exercise.check(answer) for answer in wrong]
    assert not any(verdicts)
    texts = [f"{v!r}\n{v._repr_markdown_()}" for v in verdicts]
    return "\n".join([*texts, repr(exercise), exercise._repr_markdown_(), repr(exercise.solution())])


@every_exercise
def test_nothing_but_the_solution_contains_the_solution(exercise):
    text = said(exercise)
    numbers = set(re.findall(r"-?\d+(?:\.\d+)?", text))
    if exercise.inputs is None:
        for value in exercise.right_answers:
            if np.ndim(value) == 0:
                assert not {f"{float(value):.{digits}g}" for digits in range(3, 9)} & numbers
            else:
                assert str(np.asarray(value).tolist()) not in text
    assert exercise.because not in text
    for line in lines(exercise.reference):
        assert line not in text


@every_exercise
def test_what_is_shown_is_the_same_in_every_run(exercise):
    again = replace(exercise)
    assert said(exercise) == said(again)
    for answer in exercise.right_answers:
        assert repr(exercise.check(answer)) == repr(again.check(answer))
    assert exercise.solution()._repr_html_() == again.solution()._repr_html_()
    assert " at 0x" not in said(exercise) + str(exercise.solution())


@every_exercise
def test_hints_say_more_from_level_to_level(exercise):
    assert repr(exercise.hint()) == repr(exercise.hint(1))
    texts = [exercise.hint(level)._repr_markdown_() for level in range(1, len(exercise.hints) + 1)]
    assert all(f"Hint {k} of {len(texts)}." in text for k, text in enumerate(texts, 1))
    assert "`solution()`" in texts[-1]
    for level in (0, len(texts) + 1):
        with pytest.raises(ValueError, match=rf"hints 1 … {len(texts)}, got {level}"):
            exercise.hint(level)


@pytest.mark.parametrize("chapter", BY_CHAPTER.values(), ids=BY_CHAPTER)
def test_the_exercises_of_a_chapter_are_numbered_in_order_and_end_with_an_open_one(chapter):
    number = chapter[0].id.partition(".")[0]
    assert [e.id for e in chapter] == [f"{number}.{k}" for k in range(1, len(chapter) + 1)]
    assert [type(e) for e in chapter] == [Exercise] * (len(chapter) - 1) + [OpenExercise]


@every_exercise_of_a_chapter
def test_neither_question_nor_first_hint_nor_any_check_gives_the_answer_away(exercise, tests):
    """The tests of a chapter list what would, as SECRETS."""
    wrong = [exercise.check(m.answer) for m in exercise.mistakes]
    shown = "\n".join(map(repr, [exercise, exercise.hint(1), *wrong, exercise.check(lambda *_: np.zeros(2))]))
    for secret in importlib.import_module(tests).SECRETS[exercise.id]:
        assert re.search(secret, str(exercise.solution())), secret
        assert not re.search(secret, shown, re.IGNORECASE), secret


@every_exercise_of_a_chapter
def test_there_are_four_typical_mistakes_and_two_hints_at_least(exercise, tests):
    """Unless the tests of a chapter name another LEAST_MISTAKES."""
    assert len(exercise.mistakes) >= getattr(importlib.import_module(tests), "LEAST_MISTAKES", 4)
    assert len(exercise.hints) >= 2


def test_no_two_exercises_share_a_number_or_a_title():
    assert len({e.id for e in CHAPTERS}) == len({e.title for e in CHAPTERS}) == len(CHAPTERS) > 0


# ---------------------------------------------------------------------------------------------------------------
# answers of every form


def test_the_example_in_the_documentation_is_true():
    assert doctest.testmod(exercises).failed == 0
    assert doctest.testmod(exercises).attempted > 4


@pytest.mark.parametrize("exercise", SAMPLES)
def test_the_ellipsis_is_no_answer_and_no_mistake(exercise):
    verdict = exercise.check(...)
    assert (repr(verdict), verdict.status, bool(verdict)) == ("○ Not answered yet.", OPEN, False)


def unfinished(A, v): ...


@pytest.mark.parametrize(
    ("answer", "words"),
    [(lambda A, v: ..., ""), (unfinished, "The function returns None; it should end with `return`.")],
)
def test_an_unfinished_function_is_no_answer_yet(answer, words):
    assert TO_VECTOR.check(answer) == exercises.Verdict(OPEN, words)


@pytest.mark.parametrize("value", [289, 289.0, np.float32(289), np.array([289]), [289.0], Fraction(578, 2)])
def test_a_number_may_come_in_any_form(value):
    assert NUMBER.check(value)


def test_the_tolerance_is_relative_and_its_edge_is_sharp():
    assert NUMBER.check(289 * (1 + 1.99e-3))
    assert not NUMBER.check(289 * (1 + 2.01e-3))


def test_a_mask_of_booleans_is_as_good_as_its_zeros_and_ones():
    mask = Exercise(
        id="0.1",
        title="Mask",
        question="?",
        inputs=lambda rng: (rng.integers(0, 2, size=7),),
        because="because",
        reference=lambda flags: flags,
        hints=("one", "two"),
        accepted=(lambda flags: list(flags), lambda flags: flags > 0),
        mistakes=(
            Mistake("not", lambda flags: 1 - flags, "The other way."),
            Mistake("all", lambda flags: flags * 0 + 1, "All of them?"),
        ),
    )
    assert mask.check(lambda flags: flags == 1)
    assert mask.check(lambda flags: flags == 0).words == "The other way."


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("289", "Numbers are wanted, and this is of type str."),
        (True, "Numbers are wanted, and this is of type bool."),
        (["a", "b"], "Numbers are wanted, and this is of type list of str."),
        (289 + 0j, "The result is complex, and a real one is wanted."),
        ({}, "This is of type dict and cannot be read as an array"),
        ([[1.0], [1.0, 2.0]], "This is of type list and cannot be read as an array; all rows must be equally long."),
        (float("nan"), "The result contains NaN or infinity."),
        ([288, 289], r"The result has shape \(2,\) where \(\) is wanted."),
        (lambda: 289, "A value is asked for, and this is a function. Hand in what it returns."),
        (288, "The value is off. It is none of the usual slips"),
    ],
)
def test_a_value_of_the_wrong_form_is_told_so_in_a_sentence(value, words):
    verdict = NUMBER.check(value)
    assert verdict.status == WRONG
    assert re.match(words, verdict.words)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.zeros(M), "A function is asked for, and this is of type ndarray. Hand in the function."),
        (lambda A, v: A, r"The result has shape \(3, 5\) where \(3,\) is wanted."),
        (lambda A, v: A @ v / 0, "The result contains NaN or infinity."),
        (lambda A, v: (A @ v).astype(complex), "The result is complex"),
        (lambda A, v: np.where(v[0] > 0, A @ v, 0), r"The function is right at ([1-9]|1[0-5]) of 16 random inputs"),
    ],
)
def test_a_function_with_results_of_the_wrong_form_is_told_so_in_a_sentence(answer, words):
    verdict = TO_VECTOR.check(answer)
    assert verdict.status == WRONG
    assert re.match(words, verdict.words)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda A, v: 2 * v, "A list of arrays is wanted, and this is of type ndarray."),
        (lambda A, v: [2 * A], "A list of 2 arrays is wanted, yours has 1."),
        (lambda A, v: [2 * A, 2 * A], r"The result has shape \(3, 5\) where \(5,\) is wanted."),
    ],
)
def test_a_list_of_arrays_is_compared_one_by_one(answer, words):
    assert re.match(words, SEVERAL.check(answer).words)


def test_an_exception_is_shown_with_its_message_and_the_shapes_that_led_to_it():
    verdict = TO_VECTOR.check(lambda A, v: np.linalg.inv(A))
    assert verdict.status == WRONG
    assert "```\nLinAlgError: Last 2 dimensions of the array must be square\n```" in verdict.words
    assert "It was called with A: shape (3, 5), v: shape (5,)." in verdict.words
    assert "takes 1 positional argument but 2 were given" in TO_VECTOR.check(lambda A: A).words


def test_an_interrupt_is_not_caught():
    def stopped(A, v):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TO_VECTOR.check(stopped)


def test_writing_into_the_arguments_neither_cheats_nor_harms():
    def cheat(A, v):
        A[:], v[:] = 0, 0
        return A @ v

    def in_place(A, v):
        A *= v
        return A.sum(1)

    def one_buffer(A, v, out=np.empty(M)):  # noqa: B008
        return np.matmul(A, v, out=out)

    assert not TO_VECTOR.check(cheat)
    assert TO_VECTOR.check(in_place)
    assert TO_VECTOR.check(one_buffer)


def test_fixed_arguments_are_handed_out_as_copies():
    fixed = np.ones((M, N)), np.ones(N)
    exercise = replace(TO_VECTOR, inputs=lambda rng: fixed)

    def spoil(A, v):
        A += 1
        return A @ v

    exercise.check(spoil)
    assert fixed[0].max() == 1
    assert exercise.check(apply)


@pytest.mark.torch
def test_torch_tensors_are_read_as_arrays_with_or_without_a_graph():
    torch = pytest.importorskip("torch")

    def answer(A, v):
        return torch.tensor(A) @ torch.tensor(v, requires_grad=True)

    assert TO_VECTOR.check(answer)
    assert SEVERAL.check(lambda A, v: [2 * torch.tensor(A), torch.tensor(v, requires_grad=True) * 2])
    assert NUMBER.check(torch.tensor(289, dtype=torch.int64))


@given(st.floats(1e-4, 1.0), st.sampled_from([-1, 1]), st.integers(0, M - 1))
def test_no_error_beyond_the_tolerance_slips_through(error, sign, entry):
    def off(A, v):
        result = A @ v
        result[entry] += sign * error * np.abs(result).max()
        return result

    assert not replace(TO_VECTOR, points=2).check(off)


def test_a_free_answer_is_judged_by_its_first_failed_requirement():
    assert FREE.check([[0.6, -0.8], [0.8, 0.6]])
    assert FREE.check([[0, 2], [2, 0]]).mistake == "orthogonal"
    assert FREE.check([[1e200, 0], [0, 1e200]]).mistake == "orthogonal"
    assert FREE.check([[np.nan, 0], [0, 1]]).words.startswith("The result contains NaN")
    assert FREE.check([1.0, 2.0]).words == "The result has shape (2,) where (2, 2) is wanted."
    assert FREE.check(np.eye).words.startswith("A value is asked for")


# ---------------------------------------------------------------------------------------------------------------
# what is shown


def test_a_question_says_what_to_hand_in_and_how_exact_it_has_to_be():
    assert repr(TO_VECTOR).splitlines() == [
        "Exercise 0.1: Matrix times vector",
        "",
        "Write $Av$.",
        "",
        "*Your answer:* a function `answer(A, v)`. It is called at 16 random inputs in float64 and must be right to "
        "within 0.001 % of the largest entry.",
    ]
    assert repr(NUMBER).endswith("*Your answer:* a number, right to within 0.2 %.")
    assert repr(FREE).endswith(
        "*Your answer:* an array of shape (2, 2). Every one that fulfils the conditions is right."
    )


@pytest.mark.parametrize(
    "shown", [TO_VECTOR, TO_VECTOR.hint(), TO_VECTOR.check(...), TO_VECTOR.check(apply), TO_VECTOR.check(1)]
)
def test_a_notebook_gets_markdown_and_plain_text_of_the_same_words(shown):
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    data, _ = formatter.format(shown)
    assert set(data) == {"text/markdown", "text/plain"}
    assert data["text/markdown"].replace("*", "") == data["text/plain"].replace("*", "")


def test_a_solution_is_folded_in_a_notebook_and_hidden_in_its_plain_text():
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    data, _ = formatter.format(TO_VECTOR.solution())
    assert data["text/html"].startswith("<details><summary>Solution of exercise 0.1</summary><p>By definition.</p>")
    assert data["text/html"].endswith("</details>")
    assert re.sub("<.*?>", "", data["text/html"]).endswith("def apply(A, v):\n    return A @ v\n\n")
    assert data["text/plain"] == ("Solution of exercise 0.1: folds open in a notebook, and print() shows it as text")
    assert str(TO_VECTOR.solution()).endswith("By definition.\n\ndef apply(A, v):\n    return A @ v\n")
    assert TO_VECTOR.solution().value is apply


def test_the_solution_of_a_number_ends_with_the_number():
    assert str(NUMBER.solution()).endswith("\n# 289.0\n")
    assert NUMBER.solution().value == 289
    assert str(FREE.solution()).endswith("\n# [[1.0, 0.0], [0.0, 1.0]]\n")


def test_an_exercise_without_a_catalogue_is_refused():
    for change in (
        {"hints": ()},
        {"accepted": NUMBER.accepted[:1]},
        {"mistakes": ()},
        {"mistakes": NUMBER.mistakes * 2},
    ):
        with pytest.raises(ValueError, match=r"exercise 0\.2 needs a hint, two accepted answers"):
            replace(NUMBER, **change)
