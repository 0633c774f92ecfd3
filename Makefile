# Each target installs what it needs into .venv; the second call is quick.
PYTHON ?= python3
# Of `weights` and `study`: make study PLUGIN=hcc_microvascular_invasion TEST=400 PAIRS=100
PLUGIN ?= anterior_mediastinal_tumor
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALL_FROM := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-peers test-viewers test-training check bench chaos soak weights study pins clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(VENV)/core.stamp  ## start node and archive, send a synthetic CT study, show what happened
	$(BIN)/sentinel-node demo --exit

test: check  ## style, types, import contract, and every test that needs no foreign server
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not peer and not viewer and not training" --durations=10

check: $(VENV)/dev.stamp  ## style, types and import contract only
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

test-peers: $(VENV)/peers.stamp  ## install Orthanc, DCMTK, PostgreSQL, dcmqi, dciodvfy; test against them
	scripts/install-peers
	SENTINEL_PEERS=required $(BIN)/python -m pytest -m peer tests --durations=10 \
		--junitxml=$(VENV)/peers.xml

test-viewers: $(VENV)/peers.stamp  ## install OHIF, dwv, Chromium; prove that overlays lie in the right place
	SENTINEL_VIEWERS_DIR=$(VENV)/viewers scripts/install-viewers
	SENTINEL_VIEWERS=required $(BIN)/python -m pytest -m viewer tests/viewers --durations=10 \
		--junitxml=$(VENV)/viewers.xml

test-training: $(VENV)/dev.stamp  ## train two minutes on phantoms; the model must beat the threshold
	$(BIN)/python -m pytest -m training tests --durations=5 --junitxml=$(VENV)/training.xml

weights: $(VENV)/dev.stamp  ## train the shipped weights again, in place (20 minutes on 2 quiet cores); PLUGIN=name
	$(BIN)/sentinel-node train $(PLUGIN) --phantom $(or $(N),320) --seed $(or $(SEED),0) --minutes $(or $(MINUTES),20) --in-place

study: $(VENV)/dev.stamp  ## hours: three seeds, each trained, and tested on phantoms of other institutions; PLUGIN=name
	$(BIN)/sentinel-node study $(PLUGIN) --seeds $(or $(SEEDS),3) --phantom-train $(or $(N),320) \
		--phantom-test $(or $(TEST),164) --test-seed $(or $(TEST_SEED),0) \
		--pairs $(or $(PAIRS),0) --report study-results

bench: $(VENV)/peers.stamp  ## measure (tests/benchmarks); takes minutes
	$(BIN)/python -m pytest -q -s tests/benchmarks -o python_files="bench_*.py"

chaos: $(VENV)/peers.stamp  ## storms of seeded faults (docs/chaos.md): make chaos SEED=1 RUNS=5
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --runs $(or $(RUNS),1) --jobs $(or $(JOBS),1)

soak: $(VENV)/peers.stamp  ## hours: 50 kills of each process, 500 storms
	SENTINEL_KILLS=50 $(BIN)/python -m pytest -q -s -m peer tests/acceptance/test_kills.py
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --runs $(or $(RUNS),500) --jobs 2

pins:  ## write constraints.txt anew from the newest versions that pyproject.toml allows
	scripts/pins "$(PYTHON)"

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) build dist *.egg-info demo-data study-results .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: $(INSTALL_FROM) | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/dev.stamp: $(INSTALL_FROM) | $(BIN)/python
	$(PIP) -e ".[dev,postgresql,train]"
	@touch $@ $(VENV)/core.stamp

$(VENV)/peers.stamp: $(INSTALL_FROM) | $(BIN)/python
	$(PIP) -e ".[dev,postgresql,train,peers]"
	@touch $@ $(VENV)/dev.stamp $(VENV)/core.stamp
