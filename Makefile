# make demo         environment, and bodies on photographs in a minute; PHOTOS=FOLDER: also on yours
# make quickstart   environment, data, training and evaluation of both stages
# make test         the tests, but for the slow ones; make test-all: all of them
# make lint         ruff, the layers of the package, and its declared dependencies
# make test-wheel   every command of the wheel, in an empty environment
# make test-oldest  some of them and some tests, with the oldest versions that are allowed
# make test-newest  some of them, with the newest Python and the newest versions: NEWEST=PYTHON
# make docs         the documentation as a site, build/site; broken links are errors
# make plan         memory and operations of the published training on a slice of TPUs, without one
# make faults       all faults that a run must survive, in full, and a table of the outcomes
# make bundled      the network of the package, trained anew: under an hour
# make miniature    ablations of TALS and tokens, small (docs/miniature.md); stopped, it goes on
# make miniature-camera   also of the true camera, and of labels refitted with it

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/quickstart
DATA_DIR ?= $(WORKDIR)/data
EXTRAS ?= test
MINIATURE ?= runs/miniature
SWEEP ?= camera
SEEDS ?= 3
STEPS ?= 400
BUNDLED ?= runs/bundled
DEMO ?= runs/demo
PY := $(VENV)/bin/python
MINIATURE_CONFIG = --config=configs/regressor.py:variant=miniature \
	--config.data.data_dir=$(MINIATURE)/data --config.tokenizer.checkpoint=$(MINIATURE)/tokenizer \
	--config.warm_start.checkpoint=$(MINIATURE)/pretrained \
	--config.tals.thresholds=$(MINIATURE)/thresholds.csv

PYTEST := $(PY) -m pytest -q -n auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

NEWEST ?= $(shell PYENV_VERSION=3.13 pyenv which python 2>/dev/null || echo python3.13)
OLDEST_TESTS := tests/body/test_rotations.py tests/data/test_pipeline.py tests/test_plan.py \
	-m 'not slow'

.PHONY: demo quickstart bundled miniature miniature-camera test test-all test-wheel test-oldest \
	test-newest faults plan lint docs clean

demo: $(VENV)/photos
	$(PY) -m tokenhmr_jax.demo --out=$(DEMO) $(if $(PHOTOS),'--photos=$(PHOTOS)')

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
	@echo
	@echo 'Runs, tables and pictures: $(WORKDIR). Next:'
	@echo '  make demo                  bodies on photographs, make demo PHOTOS=FOLDER: also on yours'
	@echo '  $(PY) -m tokenhmr_jax.predict --input=PHOTOS --out=RESULT'
	@echo '  $(PY) -m tokenhmr_jax.view RESULT'

# Of both miniatures: data, tokenizer, start and thresholds.
define MINIATURE_START
	$(PY) datasets/amass/amass_dataset_builder.py --data_dir=$(MINIATURE)/data
	$(PY) -m tokenhmr_jax.train --config=configs/tokenizer.py:variant=quickstart \
		--config.data.data_dir=$(MINIATURE)/data --workdir=$(MINIATURE)/tokenizer
	$(PY) datasets/mannequin/mannequin_dataset_builder.py --data_dir=$(MINIATURE)/data \
		--num_train=6000 --num_pseudo=12000 --num_pseudo_true=2000 --nearest=1.2 --farthest=3 \
		--kinds=standing,walking,running,reaching,kicking
	$(PY) -m tokenhmr_jax.train $(MINIATURE_CONFIG) --workdir=$(MINIATURE)/pretrained \
		--config.num_steps=5000 --config.eval.every=1000 \
		--config.model.head=direct --config.warm_start.checkpoint= \
		--config.data.mixture="{'mannequin/suit_pseudo': 1.0}" --config.data.ground_truth="()" \
		--config.tals.enabled=False --config.tals.thresholds=table1
	$(PY) -m tokenhmr_jax.studies.thresholds --data_dir=$(MINIATURE)/data --split=mannequin/suit \
		--checkpoint=$(MINIATURE)/pretrained --out=$(MINIATURE)/thresholds.csv
endef

miniature: $(VENV)/report
	$(MINIATURE_START)
	$(PY) launch/sweep.py --sweep=configs/regressor_sweeps.py:ablation --seeds=3 \
		--workdir=$(MINIATURE)/ablation $(MINIATURE_CONFIG)

# SWEEP=camera_direct SEEDS=1: a part of it, in 40 minutes.
miniature-camera: $(VENV)/report
	$(MINIATURE_START)
	$(PY) -m tokenhmr_jax.refit --data_dir=$(MINIATURE)/data --split=mannequin/suit_pseudo \
		--truth=mannequin/suit_pseudo_true --checkpoint=bundled
	$(PY) launch/sweep.py --sweep=configs/regressor_sweeps.py:$(SWEEP) --seeds=$(SEEDS) \
		--workdir=$(MINIATURE)/$(SWEEP) $(MINIATURE_CONFIG) --config.num_steps=$(STEPS) \
		--config.eval.every=$(STEPS) --config.checkpoint_every=$(STEPS)

bundled: $(VENV)/quickstart
	$(PY) datasets/amass/amass_dataset_builder.py --data_dir=$(BUNDLED)/data \
		--num_procedural=120000
	$(PY) -m tokenhmr_jax.train --config=configs/tokenizer.py:variant=bundled \
		--config.data.data_dir=$(BUNDLED)/data --workdir=$(BUNDLED)/tokenizer
	$(PY) -m tokenhmr_jax.train --config=configs/regressor.py:variant=bundled \
		--config.data.data_dir=$(BUNDLED)/data \
		--config.tokenizer.checkpoint=$(BUNDLED)/tokenizer --workdir=$(BUNDLED)/regressor
	rm -rf tokenhmr_jax/bundled
	$(PY) -m tokenhmr_jax.pack --checkpoint=$(BUNDLED)/tokenizer \
		--out=tokenhmr_jax/bundled/tokenizer
	$(PY) -m tokenhmr_jax.pack --checkpoint=$(BUNDLED)/regressor \
		--out=tokenhmr_jax/bundled/regressor
	$(PY) -m tokenhmr_jax.studies.lifting --data_dir=$(BUNDLED)/data

test: $(VENV)/$(EXTRAS)
	$(PYTEST) -m 'not slow'

test-all: $(VENV)/$(EXTRAS)
	$(PYTEST)

test-wheel:
	rm -rf build $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip wheel -q --no-deps --wheel-dir=$(VENV)-wheel .
	$(VENV)-wheel/bin/python -m pip install -q $(VENV)-wheel/*.whl
	$(VENV)-wheel/bin/python tests/smoke.py
	for wheel in $(VENV)-wheel/*.whl; do \
		$(VENV)-wheel/bin/python -m pip install -q "$$wheel[hub,photos,report]"; done
	$(VENV)-wheel/bin/python tests/smoke.py extras

test-oldest:
	rm -rf build $(VENV)-oldest
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install -q uv
	$(VENV)-oldest/bin/uv pip install -q --python=$(VENV)-oldest/bin/python \
		--resolution=lowest-direct '.[test]'
	$(VENV)-oldest/bin/python tests/smoke.py quick
	$(VENV)-oldest/bin/python -m pytest -q $(OLDEST_TESTS)

test-newest:
	rm -rf build $(VENV)-newest
	@if $(NEWEST) --version; then \
		set -ex; $(NEWEST) -m venv $(VENV)-newest; \
		$(VENV)-newest/bin/python -m pip install -q .; \
		$(VENV)-newest/bin/python tests/smoke.py quick; \
	else echo 'skipped: no $(NEWEST) here'; fi

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo 'wrote build/site; open build/site/index.html in a browser'

faults: $(VENV)/$(EXTRAS)
	$(PY) tests/faults

# The compiler that jax[tpu] would install, aside: beside jax it would look for TPUs in each command.
plan: $(VENV)/$(EXTRAS) $(VENV)/libtpu
	PYTHONPATH=$(VENV)/libtpu $(PY) -m tokenhmr_jax.plan --config=configs/regressor.py \
		--topology=v5e-32 --config.mesh.fsdp=8 --nosearch

$(VENV)/libtpu: $(VENV)/$(EXTRAS)
	$(PY) -m pip install -q --no-deps --target=$@ "$$($(PY) -c 'import importlib.metadata as m; \
		print(*(r.split(";")[0] for r in m.requires("jax") if r.startswith("libtpu")))')"

lint: $(VENV)/$(EXTRAS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/deptry tokenhmr_jax configs launch datasets benchmarks tests
	$(VENV)/bin/mypy

# One stamp per set of extras; changed dependencies install again.
$(VENV)/quickstart: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -e .
	touch $@

$(VENV)/%: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-wheel $(VENV)-oldest $(VENV)-newest build *.egg-info .cache .pytest_cache
