PYTHON ?= python3
BIN := .venv/bin
PURE := transforms/chat/builtin_templates.py transforms/chat/template.py transforms/conversations/detect_turns.py \
	transforms/storage/chunked_file.py transforms/text/unicode_ranges.py transforms/chat/arrow_renderer.py \
	transforms/chat/control_tokens.py transforms/conversations/rules.py transforms/errors.py \
	transforms/conversations/detect_pairs.py transforms/chat/jinja_renderer.py transforms/dataset/layout.py \
	transforms/storage/local.py transforms/storage/manifest.py transforms/conversations/field_mapping.py \
	transforms/conversations/pair_turns.py transforms/conversations/pairs.py transforms/conversations/parse_turns.py \
	transforms/conversations/reasoning.py transforms/records.py transforms/chat/render_turns.py transforms/conversations/roles.py \
	transforms/storage/s3/bucket.py transforms/storage/s3/lease.py transforms/storage/s3/client.py transforms/storage/s3/errors.py \
	transforms/storage/s3/store.py transforms/storage/s3/retries.py transforms/chat/sandbox.py \
	transforms/chat/sandbox_worker.py transforms/chat/output_columns.py transforms/dataset/shard_writer.py transforms/split.py \
	transforms/storage/store.py transforms/chat/segments.py transforms/conversations/turns.py transforms/work_units.py \
	transforms/quality/asked.py transforms/quality/balance.py transforms/duplicates/content_hash.py \
	transforms/duplicates/exact.py transforms/quality/summary.py \
	transforms/quality/gates.py transforms/leakage/near_prompts.py transforms/quality/lengths.py \
	transforms/chat/token_limit.py transforms/quality/row_stats.py transforms/duplicates/minhash.py \
	transforms/leakage/contamination.py transforms/options.py transforms/chat/token_counter.py \
	transforms/leakage/prompts.py transforms/text/ngrams.py \
	pipeline/cli/process_tuning.py pipeline/planning/decontamination.py pipeline/dataset/catalog.py pipeline/dataset/download.py \
	pipeline/planning/plan_text.py pipeline/cli/flags.py pipeline/launch/worker_agent.py pipeline/dataset/destinations.py \
	pipeline/launch/wheel.py pipeline/planning/plan.py pipeline/quality_flags.py \
	pipeline/repeated_flag.py pipeline/dataset/report.py pipeline/request.py pipeline/cli/dataset_flags.py \
	pipeline/planning/sources.py pipeline/planning/chat_template.py pipeline/planning/tokenizer.py transforms/dataset/trainer_facts.py \
	pipeline/dataset/upload.py pipeline/dataset/verify.py transforms/formats transforms/report
# For two cores: tests wait for servers and programs a quarter of their time.
TESTS_AT_ONCE ?= 3
SAMPLE := pipeline/sample/reasoning.jsonl
OUTPUT := data_cache/processed_reasoning

.DEFAULT_GOAL := help
.PHONY: help install run test test-clusters check fix bench clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed  ## Make .venv with everything that running and developing needs

.venv/installed: setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: install  ## Prepare the data set that ships with the project, then load it
	$(BIN)/python -m pipeline --dataset $(SAMPLE) --output $(OUTPUT) --skip-upload --overwrite
	$(BIN)/python -c "from datasets import load_from_disk; print(load_from_disk('$(OUTPUT)'))"

test: install  ## Run all tests; those on real clusters with CI=true only
	$(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) --dist loadfile
ifeq ($(CI),true)
	$(BIN)/python -m pytest -m clusters
endif

test-clusters: install  ## Run the job on a real Flink and Spark; needs Java and Maven
	$(BIN)/python -m pytest -m clusters

check: install  ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PURE)
	$(BIN)/python benchmarks/make_sample.py --check

fix: install  ## Mend what lint and format can mend by themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## Time the job against its baselines; takes a while and some GB of disk
	$(BIN)/python benchmarks/bench.py; status=$$?; $(BIN)/python benchmarks/s3.py || status=1; \
	$(BIN)/python benchmarks/chats.py || status=1; \
	$(BIN)/python benchmarks/duplicates.py || status=1; \
	$(BIN)/python benchmarks/many_units.py && exit $$status

clean:  ## Remove what the other targets made
	rm -rf .venv data_cache build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
