"""Run the grid of an experiment in parallel and keep what it measured, with how it was measured.

Each configuration is one task for Dask: on an embedded cluster of this machine (processes with one thread each), or on
a cluster given by its address, whose workers must be able to import ``experiments`` and ``minilib``. A task whose
worker dies is given to another worker. The results file is rewritten in one move after each task, so a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import logging
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import numpy
import torch

import experiments
import minilib
from minilib.training import bar, write_atomically

ROOT = Path(__file__).parents[1]
DEATHS = 5
"""How many workers may die under a task before it is given up."""

Records = dict[str, dict[str, Any]]


def names() -> list[str]:
    """The experiments there are."""
    found = {module.name for module in pkgutil.iter_modules(experiments.__path__)}
    return sorted(found - {"__main__", "runner"})


def key(config: Any) -> str:
    """Return a short hash of the values of a configuration, the same in every process and on every machine."""
    text = json.dumps(asdict(config), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# ---------------------------------------------------------------------------------------------------------------
# one task


def measure(module: str, config: Any) -> dict[str, Any]:
    """Run one configuration and return its record; this is what a worker executes."""
    run = importlib.import_module(module).run
    torch.set_num_threads(1)
    start = time.perf_counter()
    result = run(config)
    seconds = round(time.perf_counter() - start, 1)
    json.dumps(result, allow_nan=False)  # fails here, naming this task, and not when the file is written
    return {"config": asdict(config), "result": result, "provenance": provenance() | {"seconds": seconds}}


def provenance() -> dict[str, str]:
    """Versions and platform; nothing that tells whose machine it was."""
    return {
        "minilib": minilib.__version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }


# ---------------------------------------------------------------------------------------------------------------
# the results file


def load(path: Path) -> Records:
    """Return the records of a results file by the hash of their configuration; none if there is no file."""
    if not path.exists():
        return {}
    return {record["key"]: record for record in json.loads(path.read_text(encoding="utf-8"))["records"]}


def save(path: Path, name: str, records: Sequence[dict[str, Any]]) -> None:
    """Write one record a line, in the order given, so that a changed record is one changed line."""
    lines = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
    text = f'{{"experiment": {json.dumps(name)}, "records": [\n{lines}\n]}}\n'
    write_atomically(path, lambda file: file.write(text.encode()))


# ---------------------------------------------------------------------------------------------------------------
# the grid


def run_grid(
    module: ModuleType,
    configs: Sequence[Any],
    path: Path,
    *,
    workers: int = 2,
    scheduler: str | None = None,
    again: bool = False,
    say: TextIO | None = None,
) -> dict[str, str]:
    """Measure what `path` lacks of the grid (or all of it `again`) and write it there; return the failures by config.

    Records of configurations that are no longer in the grid are dropped. A failed task does not stop the others.
    """
    wanted = {key(config): config for config in configs}
    stored = load(path)
    records = {k: stored[k] for k in wanted if k in stored}
    todo = {k: config for k, config in wanted.items() if again or k not in records}
    dropped = len(stored.keys() - wanted.keys())
    _say(say, f"{len(records)} of {len(wanted)} stored, {len(todo)} to run" + f", {dropped} dropped" * bool(dropped))
    failures: dict[str, str] = {}
    name = module.__name__.rpartition(".")[2]
    if records:
        save(path, name, list(records.values()))
    for done, (k, record, error) in enumerate(_results(module.__name__, todo, workers, scheduler), 1):
        _say(say, f"{bar(done, len(todo))} {_short(todo[k])}{'  failed' * bool(error)}", passing=done < len(todo))
        if error:
            failures[_short(todo[k])] = error
        else:
            records[k] = {"key": k} | record
            save(path, name, [records[k] for k in wanted if k in records])
    return failures


def _results(
    module: str, todo: dict[str, Any], workers: int, scheduler: str | None
) -> Iterator[tuple[str, dict[str, Any] | None, str]]:
    """Yield hash, record and error of each task as they end."""
    if not todo:
        return
    from distributed import as_completed

    with _client(min(workers, len(todo)), scheduler) as client:
        # Not pure: two runs on one cluster must not share a result by its name.
        futures = {client.submit(measure, module, config, pure=False): k for k, config in todo.items()}
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], None if error else future.result(), f"{type(error).__name__}: {error}" * bool(error)


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    """A client of the cluster at the address, or of one that lives as long as the client."""
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with Client(scheduler) as client:
            yield client
        return
    settings = {"distributed.scheduler.allowed-failures": DEATHS}
    # Port 0 is any free one: two runs beside each other must not fight for the port of the dashboard.
    local = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"}
    with (
        dask.config.set(settings),
        LocalCluster(**local, scheduler_kwargs={"dashboard": False}, silence_logs=logging.ERROR) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _short(config: Any) -> str:
    """The fields of a configuration that differ from their defaults, in one line."""
    values = {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default}
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _say(stream: TextIO | None, text: str, passing: bool = False) -> None:
    """Print a line, which on a terminal the next one overwrites if it is `passing`."""
    if stream is not None:
        ends = "\r" if passing and stream.isatty() else "\n"
        print(text, end=ends, file=stream, flush=True)


# ---------------------------------------------------------------------------------------------------------------
# command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid of an experiment, what results/ does not have yet, and store what it measured there."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=main.__doc__)
    parser.add_argument("name", nargs="?", choices=names(), help="which experiment")
    parser.add_argument("--all", action="store_true", help="all experiments, one after the other")
    parser.add_argument("--list", action="store_true", help="list the experiments and their questions")
    parser.add_argument("--quick", action="store_true", help="a tiny grid, stored in .artifacts/quick/, not results/")
    parser.add_argument("--again", action="store_true", help="run also what is stored already")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--scheduler", metavar="tcp://…", help="use the Dask cluster at this address")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.list:
        return _list()
    if options.all == (options.name is not None):
        parser.error(f"name one experiment, or --all of them: {', '.join(names())}")
    if options.workers < 1:
        parser.error(f"--workers must be positive, got {options.workers}")
    return max(_run(name, options) for name in (names() if options.all else [options.name]))


def _list() -> int:
    for name in names():
        print(f"{name}: {importlib.import_module(f'experiments.{name}').__doc__.partition(chr(10))[0]}")
    return 0


def _run(name: str, options: argparse.Namespace) -> int:
    """Run one experiment; 1 if a task of it failed."""
    module = importlib.import_module(f"experiments.{name}")
    folder = options.root / (".artifacts/quick" if options.quick else "results")
    print(name, file=sys.stderr)
    failures = run_grid(
        module,
        module.grid(options.quick),
        folder / f"{name}.json",
        workers=options.workers,
        scheduler=options.scheduler,
        again=options.again,
        say=sys.stderr,
    )
    for config, error in failures.items():
        print(f"{config}\n  {error}", file=sys.stderr)
    return int(bool(failures))
