# Bidden's few commands; `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Two more than there are processors: with one more, three tenths of their time were spent waiting for servers and processes.
WORKERS ?= $(shell echo $$(( $$(nproc) + 2 )))

.PHONY: help setup demo run test check faults bench

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand -t 10

setup: .venv/.ready ## make .venv from requirements.lock (the others call this first)

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Bidden needs Python 3.11 or later.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## a running service with demo data and a captured inbox
	@exec $(BIN)/bidden demo

run: setup ## an empty embedded service
	@exec $(BIN)/bidden up

test: setup ## the whole suite, on SQLite and on PostgreSQL
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: setup ## lint, types, import contracts, templates
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m service.mail.check

faults: setup ## fault runs of the ordinary size, half an hour; prints a table, writes tests/out/faults.json
	@$(BIN)/python -m tests.faults $(FAULTS)

bench: setup ## what a message costs; prints a table, writes tests/out/bench.json
	@$(BIN)/python -m tests.bench
