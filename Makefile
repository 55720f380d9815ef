# `make` or `make help` lists the targets. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
REPLICAS ?= 1
N ?= 20

GOLEK := .venv/bin/golek
BIN := .venv/bin

# A stamp names what it was installed from: when that changes, the next target installs again.
WORKER_STAMP := .venv/.golek-worker-$(shell cat requirements/worker.txt requirements/install.sh pyproject.toml | cksum | cut -d ' ' -f 1)
DEV_STAMP := .venv/.golek-dev-$(shell cat requirements/dev.txt requirements/minilm.txt requirements/install.sh pyproject.toml | cksum | cut -d ' ' -f 1)

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup demo start stop list-workers logs nats config check test bench lock

help:
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { split($$2, part, " \\| "); printf "  make %-34s %s\n", $$1 (part[2] ? " " part[2] : ""), part[1] }' \
	  $(MAKEFILE_LIST)
	@echo

##@ Setup
setup: $(DEV_STAMP) ## Everything for running and developing, in .venv
	@echo "ready: make demo, make start WORKER=name, make test"

lock: $(DEV_STAMP) ## Redo requirements/*.txt from pyproject.toml
	@PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh

##@ Run
demo: $(WORKER_STAMP) ## Start broker and demo model, ask it something, show all that happens
	@$(GOLEK) demo

start: $(WORKER_STAMP) ## Start a worker, and the broker when none answers | WORKER=name [REPLICAS=n]
	@if [ -z "$(WORKER)" ]; then \
	  echo "which one? make start WORKER=name"; $(GOLEK) worker list; exit 2; fi
	@$(GOLEK) worker start "$(WORKER)" --replicas "$(REPLICAS)"

stop: ## Stop a worker; without a name all workers and the broker | [WORKER=name]
	@if [ -x $(GOLEK) ]; then $(GOLEK) worker stop $(WORKER); else echo "nothing is set up, nothing runs"; fi

list-workers: $(WORKER_STAMP) ## All workers and what runs of each
	@$(GOLEK) worker list

logs: $(WORKER_STAMP) ## The newest rows of a worker's request log | WORKER=name [N=20]
	@if [ -z "$(WORKER)" ]; then \
	  echo "whose? make logs WORKER=name"; $(GOLEK) worker list; exit 2; fi
	@$(GOLEK) worker logs "$(WORKER)" -n "$(N)"

nats: $(WORKER_STAMP) ## Start the broker alone
	@$(GOLEK) broker start

config: $(WORKER_STAMP) ## Every setting of a worker and where it comes from | WORKER=name
	@if [ -z "$(WORKER)" ]; then \
	  echo "whose? make config WORKER=name"; $(GOLEK) worker list; exit 2; fi
	@$(GOLEK) config "$(WORKER)"

##@ Quality
check: $(DEV_STAMP) ## Lint, format, types, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_import_direction.py

test: check ## check, then all tests
	@$(BIN)/python -m pytest

bench: $(DEV_STAMP) ## Measure; one JSON line a figure, kept in bench/results | [NAME=file]
	@$(BIN)/python bench/run.py $(NAME)

$(WORKER_STAMP):
	@requirements/install.sh worker "$(PYTHON)" $@

$(DEV_STAMP):
	@requirements/install.sh dev "$(PYTHON)" $@ $(WORKER_STAMP)
