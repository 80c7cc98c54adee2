# `make demo` shows the whole system; `make test` sets up everything and runs the tests.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint benchmark clean

demo: $(VENV)/.installed
	$(BIN)/mllm-monitor demo $(DEMO_ARGS)

# One thread per eigenproblem: test processes share few cores.
test benchmark: export OMP_NUM_THREADS = 1
test benchmark: export OPENBLAS_NUM_THREADS = 1
test benchmark: export MKL_NUM_THREADS = 1
test: $(VENV)/.tested system-packages
	$(BIN)/pytest -n $(or $(TEST_PROCESSES),auto) --dist loadfile $(TEST_ARGS)

lint: $(VENV)/.tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/alembic check

benchmark: $(VENV)/.tested
	$(BIN)/pytest -m benchmark $(TEST_ARGS) tests/benchmarks

clean:
	rm -rf $(VENV)

.PHONY: system-packages
# promtool checks the metrics, chromium opens the pages; where they cannot be installed their tests are
# skipped and say so.
system-packages:
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	fi
	@if ! command -v promtool >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends prometheus >/dev/null; \
	fi

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version); try make PYTHON=python3.11" >&2; exit 2; }
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >/dev/null; \
	  else \
	    echo "$(PYTHON) cannot make virtual environments: install python3-venv (apt-get install python3-venv) and run make again" >&2; exit 2; \
	  fi; \
	fi
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@
