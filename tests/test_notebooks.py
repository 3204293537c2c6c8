"""What every notebook promises."""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipywidgets")
TransformerManager = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager

from minilib import IDEAS, claims  # noqa: E402
from minilib.views import drawing, figure  # noqa: E402

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OFFLINE = Path(__file__).parent / "offline"
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
BUDGET = re.compile(
    r"\*\*Budget\*\*: (?P<minutes>\d+) minutes to read, (?P<seconds>\d+) seconds to run, (?P<gb>[\d.]+) GB of memory"
)


class Notebook(NamedTuple):
    """A notebook under its name, with short ways to what the rules look at."""

    name: str
    nb: Any

    @property
    def code(self) -> list[Any]:
        return [cell for cell in self.nb.cells if cell.cell_type == "code"]

    @property
    def prose(self) -> str:
        return "\n\n".join(cell.source for cell in self.nb.cells if cell.cell_type == "markdown")

    @property
    def outputs(self) -> list[Any]:
        return [output for cell in self.code for output in cell.outputs]

    @property
    def models(self) -> dict[str, Any]:
        """The saved state of the widgets, by the id of the model."""
        return self.nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})

    def shown(self, mime: str) -> list[tuple[Any, Any]]:
        """All outputs of one kind, each with its metadata."""
        return [(o.data[mime], o.metadata.get(mime, {})) for o in self.outputs if mime in o.get("data", {})]

    def texts(self) -> Iterator[str]:
        """Everything a person can read, and the notebook's own metadata."""
        yield from (cell.source for cell in self.nb.cells)
        yield from (output.get("text", "") for output in self.outputs)
        yield from (v for o in self.outputs for k, v in o.get("data", {}).items() if k.startswith("text/"))
        yield json.dumps({k: v for k, v in self.nb.metadata.items() if k != "widgets"})


def read(path: Path) -> Notebook:
    return Notebook(path.stem, nbformat.read(path, as_version=4))


# ---------------------------------------------------------------------------------------------------------------
# the rules of the house: each yields its complaints


def is_valid(it: Notebook) -> Iterator[str]:
    try:
        nbformat.validate(it.nb)
    except nbformat.ValidationError as error:
        yield str(error)


def ran_once_from_top_to_bottom(it: Notebook) -> Iterator[str]:
    counts = [cell.execution_count for cell in it.code]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the code cells were run in the order {counts}; a cell that was not run is never compared"


def ran_without_errors_and_warnings(it: Notebook) -> Iterator[str]:
    for output in it.outputs:
        if output.output_type == "error":
            yield f"a stored error: {output.ename}: {output.evalue}"
        elif output.get("name") == "stderr":
            yield f"text on stderr: {output.text}"


def can_be_compared(it: Notebook) -> Iterator[str]:
    """Ways of showing that the comparison cannot follow, and marks that switch it off."""
    blind = {"Output", "interact", "interactive", "interactive_output", "clear_output", "update_display"}
    for cell in it.code:
        if cell.source.rstrip().endswith(";"):
            yield f"a trailing semicolon does not hide a value, write _ = …: {cell.source.splitlines()[-1]}"
        if names := blind & _names(cell.source):
            yield f"{', '.join(sorted(names))} cannot be compared, use minilib.views.explore"
        if switched_off := re.findall(r"NBVAL_\w+|nbval-[\w-]+|raises-exception", f"{cell.source} {cell.metadata}"):
            yield f"{switched_off[0]} would hide the cell from the comparison"
    for output in it.outputs:
        kinds = set(output.get("data", {}))
        if kinds & {"image/png", "image/jpeg"} and "image/svg+xml" not in kinds:
            yield "a bitmap alone is never compared, show an SVG beside it (minilib.views.figure)"


def needs_no_network(it: Notebook) -> Iterator[str]:
    """Nothing is installed or downloaded, except in Colab."""
    modules = {"urllib", "http", "requests", "httpx", "socket", "subprocess", "pip", "wget"}
    for cell in it.code:
        if reached := (modules | {"system", "run_line_magic", "run_cell_magic"}) & _names(cell.source):
            yield f"{', '.join(sorted(reached))} outside the Colab line: {cell.source}"


def begins_with_the_colab_line(it: Notebook) -> Iterator[str]:
    if not it.code or not any("google.colab" in ast.unparse(n.test) for n in _tree(it.code[0].source) if _is_if(n)):
        yield 'the first code cell must prepare Colab: if "google.colab" in sys.modules: …'


def names_no_place_of_the_machine(it: Notebook) -> Iterator[str]:
    """Colab's own /content is the one place that is the same for everybody."""
    for text in it.texts():
        for match in re.findall(r"""(?<![\w.~/:<+*)\]}^|-])/(?!content/)[\w.-]+/[\w./-]+|\b[A-Z]:\\Users\S*""", text):
            yield f"an absolute path: {match}"


def opens_anywhere(it: Notebook) -> Iterator[str]:
    kernel, language = (it.nb.metadata.get(name, {}) for name in ("kernelspec", "language_info"))
    if kernel.get("name") != "python3" or not kernel.get("display_name", "").startswith("Python 3"):
        yield f"the kernel must be python3, got {dict(kernel)}"
    if language.get("name") != "python":
        yield f"language_info must say python, got {dict(language)}"


def carries_no_traces_of_editing(it: Notebook) -> Iterator[str]:
    if extra := set(it.nb.metadata) - {"kernelspec", "language_info", "widgets"}:
        yield f"metadata of the notebook: {', '.join(sorted(extra))}"
    for cell in it.nb.cells:
        if extra := set(cell.metadata) - {"tags", "jupyter"}:
            yield f"metadata of a cell: {', '.join(sorted(extra))}"


def is_small(it: Notebook) -> Iterator[str]:
    size = len(nbformat.writes(it.nb).encode())
    if size >= 3e6:
        yield f"{size / 1e6:.1f} MB; the limit is 3 MB"


def describes_its_pictures(it: Notebook) -> Iterator[str]:
    for svg, metadata in it.shown("image/svg+xml"):
        label = re.search(r'<svg[^>]*aria-label="([^"]*)"', svg)
        if not (label and label[1].strip() and metadata.get("alt", "").strip()):
            yield f"a picture without alternative text: {svg[:60]}"
    for alt, target in re.findall(r"!\[(.*?)\]\((.*?)\)", it.prose):
        if not alt.strip():
            yield f"a picture without alternative text: {target}"


def saves_its_widgets(it: Notebook) -> Iterator[str]:
    for view, _ in it.shown(VIEW):
        if view["model_id"] not in it.models:
            yield f"the state of widget {view['model_id']} is not saved"
    for model in it.models.values():
        if model["model_name"] == "OutputModel":
            yield "a widget captures output, which swallows exceptions"
        if 'role="alert"' in str(model["state"].get("value", "")):
            yield f"a widget was saved while its drawing failed: {model['state']['value']}"


def shows_a_picture_without_a_kernel(it: Notebook) -> Iterator[str]:
    for output in it.outputs:
        kinds = set(output.get("data", {}))
        # JupyterLab shows the PNG until the notebook is trusted, other viewers show the SVG.
        if VIEW in kinds and not {"image/svg+xml", "image/png"} <= kinds:
            yield "a widget without its first picture, use minilib.views.explore"


def prints_its_budget(it: Notebook) -> Iterator[str]:
    found = BUDGET.findall(it.prose)
    if len(found) != 1:
        line = "**Budget**: 35 minutes to read, 60 seconds to run, 1 GB of memory"
        yield f"{len(found)} lines like {line}; there must be one"


def ends_with_its_ledger(it: Notebook) -> Iterator[str]:
    if it.name.startswith("00_"):
        return
    last = [o.data[claims.MIME] for o in it.code[-1].outputs if claims.MIME in o.get("data", {})]
    if not last or not last[-1]["entries"]:
        yield "the last code cell must show the ledger"
    elif last[-1]["chapter"] != it.name:
        yield f"the ledger calls the chapter {last[-1]['chapter']!r}"


RULES = [
    is_valid,
    ran_once_from_top_to_bottom,
    ran_without_errors_and_warnings,
    can_be_compared,
    needs_no_network,
    begins_with_the_colab_line,
    names_no_place_of_the_machine,
    opens_anywhere,
    carries_no_traces_of_editing,
    is_small,
    describes_its_pictures,
    saves_its_widgets,
    shows_a_picture_without_a_kernel,
    prints_its_budget,
    ends_with_its_ledger,
]


def _is_if(node: ast.AST) -> bool:
    return isinstance(node, ast.If)


def _tree(source: str) -> list[ast.stmt]:
    """The statements of a cell, magics written out as the calls that they are."""
    return ast.parse(TransformerManager().transform_cell(source)).body


def _names(source: str) -> set[str]:
    """Every name that a cell uses or imports, outside the branch that only Colab enters."""
    kept = [n for n in _tree(source) if not (_is_if(n) and "google.colab" in ast.unparse(n.test))]
    found = set()
    for node in (inner for statement in kept for inner in ast.walk(statement)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(part for alias in node.names for part in alias.name.split("."))
            found.update((getattr(node, "module", None) or "").split("."))
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_keeps_the_rules(path, rule):
    complaints = list(rule(read(path)))
    assert not complaints, "\n".join([f"{path.name}: {rule.__name__.replace('_', ' ')}? No:", *complaints])


def test_there_is_a_notebook_for_the_start_and_each_chapter_is_about_one_idea_after_the_other():
    stems = [path.stem for path in NOTEBOOKS]
    assert stems[0] == "00_start_here"
    assert [stem[:2] for stem in stems] == [f"{number:02}" for number in range(len(stems))]
    chapters = [stem[3:] for stem in stems[1:]]
    assert chapters == [idea for idea in IDEAS if idea in chapters]


# ---------------------------------------------------------------------------------------------------------------
# the rules themselves


COLAB = 'import sys\n\nif "google.colab" in sys.modules:\n    %pip install openbox'
CELLS = [
    "from minilib.claims import Ledger\nfrom minilib.views import drawing, explore, figure",
    "@drawing()\n"
    "def line(axes, slope=1.0, shift=2, kind='-', filled=False):\n"
    "    axes.plot([0, 1], [shift, shift + slope], linestyle=kind)\n"
    "    return {'end': shift + slope}",
    "figure(line, alt='a line')",
    "explore(line, alt='a line', slope=(0.0, 2.0), shift=(0, 3), kind=['-', ':'], filled=bool)",
    "print(f'{1 / 7:.4f}')",
    "ledger = Ledger('01_small', 'Euclid')\n"
    "ledger.holds('sum', 'one and one', predicted=2, measured=1 + 1, tolerance=0)\n"
    "ledger",
]


def small() -> Any:
    """A notebook as a chapter would be, not yet run."""
    new = nbformat.v4
    nb = new.new_notebook()
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nb.metadata["language_info"] = {"name": "python"}
    head = "# Small\n\n**Budget**: 2 minutes to read, 30 seconds to run, 1 GB of memory"
    cells = [new.new_markdown_cell(head), *map(new.new_code_cell, [COLAB, *CELLS])]
    nb.cells = cells
    return nb


@drawing()
def line(axes, slope=1.0):
    axes.plot([0, 1], [2, 2 + slope])
    return {"end": 2 + slope}


def sound() -> Notebook:
    """The small notebook with the outputs that a run would leave, put there by hand."""
    nb = small()
    for count, cell in enumerate((cell for cell in nb.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    picture, metadata = figure(line, alt="a line")._repr_mimebundle_()
    ledger = claims.Ledger("01_small", "Euclid")
    ledger.holds("sum", "one and one", predicted=2, measured=2, tolerance=0)
    shown = {4: picture, 5: picture | {VIEW: {"model_id": "a1"}}, 7: ledger._repr_mimebundle_()}
    for position, data in shown.items():
        result = {"data": data, "metadata": metadata if position < 7 else {}, "execution_count": position}
        nb.cells[position].outputs = [nbformat.v4.new_output("execute_result", **result)]
    nb.cells[6].outputs = [nbformat.v4.new_output("stream", name="stdout", text="0.1429\n")]
    nb.metadata["widgets"] = {STATE: {"version_major": 2, "version_minor": 0, "state": {"a1": model("VBoxModel")}}}
    return Notebook("01_small", nb)


def model(name: str, **state: Any) -> dict[str, Any]:
    return {"model_name": name, "model_module": "m", "model_module_version": "2.0.0", "state": state}


def test_a_sound_notebook_draws_no_complaint():
    it = sound()
    assert {rule.__name__: list(rule(it)) for rule in RULES if list(rule(it))} == {}


def test_the_start_needs_no_ledger():
    it = sound()
    del it.nb.cells[7]
    assert list(ends_with_its_ledger(it._replace(name="00_start_here"))) == []
    assert list(ends_with_its_ledger(it)) == ["the last code cell must show the ledger"]


def put(cell: int, **values: Any) -> Callable[[Any], None]:
    """Overwrite parts of one cell."""
    return lambda nb: nb.cells[cell].update(values)


def show_instead(cell: int, **values: Any) -> Callable[[Any], None]:
    """Overwrite parts of a cell's output."""
    return lambda nb: nb.cells[cell].outputs[0].update(values)


def save_widget(name: str, **state: Any) -> Callable[[Any], None]:
    return lambda nb: nb.metadata.widgets[STATE]["state"].update(b2=model(name, **state))


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
SPOILED = [
    (is_valid, put(3, cell_type="poem"), "poem"),
    (ran_once_from_top_to_bottom, put(3, execution_count=None), r"\[1, 2, None, 4"),
    (ran_once_from_top_to_bottom, put(3, execution_count=9), r"\[1, 2, 9, 4"),
    (ran_without_errors_and_warnings, put(3, outputs=[nbformat.from_dict(ERROR)]), "a stored error: ValueError: no"),
    (ran_without_errors_and_warnings, show_instead(6, name="stderr"), "text on stderr: 0.1429"),
    (can_be_compared, put(3, source="x = 1\nx; "), "trailing semicolon .* x;"),
    (can_be_compared, put(3, source="from ipywidgets import interact as i"), "interact cannot be compared"),
    (can_be_compared, put(3, source="with widgets.Output():\n    pass"), "Output cannot"),
    (can_be_compared, put(3, source="IPython.display.clear_output()"), "clear_output cannot"),
    (can_be_compared, put(3, source="# NBVAL_IGNORE_OUTPUT\n1"), "NBVAL_IGNORE_OUTPUT would hide"),
    (can_be_compared, put(3, metadata={"tags": ["nbval-skip"]}), "nbval-skip would hide"),
    (can_be_compared, show_instead(4, data={"image/png": "iVBO"}), "a bitmap alone is never compared"),
    (needs_no_network, put(3, source="import urllib.request"), "urllib outside the Colab line"),
    (needs_no_network, put(3, source="%pip install numpy"), "run_line_magic outside"),
    (needs_no_network, put(3, source="!curl example.org"), "system outside"),
    (needs_no_network, put(1, source=COLAB.replace("google.colab", "os")), "run_line_magic outside"),
    (begins_with_the_colab_line, put(1, source="import sys"), "must prepare Colab"),
    (names_no_place_of_the_machine, put(3, source="open('/home/me/data.txt')"), "absolute path: /home/me/data.txt"),
    (names_no_place_of_the_machine, show_instead(6, text="saved to /opt/x/y.npy"), "absolute path: /opt/x/y.npy"),
    (names_no_place_of_the_machine, put(0, source=r"see C:\Users\me"), r"absolute path: C:\\Users\\me"),
    (opens_anywhere, lambda nb: nb.metadata.kernelspec.update(name="venv"), "kernel must be python3"),
    (opens_anywhere, lambda nb: nb.metadata.pop("language_info"), "language_info must say python"),
    (carries_no_traces_of_editing, put(3, metadata={"collapsed": True}), "metadata of a cell: collapsed"),
    (carries_no_traces_of_editing, put(3, metadata={"execution": {"iopub.status.busy": "…"}}), "a cell: execution"),
    (carries_no_traces_of_editing, lambda nb: nb.metadata.update(colab={}), "metadata of the notebook: colab"),
    (is_small, show_instead(6, text="x" * 3_000_000), r"3\.\d MB; the limit is 3 MB"),
    (describes_its_pictures, show_instead(4, metadata={}), "without alternative text: <svg"),
    (describes_its_pictures, show_instead(5, data={"image/svg+xml": "<svg></svg>"}), "without alternative text: <svg>"),
    (describes_its_pictures, put(0, source="![ ](map.svg)"), "without alternative text: map.svg"),
    (saves_its_widgets, lambda nb: nb.metadata.pop("widgets"), "state of widget a1 is not saved"),
    (saves_its_widgets, save_widget("OutputModel"), "swallows exceptions"),
    (saves_its_widgets, save_widget("HTMLModel", value='<pre role="alert">no'), "while its drawing failed"),
    (shows_a_picture_without_a_kernel, show_instead(5, data={VIEW: {"model_id": "a1"}}), "without its first picture"),
    (prints_its_budget, put(0, source="# Small"), "0 lines like"),
    (ends_with_its_ledger, show_instead(7, data={"text/plain": "ledger"}), "must show the ledger"),
    (ends_with_its_ledger, show_instead(7, data={claims.MIME: {"chapter": "02", "entries": [1]}}), "chapter '02'"),
]


@pytest.mark.parametrize(("rule", "spoil", "complaint"), SPOILED)
def test_each_rule_sees_what_it_forbids(rule, spoil, complaint):
    it = sound()
    spoil(it.nb)
    assert re.search(complaint, "\n".join(rule(it)))


def test_every_rule_has_been_seen_to_complain():
    assert {rule for rule, _, _ in SPOILED} == set(RULES)


# ---------------------------------------------------------------------------------------------------------------
# run afresh, every code cell compared with what is stored


class Run(NamedTuple):
    """How a comparison went: whether all agreed, what pytest wrote, and what it took."""

    agrees: bool
    text: str
    seconds: float
    gigabytes: float


MEASURE = """
import subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
try:
    import resource
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    most, seconds = spent.ru_maxrss, spent.ru_utime + spent.ru_stime
except ImportError:
    most, seconds = 0, time.perf_counter() - start
open(sys.argv[1], "w").write(f"{most} {seconds}")
sys.exit(code)
"""
"""Run a command; write down the most memory that one process of its family held, and the processor time of all.

Where nobody counts these, 0 and the time that went by: a notebook has one thread, but others may run beside it. In a
small process of its own: at its birth a child is counted with the memory of its parent, and these tests hold much.
"""


def compare(path: Path, folder: Path, strict: bool = True) -> Run:
    """Run a notebook without a network in a fresh kernel, and compare each code cell with its stored outputs."""
    nbval = ["--nbval" if strict else "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "--color=no"]
    with open(folder / f"{path.stem}.log", "w+", encoding="utf-8") as log:
        places = ["-c", ROOT / "pyproject.toml", "--rootdir", path.parent]
        command = [sys.executable, "-m", "pytest", *nbval, *places, path]
        measure = [sys.executable, "-c", MEASURE, folder / "spent", *command]
        done = subprocess.run(measure, cwd=ROOT, env=environment(), stdout=log, stderr=subprocess.STDOUT)
        log.seek(0)
        most, seconds = map(float, (folder / "spent").read_text().split())
        unit = 1 if sys.platform == "darwin" else 1024
        return Run(done.returncode == 0, log.read(), seconds, most * unit / 1e9)


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


@pytest.mark.notebook
@pytest.mark.data
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_gives_its_stored_outputs_within_its_budget(path, tmp_path, record_property):
    # The stored outputs are those of an earlier run, so agreement means that two runs in a row agree. They were made
    # on Linux; elsewhere rounding differs in the last digit, so there the cells only have to run.
    run = compare(path, tmp_path, strict=sys.platform == "linux")
    budget = BUDGET.search(read(path).prose)
    print(f"{path.stem}: {run.seconds:.0f} of {budget['seconds']} s, {run.gigabytes:.2f} of {budget['gb']} GB")
    record_property("seconds", run.seconds)
    assert run.agrees, run.text
    assert run.seconds <= float(budget["seconds"])
    assert run.gigabytes <= float(budget["gb"])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The small notebook, run and saved as `make notebooks` does it."""
    path = tmp_path_factory.mktemp("notebooks") / "01_small.ipynb"
    nbformat.write(small(), path)
    convert = ["nbconvert", "--to", "notebook", "--execute", "--inplace", "--ExecutePreprocessor.record_timing=False"]
    subprocess.run([sys.executable, "-m", *convert, path], env=environment(), capture_output=True, check=True)
    return path


@pytest.mark.notebook
def test_two_runs_in_a_row_agree(stored, tmp_path):
    for _ in range(2):
        run = compare(stored, tmp_path)
        assert run.agrees, run.text
        assert "7 passed" in run.text
    assert 0 < run.seconds < 60
    assert 0.05 < run.gigabytes < 1 or sys.platform == "win32"


@pytest.mark.notebook
def test_a_run_notebook_keeps_the_rules(stored):
    it = read(stored)
    assert {rule.__name__: list(rule(it)) for rule in RULES if list(rule(it))} == {}


def replace_in_output(mime: str, old: str, new: str) -> Callable[[Any], None]:
    """Change stored text, in the first output that has it."""

    def change(nb: Any) -> None:
        parts = [o.get("data", o) for cell in nb.cells for o in cell.get("outputs", [])]
        part = next(p for p in parts if re.search(old, p.get(mime, "")))
        part[mime] = re.sub(old, new, part[mime], count=1)

    return change


# One point of the curve, moved by a hundredth of a point: the last of the path that matplotlib clips to the axes.
CURVE = r"(L [\d.]+ [\d.]*?)(\d)( \n\" clip-path=\"url\(#p)"
CHANGES = {
    "curve": (replace_in_output("image/svg+xml", CURVE, lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}{m[3]}"), "Cell 3"),
    "number": (replace_in_output("text", "0.1429", "0.1428"), "Cell 5"),
    "text": (replace_in_output("text/plain", "one and one", "two and two"), "Cell 6"),
    "read-out": (replace_in_output("text/plain", "end: 3", "end: 4"), "Cell 3"),
    "output": (put(6, outputs=[]), "Cell 5"),
    "code": (put(6, source="print(f'{1 / 8:.4f}')"), "Cell 5"),
    "exception": (put(6, source="1 / 0"), "Cell 5"),
}


@pytest.fixture(scope="module")
def changed(stored, tmp_path_factory):
    """One comparison of all the changed notebooks."""
    folder = tmp_path_factory.mktemp("changed")
    for name, (change, _) in CHANGES.items():
        nb = nbformat.read(stored, as_version=4)
        before = copy.deepcopy(nb)
        change(nb)
        assert nb != before, name
        nbformat.write(nb, folder / f"{name}.ipynb")
    return compare(folder, tmp_path_factory.mktemp("logs"))


@pytest.mark.notebook
@pytest.mark.parametrize("what", CHANGES)
def test_a_notebook_that_says_something_else_fails_at_that_cell(changed, what):
    failed = re.findall(rf"^FAILED .*\b{what}\.ipynb::(Cell \d+)", changed.text, re.MULTILINE)
    assert failed == [CHANGES[what][1]], changed.text


@pytest.mark.notebook
def test_the_network_is_out_of_reach_of_a_notebook(tmp_path):
    nb = small()
    nb.cells = [
        nbformat.v4.new_code_cell(source, execution_count=1)
        for source in (
            "import socket\nsocket.getaddrinfo('example.org', 443)",
            "socket.socket().connect(('192.0.2.1', 443))",
            "import urllib.request\nurllib.request.urlopen('http://192.0.2.1')",
            "_ = socket.getaddrinfo('localhost', 80)",
        )
    ]
    nbformat.write(nb, tmp_path / "reaching.ipynb")
    run = compare(tmp_path / "reaching.ipynb", tmp_path)
    assert run.text.count("the network is shut off in the tests") >= 3
    assert "3 failed, 1 passed" in run.text
