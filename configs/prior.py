"""The prior of pose tokens: poses alone, tokens of a trained tokenizer.

    python -m tokenhmr_jax.train --config=configs/prior.py --workdir=runs/prior \\
        --config.tokenizer.checkpoint=runs/tokenizer

Variants: `amass`, on stage 1's mixture and for its published sizes; `quickstart`, small, on
procedural motion, for a laptop; `bundled`, for the smaller tokenizer of that name. Each for every
kind of tokenizer, as in configs/tokenizer.py.
"""

import ml_collections

from tokenhmr_jax.config import choose_variant, import_beside

common = import_beside(__file__, 'common')
stage1 = import_beside(__file__, 'tokenizer')


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The config of `arg`, 'variant=amass|quickstart|bundled,quantizer=vq|fsq,
    network=conv|transformer'."""
    variant, kind = common.split_kind(arg)
    config = choose_variant(variant, amass, quickstart, bundled)
    tokenizer = config.tokenizer
    sizes, tokenizer.num_codes = common.tokenizer_kind(tokenizer.model, tokenizer.num_codes, **kind)
    tokenizer.model.update(sizes)
    return config


def amass() -> ml_collections.ConfigDict:
    """For the published tokenizer, on its own mixture. Never trained so far."""
    config = common.base('prior')
    config.num_steps = 150_000
    config.batch_size = 256

    # Stage 1: workdir and step of its run, and the sizes that it must have.
    config.tokenizer = ml_collections.ConfigDict()
    config.tokenizer.checkpoint = ''
    config.tokenizer.step = 'best'
    config.tokenizer.num_codes = common.NUM_CODES
    config.tokenizer.model = common.tokenizer_sizes()
    config.model = ml_collections.ConfigDict()
    config.model.update(width=512, depth=8, heads=8, dtype='float32')

    # Share of the poses that lose the tokens of one or two limbs; the others lose any tokens.
    config.hidden_limbs = 0.5
    # A token is tied to the joints with which it changes in more than this share of the poses.
    config.tied_share = 0.2
    config.body = '/data/smplh/SMPLH_NEUTRAL.npz'
    config.loss_weights = ml_collections.ConfigDict({'cross_entropy': 1.0})

    config.optimizer.learning_rate = 3e-4
    config.optimizer.b2 = 0.98
    config.optimizer.schedule = 'cosine'
    config.optimizer.warmup_steps = 1000
    config.optimizer.clip_norm = 1.0
    config.data.mixture = ml_collections.ConfigDict(stage1.SUPPLEMENT_MIXTURE)
    config.data.validation = stage1.VALIDATION
    config.eval.best_metric = 'bits'
    # Training poses that ties, and baselines of `studies.completion`, are made of.
    config.eval.baseline_poses = 20_000
    return config


def quickstart() -> ml_collections.ConfigDict:
    """Minutes on two cores: the quickstart's tokenizer, procedural motion."""
    config = amass()
    config.num_steps = 3000
    config.batch_size = 32
    config.tokenizer.checkpoint = 'runs/quickstart/tokenizer'
    config.tokenizer.num_codes = common.SMALL_NUM_CODES
    config.tokenizer.model.update(common.SMALL_TOKENIZER)
    config.model.update(width=64, depth=3, heads=4)
    config.body = 'mannequin'
    config.optimizer.learning_rate = 2e-3
    config.optimizer.muon_learning_rate = 1e-2
    config.optimizer.warmup_steps = 100
    common.use_small_data(config, 'amass/procedural')
    config.eval.every = 1000
    config.log_every = 100
    config.checkpoint_every = 1000
    return config


def bundled() -> ml_collections.ConfigDict:
    """For tokenizers of half as many tokens as the quickstart's."""
    config = quickstart()
    config.tokenizer.checkpoint = 'runs/bundled/tokenizer'
    config.tokenizer.num_codes = common.BUNDLED_NUM_CODES
    config.tokenizer.model.update(common.BUNDLED_TOKENIZER)
    config.data.data_dir = 'runs/bundled/data'
    return config
