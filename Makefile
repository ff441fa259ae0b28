# demo: tune the small model that ships with the project, for real      test: every check
# fast: the tests that take a moment    lint: style and types           clean: what the checks left behind

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help demo test fast lint clean compiler

help:
	@sed -n 's/^# *//p;/^$$/q' Makefile

demo: $(INSTALLED) compiler
	@$(BIN)/autotune --model shapes

# Two processes share the files of tests, each with a thread of its own: OpenMP threads that wait would else spin.
# They keep to the order of tests/conftest.py, by which both are busy to the end. Code is compiled once, also where the
# environment would not have that written down: else each process that a test starts compiles it again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Everything runs even where something before it failed, and pytest last, so that its closing line closes.
test: $(INSTALLED)
	@status=0; \
	$(MAKE) --no-print-directory lint || status=1; \
	$(PYTEST) || status=1; \
	exit $$status

fast: $(INSTALLED)
	@$(PYTEST) -m "not slow"

lint: $(INSTALLED)
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/mypy benchmarks || status=1; \
	exit $$status

clean:
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# setuptools first and no isolation: the build then uses the pinned one, and needs no second download
$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || { \
	  command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name it: make PYTHON=/path/to/python" >&2; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "autotune needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another one: make PYTHON=/path/to/python" >&2; exit 1; }; \
	  $(PYTHON) -m venv .venv; }
	@echo "Installing into .venv (a few minutes the first time)" >&2
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation -e '.[all,lab,quanto,dev]'
	@touch $@

# torch.compile calls the compiler that CXX names, or g++, and includes Python.h
compiler: $(INSTALLED)
	@command -v "$${CXX:-g++}" >/dev/null || \
	  echo "There is no C++ compiler here, so recipes that compile will be skipped (Debian, Ubuntu: apt-get install g++)." >&2
	@$(BIN)/python -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || \
	  echo "Python's headers are not here, so recipes that compile will be skipped (Debian, Ubuntu: apt-get install python3-dev)." >&2
