# The front door. `make` lists what there is; every target sets up .venv first if need be.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
LSTM := $(VENV)/bin/freqai-lstm
READY := $(VENV)/.ready
DEMO := -c build/demo/config.example.json -c build/demo/config.risk.json \
	-c build/demo/demo.json --userdir build/demo/user_data --datadir build/demo/data

.DEFAULT_GOAL := help
.PHONY: help setup demo evaluate rehearsal tune bench test test-fast lint format matrix release-check \
	site clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create .venv with pinned dependencies

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed for the pinned versions, this is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	-$(RUN) -m compileall -q -j 0 $(VENV)/lib  # pip does this on one core, in twice the time
	@touch $@

demo: $(READY)  ## backtest on a generated market, end to end, in minutes
	$(LSTM) demo --workdir build/demo

evaluate: $(READY)  ## did the model learn? evaluates the demo, or ARGS="-c config.json --userdir …"
	$(LSTM) evaluate $(if $(ARGS),$(ARGS),$(DEMO))

rehearsal: $(READY)  ## a dry-run on the loopback exchange, MINUTES=10, ARGS="--pairs 8 --kill"
	$(LSTM) rehearse --minutes $(or $(MINUTES),10) $(ARGS)

tune: $(READY)  ## search parameters with Optuna, ARGS="-c config.json --timerange …"
	$(LSTM) tune $(ARGS)

bench: $(READY)  ## speed side by side with plain Keras and PyTorch, about half an hour
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	$(RUN) -m benchmarks.speed $(ARGS)

test: $(READY)  ## all tests, the slow end-to-end ones too
	$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(READY)  ## the tests that need no freqtrade process
	$(RUN) -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(READY)  ## formatter, linter and type checker, read-only
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: $(READY)  ## let ruff format and mend what it can
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

matrix: $(READY)  ## tests on several Pythons and freqtrades, hours; ARGS="newest-3.13"
	$(RUN) -m tools.matrix $(ARGS)

release-check: $(READY)  ## build, check and install the wheel as a user would
	$(RUN) -m tools.release_check

site: $(READY)  ## the pages of docs/ as a site, in build/site
	$(RUN) -m mkdocs build --strict --quiet --site-dir build/site

clean:  ## remove what demo, tests and benchmarks built
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
