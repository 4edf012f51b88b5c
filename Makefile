# make repro: set up and run the pipeline on the embedded default. make test: set up and run every check.
# The environment lies in .venv; another interpreter: make PYTHON=python3.12 repro

PYTHON ?= python3
BIN := .venv/bin
# An index of PyTorch's, such as https://download.pytorch.org/whl/cpu, for other builds than those on PyPI.
TORCH_INDEX ?=
JOBS ?= 1
# With several, such as SEEDS=1,2,3,4,5, sweeps show which differences are more than noise.
SEEDS ?= 2021
# Make 3.81, which comes with macOS, finds programs on the PATH that is exported here only where it uses another shell
# than its own default.
SHELL := /bin/bash
# Stages and tests start programs of the environment by name, whether or not a shell has activated it.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup repro test lint fuzz benchmark sweep-sample-size sweep-epochs plots-page clean-checkpoints

help: ## show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

setup: $(BIN)/installed ## make .venv with the pinned packages

# Only PyTorch comes from an index of its own, and everything else from PyPI alone: of two indexes side by side pip
# takes a package from either.
# pip would compile on one core, and the packages' own tests too. Some have files for other Pythons, which cannot be
# compiled.
$(BIN)/installed: requirements.lock requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or later is needed; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),grep -E '^torch(vision)?==' requirements.lock | $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --no-deps --index-url $(TORCH_INDEX) --requirement /dev/stdin)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--requirement requirements.lock --requirement requirements-dev.lock
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv || true
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

repro: setup ## run the pipeline: everything that changed, nothing else
	python -m microseg.experiments.stale_locks
	dvc repro

test: setup lint ## run every check and every test
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: setup ## check style, and types as they are on Linux, macOS and Windows
	ruff format --check .
	ruff check .
	$(MAKE) --jobs 3 types-linux types-darwin types-win32

types-%: setup
	mypy --platform $* --cache-dir .mypy_cache/$*

# Both keep the last weights: the best ones are chosen by the IoU of one of the two ways of post-processing.
# The study's values: make sweep-sample-size SIZES=100,500,1000,1300 EPOCHS=20; make sweep-epochs EPOCHS=20,50,250 SIZE=1300
sweep-sample-size: SIZES = 10,20,40,80
sweep-sample-size: EPOCHS = 20
sweep-sample-size: setup ## run an experiment for each of SIZES micrographs at EPOCHS epochs, JOBS at a time, and draw them
	microseg sweep --jobs $(JOBS) -S split.sample_size=$(SIZES) -S train.epochs=$(EPOCHS) -S train.checkpoint=last -S train.seed=$(SEEDS)
	microseg experiments --x split.sample_size --where train.epochs=$(EPOCHS) --where train.checkpoint=last

sweep-epochs: EPOCHS = 5,10,20,50
sweep-epochs: SIZE = 40
sweep-epochs: setup ## run an experiment for each of EPOCHS epochs with SIZE micrographs, JOBS at a time, and draw them
	microseg sweep --jobs $(JOBS) -S train.epochs=$(EPOCHS) -S split.sample_size=$(SIZE) -S train.checkpoint=last -S train.seed=$(SEEDS)
	microseg experiments --x train.epochs --where split.sample_size=$(SIZE) --where train.checkpoint=last

fuzz: setup ## many thousands of damaged tables, pictures, archives and answers, which the tests only sample (minutes)
	MICROSEG_FUZZ=1 pytest tests/sources/test_archive_safety.py tests/sources/test_download_refusals.py tests/annotations/test_damaged_annotations.py tests/annotations/test_round_trip.py

benchmark: setup ## how fast a training step is beside the plain way, and its peak memory, into benchmarks/results (30 minutes)
	python benchmarks/training.py
	python benchmarks/memory.py micrographs
	python benchmarks/memory.py batches
	python benchmarks/crops.py

plots-page: ## build the page of dvc plots again from its pinned libraries (needs npm)
	$(PYTHON) .dvc/plots/page/build.py

clean-checkpoints: setup ## remove the saved states of all trainings
	python -m microseg.training.checkpoints
