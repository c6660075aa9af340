PYTHON ?= python3
ARGS   ?=
BIN    := .venv/bin
READY  := .venv/.ready

OLD = "dfplan needs Python 3.10 or newer, and $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % sys.version_info[:2]

.PHONY: help bench test lint types wheel clean

help:  ## list these targets
	@sed -n 's/^\([a-z]*\): .*## /make \1\t/p' Makefile | expand -t 14

# diffuser-brief is not part of the package.
BENCH := --planner=controller,dfplan,graph,dfplan-noise,diffuser-brief --checkpoints=benchmarks/checkpoints

bench: $(READY)  ## benchmark dfplan beside a baseline (make bench ARGS=... passes flags on)
	@$(BIN)/dfplan bench $(BENCH) $(ARGS)

test: $(READY)  ## run the tests (make test ARGS=... passes flags on to pytest)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=worksteal $(ARGS)

lint: $(READY)  ## check the style
	@$(BIN)/ruff check .

types: $(READY)  ## check the types
	@$(BIN)/mypy

wheel: $(READY)  ## build dist/dfplan-*.whl
	@rm -rf build dist
	@$(BIN)/python -m build --wheel --no-isolation . > .venv/wheel.log 2>&1 || { cat .venv/wheel.log; exit 1; }
	@ls dist/*.whl

clean:  ## remove the environment and everything that was built
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

# d3rlpy works with our gymnasium but pins another, so it and what it imports come without asking for
# what they depend on.
D3RLPY := d3rlpy gym gym-notices structlog dataclasses-json marshmallow typing-inspect click \
          scikit-learn joblib threadpoolctl narwhals

# The environment that every target runs in, made again when what goes into it changes.
$(READY): setup.cfg pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) was not found. Install Python 3.10 or newer, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and $(OLD))'
	@echo "Installing dfplan and its packages into .venv (once, a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --no-deps $(D3RLPY)
	@touch $@
