# Everything that one does with this project. `make help` lists the targets.
# Works with the make that macOS ships (3.81), and on Windows from Git Bash.

# One thread and a fixed hash seed: what a notebook prints must not depend on the machine's mood.
export OMP_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

ifeq ($(OS),Windows_NT)
BIN := Scripts
else
BIN := bin
endif
PY := .venv/$(BIN)/python
CORE := .venv-core/$(BIN)/python

# Jupyter refuses to run as root, as in most containers, unless it is told that this is meant.
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# The test tools that need none of torch, matplotlib and Jupyter; their versions are in requirements.lock.
CORE_TOOLS := array-api-strict beartype hypothesis pytest

# Two processes halve the time on two cores, and each holds up to 2 GB; a group of tests (see tests/conftest.py) stays
# in one of them, and the groups go out in the order of their files, so that the longest do not come last.
SIDE_BY_SIDE = $(PY) -m pytest -n $(or $(WORKERS),2) --dist loadscope --no-loadscope-reorder
# What pytest returns if ARGS choose none of the tests.
NO_TEST := 5

# Shell: set $$python to the first interpreter that runs, is 3.11 to 3.13 and can make an environment.
SUITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
FIND_PYTHON = python=; for p in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	if $$p -c "$(SUITS)" >/dev/null 2>&1; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then echo "Python 3.11, 3.12 or 3.13 with venv is needed, and none of" \
	"'$(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)' is one." \
	"Install one (on Debian and Ubuntu with its python3-venv), or say make PYTHON=/path/to/python." >&2; exit 1; fi

.DEFAULT_GOAL := help
.PHONY: help setup data lab test test-core browser lint notebooks claims figures experiments bench clean

help: ## list the targets
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r t d; do \
		printf '  %-12s %s\n' "$$t" "$$d"; done
	@echo "ARGS goes to the program that a target runs: make test ARGS='-k lstm -x'"

setup: .venv/.stamp ## make .venv with the locked packages; does nothing if it is up to date

.venv/.stamp: requirements.lock pyproject.toml
	@$(PY) -c pass >/dev/null 2>&1 || { $(FIND_PYTHON); $$python -m venv --clear .venv; }
	$(PY) -m pip install --quiet -r requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv-core/.stamp: requirements.lock pyproject.toml
	@$(CORE) -c pass >/dev/null 2>&1 || { $(FIND_PYTHON); $$python -m venv --clear .venv-core; }
	$(CORE) -m pip install --quiet --constraint requirements.lock setuptools $(CORE_TOOLS)
	$(CORE) -m pip install --quiet --constraint requirements.lock --no-build-isolation -e .
	@touch $@

data: setup ## fetch the pinned archives of texts and weights into .data, unless they are there
	@$(PY) -m minilib.corpora fetch

lab: setup data ## open the course in JupyterLab
	$(PY) -m jupyter lab $(ROOT) --ServerApp.root_dir=. notebooks/00_start_here.ipynb $(ARGS)

test: setup data ## run all tests but those in the browser, and compare every notebook with its committed outputs
	$(SIDE_BY_SIDE) -m "not browser and not alone" $(ARGS) || [ $$? -eq $(NO_TEST) ]
	$(PY) -m pytest -m "not browser and alone" $(ARGS) || [ $$? -eq $(NO_TEST) ]

test-core: .venv-core/.stamp ## run the tests of the formulas where torch and matplotlib are not installed
	$(CORE) -m pytest -m "not torch and not data and not notebook and not browser" $(ARGS)

browser: setup data ## run the tests in a real JupyterLab; installs Chromium on Debian if it is missing
	@$(PY) tests/chromium.py
	$(SIDE_BY_SIDE) -m browser $(ARGS)

lint: setup ## check style, notebooks and the claims page
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m minilib.claims --check

notebooks: setup data ## run every notebook and store its outputs, then gather the claims
	$(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
		$(or $(ARGS),notebooks/*.ipynb)
	@$(PY) -m minilib.claims

claims: setup ## gather the claims of all notebooks into CLAIMS.md
	@$(PY) -m minilib.claims

figures: setup data ## draw every figure in figures/
	@set -e; for f in figures/[a-z]*.py; do echo $$f; $(PY) $$f; done

experiments: setup data ## run what is missing in results/ (hours); ARGS='--help' tells how to run one
	$(PY) -m experiments $(or $(ARGS),--all)

bench: setup data ## time the library beside its peers
	$(PY) -m benchmarks $(ARGS)

clean: ## remove all that was made, but keep the archives in .data
	rm -rf .venv .venv-core .artifacts build minilib.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
