# Two commands for users, `make demo` and `make test`; each builds .venv once, from the lock, and reuses it.
PYTHON ?= python3
BIN := .venv/bin
BUILT := .venv/built

.PHONY: demo gpu test slow campaign fresh lint lock docs wheel clean

demo: $(BUILT)
	$(BIN)/python cli.py demo demo

test: lint
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

slow: $(BUILT)
	$(BIN)/python -m pytest -m slow

# Every fault method, whole: hours on two cores. Writes the table in docs/reliability.md.
campaign: $(BUILT)
	$(BIN)/python -m tests.faults --write

# Both commands above on a Debian 12 that has nothing else: needs root and debootstrap; 2.5 GB in /var/tmp.
fresh:
	.ci/fresh

lint: $(BUILT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BUILT): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is another: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Building .venv from requirements.lock: about 2 GB, a few minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Adds CUDA's libraries to .venv, for TensorFlow and JAX on an NVIDIA GPU: Linux, 3 GB.
gpu: $(BUILT)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-gpu.lock
	$(BIN)/python -c "from trainer import backend; print(backend.start()); print(backend.unused_gpu())"

# Maintainers: after a change of dependencies in pyproject.toml. Needs uv.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
  --custom-compile-command "make lock" --group dev --extra notebook --extra train
lock:
	$(LOCK) --output-file requirements.lock pyproject.toml
	$(LOCK) --extra gpu --constraint requirements.lock pyproject.toml | $(PYTHON) .ci/gpu_lock.py > requirements-gpu.lock
	$(PYTHON) .ci/environment.py

# The command and Python references, from the commands and docstrings.
docs: $(BUILT)
	$(BIN)/python .ci/reference.py
	$(BIN)/python -m tests.helpers.messages --write

wheel: $(BUILT)
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf .venv build dist demo *.egg-info
