# `make quickstart`: environment, data, training and evaluation of both stages. `make test`: the tests.

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/quickstart
DATA_DIR ?= $(WORKDIR)/data
EXTRAS ?= test
PY := $(VENV)/bin/python

.PHONY: quickstart test lint clean

quickstart: $(VENV)/quickstart
	$(PY) datasets/amass/amass_dataset_builder.py --data_dir=$(DATA_DIR)
	$(PY) -m tokenhmr_jax.train --config=configs/tokenizer.py:variant=quickstart \
		--config.data.data_dir=$(DATA_DIR) --workdir=$(WORKDIR)/tokenizer
	$(PY) -m tokenhmr_jax.evaluate --checkpoint=$(WORKDIR)/tokenizer
	$(PY) datasets/mannequin/mannequin_dataset_builder.py --data_dir=$(DATA_DIR) \
		--num_train=30000 --num_pseudo=0
	$(PY) -m tokenhmr_jax.train --config=configs/regressor.py:variant=quickstart \
		--config.tokenizer.checkpoint=$(WORKDIR)/tokenizer \
		--config.data.data_dir=$(DATA_DIR) --workdir=$(WORKDIR)/regressor
	$(PY) -m tokenhmr_jax.evaluate --checkpoint=$(WORKDIR)/regressor

test: $(VENV)/$(EXTRAS)
	$(PY) -m pytest -q -n auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

lint: $(VENV)/$(EXTRAS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# One stamp per set of extras; a changed setup.py installs again.
$(VENV)/quickstart: setup.py
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -e .
	touch $@

$(VENV)/%: setup.py
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .cache .pytest_cache
