PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test check bench results schema clean

# Data-free distillation on embedded digits: teacher, student, table. No download but the packages.
quickstart: $(VENV)/installed
	$(BIN)/python -m tools.quickstart

test: check
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

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
