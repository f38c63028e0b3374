PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow test-all check bench results schema docs clean

# Data-free distillation on digits that come with scikit-learn: a teacher, then its student. Downloads packages only.
quickstart: $(VENV)/installed
	$(BIN)/python cli.py fit --config configs/quickstart.yaml

PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Five minutes on two cores: each kind of behaviour once.
test: $(VENV)/installed
	$(PYTEST)

# Every further case: the whole campaign of kills and bad input, every config and page, the wheel, notebooks.
test-slow: $(VENV)/installed
	$(PYTEST) -m slow

test-all: check test test-slow

# Style and types.
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

# The site of the pages and docstrings, in build/site.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -d build/doctrees docs build/site

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]' --constraint constraints.txt
	touch $@

$(VENV)/installed: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) logs build configs/schema.json
