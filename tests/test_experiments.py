"""What the runner of experiments promises, and the experiments themselves in their quick size."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from distributed import LocalCluster  # noqa: E402

from experiments import recurrence_memory as memory  # noqa: E402
from experiments import runner  # noqa: E402
from minilib import recurrence as rec  # noqa: E402
from minilib.recurrence_torch import LSTM  # noqa: E402
from minilib.training import generator  # noqa: E402

pytestmark = pytest.mark.torch

ROOT = Path(runner.__file__).parents[1]
SQUARES = '''
"""What is the square of a number?"""
import os, signal
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Config:
    number: float
    seed: int = 0
    flag: str = ""

def run(config):
    if config.flag and not Path(config.flag).exists():
        Path(config.flag).touch()
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    if config.number < 0:
        raise ArithmeticError("no root is negative")
    return {"square": config.number**2, "process": os.getpid()}
'''


@pytest.fixture
def squares(tmp_path, monkeypatch):
    """An experiment that worker processes can import too: they inherit the path."""
    (tmp_path / "squares.py").write_text(SQUARES)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("squares")
    del sys.modules["squares"]


def results(path):
    return {r["config"]["number"]: r["result"]["square"] for r in json.loads(path.read_text())["records"]}


# ---------------------------------------------------------------------------------------------------------------
# on a cluster


def test_a_grid_survives_a_killed_worker_and_a_failed_task(squares, tmp_path, capsys):
    path, flag = tmp_path / "results" / "squares.json", tmp_path / "killed"
    configs = [squares.Config(n) for n in (5, 3, -1)] + [squares.Config(7, flag=str(flag))]
    failures = runner.run_grid(squares, configs, path, workers=2, say=sys.stderr)
    assert flag.exists()
    assert results(path) == {5: 25, 3: 9, 7: 49}
    assert list(failures.items()) == [("number -1", "ArithmeticError: no root is negative")]
    assert all(record["result"]["process"] != os.getpid() for record in json.loads(path.read_text())["records"])
    said = capsys.readouterr().err
    assert said.startswith("0 of 4 stored, 4 to run\n")
    assert "] 4/4 " in said
    assert "number -1  failed\n" in said


def test_a_task_that_kills_every_worker_is_given_up(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "DEATHS", 1)
    (tmp_path / "squares.py").write_text(SQUARES.replace("Path(config.flag).touch()", "pass"))
    failures = runner.run_grid(squares, [squares.Config(2, flag="never")], tmp_path / "r.json", workers=1)
    assert "KilledWorker" in failures["number 2, flag never"]
    assert not (tmp_path / "r.json").exists()


def test_a_cluster_can_be_given_by_its_address(squares, tmp_path):
    threads = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=1, scheduler_kwargs={"dashboard": False}, **threads) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tcp://")
        runner.run_grid(squares, [squares.Config(11)], tmp_path / "r.json", scheduler=address)
    record = json.loads((tmp_path / "r.json").read_text())["records"][0]
    assert record["result"] == {"square": 121, "process": os.getpid()}


# ---------------------------------------------------------------------------------------------------------------
# what is stored


@pytest.fixture
def here(monkeypatch):
    """Let the tasks run in this process, and return the list of what was run."""
    ran = []

    def results(module, todo, workers, scheduler):
        for k, config in todo.items():
            ran.append(config.number)
            yield k, runner.measure(module, config), ""

    monkeypatch.setattr(runner, "_results", results)
    return ran


def test_what_is_stored_is_not_run_again_unless_asked(squares, tmp_path, here):
    path, configs = tmp_path / "r.json", [squares.Config(n) for n in (2, 3, 5)]
    runner.run_grid(squares, configs[:2], path)
    before = json.loads(path.read_text())["records"]
    runner.run_grid(squares, configs, path)
    assert here == [2, 3, 5]
    assert json.loads(path.read_text())["records"][:2] == before
    runner.run_grid(squares, configs, path)
    assert here == [2, 3, 5]
    runner.run_grid(squares, configs, path, again=True)
    assert here == [2, 3, 5, 2, 3, 5]


def test_a_run_that_was_stopped_has_stored_what_it_had(squares, tmp_path, here, monkeypatch):
    path = tmp_path / "r.json"

    def stopping(config):
        if config.number == 5:
            raise KeyboardInterrupt
        return {"square": config.number**2}

    monkeypatch.setattr(squares, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        runner.run_grid(squares, [squares.Config(n) for n in (2, 3, 5, 7)], path)
    assert results(path) == {2: 4, 3: 9}


def test_what_is_measured_again_is_kept_until_the_new_value_is_there(squares, tmp_path, here, monkeypatch):
    path, configs = tmp_path / "r.json", [squares.Config(n) for n in (2, 3, 5)]
    runner.run_grid(squares, configs, path)

    def stopping(config):
        if config.number == 3:
            raise KeyboardInterrupt
        return {"square": -1}

    monkeypatch.setattr(squares, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        runner.run_grid(squares, configs, path, again=True)
    assert results(path) == {2: -1, 3: 9, 5: 25}


def test_records_stand_in_the_order_of_the_grid_one_a_line(squares, tmp_path, here, capsys):
    path, configs = tmp_path / "r.json", [squares.Config(n) for n in (2, 3, 5)]
    runner.run_grid(squares, [configs[2], squares.Config(13)], path)
    runner.run_grid(squares, configs, path, say=sys.stderr)
    assert capsys.readouterr().err.startswith("1 of 3 stored, 2 to run, 1 dropped\n")
    assert list(results(path)) == [2, 3, 5]
    runner.run_grid(squares, [configs[2], configs[1]], path)
    assert list(results(path)) == [5, 3]
    runner.run_grid(squares, configs, path)
    head, *lines, end = path.read_text().splitlines()
    assert (head, end) == ('{"experiment": "squares", "records": [', "]}")
    assert [json.loads(line.rstrip(","))["config"]["number"] for line in lines] == [2, 3, 5]


def test_a_record_says_how_it_was_measured_and_not_on_whose_machine(squares):
    record = runner.measure("squares", squares.Config(3, seed=17))
    assert record["config"] == {"number": 3, "seed": 17, "flag": ""}
    assert set(record["provenance"]) == {"minilib", "python", "numpy", "torch", "platform", "seconds"}
    text = json.dumps(record["provenance"])
    assert socket.gethostname() not in text
    assert os.sep not in text


def test_a_result_that_is_not_a_number_fails_its_own_task(squares, monkeypatch):
    monkeypatch.setattr(squares, "run", lambda config: {"square": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        runner.measure("squares", squares.Config(3))


def test_the_hash_of_a_configuration_depends_on_every_value_and_on_nothing_else(squares):
    config = squares.Config(3)
    others = [squares.Config(4), replace(config, seed=1), replace(config, flag="x")]
    assert runner.key(config) == runner.key(squares.Config(3)) == "7a1b4e18d19c"
    assert len({runner.key(c) for c in [config, *others]}) == 4


# ---------------------------------------------------------------------------------------------------------------
# the command


def command(*arguments, code=0):
    words = [sys.executable, "-m", "experiments", *arguments]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_the_command_runs_the_quick_size_far_from_the_results(tmp_path):
    done = command("recurrence_memory", "--quick", "--workers", "2", "--root", str(tmp_path))
    number = len(memory.grid(quick=True))
    assert f"0 of {number} stored, {number} to run" in done.stderr
    assert f"] {number}/{number} " in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["recurrence_memory.json"]
    assert len(runner.load(tmp_path / ".artifacts" / "quick" / "recurrence_memory.json")) == number
    assert (
        f"{number} of {number} stored, 0 to run"
        in command("recurrence_memory", "--quick", "--root", str(tmp_path)).stderr
    )


def test_the_command_lists_the_experiments_with_their_questions(capsys):
    assert runner.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == runner.names()
    assert all(line.endswith("?") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one experiment, or --all of them: "),
        (["recurrence_memory", "--all"], "name one experiment, or --all of them: "),
        (["recurrence_memroy"], "invalid choice: 'recurrence_memroy'"),
        (["recurrence_memory", "--workers", "0"], "--workers must be positive, got 0"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_would(arguments, message, capsys):
    with pytest.raises(SystemExit):
        runner.main(arguments)
    assert message in capsys.readouterr().err


def test_all_runs_every_experiment_and_reports_a_failure(monkeypatch, tmp_path, capsys):
    seen = []

    def run_grid(module, configs, path, **options):
        seen.append((module.__name__, path))
        return {"a task": "its error"} if len(seen) == 1 else {}

    monkeypatch.setattr(runner, "run_grid", run_grid)
    assert runner.main(["--all", "--root", str(tmp_path)]) == 1
    assert seen == [(f"experiments.{name}", tmp_path / "results" / f"{name}.json") for name in runner.names()]
    assert "a task\n  its error\n" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------
# all experiments


@pytest.mark.data
@pytest.mark.parametrize("name", runner.names())
def test_every_experiment_runs_in_its_quick_size_and_has_seeds(name):
    module = importlib.import_module(f"experiments.{name}")
    for config in module.grid(quick=True):
        assert runner.measure(module.__name__, config)["result"]
    grid = module.grid(quick=False)
    assert len({runner.key(config) for config in grid}) == len(grid)
    assert len({config.seed for config in grid}) >= 3


@pytest.mark.parametrize("name", runner.names())
def test_the_stored_results_are_those_of_the_grid(name):
    module = importlib.import_module(f"experiments.{name}")
    stored = runner.load(ROOT / "results" / f"{name}.json")
    assert list(stored) == [runner.key(config) for config in module.grid(quick=False)]
    assert all(record["provenance"]["torch"].startswith("2.") for record in stored.values())


# ---------------------------------------------------------------------------------------------------------------
# recurrence_memory


def test_only_the_first_symbol_is_marked_and_all_push_equally_hard():
    x, y = memory.sequences(1009, 5, generator(0, 0))
    assert x.shape == (6, 1009, memory.D_X)
    symbols, mark = x[..., :-1], x[..., -1]
    assert torch.equal(symbols[0].argmax(-1), y)
    assert torch.equal(mark, torch.tensor([1.0, 0, 0, 0, 0, 0])[:, None].expand(6, 1009))
    torch.testing.assert_close(symbols.square().mean(-1), torch.ones(6, 1009))
    counts = torch.bincount(symbols.argmax(-1).flatten(), minlength=8)
    assert ((counts - 6054 / 8).abs() < 5 * (6054 / 8) ** 0.5).all()


def test_the_cells_are_what_their_names_say():
    cells = {name: memory.build(memory.Config(name, lag=50, seed=3)).cell for name in memory.CELLS}
    torch.testing.assert_close(cells["rnn gain 2"].U, 2 * cells["rnn"].U)
    torch.testing.assert_close(cells["rnn"].U @ cells["rnn"].U.T, torch.eye(32), rtol=0, atol=1e-5)
    for bias in (0, 1, 4):
        assert (cells[f"lstm bias {bias}"].b.chunk(4)[1] == bias).all()
    assert 0 < cells["lstm chrono"].b.chunk(4)[1].min() < 2 < cells["lstm chrono"].b.chunk(4)[1].max() < 3.94
    i, f, _, _ = cells["lstm bias 4/-4"].b.chunk(4)
    assert (i == -4).all()
    assert (f == 4).all()
    assert (cells["gru bias 4"].b.chunk(3)[1] == 4).all()


def last_state(cell, x, s):
    """The last state, its parts side by side, from the state `s` before the sequence."""
    state = (s[: cell.d], s[cell.d :]) if isinstance(cell, LSTM) else s
    last = cell(x, state).last
    return torch.cat(last) if isinstance(cell, LSTM) else last


@pytest.mark.parametrize("name", memory.CELLS)
def test_the_gains_are_those_of_jacobians_by_autograd(name):
    cell = memory.build(memory.Config(name, lag=4, seed=1, d=5)).cell.double()
    x = memory.sequences(3, 4, generator(0, 1))[0].double()
    zero = x.new_zeros(10 if isinstance(cell, LSTM) else 5)
    by_state, by_input = [], []
    for one in x.unbind(1):
        first = last_state(cell, one[:1], zero).detach()
        by_state.append(torch.func.jacrev(lambda s, one=one: last_state(cell, one[1:], s))(first))
        by_input.append(torch.func.jacrev(lambda x: last_state(cell, x, zero)[-5:])(one).movedim(1, 0))
    mean = lambda P: rec.rms_gain(torch.stack(P)).square().mean(0).sqrt()  # noqa: E731
    inputs = mean(by_input)
    want = {
        "gain_state": mean(by_state).item(),
        "gain_input": inputs[0].item(),
        "share_input": (inputs[0] / inputs.square().sum().sqrt()).item(),
    }
    assert memory.gains(cell, x) == pytest.approx(want, rel=1e-5)


def test_the_early_gradient_is_the_slope_of_each_sequences_own_loss():
    model = memory.build(memory.Config("gru bias 0", lag=3, seed=1, d=5)).double()
    x, y = memory.sequences(7, 3, generator(0, 2))
    x, squares = x.double(), []
    for n in range(7):
        one = x[:, n : n + 1].clone().requires_grad_()
        torch.nn.functional.cross_entropy(model(one), y[n : n + 1]).backward()
        squares.append(one.grad[0].square().sum())
    want = torch.stack(squares).mean().sqrt().item()
    assert memory.early_gradient(model, x, y) == pytest.approx(want, rel=1e-5)


def test_a_short_lag_is_learned_and_the_curve_says_when():
    config = memory.Config("gru bias 4", lag=2, seed=0, d=16, steps=120, rate=1e-2, points=6)
    result = memory.run(config)
    assert result["steps"] == [0, 20, 40, 60, 80, 100, 120]
    assert result["accuracies"][0] < 0.4
    assert result["accuracy"] == result["accuracies"][-1] > 0.97
    assert result["losses"][-1] < 0.3 < result["losses"][0]
    at = result["steps"].index(result["learned_at"])
    assert result["accuracies"][at] >= 0.9 > max(result["accuracies"][:at])
    assert result["diverged"] is None
    assert memory.run(config) == result


def test_a_diverged_run_is_a_result_and_not_a_failure():
    config = memory.grid(quick=True)[0]
    result = memory.run(replace(config, rate=3e37))
    assert 1 <= result["diverged"] < config.steps
    assert result["learned_at"] is None
