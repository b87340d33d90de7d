# `make quickstart`: environment, data, training and evaluation of both stages. `make test`: the tests.
# `make miniature`: ablations of TALS and tokens, small; docs/miniature.md. Stopped, it goes on.

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/quickstart
DATA_DIR ?= $(WORKDIR)/data
EXTRAS ?= test
MINIATURE ?= runs/miniature
PY := $(VENV)/bin/python
MINIATURE_CONFIG = --config=configs/regressor.py:variant=miniature \
	--config.data.data_dir=$(MINIATURE)/data --config.tokenizer.checkpoint=$(MINIATURE)/tokenizer \
	--config.warm_start.checkpoint=$(MINIATURE)/pretrained \
	--config.tals.thresholds=$(MINIATURE)/thresholds.csv

.PHONY: quickstart miniature test lint clean

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

miniature: $(VENV)/report
	$(PY) datasets/amass/amass_dataset_builder.py --data_dir=$(MINIATURE)/data
	$(PY) -m tokenhmr_jax.train --config=configs/tokenizer.py:variant=quickstart \
		--config.data.data_dir=$(MINIATURE)/data --workdir=$(MINIATURE)/tokenizer
	$(PY) datasets/mannequin/mannequin_dataset_builder.py --data_dir=$(MINIATURE)/data \
		--num_train=6000 --num_pseudo=12000 --nearest=1.2 --farthest=3 \
		--kinds=standing,walking,running,reaching,kicking
	$(PY) -m tokenhmr_jax.train $(MINIATURE_CONFIG) --workdir=$(MINIATURE)/pretrained \
		--config.num_steps=4000 --config.model.head=direct --config.warm_start.checkpoint= \
		--config.data.mixture="{'mannequin/suit_pseudo': 1.0}" --config.data.ground_truth="()" \
		--config.tals.enabled=False --config.tals.thresholds=table1
	$(PY) -m tokenhmr_jax.tals --data_dir=$(MINIATURE)/data --split=mannequin/suit \
		--checkpoint=$(MINIATURE)/pretrained --out=$(MINIATURE)/thresholds.csv
	$(PY) launch/sweep.py --sweep=configs/regressor_sweeps.py:ablation --seeds=3 \
		--workdir=$(MINIATURE)/ablation $(MINIATURE_CONFIG)

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
