# Every target does its own set-up in .venv; a second run finds it done. `make demo` and `make test` are
# all that a user needs; `make check` is what CI runs.
#
# Another Python:  make PYTHON=python3.12 demo

BIN = .venv/bin

.PHONY: help demo test check lint format types contracts docs smoke clean
.NOTPARALLEL:

help:
	@echo "make demo    learn a robot's world, act in it, and write a report (10 minutes)"
	@echo "make test    run the tests"
	@echo "make check   run all that CI runs: tests, style, types, import contracts, docs, a short demo"
	@echo "make docs    build the documentation into site/"
	@echo "make format  put the code into the project's format"
	@echo "make clean   remove .venv, caches and build outputs; runs/ stays"

.venv/.installed-demo: pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh demo
	@touch $@

# The extra `dev` holds `demo` and `docs`.
.venv/.installed-dev: pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh dev
	@touch .venv/.installed-demo .venv/.installed-docs $@

.venv/.installed-docs: pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh docs
	@touch $@

demo: .venv/.installed-demo
	$(BIN)/reverie demo

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

check: test lint types contracts docs smoke

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.installed-dev
	$(BIN)/mypy

contracts: .venv/.installed-dev
	$(BIN)/lint-imports

docs: .venv/.installed-docs
	$(BIN)/mkdocs build --strict

smoke: .venv/.installed-demo
	rm -rf build/demo-smoke
	$(BIN)/reverie demo --smoke --run build/demo

clean:
	rm -rf .venv site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
