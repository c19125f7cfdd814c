# On a fresh Debian 12 with Python 3.11, git and make, two commands are enough:
#
#   make demo     install into .venv, and run the battery screening campaign on this machine
#   make test     install what the tests need, a real Slurm included, and run every check
#
# More:
#
#   make check    the checks that take seconds: format, lint, types, layers
#   make quick    the tests that start nothing (pure, on the virtual clock, or else within their own process),
#                 but for twenty files that take long; the tests alone: make check has the rest
#   make page     the types and the tests of the monitor's page
#   make lock     pin in requirements/*.txt what pyproject.toml asks for, with hashes
#                 (make lock UPGRADE=--upgrade: the newest versions of everything)
#   make docs     build the documentation as a site, build/site
#   make reference  write docs/reference/ anew from the code
#   make soak     play campaigns on a simulated cluster, a day of faults and crashes for each seed
#                 (make soak SEEDS=1000 FIRST=0); a seed that fails is named, and how to replay it
#   make fuzz     have damaged documents read, 100,000 of them (make fuzz CASES=2000 FIRST=0)
#   make clean    remove .venv and what the tools leave behind; runs are kept

PYTHON ?= python3
export PYTHON
# Thousands of Python processes are started from here; without it each one would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# What was installed, as files in the environment: they go when it goes.
FOR_DEMO := $(VENV)/installed-for-demo
FOR_TESTS := $(VENV)/installed-for-tests
# It asks for old releases of what the tests themselves use in current ones.
VALIDATOR := $(VENV)/validator
FOR_CRATES := $(VALIDATOR)/installed

.PHONY: help demo test check quick reference test-tools format lint types layers page tests soak fuzz docs lock clean
# Both commands install into the same environment; `make -j demo test` must not do so at once.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:

# For what has nothing to do with each other: two at once, what each says in one piece.
BOTH := $(MAKE) --no-print-directory --jobs 2 --output-sync=target SIDE_BY_SIDE=yes

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(FOR_DEMO)
	@$(BIN)/matterstack run start battery_screening

# Packages of the system, and of Python; then what only reads the sources, the longest first; then the tests.
# The environment comes before all else: it may have to ask for a package of the system itself.
test: $(BIN)/python
	@$(BOTH) test-tools $(FOR_TESTS) $(FOR_CRATES)
	@$(BOTH) types page layers lint format
	@$(MAKE) --no-print-directory tests

check: $(FOR_TESTS)
	@$(BOTH) types layers lint format

# ---- the steps of `make test`; the first that fails ends it

test-tools:
	@echo "== tools"
	@scripts/install-test-tools

format: $(FOR_TESTS)
	@echo "== format"
	@$(BIN)/ruff format --check

lint: $(FOR_TESTS)
	@echo "== lint"
	@$(BIN)/ruff check

types: $(FOR_TESTS)
	@echo "== types"
	@$(BIN)/mypy

layers: $(FOR_TESTS)
	@echo "== layers"
	@$(BIN)/lint-imports

# The monitor's page: the types of its scripts, and the tests of those that draw nothing.  Node and TypeScript are
# those of the system (Debian 12: 18.20 and 4.8): nothing is fetched from a registry of JavaScript packages.
page:
	@echo "== page"
	@tsc --project tests/page
	@node --test --test-reporter=spec tests/page/*.test.js

# The order of files is that of tests/order.py.
PYTEST := $(BIN)/pytest --dist loadfile --no-loadscope-reorder

# In memory, where there is such a folder: stores are made by the thousand, and each commit waits for its disk.
quick: $(FOR_TESTS)
	@folder=$$(mktemp -d /dev/shm/ms-XXXXXX 2>/dev/null || mktemp -d /tmp/ms-XXXXXX) && \
	{ $(PYTEST) --numprocesses 2 -m "starts_nothing and not takes_long" --basetemp=$$folder/t; \
	status=$$?; rm -rf $$folder; exit $$status; }

# The folder's name is short because Slurm's daemons put sockets into it.  Three at once, also on two processors:
# many tests wait for Slurm.  What is measured, and what is not, is in tests/measuring.py.
tests: $(FOR_TESTS) $(FOR_CRATES)
	@echo "== tests"
	@folder=$$(mktemp -d /tmp/ms-XXXXXX) && mkdir $$folder/c && \
	export COVERAGE_FILE=$$folder/c/coverage && \
	{ $(PYTEST) --numprocesses 3 --basetemp=$$folder/t && \
	echo "== coverage by make quick, and by the commands of a few files (tests/measuring.py)" && \
	$(BIN)/coverage combine --quiet && \
	$(BIN)/coverage report --sort=cover >$$folder/coverage && \
	sed -n '1,22p' $$folder/coverage && echo ... && grep ^TOTAL $$folder/coverage; \
	status=$$?; rm -rf $$folder; exit $$status; }

SEEDS ?= 1000
FIRST ?= 0

soak: $(FOR_TESTS)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)

CASES ?= 100000

fuzz: $(FOR_TESTS)
	@$(BIN)/python -m tests.fuzz --cases $(CASES) --first $(FIRST)

# The tests build it as well, and do what its pages say.
docs: $(FOR_TESTS)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

# Pages that are made from the code; a test compares them.
reference: $(FOR_TESTS)
	@$(BIN)/python scripts/reference

# ---- the environment

$(BIN)/python:
	@echo "== $(VENV)"
	@scripts/create-venv $(VENV)

$(FOR_DEMO): requirements/demo.txt pyproject.toml | $(BIN)/python
	@echo "== install requirements/demo.txt into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements/demo.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The tests' requirements hold those of the demo, in the same versions.
$(FOR_TESTS): requirements/test.txt pyproject.toml | $(BIN)/python
	@echo "== install requirements/test.txt into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements/test.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(FOR_DEMO)

$(FOR_CRATES): requirements/validator.txt | $(BIN)/python
	@echo "== install requirements/validator.txt into $(VALIDATOR)"
	@scripts/create-venv $(VALIDATOR)
	@$(VALIDATOR)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes \
		-r requirements/validator.txt
	@touch $@

# ---- the pins

# One resolution for all platforms and all supported versions of Python.  Hashes are those of the public index
# alone, whatever index this machine is told to use, and no address is written into the files.
LOCK_VENV := $(VENV)/lock
LOCK := env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
	$(LOCK_VENV)/bin/uv --no-config --quiet pip compile --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

lock: $(BIN)/python
	@scripts/create-venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip --disable-pip-version-check install --quiet uv
	$(LOCK) pyproject.toml requirements/build.in --extra science --extra test -o requirements/test.txt
	$(LOCK) pyproject.toml requirements/build.in --extra science -c requirements/test.txt -o requirements/demo.txt
	$(LOCK) pyproject.toml -c requirements/test.txt -o requirements/runtime.txt
	$(LOCK) requirements/validator.in -o requirements/validator.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./workspaces -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
