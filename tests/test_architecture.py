"""What the architecture promises: a file's name says what it imports."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import minilib

ROOT = Path(__file__).parents[1]

# ---------------------------------------------------------------------------------------------------------------
# the rules


class Rule(NamedTuple):
    """What a file may import besides the standard library and `minilib` itself, which is empty."""

    libraries: frozenset[str]
    modules: frozenset[str]
    says: str
    why: str


class Layer(NamedTuple):
    """The rule of all files with one suffix: libraries, tools, and files of the same and of earlier ideas by suffix."""

    libraries: str
    tools: str
    same: tuple[str, ...]
    earlier: tuple[str, ...]
    says: str
    why: str


LAYERS = {
    "": Layer(
        "jaxtyping",
        "arrays",
        (),
        ("",),
        "formulas import the standard library, jaxtyping, arrays and earlier ideas",
        "they run on any array library, also where torch and matplotlib are not installed; ask arrays.namespace for "
        "the functions, or write the part that needs a library in a file with its suffix",
    ),
    "torch": Layer(
        "jaxtyping torch",
        "arrays",
        ("",),
        ("", "torch"),
        "modules import torch, formulas, and modules of earlier ideas",
        "a module is parameters and a formula; drawings and NumPy belong to other files",
    ),
    "numpy": Layer(
        "jaxtyping numpy",
        "arrays",
        ("",),
        ("", "numpy"),
        "what runs on numbers imports numpy and formulas",
        "drawings and texts build on it where torch is not installed",
    ),
    "views": Layer(
        "jaxtyping matplotlib numpy",
        "arrays views",
        ("", "numpy"),
        ("", "numpy", "views"),
        "drawings import numpy, matplotlib, views and formulas",
        "a widget answers within 50 ms from closed forms, and works where torch is not installed",
    ),
    "corpora": Layer(
        "jaxtyping numpy",
        "arrays corpora",
        ("", "numpy"),
        ("", "numpy", "corpora"),
        "what reads trained weights imports numpy, corpora and formulas",
        "the weights are read as arrays; no framework is needed to look at them",
    ),
    "exercises": Layer(
        "numpy",
        "arrays exercises",
        ("",),
        ("",),
        "exercises import numpy, exercises and formulas",
        "an answer is checked on numbers, and must not depend on how a chapter draws or trains",
    ),
}

ARRAYS = Rule(
    frozenset({"array_api_compat", "jaxtyping"}),
    frozenset(),
    "arrays imports array_api_compat and jaxtyping, and it alone imports array_api_compat",
    "it is the one place where formulas meet an array library",
)
INIT = Rule(frozenset(), frozenset(), "minilib/__init__.py imports nothing", "`import minilib` costs next to nothing")
TOOLS = {
    "derive": "numpy",
    "claims": "",
    "exercises": "numpy pygments",
    "views": "PIL cycler ipywidgets matplotlib pygments",
    "corpora": "h5py numpy",
    "training": "numpy torch",
    "environment": "packaging",
    "stored": "",
}
SERVES_ALL = "a tool imports no idea, and torch only in training"
SERVES_ALL_WHY = "it serves every chapter, so a new idea must not need a change in it"


def split(stem: str, ideas: Sequence[str]) -> tuple[str, str] | None:
    """Take a module's name apart into its idea and its suffix; None if there is no such idea or suffix."""
    for idea in ideas:
        suffix = stem.removeprefix(idea).removeprefix("_")
        if stem in (idea, f"{idea}_{suffix}") and suffix in LAYERS:
            return idea, suffix
    return None


def rule_for(stem: str, ideas: Sequence[str]) -> Rule | None:
    """Return the rule of a module of minilib, None if its name is neither a tool's nor an idea's."""
    if stem in ("__init__", "arrays"):
        return INIT if stem == "__init__" else ARRAYS
    if stem in TOOLS:
        return Rule(
            frozenset(TOOLS[stem].split()), frozenset({"arrays", *TOOLS} - {"training"}), SERVES_ALL, SERVES_ALL_WHY
        )
    if (parts := split(stem, ideas)) is None:
        return None
    idea, suffix = parts
    layer, before = LAYERS[suffix], ideas[: ideas.index(idea)]
    names = {f"{idea}_{s}".rstrip("_") for s in layer.same}
    names |= {f"{other}_{s}".rstrip("_") for other in before for s in layer.earlier}
    order = f" (in the order of minilib.IDEAS, before {idea}: {', '.join(before) or 'none'})"
    says = layer.says + order
    return Rule(frozenset(layer.libraries.split()), frozenset(names | set(layer.tools.split())), says, layer.why)


DYNAMIC = ("import_module", "__import__")


def imports(source: str, package: str = "") -> Iterator[tuple[int, str]]:
    """Yield line and full name of whatever a source imports, anywhere in it, relative names resolved in `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = ".".join(part for part in (package if node.level else "", node.module) if part)
            inside = home in ("minilib", "experiments")
            yield from ((node.lineno, f"{home}.{a.name}" if inside else home) for a in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in DYNAMIC:
            yield from ((node.lineno, a.value) for a in node.args[:1] if isinstance(a, ast.Constant))


def _module(name: str, ideas: Sequence[str]) -> str:
    """The module of minilib that a full name stands for; empty for minilib itself and what it defines."""
    stem = name.split(".")[1] if "." in name else ""
    return stem if stem in ("arrays", *TOOLS) or split(stem, ideas) else ""


def breaches(path: str, source: str, ideas: Sequence[str] = minilib.IDEAS) -> Iterator[str]:
    """Yield what is wrong with a module of minilib: where, by which rule, and why there is that rule."""
    rule = rule_for(Path(path).stem, ideas)
    if rule is None:
        yield (
            f"{path} is neither a tool nor an idea with one of the suffixes {', '.join(filter(None, LAYERS))}. "
            "Rule: one idea, one stem, and the suffix is the dependency. Why: a reader finds everything by its name; "
            "a new idea goes into minilib.IDEAS"
        )
        return
    for line, name in imports(source, "minilib"):
        root = name.partition(".")[0]
        module = _module(name, ideas) if root == "minilib" else ""
        fine = module in rule.modules or not module if root == "minilib" else root in rule.libraries
        if not fine and root not in sys.stdlib_module_names:
            yield f"{path}:{line} imports {name}. Rule: {rule.says}. Why: {rule.why}"


def breaches_of_experiment(path: str, source: str, ideas: Sequence[str] = minilib.IDEAS) -> Iterator[str]:
    """Yield where an experiment imports another one."""
    for line, name in imports(source, "experiments"):
        other = name.split(".")[1] if name.startswith("experiments.") else ""
        if other.startswith(tuple(f"{idea}_" for idea in ideas)):
            yield (
                f"{path}:{line} imports {name}. Rule: experiments do not import each other. Why: a result is "
                "reproduced from one file and its config; what two of them need belongs into minilib"
            )


def breaches_of_notebook(path: str, cells: Sequence[str]) -> Iterator[str]:
    """Yield where a notebook imports more than the library, numpy and torch."""
    for number, cell in enumerate(cells):
        for _, name in imports(re.sub(r"^(\s*)[%!].*", r"\1pass", cell, flags=re.MULTILINE)):
            root = name.partition(".")[0]
            if root not in {"minilib", "numpy", "torch"} | sys.stdlib_module_names:
                yield (
                    f"{path}, cell {number}, imports {name}. Rule: notebooks import minilib, numpy, torch and the "
                    "standard library. Why: they show drawings of the library, which are tested, and define none"
                )


def vague(path: str) -> Iterator[str]:
    """Yield a complaint about a file whose name says nothing."""
    for word in ("utils", "util", "common", "helpers", "helper", "misc"):
        if word in Path(path).stem.split("_"):
            yield (
                f"{path} is called {word}. Rule: no utils, no common, no helpers. Why: such a file gathers whatever "
                "has no place; name it after what it knows"
            )


# ---------------------------------------------------------------------------------------------------------------
# the rules are kept

MODULES = sorted(ROOT.glob("minilib/*.py"))
EXPERIMENTS = sorted(ROOT.glob("experiments/*.py"))
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
FOLDERS = ("minilib", "experiments", "figures", "benchmarks", "tests")
NAMED = [path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/*.py"))]


def read(path: Path) -> tuple[str, str]:
    return path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_a_module_imports_what_its_name_allows(path):
    assert not list(breaches(*read(path)))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_experiments_do_not_import_each_other(path):
    assert not list(breaches_of_experiment(*read(path)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_imports_only_the_library_numpy_and_torch(path):
    name, text = read(path)
    cells = ["".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    assert not list(breaches_of_notebook(name, cells))


def test_every_file_has_a_name_that_says_what_it_knows():
    assert not [words for path in NAMED for words in vague(path.relative_to(ROOT).as_posix())]


def test_every_idea_has_its_formulas_and_the_map_names_every_idea_and_tool():
    assert len(set(minilib.IDEAS)) == len(minilib.IDEAS)
    for name in ("arrays", *minilib.IDEAS, *TOOLS):
        assert (ROOT / "minilib" / f"{name}.py").exists()
        assert f"\n    {name:<16}" in minilib.__doc__


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_importing_minilib_imports_no_library():
    done = run("import sys; before = {*sys.modules}; import minilib; print(sorted({*sys.modules} - before))")
    assert done.stdout == "['minilib']\n", done.stderr


def test_formulas_run_where_torch_and_matplotlib_are_not_installed():
    done = run(
        "import sys\n"
        "for name in ('torch', 'matplotlib', 'ipywidgets', 'IPython', 'h5py', 'beartype', 'array_api_strict'):\n"
        "    sys.modules[name] = None\n"
        "import importlib, minilib, numpy as np\n"
        "for idea in minilib.IDEAS:\n"
        "    importlib.import_module('minilib.' + idea)\n"
        "from minilib.recurrence import lstm_scan\n"
        "z = np.zeros\n"
        "print(lstm_scan(z((7, 2)), z(5), z(5), z((20, 2)), z((20, 5)), z(20)).h.shape)"
    )
    assert done.stdout == "(7, 5)\n", done.stderr


# ---------------------------------------------------------------------------------------------------------------
# a breach is found and explained

IDEAS = ("recurrence", "r_drop", "attention")


@pytest.mark.parametrize(
    ("name", "source", "rule"),
    [
        ("attention", "import numpy as np", "formulas import the standard library"),
        ("attention", "import torch.nn.functional as F", "formulas import"),
        ("attention", "from matplotlib import pyplot", "formulas import"),
        ("attention", "def f():\n    import torch", "formulas import"),
        ("attention", "if TYPE_CHECKING:\n    from torch import Tensor", "formulas import"),
        ("attention", "import importlib\nnp = importlib.import_module('numpy')", "formulas import"),
        ("attention", "np = __import__('numpy')", "formulas import"),
        ("attention", "import array_api_compat", "formulas import"),
        ("attention", "from .attention_torch import Attention", "formulas import"),
        ("attention", "from .views import drawing", "formulas import"),
        ("recurrence", "from . import attention", "before recurrence: none"),
        ("recurrence", "from minilib import r_drop", "before recurrence: none"),
        ("r_drop", "import minilib.attention", "before r_drop: recurrence"),
        ("r_drop", "from .attention import heads", "before r_drop: recurrence"),
        ("attention_torch", "import matplotlib", "modules import torch"),
        ("attention_torch", "import numpy", "modules import torch"),
        ("r_drop_torch", "from .attention_torch import Attention", "before r_drop: recurrence"),
        ("attention_views", "import torch", "drawings import numpy"),
        ("attention_views", "from .recurrence_torch import LSTM", "drawings import"),
        ("attention_numpy", "from matplotlib import cm", "what runs on numbers"),
        ("attention_numpy", "import torch", "what runs on numbers"),
        ("attention_corpora", "from torch import load", "what reads trained weights"),
        ("attention_exercises", "from . import attention_views", "exercises import numpy"),
        ("attention_exercises", "from .training import train", "exercises import numpy"),
        ("arrays", "import numpy", "arrays imports array_api_compat"),
        ("arrays", "from .recurrence import rnn_step", "arrays imports array_api_compat"),
        ("__init__", "from . import recurrence", "imports nothing"),
        ("__init__", "import numpy", "imports nothing"),
        ("views", "from . import recurrence", "a tool imports no idea"),
        ("exercises", "import torch", "torch only in training"),
        ("exercises", "from .training import train", "torch only in training"),
    ],
)
def test_an_import_that_is_not_allowed_is_named_with_its_rule_and_the_reason(name, source, rule):
    found = list(breaches(f"minilib/{name}.py", source, IDEAS))
    assert len(found) == 1
    line = source.count("\n") + 1
    assert found[0].startswith(f"minilib/{name}.py:{line} imports ")
    assert rule in found[0]
    assert "Why: " in found[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("attention", "import math\nfrom jaxtyping import Float\nfrom .arrays import softmax"),
        ("attention", "from .r_drop import kl\nfrom . import recurrence as rec, IDEAS"),
        ("attention_torch", "from torch import nn\nfrom . import attention\nfrom .r_drop_torch import Drop"),
        ("attention_views", "import numpy\nfrom .attention_numpy import scores\nfrom .recurrence_views import draw_it"),
        (
            "attention_corpora",
            "from . import corpora\nfrom .attention import scores\nfrom .recurrence_corpora import x",
        ),
        ("attention_exercises", "import numpy\nfrom .exercises import Exercise\nfrom .recurrence import rnn_step"),
        ("arrays", "from array_api_compat import array_namespace"),
        ("training", "import torch\nfrom minilib import __version__"),
        ("environment", "from . import corpora"),
    ],
)
def test_an_import_that_is_allowed_passes(name, source):
    assert not list(breaches(f"minilib/{name}.py", source, IDEAS))


@pytest.mark.parametrize("name", ["attention_jax", "gau", "attentions", "tools", "_private"])
def test_a_module_that_is_neither_tool_nor_idea_is_refused(name):
    (found,) = breaches(f"minilib/{name}.py", "", IDEAS)
    assert "neither a tool nor an idea" in found
    assert "Rule: one idea, one stem" in found


@pytest.mark.parametrize(
    "source",
    ["from experiments.recurrence_b import run", "from experiments import recurrence_b", "from . import recurrence_b"],
)
def test_an_experiment_that_imports_another_is_refused(source):
    (found,) = breaches_of_experiment("experiments/recurrence_a.py", source, IDEAS)
    assert "experiments/recurrence_a.py:1 imports experiments.recurrence_b. Rule: experiments do not" in found


def test_an_experiment_may_import_the_library_and_the_runner():
    source = "from minilib.recurrence_torch import LSTM\nfrom experiments import runner\nimport torch"
    assert not list(breaches_of_experiment("experiments/recurrence_a.py", source, IDEAS))


def test_a_notebook_that_imports_matplotlib_is_refused_and_magics_are_passed_over():
    cells = ["%pip list\nif x:\n    !ls\nimport numpy as np, json", "from matplotlib import pyplot as plt"]
    (found,) = breaches_of_notebook("notebooks/09.ipynb", cells)
    assert found.startswith("notebooks/09.ipynb, cell 1, imports matplotlib. Rule: ")


@pytest.mark.parametrize("path", ["minilib/utils.py", "tests/common.py", "figures/recurrence_helpers.py"])
def test_a_name_that_says_nothing_is_refused(path):
    (found,) = vague(path)
    assert found.startswith(f"{path} is called ")
    assert not list(vague("minilib/uncommon.py"))
