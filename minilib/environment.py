"""Is everything there? A check of Python, packages and data, with what to do about whatever is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from html import escape
from importlib import metadata
from typing import NamedTuple

PARTS = {
    "": "the formulas",
    "torch": "the modules and everything that is trained",
    "views": "figures and widgets",
    "lab": "the notebooks",
}
"""What each optional part of the project is for; the name is the one in ``pip install minilib[…]``."""


class Finding(NamedTuple):
    """One thing that was looked for: is it there, and if not, what to do."""

    name: str
    there: bool
    words: str


class Report:
    """All findings, readable as text and in a notebook; true if nothing is missing."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    def __bool__(self) -> bool:
        return all(finding.there for finding in self.findings)

    def __repr__(self) -> str:
        return "\n".join(f"{'✓' if f.there else '✗'} {f.name}: {f.words}" for f in self.findings)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{'✓' if f.there else '✗'}</td><td style='text-align:left'>{escape(f.name)}</td>"
            f"<td style='text-align:left'>{escape(f.words)}</td></tr>"
            for f in self.findings
        )
        return f"<table>{rows}</table>"


def report(version_of: Callable[[str], str] = metadata.version) -> Report:
    """Look for Python, each part's packages, and the data. Versions are compared with what the project asks for."""
    running = sys.version_info[:2]
    python = Finding("Python", (3, 11) <= running <= (3, 13), "3.11 to 3.13 is needed")
    return Report([python, *(_part(part, version_of) for part in PARTS), *_data()])


def _part(part: str, version_of: Callable[[str], str]) -> Finding:
    faults = [fault for name in _wanted(part) if (fault := _fault(name, version_of))]
    name = f"packages for {PARTS[part]}"
    if not faults:
        return Finding(name, True, "all there")
    return Finding(name, False, f"{'; '.join(faults)}. Run make setup, or pip install -r requirements.lock")


def _wanted(part: str) -> Iterator[str]:
    """The requirements of one part, as the installed project states them."""
    for line in metadata.requires("minilib") or ():
        requirement, _, condition = line.partition(";")
        extra = condition.partition("==")[2].strip(" \"'") if "extra" in condition else ""
        if extra == part and not requirement.startswith("minilib"):
            yield requirement.strip()


def _fault(requirement: str, version_of: Callable[[str], str]) -> str:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        found = version_of(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    # A local version such as 2.13.0+cpu is the same release.
    return "" if wanted.specifier.contains(found, prereleases=True) else f"{requirement} is needed, {found} is there"


def _data() -> list[Finding]:
    from . import corpora

    faults = [f"{package} {fault}" for package in corpora.REGISTER if (fault := corpora.check(package))]
    words = "; ".join(faults) + ". Run make data" if faults else "all there, as pinned"
    return [Finding("texts and trained weights", not faults, words)]
