"""What the files around the library promise: one set of dependencies, commands that exist, links that lead on."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import product
from pathlib import Path

import chromium
import jaxtyping
import numpy as np
import pytest
from conftest import ENVIRONMENT, group_of
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import minilib
from minilib.recurrence import rnn_step

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("*.md"))
needs_make = pytest.mark.skipif(shutil.which("make") is None or os.name == "nt", reason="make is not installed")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------
# dependencies

PROJECT = tomllib.loads(text("pyproject.toml"))["project"]
LOCK = {canonicalize_name(r.name): r for r in map(Requirement, text("requirements.lock").splitlines())}
PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "mac": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}


def surroundings(python: str, system: str) -> dict[str, str]:
    versions = {"python_version": python, "python_full_version": f"{python}.0", "implementation_version": f"{python}.0"}
    names = {"implementation_name": "cpython", "platform_python_implementation": "CPython", "platform_release": ""}
    return versions | names | SYSTEMS[system]


def surroundings_here() -> dict[str, str]:
    return {name: str(value) for name, value in default_environment().items()}


def installed(name: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
    return False


def wanted(requirement: Requirement, where: dict[str, str], extras: set[str]) -> bool:
    """Whether a requirement counts in these surroundings, for a package asked for with these extras."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate(where | {"extra": extra}) for extra in {"", *extras})


def requirements_of(name: str) -> list[Requirement]:
    """What a package asks for, as installed here; nothing if it is for another system."""
    if name == "minilib":
        groups = {"": PROJECT["dependencies"]} | PROJECT["optional-dependencies"]
        return [Requirement(f"{r} ; extra == '{group}'" if group else r) for group, rs in groups.items() for r in rs]
    return [Requirement(line) for line in metadata.requires(name) or []] if installed(name) else []


def closure(where: dict[str, str]) -> dict[str, list[Requirement]]:
    """All that minilib[dev] needs in these surroundings, each package with the requirements it has to meet."""
    found: dict[str, list[Requirement]] = {}
    seen, queue = set(), [("minilib", frozenset({"dev"}))]
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for requirement in requirements_of(name):
            other = canonicalize_name(requirement.name)
            # torch's CUDA build brings its libraries in versions of its own; other builds do without.
            if wanted(requirement, where, set(extras)) and not (
                name == "torch" and re.match("nvidia|cuda|triton", other)
            ):
                found.setdefault(other, []).append(requirement)
                queue.append((other, frozenset(requirement.extras)))
    return {name: asked for name, asked in found.items() if name != "minilib"}


EVERYWHERE = list(product(PYTHONS, SYSTEMS))


def test_the_lock_is_a_sorted_list_of_exact_versions_without_a_place():
    lines = text("requirements.lock").splitlines()
    assert lines == sorted(lines, key=lambda line: re.split("==", line)[0])
    assert len(lines) == len(LOCK)
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [\w .<>='()!]+)?", line)


@pytest.mark.parametrize(("python", "system"), EVERYWHERE)
def test_the_lock_holds_all_that_the_project_needs_and_nothing_else(python, system):
    where = surroundings(python, system)
    locked = {name for name, requirement in LOCK.items() if wanted(requirement, where, set())}
    needed = closure(where)
    assert not needed.keys() - locked
    if missing := sorted(name for name in closure(surroundings_here()) if not installed(name)):
        pytest.skip(f"what {', '.join(missing)} would ask for is known only where they are installed")
    assert not locked - needed.keys()


@pytest.mark.parametrize(("python", "system"), EVERYWHERE)
def test_every_locked_version_is_admitted_by_all_who_ask_for_it(python, system):
    for name, asked in closure(surroundings(python, system)).items():
        (pin,) = LOCK[name].specifier
        for requirement in asked:
            assert requirement.specifier.contains(pin.version, prereleases=True), f"{name} {pin} for {requirement}"


def test_every_locked_package_runs_on_every_python_of_the_project():
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [minor for minor in range(9, 16) if f"3.{minor}.0" in supported] == [11, 12, 13]
    for name in filter(installed, LOCK):
        needs = SpecifierSet(metadata.metadata(name).get("Requires-Python") or "")
        pythons = [p for p in PYTHONS if wanted(LOCK[name], surroundings(p, "linux"), set())]
        assert all(f"{p}.0" in needs for p in pythons), f"{name} needs Python {needs}"


def test_torch_is_pinned_to_one_version_everywhere():
    assert str(LOCK["torch"]) == "torch==2.13.0"
    assert PROJECT["optional-dependencies"]["torch"] == ["torch==2.13.0"]


def test_the_core_needs_only_three_packages():
    assert {Requirement(r).name for r in PROJECT["dependencies"]} == {"numpy", "array-api-compat", "jaxtyping"}
    assert set(PROJECT["optional-dependencies"]) == {"torch", "views", "lab", "dev"}


def test_conda_and_binder_get_the_locked_packages():
    yaml = pytest.importorskip("yaml")
    dependencies = yaml.safe_load(text("environment.yml"))["dependencies"]
    assert dependencies == ["python=3.11", "pip", {"pip": ["-r requirements.lock", "-e ."]}]
    assert "3.11" in SpecifierSet(PROJECT["requires-python"])
    # With one of these folders Binder would not look at the files in the root.
    assert not [name for name in ("binder", ".binder", "Dockerfile") if (ROOT / name).exists()]
    assert "python -m minilib.corpora fetch\n" in text("postBuild")


def test_the_core_is_tested_with_tools_of_the_dev_extra():
    (tools,) = re.findall(r"^CORE_TOOLS := (.*)$", text("Makefile"), re.MULTILINE)
    assert set(tools.split()) <= {Requirement(r).name for r in PROJECT["optional-dependencies"]["dev"]}


def test_one_version_is_stated_everywhere():
    assert PROJECT["version"] == minilib.__version__
    assert f"\nversion: {minilib.__version__}\n" in text("CITATION.cff")
    assert f"\n## [{minilib.__version__}]" in text("CHANGELOG.md")


# ---------------------------------------------------------------------------------------------------------------
# commands

TARGETS = set(re.findall(r"^([a-z][a-z-]*):", text("Makefile"), re.MULTILINE))


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    return subprocess.run(["make", *arguments], cwd=cwd, env=clean, capture_output=True, text=True, check=False)


def test_every_command_of_the_course_is_a_target():
    course = {
        "help",
        "lab",
        "data",
        "test",
        "notebooks",
        "figures",
        "experiments",
        "claims",
        "bench",
        "browser",
        "lint",
    }
    assert course | {"clean"} <= TARGETS
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text("Makefile"), re.MULTILINE)
    assert set(phony.split()) == TARGETS


@needs_make
def test_make_help_lists_every_target_with_a_line():
    listed = dict(line.split(maxsplit=1) for line in make("help").stdout.splitlines() if line.startswith("  "))
    assert set(listed) == TARGETS
    assert make().stdout == make("help").stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_make_command_in_the_texts_exists(page):
    code = re.findall(r"```.*?```|`[^`]+`", page.read_text(encoding="utf-8"), re.DOTALL)
    named = {name for piece in code for name in re.findall(r"\bmake ([a-z][a-z-]*)", piece)}
    assert named <= TARGETS


@needs_make
def test_set_up_runs_only_when_the_dependencies_changed(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1, 1))
    assert "pip install" in make("--dry-run", "setup", cwd=tmp_path).stdout
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".stamp").touch()
    assert "pip install" not in make("--dry-run", "setup", cwd=tmp_path).stdout
    os.utime(tmp_path / "requirements.lock")
    os.utime(tmp_path / ".venv" / ".stamp", (2, 2))
    assert "pip install" in make("--dry-run", "setup", cwd=tmp_path).stdout


@needs_make
def test_without_a_fitting_python_set_up_says_what_is_needed(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("setup", "PYTHON=false", cwd=tmp_path)
    assert done.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 with venv is needed, and none of 'false' is one." in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("version", "fits"), [((3, 10, 14), False), ((3, 11, 0), True), ((3, 14, 0), False)])
def test_the_makefile_asks_for_the_pythons_of_the_project(version, fits):
    (question,) = re.findall("^SUITS := (.*)$", text("Makefile"), re.MULTILINE)
    as_if = f"import sys; sys.version_info = {version}; {question}"
    assert (subprocess.run([sys.executable, "-c", as_if], check=False).returncode == 0) == fits


@needs_make
def test_a_python_that_is_too_old_or_a_shim_that_fails_is_passed_over(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    # The last one stands for a good interpreter: it says yes to the question, and shows how it was called then.
    for name, body in {
        "shim": "exit 127",
        "old": "exit 1",
        "good": '[ "$1" = -c ] || { echo "$0 $*"; exit 1; }',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    assert "./good -m venv --clear .venv" in make("setup", "PYTHON=./shim ./old ./good ./shim", cwd=tmp_path).stdout


def test_tests_and_notebooks_run_in_the_same_surroundings_however_they_are_started():
    for name, value in ENVIRONMENT.items():
        assert f"\nexport {name} := {value}\n" in text("Makefile")


def test_the_shapes_in_a_signature_are_checked_in_the_tests():
    x, h = np.zeros(2), np.zeros(5)
    with pytest.raises(jaxtyping.TypeCheckError, match=r"parameter 'U'"):
        rnn_step(x, h, np.zeros((5, 2)), np.zeros((5, 3)), h)


def test_the_workflow_only_calls_make_targets():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    assert {"full", "without-torch", "notebooks"} <= set(jobs)
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        assert re.fullmatch(r"make [a-z-]+", command)
        assert command.split()[1] in TARGETS
    for name in ("full", "without-torch", "notebooks"):
        systems = {system.partition("-")[0] for system in jobs[name]["strategy"]["matrix"]["os"]}
        assert systems == {"ubuntu", "macos", "windows"}


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
@pytest.mark.parametrize("failing", ["", "test", "browser", "lint"])
def test_the_ci_script_runs_every_part_and_ends_with_pytests_summary(tmp_path, failing):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    fake = (
        "#!/bin/sh\necho called $1\n"
        "case $1 in test) echo '=== 211 passed, 3 deselected in 99.12s (0:01:39) ===';; "
        "browser) echo '5 passed, 211 deselected in 9.12s';; lint) echo 'All checks passed!';; esac\n"
        f"[ $1 != '{failing}' ]\n"
    )
    (tmp_path / "make").write_text(fake, encoding="utf-8")
    (tmp_path / "make").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / ".ci/run"], cwd="/", env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("called")] == ["called test", "called browser", "called lint"]
    assert lines[-1] == "=== 211 passed, 3 deselected in 99.12s (0:01:39) ==="
    assert "5 passed, 211 deselected in 9.12s" in lines[-3]
    assert done.returncode == bool(failing)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
@pytest.mark.parametrize("name", [".ci/run", "postBuild"])
def test_scripts_can_be_executed(name):
    assert os.access(ROOT / name, os.X_OK)


# ---------------------------------------------------------------------------------------------------------------
# Chromium and the guards before a commit


@pytest.mark.parametrize(
    ("distribution", "user", "sudo", "begins"),
    [
        ("debian", 0, None, "env DEBIAN_FRONTEND=noninteractive apt-get"),
        ("debian", 1000, "/bin/sudo", "/bin/sudo DEBIAN_FRONTEND=noninteractive apt-get"),
    ],
)
def test_chromium_is_installed_by_debians_own_tool(distribution, user, sudo, begins):
    update, install = map(shlex.join, chromium.install_commands(distribution, user, sudo))
    assert update.startswith(f"{begins} update")
    assert install.startswith(f"{begins} install -y")
    assert " chromium " in install


@pytest.mark.parametrize(
    ("distribution", "user", "sudo"), [("ubuntu", 0, None), ("debian", 1000, None), ("Darwin", 0, "")]
)
def test_chromium_is_left_to_the_user_elsewhere(distribution, user, sudo):
    assert chromium.install_commands(distribution, user, sudo) == []


def test_a_chromium_named_by_the_user_is_taken_and_a_wrong_name_is_reported(monkeypatch, capsys):
    monkeypatch.setenv("CHROMIUM", sys.executable)
    assert chromium.find() == sys.executable
    monkeypatch.setenv("CHROMIUM", "no such program")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing may be installed then"))
    assert chromium.main() == 1
    assert "set the variable CHROMIUM" in capsys.readouterr().err


def test_chromium_is_installed_only_where_there_is_none(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(chromium, "ELSEWHERE", ())
    monkeypatch.setattr(chromium, "_distribution", lambda: "debian")
    monkeypatch.setattr(chromium.os, "getuid", lambda: 0, raising=False)

    def install(command, check):
        if "install" in command:
            (tmp_path / "chromium").write_text("#!/bin/sh\n", encoding="utf-8")
            (tmp_path / "chromium").chmod(0o755)

    monkeypatch.setattr(subprocess, "run", install)
    assert chromium.main() == 0
    assert capsys.readouterr().out == f"{tmp_path / 'chromium'}\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("there is one already"))
    assert chromium.main() == 0


def hooks() -> dict[str, dict[str, str]]:
    clientlib = pytest.importorskip("pre_commit.clientlib")
    (repository,) = clientlib.load_config(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    return {hook["id"]: hook for hook in repository["hooks"]}


def test_before_a_commit_ruff_looks_at_code_and_notebooks():
    for name in ("ruff-check", "ruff-format"):
        assert set(hooks()[name]["types_or"]) == {"python", "pyi", "jupyter"}


def test_before_a_commit_large_files_are_refused(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(3 * 2**20))
    large.write_bytes(bytes(3 * 2**20 + 1))
    command = [sys.executable, *shlex.split(hooks()["large-files"]["entry"])[1:]]
    assert subprocess.run([*command, small], check=False).returncode == 0
    refused = subprocess.run([*command, small, large], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr == f"larger than 3 MiB: {large}\n"


def test_before_a_commit_merge_conflict_markers_are_refused():
    marker = re.compile(hooks()["merge-conflicts"]["entry"])
    assert marker.search("<" * 7 + " HEAD")
    assert marker.search(">" * 7 + " topic")
    assert not marker.search("Title\n=======")


# ---------------------------------------------------------------------------------------------------------------
# texts


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_relative_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), f"{page.name} links to {link}"


def test_the_example_of_the_readme_has_six_lines_and_prints_what_it_says():
    code, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", text("README.md"), re.DOTALL).groups()
    assert len([line for line in code.splitlines() if line]) == 6
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    assert out.getvalue() == printed


def test_the_licences_are_stated():
    for number in range(1, 10):
        assert re.search(rf"^ +{number}\. [A-Z]", text("LICENSE"), re.MULTILINE)
    assert "Apache License" in text("LICENSE")
    assert PROJECT["license"] == "Apache-2.0"
    licence = text("README.md").partition("## Licence")[2]
    assert "Code: Apache-2.0" in licence
    assert "Text and figures: [CC BY 4.0]" in licence


def files() -> Iterator[Path]:
    """All that is committed or about to be."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    yield from (ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


# Put together, so that this file does not find itself.
PLACES = ("/" + "home/", "/" + "root/", "/" + "work/", "/" + "Users/", "/" + "tmp/", "Users" + r"\\")
# These spoil a text on purpose, to see it refused.
EXAMPLES = {"tests/test_notebooks.py"}
REGISTRIES = ("pypi" + ".org", "python" + "hosted", "npm" + "js.", "ana" + "conda.org", "download." + "pytorch")


def test_no_file_names_a_place_on_somebodys_machine_or_a_registry():
    complaints = []
    for name, path in ((path.relative_to(ROOT).as_posix(), path) for path in files()):
        # Pictures and the like are no text.
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
            # A place begins a word: a path inside a link or a package is none.
            places = [p for p in PLACES if re.search(rf"(?<![\w.:/]){re.escape(p)}\w", line) and name not in EXAMPLES]
            complaints += [f"{name}:{number} holds {p}" for p in places + [r for r in REGISTRIES if r in line]]
    assert not complaints


@pytest.mark.parametrize(
    ("test", "group"),
    [
        ("tests/test_gau.py::test_padding_changes_nothing[softmax]", "tests/test_gau.py"),
        ("tests/test_notebooks.py::test_a_rule[05_bert-links]", "tests/test_notebooks.py 05_bert"),
        ("tests/test_browser.py::test_the_page[05_bert]", "tests/test_browser.py 05_bert"),
    ],
)
def test_what_a_file_makes_is_made_in_one_process_and_a_notebook_runs_for_itself(test, group):
    assert group_of(test) == group
