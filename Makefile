# Two commands: `make demo` and `make test`. Both set up .venv first; nothing else of the machine is touched.
PYTHON ?= python3
BIN := .venv/bin

MINUTES ?= 10

.PHONY: demo test test-slow test-everywhere fuzz docs package check format clean

demo: .venv/.demo
	$(BIN)/python tools/demo.py $(DEMO)

test: check
	$(BIN)/python -m pytest -q -n 2 -m "not slow"

test-slow: .venv/.dev
	$(BIN)/python -m pytest -q -m slow

# With one thread and with many, in any order, in parallel, in a read-only folder, without a home, in another locale, ...
test-everywhere: .venv/.dev
	$(BIN)/python -m tests.everywhere $(CONDITIONS)

# Guided by coverage, MINUTES of the CPU for each target; FUZZ="message apply" takes some of them only.
fuzz: .venv/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(FUZZ)

# docs/_build/html/index.html; a warning is an error.
docs: .venv/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

# dist/: sdist and wheel, installed into a fresh environment and run there.
package: .venv/.dev
	$(BIN)/python -m pytest -q -m slow tests/test_package.py

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[plot]'
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/.demo

clean:
	rm -rf .venv demo-out build dist docs/_build
