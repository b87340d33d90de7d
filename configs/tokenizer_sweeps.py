"""Sweeps of the tokenizer: the ablations of the supplement (CVPR 2024), and around them.

    python launch/sweep.py --sweep=configs/tokenizer_sweeps.py:codes --seeds=3 \\
        --workdir=runs/codes --config=configs/tokenizer.py

The first run of each is what the others are compared with.
"""

import itertools

from tokenhmr_jax.config import import_beside
from tokenhmr_jax.models.tokenizer import num_tokens
from tokenhmr_jax.studies import sweeps

common = import_beside(__file__, 'common')


def kinds(config):
    """Codes that learn, as published, or finite scalar quantisation, in convolutions, as published,
    or a transformer."""
    for quantizer, network in itertools.product(('vq', 'fsq'), ('conv', 'transformer')):
        kind = {'quantizer': quantizer, 'network': network}
        sizes, count = common.tokenizer_kind(config.model, config.codebook.num_codes, **kind)
        settings = {f'model.{name}': value for name, value in sizes.items()}
        yield f'{quantizer}_{network}', settings | {'codebook.num_codes': count}


def noise(config):
    """Random turns of the joints that the encoder sees in training; none as published."""
    yield from sweeps.grid({'noise_degrees': [0.0, 1.0, 2.0, 4.0]})


def codes(config):
    """Codes in the codebook; 2048 as published (supplement)."""
    size = config.codebook.num_codes
    yield from sweeps.grid({'codebook.num_codes': [size, size // 4, size // 2, 2 * size]})


def code_dim(config):
    """Numbers in a code; 256 as published (supplement)."""
    size = config.model.code_dim
    yield from sweeps.grid({'model.code_dim': [size, size // 4, size // 2, 2 * size]})


def tokens(config):
    """Tokens for a pose: 160 as published (supplement), and what fewer and more
    upsamplings make of the 21 joints.

    Few tokens want a larger `batch_size`, of all runs: below 4 tokens a code and batch, re-seeding
    codes does more than training them.
    """
    size = config.model.size_mul
    for size_mul in (size, *(s for s in range(1, 6) if s != size)):
        yield f'tokens={num_tokens(size_mul)}', {'model.size_mul': size_mul}


def loss_weights(config):
    """Each loss term at a fifth and at five times its weight, and off (those of section 3.2)."""
    yield 'as_is', {}
    for term, weight in config.loss_weights.items():
        for factor in (0.0, 0.2, 5.0) if weight else ():
            yield f'{term}/x{factor}', {f'loss_weights.{term}': factor * weight}


def loss_distance(config):
    """L1, as the paper writes the loss, against the squares of its public code."""
    yield from sweeps.grid({'loss_distance': ['squared', 'l1']})


def accidents(config):
    """The accidents of the public code, one by one; see `variant=release`."""
    yield 'meant', {}
    yield 'frozen_at_2500', {'codebook.freeze_step': 2500}
    yield 'first_seeds', {'codebook.seeding': 'first', 'codebook.reset_on_reseed': False}
    yield 'low_rate', {'optimizer.learning_rate': 2 / 3 * config.optimizer.learning_rate}
