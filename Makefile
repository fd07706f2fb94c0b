# Everything a contributor runs. `make` alone lists it. Nothing outside this folder is touched, except that set-up installs
# system packages by apt where it may (.ci/system-packages).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SILENT:
.ONESHELL:
.PHONY: help setup lint test test-full test-notebooks soak demo bench clean

STORE ?= local
MODE ?= mount
SOAK_MINUTES ?= 10
AZURITE_VERSION := 3.35.0
TORCH_VERSION := 2.13.0

BIN := .venv/bin
INSTALLED := .venv/.installed
TOOLS := .venv/.tools
LIBFUSE := .venv/.libfuse
BENCH := .venv/.bench
TORCH := .venv/.torch
POSTGRES := .venv/.postgres
BENCH_ARGS ?=
AZURITE := .venv/azurite/.installed-$(AZURITE_VERSION)

# Tests run side by side where each process of theirs may have a mount namespace.
SIDE_BY_SIDE := $(shell unshare --mount true 2>/dev/null && printf %s '-n 2 --dist loadfile')
# Where a mount can be made, a FUSE or Azurite test that skips has failed.
REQUIRE_FUSE := $(shell [ -r /dev/fuse ] && [ -w /dev/fuse ] && echo MOORAGE_REQUIRE_FUSE=1)

# All that the goals need of the machine, so that one line names all that is missing.
NEEDS := python fuse $(if $(filter setup lint test test-full bench,$(MAKECMDGOALS)),libfuse) \
	$(if $(filter setup test test-full,$(MAKECMDGOALS)),tests node) \
	$(if $(filter azurite,$(STORE)),node) $(if $(filter bench,$(MAKECMDGOALS)),bench) \
	$(if $(filter test-full,$(MAKECMDGOALS)),postgres)

help: ## list the targets
	awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) $(LIBFUSE) $(AZURITE) $(TOOLS) ## make .venv with all that tests and demo need

lint: $(INSTALLED) $(LIBFUSE) ## formatting, lint, types, layers, the house's own rules
	echo "lint: ruff check"
	$(BIN)/ruff check --quiet .
	echo "lint: ruff format"
	$(BIN)/ruff format --quiet --check . || { echo "lint: run $(BIN)/ruff format ." >&2; exit 1; }
	echo "lint: mypy"
	$(BIN)/mypy --no-error-summary
	echo "lint: import-linter"
	$(BIN)/lint-imports >.venv/lint-imports.log 2>&1 || { cat .venv/lint-imports.log >&2; exit 1; }
	echo "lint: the house"
	$(BIN)/pytest -q --no-header tests/test_house.py

test: lint $(AZURITE) $(TOOLS) ## lint, and all tests but the long ones
	echo "test: pytest"
	$(REQUIRE_FUSE) $(BIN)/pytest -q -m "not full" $(SIDE_BY_SIDE)

test-full: $(INSTALLED) $(LIBFUSE) $(AZURITE) $(TOOLS) $(BENCH) $(TORCH) $(POSTGRES) ## the long tests
	echo "test-full: pytest"
	$(REQUIRE_FUSE) $(BIN)/pytest -q -m full

test-notebooks: $(INSTALLED) ## public notebooks of SDK v1, from DIR=path/to/checkout
	$(BIN)/python -m tests.notebooks $(DIR)

soak: $(INSTALLED) ## checked reads under every injector for SOAK_MINUTES=10
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES) --json .venv/soak.json

demo: $(INSTALLED) $(if $(filter azurite,$(STORE)),$(AZURITE)) ## train on a mounted dataset; STORE=azurite, MODE=download
	$(BIN)/python examples/digits/demo.py --store $(STORE) --mode $(MODE)

bench: $(INSTALLED) $(BENCH) $(LIBFUSE) ## Moorage, rclone and obstore on one shaped server; BENCH_ARGS=--quick
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean: ## remove what make made here
	rm -rf --one-file-system .venv .demo .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(INSTALLED): pyproject.toml .ci/system-packages
	python=$$(.ci/system-packages $(NEEDS))
	[ -x $(BIN)/python ] || { echo "setup: .venv by $$python"; "$$python" -m venv .venv; }
	echo "setup: pip install -e '.[dev]'"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -e '.[dev]' </dev/null
	touch $@

$(TOOLS): .ci/system-packages | $(INSTALLED)
	.ci/system-packages tests
	touch $@

# PyPI has pyfuse3 as source only: it is compiled here. What runs without it (make demo) does not wait for it.
$(LIBFUSE): pyproject.toml .ci/system-packages | $(INSTALLED)
	.ci/system-packages libfuse
	echo "setup: pip install -e '.[fuse]'"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -e '.[fuse]' </dev/null
	touch $@

$(BENCH): pyproject.toml .ci/system-packages | $(INSTALLED)
	.ci/system-packages bench
	echo "setup: pip install -e '.[bench]'"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -e '.[bench]' </dev/null
	touch $@

# The build without CUDA, which is a tenth of the other: from its own index, or from where PIP_FIND_LINKS has it.
$(TORCH): pyproject.toml | $(INSTALLED)
	echo "setup: pip install torch==$(TORCH_VERSION)"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input 'torch==$(TORCH_VERSION)' </dev/null \
		$(if $(PIP_FIND_LINKS),,--extra-index-url https://download.pytorch.org/whl/cpu)
	touch $@

$(POSTGRES): .ci/system-packages | $(INSTALLED)
	.ci/system-packages postgres
	touch $@

$(AZURITE): | $(INSTALLED)
	.ci/system-packages node
	echo "setup: npm install azurite@$(AZURITE_VERSION)"
	npm install --prefix .venv/azurite --no-audit --no-fund --no-update-notifier --loglevel=error \
		azurite@$(AZURITE_VERSION) >/dev/null </dev/null
	touch $@
