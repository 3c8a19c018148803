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
	$(BIN)/cellrot-infer slide tests/data/frames/pbc_fields tests/data/frames/bccd --report csv --out demo

setup: .venv/training

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy cellrot_infer cellrot_train tests benchmarks
	$(BIN)/lint-imports

test: setup
	$(BIN)/python -m pytest

# Trains the shipped models again; DATA is the folder of PBC's patches.
CREDIT := Acevedo A et al., A dataset of microscopic peripheral blood cell images, Data in Brief 30 (2020) 105474, doi:10.1016/j.dib.2020.105474, CC BY 4.0
models: setup
	for config in models/*.toml; do \
	  name=$$(basename $$config .toml); init=; \
	  if [ -f models/start/$$name.toml ]; then \
	    $(BIN)/cellrot-train fit --config models/start/$$name.toml --data $(DATA) --out runs/start --name $$name || exit 1; \
	    init="--init $$(echo runs/start/$$name-*)"; \
	  fi; \
	  $(BIN)/cellrot-train fit --config $$config $$init --data $(DATA) --out runs/models --name $$name && \
	  $(BIN)/cellrot-train export runs/models/$$name-* --name $$name --licence "CC BY 4.0" --credit "$(CREDIT)" || exit 1; \
	done
	$(BIN)/cellrot-train export runs/models/hnet-r2-* --name hnet-r2 --int8 --licence "CC BY 4.0" --credit "$(CREDIT)"
	$(BIN)/python -m benchmarks.models --data $(DATA)/..

clean:
	rm -rf .venv demo

.venv/inference: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/training: .venv/inference
	$(PIP) "torch$$(sed -n 's/^torch//p' constraints.txt)"
	$(PIP) --editable '.[dev,slides,cluster]'
	touch $@
