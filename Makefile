# The commands of this project; each sets up what it needs. Start here: make benchmark, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PARAMETERS ?= smoke
MARKER ?= cluster
# Each worker has one half of the tests, so the fixtures of a file are made once; one that is done takes from the other.
TWO_WORKERS := --numprocesses=2 --dist=worksteal
REFERENCE := tests/reference/smoke
SOURCES := emdenoise tests benchmarks docs build run conftest.py

.DEFAULT_GOAL := help
.PHONY: help setup benchmark reference test verify test-long test-slow test-container test-cluster mlcube reframe check format docs site bench image sbom bundle lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(VENV)/.installed  ## make the virtual environment .venv with pinned packages

$(VENV)/.installed: build/requirements.build.txt build/requirements.dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) found; Python 3.11 or later is needed: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r build/requirements.build.txt
	$(PIP) --require-hashes --no-build-isolation -r build/requirements.dev.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

benchmark: setup  ## simulate, preprocess, train, test; ends with a table and a report (PARAMETERS=smoke)
	run/bare.sh download,preprocess,train,test workspace workspace/parameters/$(PARAMETERS).parameters.yaml

test: setup  ## the fast tests
	$(BIN)/python -m pytest $(TWO_WORKERS)

verify: setup  ## the smoke run repeated from its reference record, and compared
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
		$(BIN)/emdenoise verify --result_dir=$(REFERENCE) --work_dir=$$scratch --log_dir=$$scratch/logs

reference: setup  ## make the reference record of the smoke run anew, after a change that moves its numbers
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
		run/bare.sh download,preprocess,train,test $$scratch workspace/parameters/smoke.parameters.yaml && \
		rm -rf $(REFERENCE) && mkdir -p $(REFERENCE) && \
		cp -r $$scratch/output/records $$scratch/output/scores.json $(REFERENCE)

test-long: setup  ## the tests that take up to a minute each
	$(BIN)/python -m pytest $(TWO_WORKERS) --durations=12 -m "long and not slow"

test-slow: setup  ## the tests that take minutes each
	$(BIN)/python -m pytest -m "slow and not cluster"

test-container: MARKER = container and not slow
test-container: setup .venv-mlcube/.installed  ## the tests in real containers; needs a Docker engine (MARKER=container: all)
	MLCUBE=$(CURDIR)/.venv-mlcube/bin/mlcube $(BIN)/python -m pytest --durations=12 -m "$(MARKER)" tests/container

# A file is for one worker: two trainings of several processes at once would ask for the same port of a node.
test-cluster: setup .venv-hpc/.installed  ## the tests on a real Slurm; needs its commands and two nodes (MARKER="cluster and not slow")
	REFRAME=$(CURDIR)/.venv-hpc/bin/reframe $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --durations=12 \
		-m "$(MARKER)" tests/cluster

mlcube: .venv-mlcube/.installed  ## install MLCube 0.0.9, which wants an older pip, into .venv-mlcube

.venv-mlcube/.installed: build/requirements.build.txt build/requirements.mlcube.txt
	$(PYTHON) -m venv $(@D)
	for lock in $^; do \
		$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r $$lock || exit 1; \
	done
	touch $@

reframe: .venv-hpc/.installed  ## install ReFrame, which runs the tests for sites in run/reframe, into .venv-hpc

.venv-hpc/.installed: build/requirements.hpc.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

check: setup  ## format, lint, types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

format: setup  ## put the code into its form
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: setup  ## make the generated pages anew
	$(BIN)/python docs/generate.py

site: .venv-site/.installed  ## build the documentation with the Python reference in dist/site; once installed it needs no network
	NO_MKDOCS_2_WARNING=1 .venv-site/bin/mkdocs build --strict

.venv-site/.installed: build/requirements.site.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

bench: setup  ## measure speeds side by side; results in benchmarks/results
	$(BIN)/python benchmarks/run.py

image:  ## build the CPU image
	docker build --network=host --build-arg COMMIT=$$(git describe --always --dirty --abbrev=40 --exclude '*') -t emdenoise .

sbom: setup  ## list what the CPU image holds, with licences and hashes: dist/emdenoise.cdx.json (CycloneDX)
	$(BIN)/python build/sbom.py

bundle: setup  ## all that a site without internet needs, in dist/bundle (WAYS=bare,mlcube,docker,apptainer)
	build/bundle.sh $(WAYS)

lock:  ## resolve the pinned packages anew
	build/lock.sh

clean:  ## remove virtual environments and caches; the workspace stays
	rm -rf $(VENV) .venv-mlcube .venv-hpc .venv-site .pytest_cache .ruff_cache .mypy_cache .hypothesis
