# Everything starts here: `make demo` shows the product, `make test` proves it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export TUNESMITH_HOME ?= $(CURDIR)/.tunesmith

.PHONY: demo test test-slow check install up fix docs clean

demo: $(VENV)/.demo  ## the whole lifecycle on the built-in nano model, offline
	$(BIN)/tunesmith run examples/nano/lifecycle.yaml
	$(BIN)/tunesmith report --out demo-report.html

test: check  ## lint, format, types, import contracts, docs, then every test that is not slow
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(VENV)/.dev  ## kill tests, browser tests and the measured figures at small size
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

fix: $(VENV)/.dev  ## let ruff put right what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## write the generated reference pages again
	$(BIN)/python docs/generate.py

up: $(VENV)/.demo  ## the dashboard on this machine
	$(BIN)/tunesmith dashboard

install: $(VENV)/.dev

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0 -c constraints.txt
	$(BIN)/pip install --quiet -e . -c constraints.txt
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints.txt
	touch $@

clean:  ## forget the environment and the demo's home (models, runs, labels)
	rm -rf $(VENV) .tunesmith demo-report.html
