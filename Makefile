# `make run` and `make test` need Python (3.10 to 3.13) and make, and set up all the rest in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= --thresh 0.2

.PHONY: run test setup notebooks clean
.DEFAULT_GOAL := setup

setup: $(VENV)/ready ## the environment, with the package in it
$(VENV)/ready: settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "planet needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing fastai, torch and the rest into $(VENV) (some 6 GB, minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: setup ## the main experiment: make run ARGS="--data FOLDER"
	$(BIN)/python experiments/planet_resnet50.py $(ARGS)

test: setup ## every check: pytest; modules equal their notebooks; notebooks run
	$(BIN)/python -m pytest
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/check_notebooks.py

clean: ## all that was installed or made, but no record in runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache _proc
