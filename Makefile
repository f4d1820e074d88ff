# SPDX-License-Identifier: GPL-2.0-only
# Needs Python >= 3.11 with venv, nothing else; a C compiler makes it ten times faster.
# Another interpreter: make PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
EXPORT := --quiet --no-header --no-emit-project

.DEFAULT_GOAL := help
.PHONY: help setup run test quick test-deploy up compile lint format pin clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install into .venv, compile the core if there is a C compiler
	@$(BIN)/python -m fuzzer.compiled || true

run: setup ## set up, then fuzz for a minute; tells where the findings are and how to replay the first
	$(BIN)/mmufuzz run --seconds 60

# Three processes for two cores, since one of them mostly waits for servers. Bytecode is kept even where the environment
# forbids it, as images of containers do: some hundred processes would each compile all they import.
test: setup ## set up, then run all tests
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n3

quick: $(INSTALLED) ## the tests of model and search that take less than a second each; takes a minute
	$(BIN)/pytest -m "not slow" tests/reference_mmu tests/fuzzer tests/programs tests/test_architectures.py tests/test_imports.py tests/test_layout.py

up: ## make secrets, then start a whole search by docker compose: docs/operating.md
	deploy/secrets.sh
	docker compose -f deploy/compose.yaml up --detach --build

# Needs root, and Debian's docker.io, docker-compose, debootstrap, iptables.
test-deploy: $(INSTALLED) ## bring that up in a Docker of its own, disturb it, take it down; takes ten minutes or more
	$(BIN)/python -m tests.deploy.up

compile: $(INSTALLED) ## compile the core of the sources as they are; fails where setup would go on interpreted
	$(BIN)/python -m fuzzer.compiled

lint: $(INSTALLED) ## style, types and import layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## let ruff mend and format the sources
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Needs uv. The lock file stays out of git: it carries an index address on every line.
pin: ## refresh requirements.txt, and that of the image, from pyproject.toml
	uv lock --upgrade
	uv export $(EXPORT) --output-file requirements.txt
	uv export $(EXPORT) --no-dev --extra service --extra compile --output-file deploy/requirements.txt

clean: ## remove what was installed, built and cached
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an install that broke off is begun again.
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed and $(PYTHON) is not; try: make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
