PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-all check bench results schema clean

# Data-free distillation on embedded digits: teacher, student, table. No download but the packages.
quickstart: $(VENV)/installed
	$(BIN)/python -m tools.quickstart

PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Minutes: each kind of behaviour once.
test: check
	$(PYTEST)

# Every case too, those that are marked slow.
test-all: check
	$(PYTEST) -m "slow or not slow"

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Needs MNIST and CIFAR-100 in data/.
bench: $(VENV)/installed
	$(BIN)/python -m tools.benchmarks

# Run cards in logs/ -> results/ and the tables of README.md.
results: $(VENV)/installed
	$(BIN)/python -m tools.results

# Schema of the configs, for editors.
schema: $(VENV)/installed
	$(BIN)/python -m tools.schema configs/schema.json

$(VENV)/installed: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) logs configs/schema.json
