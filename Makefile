# Each target installs what it needs into .venv; the second call is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALL_FROM := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-peers test-viewers check bench chaos soak pins clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(VENV)/core.stamp  ## start node and archive, send a synthetic CT study, show what happened
	$(BIN)/sentinel-node demo --exit

test: check  ## style, types, import contract, and every test that needs no foreign server
	$(BIN)/python -m pytest -m "not peer and not viewer" --durations=10

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
	rm -rf $(VENV) build dist *.egg-info demo-data .mypy_cache .ruff_cache .pytest_cache \
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
	$(PIP) -e ".[dev,postgresql,train,validate,peers]"
	@touch $@ $(VENV)/dev.stamp $(VENV)/core.stamp
