"""Stage 1, the pose tokenizer.

    python -m tokenhmr_jax.train --config=configs/tokenizer.py --workdir=runs/tokenizer
    python -m tokenhmr_jax.train --config=configs/tokenizer.py:variant=release --workdir=...

Variants: `supplement`, the published method on AMASS; `release`, what the public PyTorch code does,
its accidents included; `quickstart`, small, on procedural motion, for a laptop.
"""

import ml_collections

from tokenhmr_jax.config import parse_arg

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
    """The config of `arg`, 'variant=supplement|release|quickstart'."""
    variant = parse_arg(arg, variant='supplement')['variant']
    variants = {'supplement': supplement, 'release': release, 'quickstart': quickstart}
    if variant not in variants:
        raise ValueError(f'variant={variant!r}: expected one of {list(variants)}')
    return variants[variant]()


def supplement() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.task = 'tokenizer'
    config.seed = 0
    config.num_steps = 150_000
    config.batch_size = 256
    # How many parts of a batch to compute one after the other, where its memory is too much.
    config.accumulation_steps = 1
    # Of how many devices each group shares one copy of parameters and optimizer state.
    config.mesh = ml_collections.ConfigDict()
    config.mesh.fsdp = 1

    # 2048 codes of 256 numbers, 160 tokens.
    config.model = ml_collections.ConfigDict()
    config.model.width = 512
    config.model.code_dim = 256
    config.model.size_mul = 4
    config.model.size_div = 4
    config.model.depth = 2
    config.model.dilation_rate = 3
    config.model.dtype = 'float32'

    config.codebook = ml_collections.ConfigDict()
    config.codebook.num_codes = 2048
    config.codebook.decay = 0.99
    # 'first' takes the seeds of unused codes from the batch's first few poses, as the release does.
    config.codebook.seeding = 'spread'
    # False, as in the release, seeds a code anew at every step until its decayed count recovers.
    config.codebook.reset_on_reseed = True
    # The step from which the codebook no longer learns; None for never.
    config.codebook.freeze_step = ml_collections.config_dict.placeholder(int)

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

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 2e-4
    # The rate of kernels trained by Muon instead of AdamW, which then do not decay; None for AdamW
    # throughout.
    config.optimizer.muon_learning_rate = ml_collections.config_dict.placeholder(float)
    # Of Newton and Schulz, in each of its steps: fewer cost less and are less exact.
    config.optimizer.muon_iterations = 5
    config.optimizer.schedule = 'constant'
    config.optimizer.warmup_steps = 0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.99
    config.optimizer.weight_decay = 1e-5
    config.optimizer.clip_norm = ml_collections.config_dict.placeholder(float)

    config.data = ml_collections.ConfigDict()
    config.data.data_dir = '/data/tfds'
    config.data.mixture = ml_collections.ConfigDict(SUPPLEMENT_MIXTURE)
    config.data.validation = VALIDATION
    config.data.num_threads = 8
    # Corrupt records are named and left out; a larger share of them stops the run.
    config.data.max_bad_fraction = 0.01

    config.eval = ml_collections.ConfigDict()
    config.eval.every = 2500
    config.eval.batch_size = 256
    # Examples per split in the evaluations during training; None for all.
    config.eval.limit = ml_collections.config_dict.placeholder(int)
    config.eval.best_metric = 'mpjpe_mm'
    # Among how many training poses the nearest one is sought.
    config.eval.baseline_poses = 20_000

    config.log_every = 50
    config.checkpoint_every = 2500
    config.max_skipped_steps = 10
    return config


def release() -> ml_collections.ConfigDict:
    """What the public code does, where it differs from what it means to do."""
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
    # 80 tokens a pose: a batch has 5 of them per code, and at least 4 are needed, or re-seeding
    # only moves codes about.
    config.model.width = 64
    config.model.code_dim = 8
    config.model.size_mul = 3
    config.model.size_div = 2
    config.model.depth = 1
    config.codebook.num_codes = 256
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
    config.data.data_dir = 'runs/quickstart/data'
    config.data.mixture = ml_collections.ConfigDict({'amass/procedural': 1.0})
    config.data.validation = ('amass/procedural_heldout',)
    config.data.num_threads = 2
    config.eval.every = 2000
    config.eval.limit = 512
    config.log_every = 100
    config.checkpoint_every = 2000
    return config
