# What can be done here; `make` alone lists it. Everything is installed into .venv and nowhere else.

PYTHON ?= python3
SEED   ?= 1
WIDTH  ?= 512
HEIGHT ?= 512
TRAIN_DIR ?= build/train-mini

BIN := .venv/bin
LOG := .venv/install.log
CHECKPOINT := $(shell find checkpoints/linocut-mini -type f -not -path '*/__pycache__/*')

# The prompt as it was typed: `$` and quotes included.
export PROMPT_TEXT := $(value PROMPT)

.DEFAULT_GOAL := help
.PHONY: help setup image prompt serve test storm check bench fmt docs train-mini clean

# $(call stage,what a person reads,command): one line on the terminal, all the rest in $(LOG).
define stage
	@echo "  $(1)" >&2
	@{ $(2); } >>$(LOG) 2>&1 || { tail -n 30 $(LOG) >&2; \
	echo "Failed: $(1). The whole log: $(LOG)" >&2; exit 1; }
endef

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: .venv/.engine ## Install engine, server, demo checkpoint and command line into .venv
	@echo "Ready: $(BIN)/linocut"

image: prompt .venv/.engine ## Draw: make image PROMPT="a red apple" [SEED=1 WIDTH=512 HEIGHT=512 ARGS=...]
	@$(BIN)/linocut generate --width $(WIDTH) --height $(HEIGHT) --seed $(SEED) $(ARGS) \
	-- "$$PROMPT_TEXT"

prompt:
	@test -n "$$PROMPT_TEXT" || { \
	echo 'Say what to draw: make image PROMPT="a red apple"' >&2; exit 2; }

serve: .venv/.engine ## Start the server on http://127.0.0.1:8000 [ARGS=...]
	@exec $(BIN)/linocut serve $(ARGS)

test: .venv/.dev ## Run every test [ARGS=...]
	$(BIN)/python -m pytest $(ARGS)

storm: .venv/.dev ## Prove the service's promises at full size and write docs/reliability.md
	rm -f build/storm.json
	$(BIN)/python -m pytest -q tests/storm --storm=full $(ARGS)

check: .venv/.dev ## Format, lint, types, import order, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/test_house.py

bench: .venv/.dev ## Time linocut beside diffusers on the demo checkpoint [ARGS=...]
	$(BIN)/python benchmarks/bench_engine.py $(ARGS)

fmt: .venv/.dev ## Format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.dev ## Write docs/cli.md and docs/openapi.json anew from the program itself
	$(BIN)/typer linocut.cli.main utils docs --name linocut --output docs/cli.md
	$(BIN)/linocut openapi >docs/openapi.json

train-mini: .venv/.dev ## Make the demo checkpoint anew, from fetching the drawings to the export [ARGS=...]
	$(BIN)/pip install --quiet -e './training[teacher]'
	$(BIN)/python -m linocut_training --work $(TRAIN_DIR) --card checkpoints/linocut-mini \
	--out checkpoints/linocut-mini/src/linocut_mini/checkpoint $(ARGS)

clean: ## Remove .venv and caches; pictures, and a training's work in build, stay
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The order of the stages matters: PyTorch first, so that a CPU build is taken where one is offered.

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "linocut needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	echo "Name another one, as in: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$(PYTHON) cannot make a virtual environment: install its venv package" >&2; \
	echo "(Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@mkdir -p .venv
	$(call stage,Making .venv,test -x $(BIN)/pip || $(PYTHON) -m venv .venv)
	@touch $@

.venv/.torch: .venv/.made
	$(call stage,Installing PyTorch (the largest part),\
	$(BIN)/pip show -q torch || $(BIN)/pip install torch==2.13.0)
	@touch $@

.venv/.mini: .venv/.torch $(CHECKPOINT)
	$(call stage,Installing the demo checkpoint,$(BIN)/pip install ./checkpoints/linocut-mini)
	@touch $@

.venv/.engine: .venv/.mini pyproject.toml
	$(call stage,Installing linocut,$(BIN)/pip install -e '.[engine$(comma)server$(comma)mini]')
	@touch $@

.venv/.dev: .venv/.mini pyproject.toml training/pyproject.toml
	$(call stage,Installing linocut and its tools,\
	$(BIN)/pip install -e '.[engine$(comma)server$(comma)postgres$(comma)mini$(comma)dev]' -e ./training)
	@touch .venv/.engine $@

comma := ,
