# `make demo` shows the whole system; `make test` sets up everything and runs the tests.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint benchmark alert-demo clean

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

# How long it takes from the first drifted exchange to the person who is told, by stage.
alert-demo: $(VENV)/.tested system-packages
	$(BIN)/python -m tests.acceptance.prove_alerting $(ALERT_DEMO_ARGS)

benchmark: $(VENV)/.tested
	$(BIN)/pytest -m benchmark $(TEST_ARGS) tests/benchmarks

clean:
	rm -rf $(VENV)

.PHONY: system-packages
# Programs that check what is shipped and open the pages, as PROGRAM:PACKAGE; where one cannot be
# installed its tests are skipped and say so.
PROGRAMS := promtool:prometheus amtool:prometheus-alertmanager chromium:chromium \
  docker-compose:docker-compose kubectl:kubernetes-client node:nodejs npm:npm systemd-analyze:systemd
system-packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  is_fresh=; \
	  for pair in $(PROGRAMS); do \
	    command -v "$${pair%:*}" >/dev/null && continue; \
	    [ "$$is_fresh" ] || apt-get update -qq; is_fresh=yes; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$${pair#*:}" >/dev/null \
	      || echo "$${pair#*:} cannot be installed" >&2; \
	  done; \
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
