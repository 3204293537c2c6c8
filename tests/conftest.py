"""What all tests share: shapes checked at run time, the surroundings that the Makefile sets, and reasons for skips."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import chromium
import jaxtyping
import pytest

# The same as in the Makefile, for a bare `pytest` and the kernels that it starts.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
os.environ.update(ENVIRONMENT)

# Before anything of the library is imported: from here on, each call checks the shapes in its signature.
jaxtyping.install_import_hook("minilib", "shapes.check")


def _data_is_missing() -> bool:
    from minilib import corpora

    return any(corpora.check(package) for package in corpora.REGISTER)


NEEDS = {
    "torch": (lambda: find_spec("torch") is None, "torch is not installed; `make setup` installs it"),
    "data": (_data_is_missing, "the archives of texts and weights are not there; `make data` fetches them"),
    "browser": (lambda: chromium.find() is None, chromium.MISSING),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, and say why."""
    for marker, (missing, reason) in NEEDS.items():
        wanting = [item for item in items if item.get_closest_marker(marker)]
        if wanting and missing():
            for item in wanting:
                item.add_marker(pytest.mark.skip(reason=reason))


def group_of(test: str) -> str:
    """The name that tests share which are to run in one process, out of the id of one of them.

    What a file makes for all its tests is dear, so it is made in one process; but a notebook that is run is run for
    itself.
    """
    file, _, rest = test.partition("::")
    notebook = re.search(r"\[.*?(\d\d_\w+)", rest)
    return f"{file} {notebook[1]}" if notebook else file


# The groups of pytest-xdist itself travel in the ids of the tests, and pytest 9.2 keeps these as they are.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand the tests out to several processes by groups."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)


@pytest.fixture
def compiled(unchecked: None) -> Callable[..., Any]:
    """Compile whole, forgetting what was compiled before: many modules of one class would count as recompilations."""
    pytest.importorskip("torch._dynamo").reset()
    return functools.partial(pytest.importorskip("torch").compile, fullgraph=True, backend="eager")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the check of shapes off: the formula's own checks answer, and the compiler sees only the formula."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
