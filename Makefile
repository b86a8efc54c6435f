# Two commands matter: `make demo` and `make test`. Each sets up .venv by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demo needs the server only; everything else also needs torch and the tools.
DEMO := $(VENV)/.installed-bench
STAMP := $(VENV)/.installed-dev

.PHONY: help demo test lint types imports browser protos bench corpus clean

help:  ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/.installed-%: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "vecstore needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@

demo: $(DEMO)  ## Semantic search over Python's standard library, through a real server
	$(BIN)/python -m vecstore_bench.demo

test: $(STAMP) lint types imports browser  ## All checks and the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict on the library and the server
	$(BIN)/mypy

imports: $(STAMP)  ## Who may import whom
	$(BIN)/lint-imports

# Tests that look at a page in a real browser skip where there is none.
browser:  ## Chromium for the tests of HTML pages: installed where root has apt-get and it is missing
	@if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null \
	  && command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	  || echo "chromium could not be installed; tests of HTML pages will skip"; \
	fi

protos: $(STAMP)  ## Regenerate vecstore/v1 from protos/
	$(BIN)/python tools/gen_protos.py

bench: $(STAMP)  ## The measurements behind the README's figures (needs the data sets, see bench/README.md)
	$(BIN)/python -m vecstore_bench.ingest
	$(BIN)/python -m vecstore_bench.search

corpus: $(STAMP)  ## Make the demo corpus again (needs torch)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[corpus]'
	$(BIN)/python -m vecstore_bench.demo.make_corpus

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
