# `make demo` and `make test` need only Python >= 3.11 with venv and pip, and a C compiler. Everything else (CMake,
# Ninja, Cython, the test tools) comes from PyPI into $(VENV). Nothing is written outside this folder but pip's cache.
#
#   PYTHON=python3.13 VENV=.venv-3.13   another interpreter, in an environment of its own
#   ARGS='-k noise -x'                  passed on to pytest
#   WORKERS=0                           all tests in one process (auto: one for each CPU, four at the most)

PYTHON ?=
VENV ?= .venv
ARGS ?=
WORKERS ?= auto

BUILD := build/editable$(patsubst .venv%,%,$(notdir $(VENV)))
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
CORE := $(patsubst src/_core/%.pyx,librats._core.%,$(sort $(wildcard src/_core/*.pyx)))
TYPED := src/librats tests $(wildcard tools examples benchmarks)

# The import hook that rebuilds compiled modules calls `cmake` and `ninja` by name: those of the environment.
export PATH := $(abspath $(BIN)):$(PATH)
unexport PYTHONPATH PYTHONHOME
# Hundreds of processes import librats in the tests: it is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-long coverage nat-matrix lint format docs bench bench-report dist check-install clean same-python

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## Two nodes meet, talk and send a file
	@$(BIN)/librats demo

# A test that hangs with the GIL held is beyond the timeouts of pytest: the process is ended, with a traceback.
test: $(VENV)/.test $(VENV)/.interop ## Run the tests, except those that take minutes
	@$(PY) -m pytest -q -m "not long" -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true \
	  --numprocesses $(WORKERS) --maxprocesses 4 --dist worksteal $(ARGS)

test-long: $(VENV)/.test $(VENV)/.interop $(VENV)/.fuzz ## Run the tests that take minutes
	@$(PY) -m pytest -q -m long $(ARGS)

coverage: $(VENV)/.test $(VENV)/.interop ## Run the tests and tell which lines and branches they reach; fail below 90 %
	@rm -f .coverage .coverage.*
	@$(PY) -m coverage run -m pytest -q -m "not long" $(ARGS)
	@$(PY) -m coverage combine --quiet
	@$(PY) tools/coverage_report.py

nat-matrix: $(VENV)/.test $(VENV)/.interop ## Measure who reaches whom behind the kernel's NATs (Linux, root; ARGS=--help)
	@$(PY) -m tests.netns.matrix $(ARGS)

lint: $(VENV)/.test $(VENV)/.lint ## Check style, types, stubs and spelling
	@failed=; \
	$(BIN)/ruff check --quiet . || failed="$$failed ruff-check"; \
	$(BIN)/ruff format --quiet --check . || failed="$$failed ruff-format(make format mends it)"; \
	$(BIN)/cython-lint src/_core || failed="$$failed cython-lint"; \
	$(BIN)/codespell || failed="$$failed codespell"; \
	$(PY) -m mypy --no-error-summary $(TYPED) || failed="$$failed mypy"; \
	found=$$($(BIN)/zizmor --offline --quiet .github/workflows 2>&1) || failed="$$failed zizmor $$found"; \
	MYPYPATH=src $(PY) -m mypy.stubtest --concise --mypy-config-file pyproject.toml $(CORE) \
	  || failed="$$failed stubtest"; \
	[ -z "$$failed" ] || { echo "lint failed:$$failed" >&2; exit 1; }

format: $(VENV)/.lint ## Format the Python sources and apply safe fixes
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

docs: $(VENV)/.docs ## Build the documentation into docs/_build/html
	@$(PY) -m sphinx --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

bench: $(VENV)/.bench ## Measure librats beside others, and compare with earlier runs (ARGS=--quick takes a minute)
	@status=0; \
	$(PY) -m pytest -q --benchmark-only --benchmark-quiet --benchmark-autosave --timeout=0 \
	  -o python_files='bench_*.py' -o python_functions='bench_*' benchmarks $(ARGS) || status=$$?; \
	$(PY) -m benchmarks.history; exit $$status

bench-report: $(VENV)/.test ## Compare the newest run of the benchmarks with earlier ones
	@$(PY) -m benchmarks.history

dist: $(VENV)/.dist ## Build the sdist, and the wheel from it, into dist/
	@rm -rf dist
	@$(PY) -m build --outdir dist . >build/dist.log 2>&1 || { cat build/dist.log >&2; exit 1; }
	@$(PY) -m twine check --strict dist/* >>build/dist.log || { cat build/dist.log >&2; exit 1; }
	@ls dist

check-install: $(VENV)/.dist ## Build from the sdist on every CPython found here, install, and try it
	@rm -rf build/check-install && mkdir -p build/check-install
	@$(PY) -m build --sdist --outdir build/check-install . >build/dist.log 2>&1 || { cat build/dist.log >&2; exit 1; }
	@$(PY) tools/check_install.py build/check-install/*.tar.gz

clean: ## Remove everything that make has made, the environment included
	@rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find src tests tools benchmarks examples docs -name __pycache__ -type d -exec rm -rf {} + 2>/dev/null || true

# Each file below stands for a step that succeeded, so that the next call skips it.

same-python:
	@if [ -n "$(PYTHON)" ] && [ -x $(PY) ] && [ -e $(VENV)/.made ]; then \
	  question='import sys; print(sys.version, sys.base_prefix)'; \
	  wanted=$$($(PYTHON) -c "$$question") && found=$$($(PY) -c "$$question") || exit 1; \
	  [ "$$wanted" = "$$found" ] || { \
	    echo "$(VENV) is of Python $$found, not of $(PYTHON): add VENV=.venv-other, or run make clean first" >&2; \
	    exit 1; }; fi

$(VENV)/.made: | same-python
	@if ! { [ -x $(PY) ] && $(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))'; } 2>/dev/null; then \
	  python=$$(sh tools/find-python $(PYTHON)) || exit 1; \
	  echo "Making $(VENV) with $$python"; \
	  rm -rf $(VENV) $(BUILD); \
	  $$python -m venv $(VENV) || exit 1; \
	fi
	@$(PIP) install "pip>=25.1"
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml CMakeLists.txt
	@command -v "$${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || { \
	  echo "no C compiler found: install one (Debian: build-essential, macOS: xcode-select --install)" >&2; exit 1; }
	@echo "Installing librats into $(VENV)"
	@$(PIP) install --group build
	@$(PIP) install --no-build-isolation -C editable.rebuild=true -C editable.verbose=false \
	  -C build-dir=$(BUILD) -e '.[cli]'
	@touch $@

$(VENV)/.test $(VENV)/.interop $(VENV)/.fuzz $(VENV)/.bench $(VENV)/.lint $(VENV)/.docs $(VENV)/.dist: $(VENV)/.installed
	@$(PIP) install --group $(patsubst .%,%,$(notdir $@))
	@touch $@
