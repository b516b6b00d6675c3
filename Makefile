# Two commands do everything from a fresh clone: `make demo` and `make test`. Both make .venv first, with the pinned
# versions of constraints.txt, and can be run again at any time. They need Python 3.11 or newer, and no compiler.

VENV := .venv
STAMP := $(VENV)/.installed
EXTRAS := dev,log,export,serve,report
CHECKS := lint types layers tests
ASSETS := boxwright/report/assets

ifndef PYTHON
PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
endif

.PHONY: demo test test-all fuzz install $(CHECKS)

demo: $(STAMP)
	@$(VENV)/bin/boxwright demo

# Every check runs, whatever the ones before it said; the tests come last, so that their count closes the output.
test: $(STAMP)
	@failed=; for check in $(CHECKS); do $(MAKE) --no-print-directory $$check || failed="$$failed $$check"; done; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

# The slow tests too.
test-all: $(STAMP)
	@$(VENV)/bin/python -m pytest -m ''

lint: $(STAMP)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/oxfmt --check $(ASSETS)
	@cat $(ASSETS)/*.js > $(VENV)/page.js  # the page has all of them in one script
	@$(VENV)/bin/oxlint --deny-warnings --no-ignore $(VENV)/page.js

types: $(STAMP)
	@$(VENV)/bin/mypy

layers: $(STAMP)
	@$(VENV)/bin/lint-imports --no-logo

tests: $(STAMP)
	@$(VENV)/bin/python -m pytest

# For ten minutes each: guided by coverage where atheris is installed (pip install atheris), at random where not.
MINUTES := 10
fuzz: $(STAMP)
	@$(VENV)/bin/python -m tests.fuzz.checkpoints --minutes $(MINUTES)
	@$(VENV)/bin/python -m tests.fuzz.configs --minutes $(MINUTES)
	@$(VENV)/bin/python -m tests.fuzz.pictures --minutes $(MINUTES)
	@$(VENV)/bin/python -m tests.fuzz.checkpoint_configs --minutes $(MINUTES)
	@$(VENV)/bin/python -m tests.fuzz.downloads --minutes $(MINUTES)

install: $(STAMP)

# As a variable of the environment the pins hold for the build of the package too.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer with venv found: install one, or give its path:" \
		"make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@
