"""What the notebooks promise in a real JupyterLab, in a real browser, to somebody who has only a keyboard."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import chromium
import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("jupyterlab")
nbformat = pytest.importorskip("nbformat")
psutil = pytest.importorskip("psutil")
pytest.importorskip("ipywidgets")

from minilib import corpora, views, wordpiece  # noqa: E402
from minilib.views import Explorer  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.data]

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICTURES = ROOT / ".artifacts" / "browser"
VIEW = "application/vnd.jupyter.widget-view+json"
SCREEN = {"width": 1280, "height": 800}

# ---------------------------------------------------------------------------------------------------------------
# a JupyterLab of our own


SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    # Cells out of sight are otherwise taken out of the page, and could not be found in it.
    "notebook-extension/tracker": {"windowingMode": "none"},
}


def _environment(folder: Path) -> dict[str, str]:
    """Let the server keep everything that it writes in `folder`, and nothing of the user's reach it."""
    kinds = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places = {name: str(folder / name.lower()) for name in (*kinds, "JUPYTERLAB_WORKSPACES_DIR")}
    settings = folder / "settings"
    for name, values in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    return os.environ | places | {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTER_PREFER_ENV_PATH": "1"}


@contextlib.contextmanager
def _jupyter(root: Path, folder: Path) -> Iterator[str]:
    """Run JupyterLab on `root`, with its own token; give its address, and end it with all its kernels."""
    options = ["--no-browser", "--allow-root", "--expose-app-in-browser", f"--ServerApp.root_dir={root}"]
    # A server looks for a free port and only later takes it: two that begin at 8888 together may choose the same one.
    options += ["--ServerApp.port=0"]
    # Should the tests be killed, the server still ends by itself.
    options += ["--ServerApp.shutdown_no_activity_timeout=900", "--MappingKernelManager.cull_idle_timeout=600"]
    command = [sys.executable, "-m", "jupyterlab", *options]
    with open(folder / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, env=_environment(folder), cwd=root, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _address(server, folder)
        finally:
            _end(server)


def _address(server: subprocess.Popen, folder: Path) -> str:
    """Wait until the server says where it is, and with which token."""
    note = folder / "jupyter_runtime_dir" / f"jpserver-{server.pid}.json"
    for _ in range(600):
        if note.exists() and note.read_text(encoding="utf-8").endswith("}"):
            where = json.loads(note.read_text(encoding="utf-8"))
            assert where["hostname"] in ("localhost", "127.0.0.1")
            assert len(where["token"]) >= 32
            return f"{where['url']}lab/tree/{{}}?token={where['token']}&reset"
        assert server.poll() is None, (folder / "server.log").read_text(encoding="utf-8")
        time.sleep(0.1)
    raise AssertionError(f"no server after 60 s:\n{(folder / 'server.log').read_text(encoding='utf-8')}")


def _end(server: subprocess.Popen) -> None:
    family = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
    _, alive = psutil.wait_procs(family, timeout=5)
    for kernel in alive:
        kernel.kill()


FAILING = """
from minilib.views import drawing, explore

@drawing(size=(4, 3))
def fragile(axes, n=1, kind="line", filled=False):
    axes.plot([0, 1], [0, 1 / (n - 3)])
    return {"n": n, "kind": kind, "filled": str(filled)}

explore(fragile, alt="a fragile line", n=(1, 5), kind=["line", "bars", "dots"], filled=bool)
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The server works on copies: it saves what it runs."""
    root = tmp_path_factory.mktemp("course")
    for name in ("notebooks", "results", "figures"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name)
    failing = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FAILING.strip())])
    failing.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(failing, root / "failing.ipynb")
    for path in NOTEBOOKS:
        nb = nbformat.read(path, as_version=4)
        nb.metadata["kernelspec"] = {"name": "nowhere", "display_name": "Nowhere", "language": "none"}
        nb.metadata["language_info"] = {"name": "none"}
        nbformat.write(nb, root / f"without_kernel_{path.name}")
    with _jupyter(root, tmp_path_factory.mktemp("jupyter")) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--no-sandbox", "--disable-component-update", "--disable-sync"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as tools:
        started = tools.chromium.launch(executable_path=chromium.find(), args=quiet)
        yield started
        started.close()


# ---------------------------------------------------------------------------------------------------------------
# what one can do in it


NOTEBOOK = "window.jupyterapp.shell.currentWidget"
# The kernel may be replaced once while the workspace opens, hence its name.
KERNEL = f"""() => {{
    const kernel = window.jupyterapp && {NOTEBOOK} && {NOTEBOOK}.sessionContext?.session?.kernel;
    return kernel && kernel.status === "idle" && kernel.connectionStatus === "connected" ? kernel.id : null;
}}"""
RUN_ALL = """() => {
    window.ran = null;
    window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => { window.ran = true; });
}"""


class Lab(NamedTuple):
    """One notebook open in the browser, and the errors that the page has reported."""

    page: Any
    errors: list[str]

    def wait_for_kernel(self, seconds: float = 60) -> None:
        """Wait until one and the same kernel has been idle for two seconds."""
        seen, since = None, time.monotonic()
        while time.monotonic() < since + 2 or seen is None:
            kernel = self.page.evaluate(KERNEL)
            if kernel != seen or kernel is None:
                seen, since = kernel, time.monotonic()
                seconds -= 0.2
            assert seconds > 0, "the kernel does not become ready"
            time.sleep(0.2)

    def run_all(self) -> None:
        self.wait_for_kernel()
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function("() => window.ran", timeout=240_000)
        self.wait_for_kernel()

    def cells(self) -> list[dict[str, Any]]:
        """The notebook's cells with their outputs, as they stand in the browser."""
        return self.page.evaluate(f"() => {NOTEBOOK}.content.model.toJSON()")["cells"]

    def explorers(self) -> list[Any]:
        return self.page.locator(".explorer").all()

    def photograph(self, name: str) -> None:
        self.page.screenshot(path=PICTURES / f"{name}.png")


def _open(browser: Any, address: str, path: str) -> Lab:
    page = browser.new_page(viewport=SCREEN)
    lab = Lab(page, [])
    page.on("pageerror", lambda error: lab.errors.append(str(error)))
    page.on("console", lambda message: lab.errors.append(message.text) if message.type == "error" else None)
    page.goto(address.format(path))
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    return lab


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def opened(request, browser, address):
    """A notebook of the course, open and run."""
    lab = _open(browser, address, f"notebooks/{request.param.name}")
    lab.run_all()
    yield request.param.stem, lab
    lab.page.close()


def rows(explorer: Any) -> list[str]:
    """The read-out, line by line, written as the text of a figure is."""
    script = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    cells = explorer.locator("table[role=status] tr").evaluate_all(script)
    return [f"  {label}: {value}" for label, value in cells]


def expected(twin: Explorer, values: dict[str, Any]) -> list[str]:
    """The same lines as the library itself gives them, in this process and without a widget."""
    return _lines(twin.draw, tuple(sorted(values.items())))


@functools.cache
def _lines(draw: Any, values: tuple[tuple[str, Any], ...]) -> list[str]:
    """The numbers alone: to make the picture as well would take most of the time of these tests."""
    _, axes = views._blank(draw)
    return views._as_lines("twin", draw(axes, **dict(values))).splitlines()[1:]


def wait_for(explorer: Any, lines: list[str], what: str) -> None:
    deadline = time.monotonic() + 15
    while (seen := rows(explorer)) != lines and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen == lines, what


@pytest.fixture(scope="module")
def twins(opened):
    """Each widget that the notebook may show, made once more in this process, under its alternative text."""
    source = (ROOT / "notebooks" / f"{opened[0]}.ipynb").read_text(encoding="utf-8")
    made = list(labs()) if opened[0] == "05_bert" else []
    for path in sorted((ROOT / "minilib").glob("*_views.py")):
        if path.stem in source:
            module = importlib.import_module(f"minilib.{path.stem}")
            made += [getattr(module, name)() for name in dir(module) if name.startswith("explore_")]
    return {twin.alt: twin for twin in made}


def labs() -> Iterator[Explorer]:
    """The widgets that show what chapter 5 hands them: its cells are run once more, with what they need."""
    from minilib import bert_views
    from minilib.bert_corpora import minilm

    space = {"corpora": corpora, "wordpiece": wordpiece, "pictures": bert_views, "net": minilm()}
    for cell in nbformat.read(ROOT / "notebooks" / "05_bert.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and ("learned = {" in cell.source or "_lab(" in cell.source):
            *lines, last = ast.parse(cell.source).body
            exec(compile(ast.Module(lines, []), "cell", "exec"), space)
            if isinstance(last, ast.Expr):
                yield eval(compile(ast.Expression(last.value), "cell", "eval"), space)


def twin_of(explorer: Any, twins: dict[str, Explorer]) -> Explorer:
    alt = explorer.locator("table[role=status] caption").inner_text()
    assert alt in twins, f"a widget is made by a function explore_… in minilib, or in labs(); nobody made {alt!r}"
    return twins[alt]


# ---------------------------------------------------------------------------------------------------------------
# a notebook, run


def test_a_notebook_runs_from_top_to_bottom_without_an_error(opened):
    name, lab = opened
    code = [cell for cell in lab.cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"] == []
    lab.photograph(name)


def test_every_widget_is_there_and_shows_the_numbers_of_its_defaults(opened, twins):
    name, lab = opened
    shown = [o for cell in lab.cells() for o in cell.get("outputs", []) if VIEW in o.get("data", {})]
    assert len(lab.explorers()) == len(shown) > 0
    for number, explorer in enumerate(lab.explorers()):
        twin = twin_of(explorer, twins)
        wait_for(explorer, expected(twin, twin.defaults), twin.alt)
        explorer.scroll_into_view_if_needed()
        explorer.screenshot(path=PICTURES / f"{name}-widget-{number}.png")


def locate(explorer: Any, name: str, kind: str) -> Any:
    """Find the parts of a control by the label that stands before it, a check box by its own."""
    if kind == "checkbox":
        return explorer.get_by_role(kind, name=name, exact=True)
    # The handle of a slider has no name of its own in ipywidgets 8; its label stands before it.
    label = explorer.page.locator(".widget-label", has_text=re.compile(f"^{re.escape(name)}$"))
    return explorer.locator(".widget-inline-hbox", has=label).get_by_role(kind)


def find(explorer: Any, control: Any) -> Any:
    kind = "button" if hasattr(control, "options") else "slider" if hasattr(control, "min") else "checkbox"
    return locate(explorer, control.description, kind)


def moves(twin: Explorer, parameter: str) -> list[tuple[str, Any]]:
    """Keys to press on a control one after the other, each with the value that the drawing must get then."""
    control, kind = twin.controls[parameter], round if twin._exact[parameter] else lambda value: value
    if hasattr(control, "options"):
        return [("Enter", option) for option in control.options]
    if not hasattr(control, "min"):
        return [("Space", not control.value), ("Space", control.value)]
    count = int((control.max - control.min) / control.step + 1e-9)
    grid = [control.min + k * control.step for k in range(count + 1)]
    grid += [control.max] if control.max - grid[-1] > 1e-9 else []
    keys = [("Home", 0), ("ArrowRight", 1), ("PageUp", 6), ("End", -1), ("ArrowLeft", -2)]
    points = [(key, grid[k] if k < len(grid) else grid[-1]) for key, k in keys]
    return [(key, kind(control.base**x if hasattr(control, "base") else x)) for key, x in points]


def test_every_control_moves_the_numbers_by_keyboard(opened, twins):
    _, lab = opened
    for explorer in lab.explorers():
        twin = twin_of(explorer, twins)
        for parameter, control in twin.controls.items():
            press(explorer, "Reset")
            wait_for(explorer, expected(twin, twin.defaults), f"reset before {parameter}")
            before, seen, parts = rows(explorer), [], find(explorer, control)
            for place, (key, value) in enumerate(moves(twin, parameter)):
                strike(parts.nth(place if hasattr(control, "options") else 0), key)
                what = f"{twin.alt}: {parameter} = {value} after {key}"
                wait_for(explorer, expected(twin, twin.defaults | {parameter: value}), what)
                seen.append(rows(explorer))
            changes = any(lines != before for lines in seen) or matters_elsewhere(twin, parameter)
            assert changes, f"{parameter} changes no number"


def matters_elsewhere(twin: Explorer, parameter: str) -> bool:
    """Whether a control changes the numbers of one of the presets, if not of the defaults."""
    values = [value for _, value in moves(twin, parameter)]
    settings = [twin.defaults | preset for preset in twin.presets.values()]
    return any(len({tuple(expected(twin, s | {parameter: v})) for v in values}) > 1 for s in settings)


def strike(part: Any, key: str) -> None:
    """Press a key where the focus is, as a person does, after moving it to `part`."""
    for _ in range(5):
        part.focus()
        # JupyterLab may move the focus once more when a cell becomes the active one.
        time.sleep(0.1)
        if part.evaluate("part => part === document.activeElement"):
            return part.page.keyboard.press(key)
    raise AssertionError(f"the focus does not stay on {part}")


def press(explorer: Any, name: str) -> None:
    """Press a button of the first row, Reset or a preset."""
    text = re.compile(f"^{re.escape(name)}$")
    strike(explorer.locator("button.widget-button", has_text=text), "Enter")


def test_every_button_moves_the_numbers_by_keyboard(opened, twins):
    name, lab = opened
    for number, explorer in enumerate(lab.explorers()):
        twin = twin_of(explorer, twins)
        labels = [button.inner_text() for button in explorer.locator("button.widget-button").all()]
        assert labels == ["Reset", *twin.presets]
        for preset, values in [*twin.presets.items(), ("Reset", {})]:
            press(explorer, preset)
            wait_for(explorer, expected(twin, twin.defaults | values), f"{twin.alt}: {preset}")
            explorer.screenshot(path=PICTURES / f"{name}-widget-{number}-{preset.replace(' ', '_')}.png")


def test_the_last_of_many_keys_wins(opened, twins):
    _, lab = opened
    for explorer in lab.explorers():
        twin = twin_of(explorer, twins)
        parameter = next(name for name, control in twin.controls.items() if hasattr(control, "min"))
        press(explorer, "Reset")
        wait_for(explorer, expected(twin, twin.defaults), f"{twin.alt}: Reset")
        slider = find(explorer, twin.controls[parameter])
        strike(slider, "Home")
        for key in ["ArrowRight"] * 12 + ["End"]:
            lab.page.keyboard.press(key)
        value = moves(twin, parameter)[3][1]
        wait_for(explorer, expected(twin, twin.defaults | {parameter: value}), f"{twin.alt}: {parameter}")
        press(explorer, "Reset")


def test_every_control_can_be_found_by_its_name(opened, twins):
    _, lab = opened
    for explorer in lab.explorers():
        for name, control in twin_of(explorer, twins).controls.items():
            parts = find(explorer, control)
            assert parts.count() == len(getattr(control, "options", [name])), name
            assert [part.inner_text() for part in parts.all()] == list(getattr(control, "options", [""])), name


# Of JupyterLab itself, seen without any notebook of ours.
NOT_OURS = ()


def test_the_page_reports_no_error_of_ours(opened):
    _, lab = opened
    assert [text for text in lab.errors if not any(theirs in text for theirs in NOT_OURS)] == []


# ---------------------------------------------------------------------------------------------------------------
# the first impression, a failure, no kernel


def test_the_first_screen_of_the_course_has_a_widget(opened):
    name, lab = opened
    if not name.startswith("00_"):
        pytest.skip("only the start promises it")
    lab.page.locator(".jp-WindowedPanel-outer").evaluate("panel => panel.scrollTo(0, 0)")
    lab.photograph(f"{name}-first-screen")
    slider = lab.page.locator(".explorer [role=slider]").first.bounding_box()
    image = lab.page.locator(".explorer img").first.bounding_box()
    assert slider["y"] < SCREEN["height"]
    assert image["y"] + image["height"] / 2 < SCREEN["height"]


@pytest.fixture(scope="module")
def fragile(browser, address):
    """A widget with a control of each kind, whose drawing fails for n = 3."""
    lab = _open(browser, address, "failing.ipynb")
    lab.run_all()
    yield lab
    lab.page.close()


def lines(n: int = 1, kind: str = "line", filled: bool = False) -> list[str]:
    return [f"  n: {n}", f"  kind: {kind}", f"  filled: {filled}"]


def test_buttons_and_check_boxes_answer_to_the_keyboard(fragile):
    explorer = fragile.page.locator(".explorer")
    for kind in ("bars", "dots", "line"):
        strike(locate(explorer, "kind", "button").filter(has_text=kind), "Enter")
        wait_for(explorer, lines(kind=kind), kind)
    for filled in (True, False):
        strike(locate(explorer, "filled", "checkbox"), "Space")
        wait_for(explorer, lines(filled=filled), "filled")
    assert len(fragile.cells()) == 1, "JupyterLab took a key for a command of its own"


def test_an_exception_in_a_drawing_is_seen_and_can_be_left_again(fragile):
    explorer = fragile.page.locator(".explorer")
    slider, alert, image = locate(explorer, "n", "slider"), explorer.get_by_role("alert"), explorer.locator("img")
    strike(slider, "ArrowRight")
    wait_for(explorer, lines(n=2), "one step")
    strike(slider, "ArrowRight")
    alert.wait_for(timeout=15_000)
    assert "ZeroDivisionError: division by zero" in alert.inner_text()
    assert not image.is_visible()
    assert rows(explorer) == []
    fragile.photograph("failing")
    strike(slider, "ArrowRight")
    wait_for(explorer, lines(n=4), "beyond the failure")
    image.wait_for(timeout=5_000)
    assert alert.count() == 0
    assert fragile.errors == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_just_cloned_shows_its_pictures_before_any_kernel_runs(browser, address, path):
    lab = _open(browser, address, f"without_kernel_{path.name}")
    lab.page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click()
    bundles = [output.get("data", {}) for cell in lab.cells() for output in cell.get("outputs", [])]
    # JupyterLab does not trust it yet, and shows PNG in place of SVG and widgets.
    pictures = lab.page.locator(".jp-RenderedImage img")
    assert pictures.count() == sum("image/svg+xml" in bundle for bundle in bundles) > 0
    for picture in pictures.all():
        assert picture.evaluate("img => img.naturalWidth") > 300
    assert lab.page.evaluate(KERNEL) is None
    lab.photograph(f"{path.stem}-without-kernel")
    lab.page.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_viewer_that_knows_no_widgets_shows_the_first_pictures(browser, tmp_path, path):
    from nbconvert import HTMLExporter

    kinds = ["image/svg+xml", "text/html", "text/markdown", "text/latex", "text/plain"]
    exporter = HTMLExporter(config={"NbConvertBase": {"display_data_priority": kinds}})
    exporter.exclude_input_prompt = True
    html, _ = exporter.from_filename(str(path))
    page = browser.new_page(viewport=SCREEN)
    page.context.set_offline(True)
    page.set_content(html, wait_until="domcontentloaded")
    nb = nbformat.read(path, as_version=4)
    wanted = [o for cell in nb.cells for o in cell.get("outputs", []) if "image/svg+xml" in o.get("data", {})]
    pictures = page.locator(".jp-RenderedSVG img, .jp-RenderedSVG svg")
    assert pictures.count() == len(wanted) > 0
    for picture in pictures.all():
        assert picture.bounding_box()["width"] > 200
    page.close()
