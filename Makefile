# The two commands of a newcomer are `make repro` and `make test`. Nothing here is needed by DVC itself:
# with an environment of your own, `pip install -r requirements.txt` and `dvc repro` do the same.
.DELETE_ON_ERROR:
.PHONY: help repro export demo test test-slow lint sweep report tune bench results recipe repro-check same-results audit requirements

PYTHON ?= python3
# Without its quotes GRID='lr=0.01 seed=0..4' would be a part of the grid: make takes what follows for variables.
sweep_VARIABLES := GRID SEEDS BUDGET WORKERS ADDRESS
tune_VARIABLES := SAMPLES CONFIRM ADDRESS NAME
report_VARIABLES := REVS
demo_VARIABLES := MODELS
recipe_VARIABLES := NAME
same-results_VARIABLES := A B
OWN := $(foreach goal,$(MAKECMDGOALS),$($(goal)_VARIABLES))
VARIABLES := $(OWN) PYTHON LENET_DEVICE LENET_THREADS LENET_DATA_ROOT TRACKERS
UNKNOWN := $(filter-out $(VARIABLES),$(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name))))
ifneq ($(strip $(OWN)),)
$(if $(UNKNOWN),$(error $(UNKNOWN) is unknown; expected $(VARIABLES), with quotes around values with spaces (GRID='lr=0.01 seed=0..4'), and variables of other programs before `make`))
endif

# Named, so that make 3.81, which macOS has, leaves every command to it: make itself would look it up on the old PATH.
SHELL := sh
# DVC runs the stages with the first `python` on the PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "%-14s%s\n", $$1, $$2}' Makefile

repro: .venv/installed  ## install what is missing and run the pipeline
	dvc repro
	@changed=$$(git status --porcelain) && commit=$$(git rev-parse --short HEAD) || exit 1; if [ -z "$$changed" ]; \
	then echo "every file is as in commit $$commit"; else echo "not as in commit $$commit:"; echo "$$changed"; fi

# The model card quotes the robustness study, which DVC therefore runs first.
export: .venv/installed  ## write the best model as ONNX and as an exported program, with a model card
	dvc repro studies/export/dvc.yaml

demo: .venv/serve  ## MODELS='models/model.pt untrained': a page to draw on, in the browser
	@set -f; python -m src.serve --open $(MODELS)

# Many tests wait for another process: three at a time keep two cores busy.
test: .venv/installed .venv/tune .venv/trackers .venv/serve lint  ## lint and the test suite
	pytest --numprocesses 3 --dist worksteal

# Minutes long: trainings and stages killed again and again, and the queue.
test-slow: .venv/installed .venv/tune .venv/trackers .venv/serve  ## tests that take minutes: kills, searches, emulated processors
	pytest -m slow

lint: .venv/installed  ## ruff and mypy
	ruff check
	ruff format --check
	mypy

sweep: .venv/installed $(if $(ADDRESS),.venv/tune)  ## GRID='lr=0.01,0.05 seed=0..4' [SEEDS=5|auto] [BUDGET=40] [WORKERS=2 | ADDRESS=head:6379]: a grid of experiments
	@$(if $(GRID),,$(error GRID: missing; expected such as GRID='lr=0.01,0.05'))set -f; python -m src.sweep \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(ADDRESS),--address $(ADDRESS)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(BUDGET),--budget $(BUDGET)) $(GRID)

report: .venv/installed  ## REVS='main lr-0.01': revisions side by side in one HTML file
	@set -f; python -m src.report $(REVS)

bench: export LENET_DEVICE := cpu
bench: .venv/tune .venv/serve  ## measure speed; every figure in docs/benchmarks.md
	@command -v wrk >/dev/null || { echo 'error: wrk is not on the PATH; expected the package wrk' >&2; exit 1; }
	python -m benchmarks.pipeline
	python -m benchmarks.time_to_accuracy
	python -m benchmarks.throughput
	python -m benchmarks.layout
	python -m benchmarks.workers
	python -m benchmarks.seeds
	python -m benchmarks.vectorized
	dvc repro --quiet studies/export/dvc.yaml
	python -m benchmarks.prediction
	python -m benchmarks.serving
	python -m benchmarks.cluster

# Runs the last commit from nothing in several ways (a queue worker, a search, processors that qemu-user emulates if it is
# on the PATH), and compares every output byte for byte.
repro-check: .venv/installed .venv/tune  ## check that this commit gives the same bytes, however it is run
	python -m benchmarks.repeatability

same-results: .venv/installed  ## A=main B=HEAD: check that two revisions give the same bytes, after a refactoring
	@python -m benchmarks.same_results $(A) $(B)

# The environment is complete once this file is there; a changed requirements.txt brings it up to date.
# Compiling the bytecode once spares every later process the time to do so.
.venv/installed: requirements.txt requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.txt
	.venv/bin/uv pip install --quiet --compile-bytecode --require-hashes --python .venv/bin/python --requirement requirements.txt
	touch $@

# tune: Ray and Optuna, for searches, for sweeps on a cluster, and for the tests. trackers: what `TRACKERS=…` names,
# TensorBoard, W&B, MLflow and DVCLive. serve: what `make demo` and `python -m src.serve` need besides.
.venv/tune .venv/trackers .venv/serve: .venv/%: requirements-%.txt .venv/installed
	.venv/bin/uv pip install --quiet --compile-bytecode --require-hashes --python .venv/bin/python --requirement $<
	touch $@

tune: .venv/tune  ## SAMPLES=20 [CONFIRM=4] [ADDRESS=head:6379] [NAME=first]: search for better parameters
	@python -m src.tune $(if $(SAMPLES),--samples $(SAMPLES)) $(if $(CONFIRM),--confirm $(CONFIRM)) \
		$(if $(ADDRESS),--address $(ADDRESS)) $(if $(NAME),--name $(NAME))

# The table of results: hours on a laptop, from nothing; interrupted, it continues where it was.
results: .venv/installed  ## run the study behind the table of results: hours
	python -m studies.benchmark.waiting
	dvc repro studies/benchmark/dvc.yaml
	python -m studies.benchmark.page

recipe: .venv/installed  ## NAME=mnist-lenet5-affine: run a recipe of the table of results as an experiment
	@python -m studies.benchmark.recipe $(NAME)

# Known vulnerabilities of the pinned versions, asked of https://osv.dev.
audit: .venv/installed  ## known vulnerabilities of the pinned packages
	@.venv/bin/uv tool run --quiet --from pip-audit==2.10.1 pip-audit --vulnerability-service osv \
		--require-hashes --disable-pip --progress-spinner off \
		--requirement requirements.txt --requirement requirements-tune.txt \
		--requirement requirements-trackers.txt --requirement requirements-serve.txt 2>.venv/audit.log \
	|| { if grep -q ConnectionError .venv/audit.log; then echo 'error: https://api.osv.dev cannot be reached'; \
		else cat .venv/audit.log; fi >&2; exit 1; }

# The lock files anew, with the newest versions that fit.
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make requirements'
requirements: .venv/installed  ## pin the newest versions that fit
	$(COMPILE) requirements.in --output-file requirements.txt
	$(COMPILE) requirements-tune.in --constraint requirements.txt --output-file requirements-tune.txt
	$(COMPILE) requirements-trackers.in --constraint requirements.txt --constraint requirements-tune.txt \
		--output-file requirements-trackers.txt
	$(COMPILE) requirements-serve.in --constraint requirements.txt --constraint requirements-trackers.txt \
		--output-file requirements-serve.txt
	$(COMPILE) requirements-uv.in --output-file requirements-uv.txt
