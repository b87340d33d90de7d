"""Sweeps of the regressor: the ablations of the paper (CVPR 2024), its supplement, and around them.

    python launch/sweep.py --sweep=configs/regressor_sweeps.py:tals --seeds=3 --workdir=runs/tals \\
        --config=configs/regressor.py --config.tokenizer.checkpoint=runs/tokenizer \\
        --config.warm_start.checkpoint=runs/backbone

The first run of each is what the others are compared with.
"""

from tokenhmr_jax.config import import_beside
from tokenhmr_jax.studies import sweeps
from tokenhmr_jax.tasks import pose_tokens

common = import_beside(__file__, 'common')

# The published table's rows, on EMDB: 99.3, 96.7, 95.6 and 91.7 mm MPJPE.
TALS = {'none': {'tals.enabled': False}, 'tals': {'tals.enabled': True}}
HEADS = {'direct': {'model.head': 'direct'}, 'tokens': {'model.head': 'tokens'}}

# CameraHMR's answer to the same labels: keypoints in the picture's own camera, whose place the
# network reads.
_TRUE = {
    'camera.projection': 'full',
    'model.inputs': ('image', 'camera'),
    'prompts.drop_camera': 0.0,
}
CAMERAS = TALS | {
    'camera': TALS['none'] | _TRUE,
    'camera_tals': TALS['tals'] | _TRUE,
}


def ablation(config):
    """The paper's main ablation: without TALS and tokens, with either, with both."""
    yield from sweeps.product(HEADS.items(), TALS.items())


def camera(config):
    """Labels fitted with a wrong camera, and with what is done about it in training: nothing, TALS,
    the true camera, both; with either head. And the same with labels refitted with the true camera
    (`python -m tokenhmr_jax.refit`)."""
    yield from sweeps.product(_labels(config), HEADS.items(), CAMERAS.items())


def camera_direct(config):
    """Direct regression's half of `camera`."""
    yield from sweeps.product(_labels(config), [('direct', HEADS['direct'])], CAMERAS.items())


def _labels(config):
    truth, mixture = config.data.ground_truth, config.data.mixture.items()
    refitted = {n if n in truth else f'refitted/{n.replace("/", "_")}/train': w for n, w in mixture}
    return [('fitted', {}), ('refitted', {'data.mixture': refitted})]


def tals(config):
    """TALS off and on (the paper's ablation)."""
    yield from TALS.items()


def head(config):
    """Direct regression of 6D rotations against tokens (the paper's ablation)."""
    yield from HEADS.items()


# Of people without pictures: as they are; half of the body unseen in two of three; pose, shape and
# 3D keypoints known of one in fifty; of none.
REGIMES = {
    'plain': {},
    'hidden': {'prompts.detector.half': 2 / 3},
    'scarce': {'people.labelled': 0.02},
    'keypoints2d': {'people.labelled': 0.0},
}


def token_elements(config):
    """Heads in four regimes, for configs of people without pictures: direct; published; tokens of
    the whole pose from one query; and pose tokens, each run with one element more than the last.

    Beside `tokenizer.checkpoint` lies the same with `_fsq_transformer` at its end: a tokenizer of
    that kind. docs/tokens.md has the commands.
    """
    for regime, settings in REGIMES.items():
        for name, head in _heads(config).items():
            # Without true labels cross-entropy has nothing to add.
            if regime != 'keypoints2d' or name not in ('cross_entropy', 'label_smoothing'):
                yield f'{regime}/{name}', settings | head


def _heads(config):
    stage1, weight = config.tokenizer, config.loss_weights.tokens
    kind = {'quantizer': 'fsq', 'network': 'transformer'}
    sizes, count = common.tokenizer_kind(stage1.model, stage1.num_codes, **kind)
    fsq = {f'tokenizer.model.{name}': value for name, value in sizes.items()}
    fsq |= {'tokenizer.num_codes': count}
    fsq |= {'tokenizer.checkpoint': f'{stage1.checkpoint}_fsq_transformer'}
    elements = {
        'queries': {'model.head': 'pose_tokens', 'loss_weights.tokens': 0.0},
        'fsq_transformer': fsq,
        'cross_entropy': {'loss_weights.tokens': weight},
        'straight_through': {'pose_tokens.straight_through': True},
        'gumbel': {'pose_tokens.gumbel': 1.0},
        'label_smoothing': {'pose_tokens.label_smoothing': 0.1},
    }
    heads = {
        'direct': {'model.head': 'direct'},
        'published': {'model.head': 'tokens', 'model.body_mean': 'rest'},
        'whole_pose': {'model.head': 'tokens', 'model.body_mean': 'none'},
    }
    together = {}
    for name, element in elements.items():
        together = together | element
        heads[name] = together
    return heads


def loose_weight(config):
    """Weight of an error within its threshold, from as much as any other to nothing at all.

    About 0.01 in the paper, 0.05 in its public code.
    """
    yield from _with_tals({'tals.loose_weight': [1.0, 0.2, 0.05, 0.01, 0.0]})


def thresholds(config):
    """The thresholds of the supplement's Table 1 scaled: how well must they be known?"""
    yield from _with_tals({'tals.scale': [1.0, 0.25, 0.5, 2.0, 4.0]})


def distance(config):
    """Distance compared with the 2D thresholds: L1, as they were measured (supplement, section
    2.2), or squared, as in the release, which tolerates ten times as much."""
    yield from _with_tals({'tals.distance': ['l1', 'squared']})


def _with_tals(axes):
    for name, overrides in sweeps.grid(axes):
        yield name, overrides | {'tals.enabled': True}


def filtering(config):
    """TALS against filtering (supplement, section 3.2): neither, either, both.

    Pseudo-ground-truth without filters is prepared beside the filtered one, with all filters of
    datasets/pseudo_gt off and --tag=unfiltered.
    """
    unfiltered = {_unfiltered(name): weight for name, weight in config.data.mixture.items()}
    if list(unfiltered) == list(config.data.mixture):
        raise ValueError('the sweep is of data.mixture with pseudo_gt/.../train: there is none')
    data = {
        'data.mixture': unfiltered,
        'data.ground_truth': tuple(map(_unfiltered, config.data.ground_truth)),
    }
    yield from sweeps.product([('unfiltered', data), ('filtered', {})], TALS.items())


def _unfiltered(name):
    dataset, _, split = name.rpartition('/')
    return f'{dataset}_unfiltered/{split}' if dataset.startswith('pseudo_gt/') else name


def loss_weights(config):
    """Each loss term at a fifth and at five times its weight, of which the paper gives one set."""
    yield 'as_is', {}
    for term, weight in pose_tokens.loss_weights(config).items():
        for factor in (0.2, 5.0) if weight else ():
            yield f'{term}/x{factor}', {f'loss_weights.{term}': factor * weight}


def learning_rate(config):
    """The rates of the three public recipes, 1e-5, 5e-6 and 5e-7, and rates around them."""
    yield from sweeps.grid({'optimizer.learning_rate': [1e-5, 5e-6, 5e-7, 3e-5, 1e-4]})
