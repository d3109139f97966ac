# The two commands a newcomer needs: `make run` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICKSTART := campaigns/antiperovskite_electrolyte.yaml
RUN_DIR := runs/quickstart

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONWARNINGS :=

.PHONY: help run test slow lint types imports check schema api models bench clean

help:
	@echo "make run      install into $(VENV) and run the quickstart campaign (or go on with it)"
	@echo "make test     install into $(VENV) and run the tests"
	@echo "make slow     the tests that take minutes, and new examples for those that check a law"
	@echo "make check    lint, types and import contracts"
	@echo "make schema   write docs/campaign.schema.json"
	@echo "make api      write docs/api.md"
	@echo "make models   train the shipped generators anew, from the tables in DATA"
	@echo "make bench    the loop benchmark"

# torch first: whatever asks for it later finds the pinned build and fetches no other.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed; say which: make PYTHON=python3.12 run")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

run: $(VENV)/.installed
	@if [ -f $(RUN_DIR)/run.sqlite ]; then $(BIN)/invdesign resume $(RUN_DIR); \
	else $(BIN)/invdesign run $(QUICKSTART) --run-dir $(RUN_DIR); fi

test: $(VENV)/.developed
	$(BIN)/python -m pytest

slow: $(VENV)/.developed
	$(BIN)/python -m pytest -m "slow or hypothesis" --hypothesis-profile random --timeout 3600

lint: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developed
	$(BIN)/mypy

imports: $(VENV)/.developed
	$(BIN)/lint-imports

check: lint types imports

schema: $(VENV)/.installed
	$(BIN)/invdesign schema --output docs/campaign.schema.json

api: $(VENV)/.developed
	$(BIN)/python -m tests.api_page

DATA ?= ../shared/data/crystals
MODELS := invdesign/generators/models
ABOUT := Crystals of the Materials Project (materialsproject.org; Jain et al., APL Mater. 1, 011002 (2013)), licence CC BY 4.0, as split in WyckoffTransformer (Apache-2.0): the training part of MP-20 without quaternary compounds, and MPTS-52.

models: $(VENV)/.installed
	$(BIN)/invdesign generator train $(DATA)/mp20_binary_ternary.csv.gz $(DATA)/mpts52.csv.gz --kind prototypes --output $(MODELS)/prototypes --about "$(ABOUT)"
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/generator_network.py --all --output $(MODELS)/crystal_vae

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/loop.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
