PYTHON ?= python3
BIN := .venv/bin
# For two cores: tests wait for servers and programs a quarter of their time.
TESTS_AT_ONCE ?= 3
SAMPLE := pipeline/sample/reasoning.jsonl
OUTPUT := data_cache/processed_reasoning

.DEFAULT_GOAL := help
.PHONY: help install run test test-nightly test-clusters check fix bench clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed  ## Make .venv with what running needs

# uv is used where it is there; pip is enough.  The pip that comes with Python 3.11 needs seven times
# as long to resolve these packages as a new one.  Modules are compiled when they are first imported.
ifneq ($(shell command -v uv),)
INSTALL := uv pip install --quiet --python $(BIN)/python
else
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
NEW_PIP := $(PIP) --upgrade 'pip>=25'
INSTALL := $(PIP)
endif

.venv/installed: setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(NEW_PIP)
	$(INSTALL) --editable .
	@touch $@

.venv/installed-%: .venv/installed
	$(INSTALL) --editable '.[$*]'
	@touch $@

# Tests start hundreds of interpreters; where they may not keep what they compile, each would compile
# all that it imports.
.venv/compiled: .venv/installed-test
	-$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null
	@touch $@

run: install  ## Prepare the data set that ships with the project, then load it
	$(BIN)/python -m pipeline --dataset $(SAMPLE) --output $(OUTPUT) --skip-upload --overwrite
	$(BIN)/python -c "from datasets import load_from_disk; print(load_from_disk('$(OUTPUT)'))"

test: .venv/compiled  ## Run all tests; those on real clusters with CI=true only
	$(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) --dist loadfile
ifeq ($(CI),true)
	$(BIN)/python -m pytest -m 'clusters and not nightly'
endif

test-nightly: .venv/compiled  ## Run all tests but those on clusters, with ten times the examples
	$(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) --dist loadfile -m 'not clusters' \
		--hypothesis-profile=nightly

test-clusters: .venv/compiled  ## Run the job on a real Flink and Spark; needs Java and Maven
	$(BIN)/python -m pytest -m clusters

check: .venv/installed-check  ## Lint, format, types, who may import whom, names
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p pipeline -p transforms
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tests/support/check_names.py
	$(BIN)/python -m pipeline.cli.options_page | diff docs/options.md -
	$(BIN)/python benchmarks/make_sample.py --check

fix: .venv/installed-check  ## Mend what lint and format can mend by themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## Time the job against its baselines; takes a while and some GB of disk
	$(BIN)/python benchmarks/bench.py; status=$$?; $(BIN)/python benchmarks/s3.py || status=1; \
	$(BIN)/python benchmarks/chats.py || status=1; \
	$(BIN)/python benchmarks/duplicates.py || status=1; \
	$(BIN)/python benchmarks/leaks.py || status=1; \
	$(BIN)/python benchmarks/many_units.py && exit $$status

clean:  ## Remove what the other targets made
	rm -rf .venv data_cache build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
