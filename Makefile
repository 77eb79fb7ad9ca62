# Two commands for a new machine with Python 3.11 or later, g++ and make:
#   make demo    installs everything into .venv and evolves a network on the digits
#   make test    installs everything into .venv and runs the tests
# PIP_FLAGS is passed to every pip install. On machines with the public index alone,
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# takes the CPU build of torch, which is all that is needed and some gigabytes smaller.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV ?= .venv
PIP_FLAGS ?=
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet $(PIP_FLAGS)
# Of pytest; a process takes about a gigabyte.
TEST_FLAGS ?= -n auto --maxprocesses 8 --dist worksteal
PYSURGEON := $(VENV)/bin/pysurgeon
DEMO ?= runs/demo

.PHONY: demo test test-cpp lint docs install corpus-install

$(VENV)/bin/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "$(or $(PYTHON),Python) was not found; say make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# First, so that nothing below pulls a larger build of it.
	$(PIP) torch==2.13.0

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml CMakeLists.txt $(wildcard csrc/*.?pp csrc/*/*)
	$(PIP) .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml CMakeLists.txt $(wildcard csrc/*.?pp csrc/*/*)
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) --group dev
	$(PIP) --editable .
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed

# The libraries of benchmarks/corpus, beside the tools of the developer.
corpus-install: $(VENV)/.installed-dev
	$(PIP) --group corpus

demo: $(VENV)/.installed
	@mkdir -p $(DEMO)
	$(VENV)/bin/python examples/export_start.py digits $(DEMO)/start.onnx
	$(PYSURGEON) evolve $(DEMO)/start.onnx --data digits --epochs 40 --run $(DEMO)/run --force

test: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest $(TEST_FLAGS)

# The kernels without Python: as they are shipped, and under the sanitizers.
test-cpp: $(VENV)/.installed-dev
	for kind in none address,undefined thread; do \
	  build=build/tests-$${kind%%,*}; \
	  cmake -S . -B $$build -DPython_EXECUTABLE=$(abspath $(VENV)/bin/python) -DPYSURGEON_TESTS=ON \
	    -DPYSURGEON_SANITIZE=$${kind#none} >/dev/null && \
	  cmake --build $$build --parallel 2 && ctest --test-dir $$build --output-on-failure || exit 1; \
	done

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/clang-format --dry-run --Werror $(wildcard csrc/*.?pp csrc/*/*.?pp csrc/*/*.inl)

# The site, in site/. Its tools read the sources and import nothing of them.
docs: $(VENV)/bin/python
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) --group docs
	$(VENV)/bin/mkdocs build --strict
