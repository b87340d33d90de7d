"""Stage 2, the regressor.

    python -m tokenhmr_jax.train --config=configs/regressor.py --workdir=runs/regressor \
        --config.tokenizer.checkpoint=runs/tokenizer --config.warm_start.checkpoint=runs/backbone

The published training starts from ViTPose's backbone, the public code's from HMR2.0's; README
converts them. Without `warm_start.checkpoint` it starts from random weights, for which its rates
are far too low. Both add to a published mean body: `model.body_mean`.

Variants: `paper`, as published; `release`, what the public PyTorch code does; `bedlam`, ground
truth alone; `quickstart`, small, on pictures of the mannequin, for a laptop; `miniature`, as small,
for ablations of TALS and tokens.
"""

import ml_collections

from tokenhmr_jax.config import parse_arg
from tokenhmr_jax.models import vit

# Of the release. Which of them are ground truth: `GROUND_TRUTH`.
MIXTURE = {
    'pseudo_gt/h36m/train': 0.1,
    'pseudo_gt/mpii/train': 0.1,
    'pseudo_gt/coco/train': 0.1,
    'pseudo_gt/coco_vitpose/train': 0.1,
    'bedlam/train': 0.18,
    'pseudo_gt/mpi_inf_3dhp/train': 0.04,
    'pseudo_gt/ava/train': 0.13,
    'pseudo_gt/aic/train': 0.13,
    'pseudo_gt/insta/train': 0.12,
}
GROUND_TRUTH = ('pseudo_gt/h36m/train', 'bedlam/train')


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The config of `arg`, 'variant=paper|release|bedlam|quickstart|miniature'."""
    variant = parse_arg(arg, variant='paper')['variant']
    variants = {each.__name__: each for each in (paper, release, bedlam, quickstart, miniature)}
    if variant not in variants:
        raise ValueError(f'variant={variant!r}: expected one of {list(variants)}')
    return variants[variant]()


def paper() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.task = 'regressor'
    config.seed = 0
    config.num_steps = 100_000
    config.batch_size = 256
    # How many parts of a batch to compute one after the other, where its memory is too much.
    config.accumulation_steps = 1
    # Of how many devices each group shares one copy of parameters and optimizer state.
    config.mesh = ml_collections.ConfigDict()
    config.mesh.fsdp = 1
    # Loss terms are means over the batch times this: the release sums over 48 images.
    config.reference_batch = 48.0

    # Whose weights training starts from: workdir and step of a run or of converted weights, and
    # what is taken of them, 'backbone' or also 'head'. Nothing is, where `checkpoint` is empty:
    # for small networks, not for this one.
    config.warm_start = ml_collections.ConfigDict()
    config.warm_start.checkpoint = ''
    config.warm_start.step = 'best'
    config.warm_start.parts = ('backbone',)

    # Stage 1: workdir and step of its run, and the sizes that it must have. Where `checkpoint` is
    # empty, stage 1 comes with the head that training starts from.
    config.tokenizer = ml_collections.ConfigDict()
    config.tokenizer.checkpoint = ''
    config.tokenizer.step = 'best'
    config.tokenizer.num_codes = 2048
    config.tokenizer.model = ml_collections.ConfigDict()
    config.tokenizer.model.width = 512
    config.tokenizer.model.code_dim = 256
    config.tokenizer.model.size_mul = 4
    config.tokenizer.model.size_div = 4
    config.tokenizer.model.depth = 2
    config.tokenizer.model.dilation_rate = 3
    config.tokenizer.model.dtype = 'float32'

    config.model = ml_collections.ConfigDict()
    # 'direct' regresses the pose in 6D, as HMR2.0 does.
    config.model.head = 'tokens'
    # What the network's output is added to: 'rest', an upright body at rest; 'none', the same, but
    # the tokens' decoder, if there is one, gives the body's pose itself, as in stage 1; or the path
    # of smpl_mean_params.npz, as published. A head that training starts from brings its own.
    config.model.body_mean = 'rest'
    # 'columns' is HMR2.0's convention; the tokenizer's is 'rows'.
    config.model.rotation_6d = 'rows'
    config.model.backbone = ml_collections.ConfigDict(vit.decode_variant('H/16'))
    config.model.backbone.position_scale = 0.02
    config.model.backbone.drop_path = 0.55
    # 'bernoulli' drops each sample's branch by chance, as published; 'subset' computes a branch for
    # a random part of the batch alone, which saves a quarter of the work at this rate.
    config.model.backbone.drop_mode = 'bernoulli'
    config.model.backbone.drop_groups = 1
    config.model.backbone.scan = True
    # What the backward pass computes again to save memory: '', 'products' or 'blocks'; see ViT.
    config.model.backbone.remat = 'blocks'
    config.model.backbone.dtype = 'bfloat16'
    config.model.decoder = ml_collections.ConfigDict()
    config.model.decoder.width = 1024
    config.model.decoder.depth = 6
    config.model.decoder.heads = 8
    config.model.decoder.head_dim = 64
    config.model.decoder.mlp_dim = 1024
    config.model.decoder.dtype = 'bfloat16'
    config.model.mixer = ml_collections.ConfigDict()
    config.model.mixer.width = 64
    config.model.mixer.depth = 4
    config.model.mixer.token_dim = 64
    config.model.mixer.channel_dim = 256
    config.model.mixer.dtype = 'bfloat16'

    config.body = '/data/smpl/SMPL_NEUTRAL.pkl'
    # For files without `joint_regressor_extra`, as the official ones are.
    config.extra_regressor = '/data/smpl/SMPL_to_J19.pkl'
    # What the labels of 3DPW and EMDB are of: needed to evaluate on them, and for nothing else.
    config.body_male = '/data/smpl/SMPL_MALE.pkl'
    config.body_female = '/data/smpl/SMPL_FEMALE.pkl'
    config.loss_weights = ml_collections.ConfigDict()
    config.loss_weights.keypoints2d = 0.01
    config.loss_weights.keypoints3d = 0.05
    config.loss_weights.global_orient = 0.001
    config.loss_weights.body_pose = 0.001
    config.loss_weights.betas = 0.0005
    # Draws betas to zero where they are not to be trusted; with TALS, of ground truth alone.
    config.betas_reg = False
    # HMR's adversarial prior. Every published weight is 0, which trains none. Above 0, bodies are
    # judged against those of `mocap`, 4D-Humans' cmu_mocap.npz or a file like it.
    config.adversarial = ml_collections.ConfigDict()
    config.adversarial.weight = 0.0
    config.adversarial.mocap = ''
    config.tals = ml_collections.ConfigDict()
    config.tals.enabled = True
    config.tals.loose_weight = 0.01
    # 'l1' as the thresholds were measured; 'squared' as in the release, ten times as tolerant.
    config.tals.distance = 'l1'
    # 'table1', 'release', or a CSV of `python -m tokenhmr_jax.studies.thresholds`.
    config.tals.thresholds = 'table1'
    # What every threshold is multiplied by.
    config.tals.scale = 1.0

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 1e-5
    # The rate of kernels trained by Muon instead of AdamW, which then do not decay; None for AdamW
    # throughout.
    config.optimizer.muon_learning_rate = ml_collections.config_dict.placeholder(float)
    # Of Newton and Schulz, in each of its steps: fewer cost less and are less exact.
    config.optimizer.muon_iterations = 5
    config.optimizer.schedule = 'constant'
    config.optimizer.warmup_steps = 0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.weight_decay = 1e-4
    config.optimizer.clip_norm = ml_collections.config_dict.placeholder(float)

    config.data = ml_collections.ConfigDict()
    config.data.data_dir = '/data/tfds'
    config.data.mixture = ml_collections.ConfigDict(MIXTURE)
    # Sources whose poses are true; on the others TALS tolerates small errors.
    config.data.ground_truth = GROUND_TRUTH
    config.data.validation = ('hmr_eval/3dpw/test',)
    config.data.num_threads = 16
    # Corrupt records are named and left out; a larger share of them stops the run.
    config.data.max_bad_fraction = 0.01
    config.data.crop_size = 256
    # The proportion that a person's box grows to first; None, as in the release's training, for
    # none. Inference grows it to the network's own.
    config.data.box_aspect = ml_collections.config_dict.placeholder(tuple)
    config.data.eval_box_aspect = (192, 256)
    config.data.augment = ml_collections.ConfigDict()
    config.data.augment.flip = 0.5
    config.data.augment.scale = 0.3
    config.data.augment.rotation = 0.6
    config.data.augment.rotation_degrees = 30.0
    config.data.augment.translation = 0.02
    config.data.augment.color = 0.2
    config.data.augment.extreme_crop = 0.1

    config.eval = ml_collections.ConfigDict()
    config.eval.every = 5000
    config.eval.batch_size = 64
    # Examples per split in the evaluations during training; None for all.
    config.eval.limit = 2048
    config.eval.best_metric = 'mpjpe_mm'
    # 'lsp14', 3DPW's 14 keypoints; 'smpl24', EMDB's joints.
    config.eval.convention = 'lsp14'
    # Training records whose mean body is the baseline; examples of a kind in the gallery.
    config.eval.baseline_records = 2048
    config.eval.gallery = 4

    config.log_every = 50
    config.checkpoint_every = 2500
    config.max_skipped_steps = 10
    return config


def release() -> ml_collections.ConfigDict:
    """What the public code does."""
    config = paper()
    config.num_steps = 200_000
    config.batch_size = 192
    config.optimizer.learning_rate = 5e-7
    config.tals.loose_weight = 0.05
    config.tals.distance = 'squared'
    config.tals.thresholds = 'release'
    config.betas_reg = True
    return config


def bedlam() -> ml_collections.ConfigDict:
    """On ground truth alone, where TALS has nothing to tolerate but the 2D keypoints."""
    config = paper()
    config.data.mixture = ml_collections.ConfigDict({'bedlam/train': 1.0})
    config.data.ground_truth = ('bedlam/train',)
    return config


def quickstart() -> ml_collections.ConfigDict:
    """Minutes on two cores, no file needed: pictures of the mannequin, 64 pixels high."""
    config = paper()
    config.num_steps = 2700
    config.batch_size = 64
    # Those of the tokenizer's quickstart.
    config.tokenizer.checkpoint = 'runs/quickstart/tokenizer'
    config.tokenizer.num_codes = 256
    config.tokenizer.model.width = 64
    config.tokenizer.model.code_dim = 8
    config.tokenizer.model.size_mul = 3
    config.tokenizer.model.size_div = 2
    config.tokenizer.model.depth = 1
    config.model.body_mean = 'none'
    config.model.backbone.update(width=192, depth=2, heads=6, patch_size=16, position_scale=0.5)
    config.model.backbone.update(drop_path=0.0, scan=False, remat='', dtype='float32')
    config.model.decoder.update(width=128, depth=2, heads=4, head_dim=32, mlp_dim=256)
    config.model.decoder.dtype = 'float32'
    config.model.mixer.update(width=16, depth=2, token_dim=32, channel_dim=64, dtype='float32')
    config.body = 'mannequin'
    config.extra_regressor = ''
    config.body_male = config.body_female = ''
    config.tals.enabled = False
    # So short a training finds the orientation by its own term sooner than by the keypoints'.
    config.loss_weights.global_orient = 0.2
    config.loss_weights.body_pose = 0.02
    config.optimizer.learning_rate = 1e-3
    config.optimizer.muon_learning_rate = 1e-2
    config.optimizer.muon_iterations = 3
    config.optimizer.b2 = 0.98
    config.optimizer.schedule = 'cosine'
    config.optimizer.warmup_steps = 50
    config.optimizer.clip_norm = 1.0
    config.data.data_dir = 'runs/quickstart/data'
    config.data.mixture = ml_collections.ConfigDict({'mannequin/suit': 1.0})
    config.data.ground_truth = ('mannequin/suit',)
    config.data.validation = ('mannequin/suit_heldout',)
    config.data.num_threads = 2
    config.data.crop_size = 64
    config.data.box_aspect = (192, 256)
    # The suit's left and right differ: a mirrored one would contradict its colours.
    config.data.augment.flip = 0.0
    config.data.augment.scale = 0.1
    config.data.augment.rotation_degrees = 10.0
    config.data.augment.extreme_crop = 0.0
    config.eval.every = 900
    config.eval.limit = 512
    config.log_every = 50
    config.checkpoint_every = 900
    return config


def miniature() -> ml_collections.ConfigDict:
    """The quickstart's network, fine-tuned as the published one is: from weights that
    pseudo-ground-truth has trained, on a quarter of true labels and the rest of fitted ones.

    `make miniature` prepares what it needs; docs/miniature.md shows what comes out.
    """
    config = quickstart()
    config.num_steps = 1200
    config.warm_start.checkpoint = 'runs/miniature/pretrained'
    config.data.data_dir = 'runs/miniature/data'
    config.data.mixture = ml_collections.ConfigDict(
        {'mannequin/suit': 0.25, 'mannequin/suit_pseudo': 0.75}
    )
    config.tals.enabled = True
    # Of these cameras and this network: `python -m tokenhmr_jax.studies.thresholds`.
    config.tals.thresholds = 'runs/miniature/thresholds.csv'
    config.eval.every = 600
    config.eval.limit = 1000
    config.checkpoint_every = 600
    return config
