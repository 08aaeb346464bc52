# make demo   a new environment, the core package, and the demonstration
# make test   a new environment with everything, and all tests
# make train-smoke   the same environment: both agents from nothing to GGUF, very small
# make check  the same environment: lint, formatting, types, and the tests of the documents
# make torture  hundreds of kills, full disks, a minute of several processes on one bank, 500 damaged
#                model files; prints what was lost
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# No image support is used, and hnswlib must also run on the machine that the cached wheel is copied to.
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF
export HNSWLIB_NO_NATIVE ?= 1
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)

.PHONY: demo test check torture train-smoke clean

demo: $(VENV)/.installed-core
	$(BIN)/memr1 demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py tests/test_package.py tests/test_examples.py

train-smoke: $(VENV)/.installed-dev
	$(BIN)/python -m train_ref.smoke

torture: $(VENV)/.installed-dev
	OPENBLAS_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -W ignore::DeprecationWarning -m torture

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-core: pyproject.toml | $(VENV)/bin/python
	@echo "Installing. The first time, pip is compiling llama.cpp once, about 10 minutes on two cores; later its cache is used."
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing. The first time, pip is compiling llama.cpp once, about 10 minutes on two cores; later its cache is used."
	$(BIN)/python -m pip install --editable '.[train,convert,parity,dev]'
	touch $@ $(VENV)/.installed-core
