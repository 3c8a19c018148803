# Everything happens in .venv; the first target that you ask for makes it.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo setup check test models clean
demo: .venv/inference
	$(BIN)/cellrot-infer slide tests/data/frames/bccd --report csv --out demo

setup: .venv/training

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy cellrot_infer cellrot_train tests benchmarks
	$(BIN)/lint-imports

test: setup
	$(BIN)/python -m pytest

clean:
	rm -rf .venv demo

.venv/inference: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/training: .venv/inference
	$(PIP) "torch$$(sed -n 's/^torch//p' constraints.txt)"
	$(PIP) --editable '.[dev,slides]'
	touch $@
