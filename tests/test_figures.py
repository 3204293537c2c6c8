"""What the figures for slides promise."""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "figures").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_committed_figure_is_what_its_script_draws(script, tmp_path):
    for folder in ("figures", "results"):
        (tmp_path / folder).mkdir()
    shutil.copy(script, tmp_path / "figures")
    for stored in (ROOT / "results").glob("*.json"):
        os.symlink(stored, tmp_path / "results" / stored.name)
    runpy.run_path(str(tmp_path / "figures" / script.name))
    drawn = (tmp_path / "figures" / script.with_suffix(".svg").name).read_text(encoding="utf-8")
    assert drawn == script.with_suffix(".svg").read_text(encoding="utf-8"), "run make figures"


def test_there_are_figures_and_none_without_its_script():
    assert len(SCRIPTS) >= 3
    assert {path.stem for path in (ROOT / "figures").glob("*.svg")} == {path.stem for path in SCRIPTS}
