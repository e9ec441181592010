# The two commands of a newcomer are `make repro` and `make test`. Nothing here is needed by DVC itself:
# with an environment of your own, `pip install -r requirements.txt` and `dvc repro` do the same.
.DELETE_ON_ERROR:
.PHONY: repro export test test-slow lint sweep report tune bench results repro-check audit requirements

PYTHON ?= python3
# DVC runs the stages with the first `python` on the PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

repro: .venv/installed
	dvc repro
	@changed=$$(git status --porcelain); commit=$$(git rev-parse --short HEAD); if [ -z "$$changed" ]; \
	then echo "every file is as in commit $$commit"; else echo "not as in commit $$commit:"; echo "$$changed"; fi

# The kept model as models/model.onnx and models/model.pt2.
export: .venv/installed
	dvc repro studies/export/dvc.yaml

# Most tests wait for one `dvc` or another to start: two at a time.
test: .venv/installed .venv/tune .venv/trackers lint
	pytest --numprocesses 2 --dist worksteal

# Minutes long: trainings and stages killed again and again, and the queue.
test-slow: .venv/installed .venv/tune .venv/trackers
	pytest -m slow

lint: .venv/installed
	ruff check
	ruff format --check

# make sweep GRID='lr=0.01,0.05 optimizer=SGD,Adam' [WORKERS=2]
sweep: .venv/installed
	@python -m src.sweep $(if $(WORKERS),--workers $(WORKERS)) $(GRID)

# make report REVS='main lr-0.01': one HTML file that needs no network
report: .venv/installed
	@python -m src.report $(REVS)

bench: .venv/installed
	python -m benchmarks.pipeline
	python -m benchmarks.time_to_accuracy
	python -m benchmarks.throughput
	python -m benchmarks.workers
	python -m benchmarks.vectorized
	dvc repro --quiet studies/export/dvc.yaml
	python -m benchmarks.prediction

# The commit from nothing in several ways, by a worker, in a search, on emulated processors (with qemu-user on
# the PATH): every output byte for byte the same?
repro-check: .venv/installed .venv/tune
	python -m benchmarks.repeatability

# The environment is complete once this file is there; a changed requirements.txt brings it up to date.
# Compiling the bytecode once spares every later process the time to do so.
.venv/installed: requirements.txt requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.txt
	.venv/bin/uv pip install --quiet --compile-bytecode --require-hashes --python .venv/bin/python --requirement requirements.txt
	touch $@

# Ray Tune and Optuna, which `make tune` needs besides.
.venv/tune: requirements-tune.txt .venv/installed
	.venv/bin/uv pip install --quiet --compile-bytecode --require-hashes --python .venv/bin/python --requirement requirements-tune.txt
	touch $@

# What `TRACKERS=…` names: TensorBoard, W&B, MLflow and DVCLive.
.venv/trackers: requirements-trackers.txt .venv/installed
	.venv/bin/uv pip install --quiet --compile-bytecode --require-hashes --python .venv/bin/python --requirement requirements-trackers.txt
	touch $@

# make tune SAMPLES=20
tune: .venv/tune
	@python -m src.tune $(if $(SAMPLES),--samples $(SAMPLES))

# The README's table of results: hours on a laptop, from nothing; interrupted, it goes on where it was.
results: .venv/installed
	dvc repro studies/benchmark/dvc.yaml
	python -m studies.benchmark.readme

# Known vulnerabilities of the pinned versions, asked of https://osv.dev.
audit: .venv/installed
	@.venv/bin/uv tool run --quiet --from pip-audit==2.10.1 pip-audit --vulnerability-service osv \
		--require-hashes --disable-pip --progress-spinner off \
		--requirement requirements.txt --requirement requirements-tune.txt \
		--requirement requirements-trackers.txt 2>.venv/audit.log \
	|| { if grep -q ConnectionError .venv/audit.log; then echo 'error: https://api.osv.dev cannot be reached'; \
		else cat .venv/audit.log; fi >&2; exit 1; }

# The lock files anew, with the newest versions that fit.
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make requirements'
requirements: .venv/installed
	$(COMPILE) requirements.in --output-file requirements.txt
	$(COMPILE) requirements-tune.in --constraint requirements.txt --output-file requirements-tune.txt
	$(COMPILE) requirements-trackers.in --constraint requirements.txt --constraint requirements-tune.txt \
		--output-file requirements-trackers.txt
	$(COMPILE) requirements-uv.in --output-file requirements-uv.txt
