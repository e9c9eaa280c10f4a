# `make run` starts Kikitori, `make test` tests it; `make help` lists the rest.
PYTHON ?= python3
PORT ?= 8000
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --custom-compile-command 'make lock' $(UPGRADE) pyproject.toml requirements/lock.in

.DEFAULT_GOAL := help
.PHONY: install run test lint types bench docs lock test-extras clean help

install: $(STAMP)  ## make .venv with the locked packages

$(STAMP): requirements/dev.txt pyproject.toml tools/install.py
	@$(PYTHON) tools/install.py $(VENV) requirements/dev.txt

run: install  ## start the server and transcribe the bundled sample (PORT=8000)
	@$(BIN)/python -m kikitori.quickstart --port $(PORT)

test: install  ## run all tests, three modules at a time (ARGS="-k name"; JOBS=0: one after the other)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## check types
	$(BIN)/mypy

bench: install  ## measure, print a table, write docs/benchmarks.md
	$(BIN)/python -m benchmarks

docs: install  ## write the pages that are made from the code
	$(BIN)/python tools/make_docs.py

lock: install  ## lock what pyproject.toml asks for (UPGRADE=--upgrade for the newest)
	$(BIN)/pip install --quiet uv
	$(COMPILE) --extra dev --output-file requirements/dev.txt
	$(COMPILE) --constraints requirements/dev.txt --output-file requirements/main.txt

test-extras: install  ## test the optional engines in an environment of their own
	tools/test_extras.sh

clean:  ## remove the environment and all caches
	rm -rf $(VENV) .venv-extras build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
