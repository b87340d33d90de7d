"""Stage 1, the pose tokenizer.

    python -m tokenhmr_jax.train --config=configs/tokenizer.py --workdir=runs/tokenizer
    python -m tokenhmr_jax.train --config=configs/tokenizer.py:variant=release --workdir=...
    python -m tokenhmr_jax.train --workdir=... \\
        --config=configs/tokenizer.py:variant=supplement,quantizer=fsq,network=transformer

Variants: `supplement`, the published method on AMASS; `release`, what the public PyTorch code does,
its accidents included; `quickstart`, small, on procedural motion, for a laptop; `bundled`, as
small, the tokenizer that comes with the package. Each of them with codes that learn (`vq`, as
published) or finite scalar quantisation (`fsq`), in convolutions (`conv`, as published) or a
`transformer`.
"""

import ml_collections
from ml_collections.config_dict import placeholder

from tokenhmr_jax.config import choose_variant, import_beside

common = import_beside(__file__, 'common')

SUPPLEMENT_MIXTURE = {
    'amass/CMU': 0.14,
    'amass/KIT': 0.14,
    'amass/BMLrub': 0.14,
    'amass/DanceDB': 0.06,
    'amass/BMLmovi': 0.06,
    'amass/EyesJapan': 0.06,
    'amass/BMLhandball': 0.06,
    'amass/TotalCapture': 0.06,
    'amass/EKUT': 0.04,
    'amass/ACCAD': 0.04,
    'amass/TCDHands': 0.04,
    'amass/MPI_Limits': 0.16,
}
RELEASE_MIXTURE = {
    'amass/CMU': 0.12,
    'amass/KIT': 0.11,
    'amass/BMLrub': 0.11,
    'amass/DanceDB': 0.05,
    'amass/BMLmovi': 0.05,
    'amass/EyesJapan': 0.05,
    'amass/BMLhandball': 0.05,
    'amass/TotalCapture': 0.05,
    'amass/EKUT': 0.03,
    'amass/ACCAD': 0.03,
    'amass/TCDHands': 0.03,
    'amass/MPI_Limits': 0.16,
    'amass/MOYO': 0.16,
}
VALIDATION = ('amass/HumanEva', 'amass/HDM05', 'amass/SFU', 'amass/MPI_Mosh')


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The config of `arg`, 'variant=supplement|release|quickstart|bundled,quantizer=vq|fsq,
    network=conv|transformer'."""
    variant, kind = common.split_kind(arg)
    config = choose_variant(variant, supplement, release, quickstart, bundled)
    codebook = config.codebook
    sizes, codebook.num_codes = common.tokenizer_kind(config.model, codebook.num_codes, **kind)
    config.model.update(sizes)
    return config


def supplement() -> ml_collections.ConfigDict:
    """The published method."""
    config = common.base('tokenizer')
    config.num_steps = 150_000
    config.batch_size = 256

    config.model = common.tokenizer_sizes()
    config.codebook = ml_collections.ConfigDict()
    config.codebook.num_codes = common.NUM_CODES
    config.codebook.decay = 0.99
    # 'first' takes the seeds of unused codes from the batch's first few poses, as the release does.
    config.codebook.seeding = 'spread'
    # False, as in the release, seeds a code anew at every step until its decayed count recovers.
    config.codebook.reset_on_reseed = True
    # The step from which the codebook no longer learns; None for never.
    config.codebook.freeze_step = placeholder(int)

    # Standard deviation, per axis, of the random turn of each joint that the encoder sees in
    # training; the decoder is still to give the pose without it.
    config.noise_degrees = 0.0

    config.body = '/data/smplh/SMPLH_NEUTRAL.npz'
    # 'mean' gives ground-truth bodies SMPL-H's mean hands where the prediction's are flat, as the
    # release does: a floor under the mesh loss and the per-vertex error that no training removes.
    config.ground_truth_hands = 'flat'
    # The paper states L1; the release squares, and its weights (below) go with that.
    config.loss_distance = 'squared'
    # Every n-th vertex counts in the mesh loss; 1 for all, as published.
    config.loss_vertex_stride = 1
    config.loss_weights = ml_collections.ConfigDict()
    config.loss_weights.rotation = 20.0
    config.loss_weights.joints = 100.0
    config.loss_weights.vertices = 100.0
    config.loss_weights.commitment = 1.0

    config.optimizer.learning_rate = 2e-4
    config.optimizer.b2 = 0.99
    config.optimizer.weight_decay = 1e-5
    config.data.mixture = ml_collections.ConfigDict(SUPPLEMENT_MIXTURE)
    config.data.validation = VALIDATION
    # Training poses among which the baseline finds the nearest one.
    config.eval.baseline_poses = 20_000
    return config


def release() -> ml_collections.ConfigDict:
    """The public code's behaviour, its accidents included."""
    config = supplement()
    config.num_steps = 200_000
    # Its one warm-up step sets 2/3 of 2e-4, and the later drops never happen.
    config.optimizer.learning_rate = 2e-4 * 2 / 3
    # After its first evaluation the network stays in evaluation mode: the codebook is frozen.
    config.codebook.freeze_step = 2500
    config.codebook.seeding = 'first'
    config.codebook.reset_on_reseed = False
    config.ground_truth_hands = 'mean'
    config.data.mixture = ml_collections.ConfigDict(RELEASE_MIXTURE)
    config.data.validation = (*VALIDATION, 'amass/MOYO_heldout')
    return config


def quickstart() -> ml_collections.ConfigDict:
    """Minutes on two cores, no file needed: procedural motion and the mannequin body."""
    config = supplement()
    config.num_steps = 9000
    config.batch_size = 16
    config.model.update(common.SMALL_TOKENIZER)
    config.codebook.num_codes = common.SMALL_NUM_CODES
    config.body = 'mannequin'
    # At this size rotations and joints teach the mesh better than its own term does, and skinning
    # every vertex would take longer than the network: a hundred are for the metrics.
    config.loss_weights.vertices = 0.0
    config.loss_vertex_stride = 64
    # Muon needs far fewer steps here than AdamW alone for the same error.
    config.optimizer.learning_rate = 3e-3
    config.optimizer.muon_learning_rate = 1e-2
    config.optimizer.schedule = 'cosine'
    config.optimizer.warmup_steps = 100
    common.use_small_data(config, 'amass/procedural')
    config.eval.every = 2000
    config.log_every = 100
    config.checkpoint_every = 2000
    return config


def bundled() -> ml_collections.ConfigDict:
    """A smaller tokenizer than the quickstart's, on more poses: `make bundled`."""
    config = quickstart()
    config.num_steps = 8000
    config.batch_size = 32
    config.model.update(common.BUNDLED_TOKENIZER)
    config.codebook.num_codes = common.BUNDLED_NUM_CODES
    config.data.data_dir = 'runs/bundled/data'
    return config
