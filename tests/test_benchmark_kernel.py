"""What the kernel promises in which the benchmark of the widgets runs."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")

from benchmarks import widgets


def test_a_cell_in_a_kernel_tells_what_was_asked_for_whatever_it_shows():
    many = "from ipywidgets import Output\nout = Output()\nfor k in range(20):\n    with out:\n        print(k)"
    assert widgets.in_kernel(many, "k + 1", limit=120) == "20"


@pytest.mark.parametrize(
    ("code", "expression", "error", "message"),
    [
        ("1 / 0", "1", RuntimeError, "the cell failed with ZeroDivisionError: division by zero"),
        ("x = 1", "y", RuntimeError, "the cell failed with NameError: name 'y' is not defined"),
        ("import os\nos._exit(3)", "1", RuntimeError, "the kernel died"),
    ],
)
def test_a_failure_in_a_kernel_is_told(code, expression, error, message):
    with pytest.raises(error, match=message):
        widgets.in_kernel(code, expression, limit=120)


def test_a_kernel_that_does_not_answer_is_given_up():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="the kernel did not answer within 2 s"):
        widgets.in_kernel("import time\ntime.sleep(600)", "1", limit=2)
    assert time.monotonic() - start < 300


def test_a_widget_that_does_not_answer_is_tried_once_more(monkeypatch):
    answers = [TimeoutError("too late"), "'{\"ours\": [1.0]}'"]

    def in_kernel(*_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(widgets, "in_kernel", in_kernel)
    assert widgets.measured("dial", 5, 1, 9) == {"ours": [1.0]}
    answers[:] = [TimeoutError("too late"), TimeoutError("too late")]
    with pytest.raises(TimeoutError, match="dial: too late, twice"):
        widgets.measured("dial", 5, 1, 9)
