# Everything runs in .venv; `make env` makes it with the tested versions.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
SEED ?= 2018

.PHONY: env demo test lint data results clean

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,lint]"
	touch $@

demo: env  ## one synthetic case, its segmentation with the shipped weights, a picture and the volumes
	$(BIN)/python -m bundle demo --out demo

test: env lint  ## everything that CI runs; two processes of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

data: env  ## the default data set of the configs
	$(BIN)/python -m scripts.phantom --out data/phantom --cases 94 --seed $(SEED)

results: env  ## docs/results.md, from the shipped weights
	$(BIN)/python -m bundle results

clean:
	rm -rf demo eval .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
