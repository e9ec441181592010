# The two commands of a newcomer are `make repro` and `make test`. Nothing here is needed by DVC itself:
# with an environment of your own, `pip install -r requirements.txt` and `dvc repro` do the same.
.DELETE_ON_ERROR:
.PHONY: repro test test-slow lint bench results repro-check audit requirements

PYTHON ?= python3
# DVC runs the stages with the first `python` on the PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

repro: .venv/installed
	dvc repro

test: .venv/installed lint
	pytest

# Minutes long: every stage killed again and again, and the queue.
test-slow: .venv/installed
	pytest -m slow

lint: .venv/installed
	ruff check
	ruff format --check

bench: .venv/installed
	python -m benchmarks.pipeline
	python -m benchmarks.throughput

# The pipeline twice from scratch in two folders, on 1 and on 2 threads: every output byte for byte the same?
repro-check: .venv/installed
	python -m benchmarks.repeatability

# The environment is complete once this file is there; a changed requirements.txt brings it up to date.
# Compiling the bytecode once spares every later process the time to do so.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --requirement requirements.txt
	touch $@

# What torch pins by itself is left to it; see requirements.in.
TORCH_OWN := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti \
	nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand \
	nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
	nvidia-nvshmem-cu13 nvidia-nvtx

# The README's table of results.
results: .venv/installed
	python -m benchmarks.accuracy --seeds 5 Digits
	python -m benchmarks.accuracy --seeds 3 MNIST FashionMNIST

# requirements.txt anew, with the newest versions that fit.
requirements: .venv/installed
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate \
		--custom-compile-command 'make requirements' \
		$(addprefix --no-emit-package ,$(TORCH_OWN)) requirements.in --output-file requirements.txt
