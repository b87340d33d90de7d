"""Settings of every run, and the sizes of the pose tokenizer, which both stages need."""

import math

import ml_collections
from ml_collections.config_dict import placeholder

from tokenhmr_jax.config import parse_arg


def base(task: str) -> ml_collections.ConfigDict:
    """A config with all that the stages share. The stage's own settings come on top."""
    config = ml_collections.ConfigDict()
    config.task = task
    config.seed = 0
    # Parts of a batch that are computed one after the other, where its memory is too much.
    config.accumulation_steps = 1
    # Devices in each group that shares one copy of parameters and optimizer state.
    config.mesh = ml_collections.ConfigDict({'fsdp': 1})
    config.optimizer = _optimizer()
    config.data = _data()
    config.eval = _evaluation()
    config.log_every = 50
    config.checkpoint_every = 2500
    # Batches in a row whose loss or gradient may be not finite; one more ends the run.
    config.max_skipped_steps = 10
    return config


def _optimizer() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.learning_rate = 2e-4
    # Rate of kernels trained by Muon instead of AdamW, without decay; None: AdamW throughout.
    config.muon_learning_rate = placeholder(float)
    # Newton-Schulz iterations in each step of Muon: fewer cost less and are less exact.
    config.muon_iterations = 5
    config.schedule = 'constant'
    config.warmup_steps = 0
    config.b1 = 0.9
    config.b2 = 0.999
    config.weight_decay = 1e-4
    # Largest norm of the gradient; None: not clipped.
    config.clip_norm = placeholder(float)
    return config


def _data() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.data_dir = '/data/tfds'
    config.mixture = ml_collections.ConfigDict()
    config.validation = ()
    # Processes that make batches; None: one per core but one, at most 16. 0: threads of the
    # trainer's own process, as debuggers need it.
    config.num_workers = placeholder(int)
    # How many threads then.
    config.num_threads = 8
    # Corrupt records are named and left out; a larger share of them stops the run.
    config.max_bad_fraction = 0.01
    return config


def _evaluation() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.every = 2500
    config.batch_size = 256
    # Examples per split in the evaluations during training; None for all.
    config.limit = placeholder(int)
    config.best_metric = 'mpjpe_mm'
    return config


def tokenizer_sizes() -> ml_collections.ConfigDict:
    """The published tokenizer: 160 tokens, codes of 256 numbers."""
    config = ml_collections.ConfigDict()
    # 'conv', as published, or 'transformer': joints in, latent queries out, and back.
    config.network = 'conv'
    config.width = 512
    config.code_dim = 256
    # Decides the number of tokens: 10 * 2^size_mul.
    config.size_mul = 4
    config.size_div = 4
    config.depth = 2
    config.dilation_rate = 3
    # Of the transformer's attention.
    config.heads = 8
    # Levels of each number of a code, of finite scalar quantisation ('fsq'): `code_dim` is how many
    # there are, `num_codes` their product. (): codes that learn ('vq'), as published.
    config.levels = ()
    config.dtype = 'float32'
    return config


NUM_CODES = 2048
# The quickstart's tokenizer. 80 tokens a pose: a batch of 16 has 5 of them per code, and at least 4
# are needed, or re-seeding only moves codes about.
SMALL_TOKENIZER = {'width': 64, 'code_dim': 8, 'size_mul': 3, 'size_div': 2, 'depth': 1}
SMALL_NUM_CODES = 256
# The bundled network's: half as many tokens of half as many codes, for a faster step.
BUNDLED_TOKENIZER = SMALL_TOKENIZER | {'size_mul': 2}
BUNDLED_NUM_CODES = 128

# Levels of finite scalar quantisation, by the number of codes that learn in their place. A token
# of one number has the fewest boundaries to cross when a pose moves: the most stable. The bundled
# network's 40 tokens are too few for that. Only the quickstart's have been tried.
FSQ_LEVELS = {NUM_CODES: (64,), SMALL_NUM_CODES: (16,), BUNDLED_NUM_CODES: (16, 8)}


def tokenizer_kind(
    model: ml_collections.ConfigDict, num_codes: int, quantizer: str, network: str
) -> tuple[dict, int]:
    """Sizes, and number of codes, of another kind of tokenizer with as many tokens.

    quantizer: 'vq', codes that learn, as published, or 'fsq', finite scalar quantisation.
    network: 'conv', as published, or 'transformer'.
    Raises ValueError for others.
    """
    sizes = {}
    if quantizer == 'fsq':
        levels = FSQ_LEVELS[num_codes]
        sizes |= {'levels': levels, 'code_dim': len(levels)}
        num_codes = math.prod(levels)
    elif quantizer != 'vq':
        raise ValueError(f"quantizer={quantizer!r}: expected 'vq' or 'fsq'")
    if network == 'transformer':
        sizes |= {'network': network, 'heads': max(2, model.width // 64)}
    elif network != 'conv':
        raise ValueError(f"network={network!r}: expected 'conv' or 'transformer'")
    return sizes, num_codes


def split_kind(arg: str | None) -> tuple[str, dict[str, str]]:
    """The variant of a config file's argument, if it names one, and quantizer and network."""
    parsed = parse_arg(arg, variant='', quantizer='vq', network='conv')
    variant = parsed.pop('variant')
    return f'variant={variant}' if variant else '', parsed


def use_small_data(config: ml_collections.ConfigDict, name: str) -> None:
    """Takes the dataset `name` of the quickstart, on two cores."""
    config.data.data_dir = 'runs/quickstart/data'
    config.data.mixture = ml_collections.ConfigDict({name: 1.0})
    config.data.validation = (f'{name}_heldout',)
    config.data.num_threads = 2
    config.eval.limit = 512
