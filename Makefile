.PHONY: demo demo-ca-cl check docs test slow fuzz fix clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := OMP_WAIT_POLICY=PASSIVE

demo: $(READY)  ## tags to masks on the toy world, in a few minutes
	$(BIN)/tag2mask demo

demo-ca-cl: demo  ## the same scenes, maps taught by an image-text model
	$(BIN)/tag2mask run toy-ca-cl --work work/demo

check: $(READY)  ## everything CI checks, in the order it fails fastest
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TOOLS) $(BIN)/pytest -n 2

docs: $(READY)  ## the documentation, in build/site; a broken link fails
	$(BIN)/mkdocs build --strict

test: $(READY)  ## the quick tests, one process
	$(TOOLS) $(BIN)/pytest

slow: $(READY)  ## tests that train networks for minutes
	$(TOOLS) $(BIN)/pytest -m slow

fuzz: $(READY)  ## 50,000 files and requests that nobody would send in good faith
	$(TOOLS) $(BIN)/pytest -m slow tests/slow/test_fuzz.py

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch comes first and by its pin, so that nothing else chooses another build
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev --group docs --editable .
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
