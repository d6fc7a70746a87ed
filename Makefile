# Every target sets itself up first (tools/setup.sh): the first one on a fresh clone installs, the others find it done.
# make PYTHON=/path/to/python3 ... chooses the interpreter.
export PYTHON
BIN := .venv/bin

.PHONY: help setup demo demo-serve test test-slow screens check docs bench verifier
.DEFAULT_GOAL := help

help:
	@sed -n 's/^## //p' Makefile

## make setup      virtual environment, locked packages, OPA library, bubblewrap; Chromium for the tests
setup:
	@tools/setup.sh

## make demo       a governed change from request to proof, in half a minute
demo: setup
	@$(BIN)/mandamus demo

## make demo-serve the same in a browser: the console, with a link for each of the two people
demo-serve: setup
	@$(BIN)/mandamus demo --serve

## make test       structure checks, types, lint, and every test that is not slow
# The tests run even when a check fails, so that one round shows everything.
test: setup
	@failed=0; \
	$(MAKE) --no-print-directory check || failed=1; \
	$(BIN)/pytest -n 2 -m "not slow" || failed=$$?; \
	exit $$failed

## make test-slow  the slow tests: crash at every commit, a cloud API, large inputs
test-slow:
	@tools/setup.sh aws
	@$(BIN)/pytest -n 2 -m slow --timeout 1800

## make screens    the pictures of docs/reference/screens, as the browser tests see the console
screens: setup
	@MANDAMUS_SCREENS=docs/reference/screens $(BIN)/pytest -m slow -k pictures tests/browser/test_screens.py

## make check      lint, format, types, import contracts
check: setup
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

## make docs       links, code blocks and completeness of the documentation
docs: setup
	@$(BIN)/pytest tests/docs

## make bench      every figure beside its physical limit; STRICT=1 fails on a missed target
bench:
	@tools/setup.sh aws
	@$(BIN)/python bench/run.py $(if $(STRICT),--strict)

## make verifier   the single-file verifier mandamus-verify.pyz, for machines without the product
verifier: setup
	@$(BIN)/python tools/verifier.py -o mandamus-verify.pyz
