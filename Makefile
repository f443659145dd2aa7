# `make demo` trains the example, `make test` runs every check; each sets up `.venv` by itself.
# A python3.11 or newer is found on the PATH; name another with `make demo PYTHON=/path/to/python`.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check format generate bench clean

# 3.11 first: the pinned versions were taken there.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SPEC ?= examples/stdlib_gpt.dsk

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

demo: $(STAMP)  ## Set up, compile examples/stdlib_gpt.dsk and train it (SPEC=file.dsk for another)
	$(BIN)/dskc run $(SPEC)

test: check  ## Set up, then lint, formatting, types and every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --durations=10 --numprocesses auto --maxprocesses 8; \
	status=$$?; \
	if [ $$status -eq 5 ]; then echo 'error: pytest ran no test' >&2; exit 1; fi; exit $$status

check: $(STAMP)  ## Set up, then lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Format the Python code and apply safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(STAMP)  ## Rewrite what is made from the grammar, the schema, the op table and test results
	$(BIN)/python -m dskc.dsl.generate
	$(BIN)/python -m dskc.dsl.tables
	$(BIN)/python -m dskc.dsl.textmate
	$(BIN)/python -m dskc.compiler.ops.document > docs/ops.md
	$(BIN)/python -m dskc.compiler.proof

bench: $(STAMP)  ## Time the compiler, then the trained example beside its peers (alone on the machine)
	$(BIN)/python benchmarks/check_time.py
	$(BIN)/python benchmarks/train_step.py

clean:  ## Remove the set-up and everything generated
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

# The stamp is written last, so that an interrupted set-up starts again.
$(STAMP): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo 'error: no Python 3.11 or newer on the PATH; install one or give PYTHON=' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo 'error: $(PYTHON) is older than Python 3.11 (or does not start); give another with PYTHON=' >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	@touch $@
