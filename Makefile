# `make demo` and `make test` do all of their own set-up. Python 3.11 or newer, and make, is all they need.
PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS := $(shell $(PYTHON) -c 'import sys; print("constraints.txt" if sys.version_info[:2] == (3, 11) else "constraints-py312.txt")')

PACKAGES := ingest models explain clinical driving serve
# What nearly every command loads: compiled once here, for places where Python may not keep what it compiles.
EAGER := numpy pandas pyarrow pydantic rich typer duckdb pydicom PIL jinja2 yaml

.PHONY: demo dashboard test test-slow test-all search check format setup clean

demo: setup  ## the whole of Telltale on a simulated hospital of 600 patients
	$(BIN)/telltale demo run demo --patients 600

dashboard: setup  ## look at the demo's result
	@test -d demo/workspace || $(MAKE) demo
	$(BIN)/telltale dashboard --workspace demo/workspace

test: setup  ## the fast tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow and not gpu"

test-slow: setup  ## the tests that train for long, or drive a real browser
	$(BIN)/pytest -m "slow and not gpu"

test-all: test test-slow  ## all tests that need no GPU

search: setup  ## the property tests with examples that they have never seen
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --hypothesis-profile search -m "not slow and not gpu" $$(grep -rl hypothesis tests --include='test_*.py')

check: setup  ## lint, format, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: .venv/installed

.venv/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q uv
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install -q --python $(BIN)/python -c $(CONSTRAINTS) -e '.[dev]'
	$(BIN)/python -m compileall -q -j 0 $(PACKAGES) $(addprefix $(BIN)/../lib/python3*/site-packages/,$(EAGER)) || true
	@touch $@

clean:  ## remove what was made here, apart from the environment
	rm -rf demo workspace .pytest_cache .mypy_cache .ruff_cache .hypothesis
