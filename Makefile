# For a fresh clone with Python 3.11 or newer, git and make: `make repro`, `make test`
.DEFAULT_GOAL := help
SHELL := /bin/bash
.PHONY: help install repro report test test-all check-lock fuzz lint bench gpu remote-demo study lock clean

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Two test files at a time. In any other order both processes would wait for the tiny study
BESIDE := -n 2 --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## create .venv with the pinned requirements (uv if there, else pip)

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	if command -v uv >/dev/null; then uv pip install --compile-bytecode --python $(BIN)/python -r requirements.txt; \
	else $(BIN)/python -m pip install --quiet -r requirements.txt; fi
	touch $@

repro: install ## run every stage whose inputs changed and print the results; JOBS=4 trains 4 rows at a time
	$(if $(filter-out 1,$(JOBS)),dvc repro pack@study split && dvc stage list --name-only | grep '^train@' | \
	  xargs -P $(JOBS) -n 1 dvc --wait-for-lock repro --single-item)
	dvc repro
	@cat plots/results.md
	@echo 'On a page, with figures: $(CURDIR)/plots/report.html'
	@echo 'Next: source $(BIN)/activate, then for instance: dvc exp run -S loss.gamma=1, and: dvc metrics diff'

report: install ## bring plots/report.html and all it needs up to date
	dvc repro report
	@echo '$(CURDIR)/plots/report.html'

test: install lint ## lint, then run all tests but the slow ones (minutes)
	pytest -m 'not slow' $(BESIDE)

test-all: install lint ## lint, then run every test, with coverage (40 minutes)
	pytest --cov --cov-report=term-missing:skip-covered $(BESIDE)

check-lock: install ## list the stages that code or settings make outdated, and fail if there are any
	@plan=$$(dvc repro --allow-missing --dry) && ! grep 'Running stage' <<<"$$plan"

fuzz: install ## give each reader 50,000 random inputs (half an hour)
	WBC_FUZZ=1 pytest tests/test_fuzz.py

lint: install ## check style and formatting
	ruff check .
	ruff format --check .

bench: install ## measure the speed of training and features (minutes, on an idle machine)
	dvc repro draw
	python -m benchmarks.train_throughput --profile sample --images 900 --rounds 5
	python -m benchmarks.features data/synthetic/images

gpu: install ## check and measure on a GPU (half an hour)
	pytest -m gpu tests/test_gpu.py
	python -m benchmarks.gpu --json gpu.json

study: install ## run studies/NAME.yaml on the images in DATA, hours; without NAME list the studies
	python -m tools.study $(NAME) $(DATA)

remote-demo: install ## share data and models through a local S3 server
	dvc repro --quiet
	python -m tools.remote_demo

lock: ## recompile requirements.txt from pyproject.toml (needs uv)
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --universal --all-extras --upgrade --quiet pyproject.toml -o requirements.txt

clean: ## remove the environment, caches and unfinished trainings; data, models and DVC's cache stay
	rm -rf .venv .scratch .pytest_cache .ruff_cache .coverage
