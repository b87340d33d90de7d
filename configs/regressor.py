"""Stage 2, the regressor.

    python -m tokenhmr_jax.train --config=configs/regressor.py --workdir=runs/regressor \
        --config.tokenizer.checkpoint=runs/tokenizer --config.warm_start.checkpoint=runs/backbone

The published training starts from ViTPose's backbone, the public code's from HMR2.0's;
docs/released_weights.md converts them. Without `warm_start.checkpoint` it starts from random
weights, for which its rates are far too low. Both add to a published mean body: `model.body_mean`.

Variants: `paper`, as published; `paper_config`, the author's config of the same; `release` and
`demo`, what the public PyTorch code does for its two models of these names; `bedlam`, ground truth
alone; `camera`, the picture's own camera in place of TALS; `camera_bedlam`, the same with the
settings of CameraHMR; `prompted`, which also reads 2D keypoints and the camera; `quickstart`,
small, on pictures of the mannequin, for a laptop; `bundled`, small, from 2D keypoints alone, the
network that comes with the package; `miniature`, small, for ablations of TALS and tokens.
docs/published_variants.md lists the sources of the published ones' settings, and where they
deviate.
"""

import ml_collections
from ml_collections.config_dict import placeholder

from tokenhmr_jax.config import choose_variant, import_beside
from tokenhmr_jax.mannequin import shapes
from tokenhmr_jax.models import vit

common = import_beside(__file__, 'common')
parts = import_beside(__file__, 'regressor_parts')

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

# The settings in which the paper's text and the author's config of it, tokenhmr_paper, disagree.
PAPER_TEXT = {
    'batch_size': 256,  # section 5.1
    'optimizer.learning_rate': 1e-5,  # section 5.1; the author confirmed it (TokenHMR's issue 17)
    'tals.loose_weight': 0.01,  # the supplement's "about 0.01"
    # L1 error against the thresholds, as they were measured: supplement, section 2.2.
    'tals.distance': 'l1',
    'tals.thresholds': 'table1',  # supplement, Table 1
    'betas_reg': False,  # not mentioned
}
PAPER_CONFIG = {
    'batch_size': 192,  # trainer.devices 4 x TRAIN.BATCH_SIZE 48
    'optimizer.learning_rate': 5e-6,  # TRAIN.LR
    'tals.loose_weight': 0.05,  # MODEL.LOOSE_WEIGHT
    # Squared error against the same thresholds, ten times as tolerant: compute_loss.
    'tals.distance': 'squared',
    'tals.thresholds': 'release',  # the digits in the code of the losses
    'betas_reg': True,  # DATASETS.BETAS_REG of its default.yaml
}
# Lengths of the trainings of the public code's two models, by its README: "release", "demo". Its
# config tokenhmr_release says 350,000.
RELEASE_STEPS, DEMO_STEPS = 200_000, 350_000

# Motion for people without pictures: stage 1's, without that of limits and yoga.
PROMPTED_POSES = ('CMU', 'KIT', 'BMLrub', 'DanceDB', 'BMLmovi', 'TotalCapture', 'ACCAD')


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The config of `arg`: 'variant=' and the name of a function below; and the kind of its stage
    1, 'quantizer=vq|fsq,network=conv|transformer', as in configs/tokenizer.py."""
    variant, kind = common.split_kind(arg)
    config = choose_variant(
        variant,
        paper,
        paper_config,
        release,
        demo,
        bedlam,
        camera,
        camera_bedlam,
        prompted,
        quickstart,
        bundled,
        miniature,
    )
    stage1 = config.tokenizer
    sizes, stage1.num_codes = common.tokenizer_kind(stage1.model, stage1.num_codes, **kind)
    stage1.model.update(sizes)
    return config


def paper() -> ml_collections.ConfigDict:
    """The published method, by the text where it and the author's config disagree."""
    config = common.base('regressor')
    config.num_steps = 100_000
    config.batch_size = PAPER_TEXT['batch_size']
    # Loss terms are means over the batch times this: the release sums over 48 images.
    config.reference_batch = 48.0

    # Weights that training starts from: workdir and step of a run or of converted weights, and what
    # is taken of them, 'backbone' or also 'head'. With an empty `checkpoint` training starts from
    # random weights: for small networks, not for this one.
    config.warm_start = ml_collections.ConfigDict()
    config.warm_start.checkpoint = ''
    config.warm_start.step = 'best'
    config.warm_start.parts = ('backbone',)

    # Stage 1: workdir and step of its run, and the sizes that it must have. With an empty
    # `checkpoint`, stage 1 comes with the head that training starts from.
    config.tokenizer = ml_collections.ConfigDict()
    config.tokenizer.checkpoint = ''
    config.tokenizer.step = 'best'
    config.tokenizer.num_codes = common.NUM_CODES
    config.tokenizer.model = common.tokenizer_sizes()
    config.model = _network()

    config.body = '/data/smpl/SMPL_NEUTRAL.pkl'
    # For files without `joint_regressor_extra`, as the official ones are.
    config.extra_regressor = '/data/smpl/SMPL_to_J19.pkl'
    # Bodies of the labels of 3DPW and EMDB: needed to evaluate on them, and for nothing else.
    config.body_male = '/data/smpl/SMPL_MALE.pkl'
    config.body_female = '/data/smpl/SMPL_FEMALE.pkl'
    config.loss_weights = ml_collections.ConfigDict()
    config.loss_weights.keypoints2d = 0.01
    config.loss_weights.keypoints3d = 0.05
    config.loss_weights.global_orient = 0.001
    config.loss_weights.body_pose = 0.001
    config.loss_weights.betas = 0.0005
    # Cross-entropy of pose tokens, on true labels; 0 for none. Other heads have no such term. As
    # much as the pose's own: nobody has tuned it.
    config.loss_weights.tokens = 0.001
    config.pose_tokens = parts.pose_tokens()
    # Draws betas to zero where they are not to be trusted; with TALS, of ground truth alone.
    config.betas_reg = PAPER_TEXT['betas_reg']
    config.tals = ml_collections.ConfigDict()
    config.tals.enabled = True
    config.tals.loose_weight = PAPER_TEXT['tals.loose_weight']
    # 'l1' or 'squared'.
    config.tals.distance = PAPER_TEXT['tals.distance']
    # 'table1', 'release', or a CSV of `python -m tokenhmr_jax.studies.thresholds`.
    config.tals.thresholds = PAPER_TEXT['tals.thresholds']
    # Factor of all thresholds.
    config.tals.scale = 1.0

    # Camera that keypoints of pictures are projected with: 'crop', the crop's made-up one, as
    # published; 'full', the picture's own in full perspective, for networks that read the camera.
    config.camera = ml_collections.ConfigDict()
    config.camera.projection = 'crop'

    config.optimizer.learning_rate = PAPER_TEXT['optimizer.learning_rate']
    _set_data(config.data)
    config.prompts = parts.prompts()
    config.people = parts.people()
    config.eval.every = 2000
    config.checkpoint_every = 2000
    config.eval.batch_size = 64
    config.eval.limit = 2048
    # 'lsp14', 3DPW's 14 keypoints; 'smpl24', EMDB's joints.
    config.eval.convention = 'lsp14'
    # 'published': the records' own 3D keypoints where they have all that 'lsp14' measures, as of
    # the metadata of 3DPW, else those of the labels' SMPL bodies; 'stored' or 'body': these alone.
    config.eval.truth = 'published'
    # What evaluations give of `model.inputs`.
    config.eval.inputs = ('image', 'prompts')
    # Training records whose mean body is the baseline; examples of a kind in the gallery.
    config.eval.baseline_records = 2048
    config.eval.gallery = 4
    return config


def _network() -> ml_collections.ConfigDict:
    """ViT-H/16, six decoder layers, four mixer layers."""
    config = ml_collections.ConfigDict()
    # 'tokens', as published: residual tokens, an offset from the mean body, all from one query;
    # 'pose_tokens': tokens of the whole pose, as stage 1's encoder gives them, a query for each;
    # 'direct' regresses the pose in 6D, as HMR2.0 does.
    config.head = 'tokens'
    # Of 'image', and 'camera' or 'prompts', camera and 2D keypoints; see models/prompts.py.
    config.inputs = ('image',)
    # The body that the network's output is added to: 'rest', upright and at rest; 'none', the same,
    # but the tokens' decoder, if there is one, gives the body's pose itself, as in stage 1; or the
    # path of smpl_mean_params.npz, as published. A head that training starts from brings its own.
    # Pose tokens give the body's pose itself with each of them.
    config.body_mean = '/data/smpl/smpl_mean_params.npz'
    # 'columns' is HMR2.0's convention; the tokenizer's is 'rows'.
    config.rotation_6d = 'rows'
    config.backbone = ml_collections.ConfigDict(vit.decode_variant('H/16'))
    config.backbone.position_scale = 0.02
    config.backbone.drop_path = 0.55
    # 'bernoulli' drops each sample's branch by chance, as published; 'subset' computes a branch for
    # a random part of the batch alone, which saves a quarter of the work at this rate.
    config.backbone.drop_mode = 'bernoulli'
    config.backbone.scan = True
    # Values computed again in the backward pass to save memory: '', 'products' or 'blocks'.
    config.backbone.remat = 'blocks'
    config.backbone.dtype = 'bfloat16'
    config.decoder = ml_collections.ConfigDict()
    config.decoder.update(width=1024, depth=6, heads=8, head_dim=64, mlp_dim=1024, dtype='bfloat16')
    config.prompts = ml_collections.ConfigDict()
    config.prompts.update(width=256, depth=4, heads=8, mlp_dim=1024, dtype='bfloat16')
    # Of the whole pose's MLP; and how many keypoints have tokens of their own.
    config.prompts.update(lifter_width=1024, lifter_blocks=2, capacity=26)
    config.mixer = ml_collections.ConfigDict()
    config.mixer.update(width=64, depth=4, token_dim=64, channel_dim=256, dtype='bfloat16')
    return config


def _set_data(config: ml_collections.ConfigDict) -> None:
    """The release's mixture; crops and their augmentation as in the supplement."""
    config.mixture = ml_collections.ConfigDict(MIXTURE)
    # Sources whose poses are true; on the others TALS tolerates small errors.
    config.ground_truth = GROUND_TRUTH
    config.validation = ('hmr_eval/3dpw/test',)
    config.num_threads = 16
    config.crop_size = 256
    # The proportion that a person's box grows to first; None, as in the release's training, for
    # none. Inference grows it to the network's own.
    config.box_aspect = placeholder(tuple)
    config.eval_box_aspect = (192, 256)
    config.augment = ml_collections.ConfigDict()
    config.augment.flip = 0.5
    config.augment.scale = 0.3
    config.augment.rotation = 0.6
    config.augment.rotation_degrees = 30.0
    config.augment.translation = 0.02
    config.augment.color = 0.2
    config.augment.extreme_crop = 0.1
    # What must be seen for it: 'body', all of the person or the upper body alone, as in the
    # release; 'part', the part that is shown.
    config.augment.extreme_crop_needs = 'body'


def paper_config() -> ml_collections.ConfigDict:
    """The author's config of the paper, `tokenhmr_paper`, as the public code runs it."""
    config = paper()
    config.update_from_flattened_dict(PAPER_CONFIG)
    return config


def release() -> ml_collections.ConfigDict:
    """The public code's model "release": its config `tokenhmr_release`, started from HMR2.0."""
    config = paper_config()
    config.num_steps = RELEASE_STEPS
    config.optimizer.learning_rate = 5e-7
    return config


def demo() -> ml_collections.ConfigDict:
    """The public code's model of its demo: as `release`, trained for longer."""
    config = release()
    config.num_steps = DEMO_STEPS
    return config


def bedlam() -> ml_collections.ConfigDict:
    """The published TokenHMR-BL: on ground truth alone, where TALS has nothing to tolerate."""
    config = paper()
    config.data.mixture = ml_collections.ConfigDict({'bedlam/train': 1.0})
    config.data.ground_truth = ('bedlam/train',)
    config.tals.enabled = False
    return config


def camera() -> ml_collections.ConfigDict:
    """The paper's data and network with the true camera in place of TALS."""
    config = paper()
    parts.use_true_camera(config)
    return config


def camera_bedlam() -> ml_collections.ConfigDict:
    """The losses, rates, batch, length and augmentation of CameraHMR, on BEDLAM alone."""
    config = bedlam()
    parts.use_true_camera(config)
    config.update_from_flattened_dict(parts.CAMERAHMR)
    return config


def prompted() -> ml_collections.ConfigDict:
    """The published network, with prompts and people without pictures beside the image's."""
    config = paper()
    config.model.inputs = ('image', 'prompts')
    config.people.batch_size = 64
    config.people.poses = tuple(f'amass/{name}' for name in PROMPTED_POSES)
    return config


def quickstart() -> ml_collections.ConfigDict:
    """Minutes on two cores, no file needed: pictures of the mannequin, 64 pixels high."""
    config = paper()
    config.num_steps = 2700
    config.batch_size = 64
    config.tokenizer.checkpoint = 'runs/quickstart/tokenizer'
    config.tokenizer.num_codes = common.SMALL_NUM_CODES
    config.tokenizer.model.update(common.SMALL_TOKENIZER)
    config.model.body_mean = 'none'
    config.model.inputs = ('image', 'prompts')
    config.model.backbone.update(width=192, depth=2, heads=6, patch_size=16, position_scale=0.5)
    config.model.backbone.update(drop_path=0.0, scan=False, remat='', dtype='float32')
    config.model.decoder.update(width=128, depth=2, heads=4, head_dim=32, mlp_dim=256)
    config.model.decoder.dtype = 'float32'
    config.model.mixer.update(width=16, depth=2, token_dim=32, channel_dim=64, dtype='float32')
    # On two cores one token of all keypoints learns faster than one of each.
    config.model.prompts.update(width=128, depth=0, heads=4, capacity=0, dtype='float32')
    config.model.prompts.update(lifter_width=256, lifter_blocks=2)
    # As many with keypoints as without.
    config.prompts.drop_keypoints2d = 0.5
    config.prompts.mistaken = 0.1
    config.body = 'mannequin'
    config.extra_regressor = ''
    config.body_male = config.body_female = ''
    config.tals.enabled = False
    # So short a training finds the orientation by its own term sooner than by the keypoints'.
    config.loss_weights.global_orient = 0.2
    config.loss_weights.body_pose = config.loss_weights.tokens = 0.02
    config.optimizer.learning_rate = 1e-3
    config.optimizer.muon_learning_rate = 1e-2
    config.optimizer.muon_iterations = 3
    config.optimizer.b2 = 0.98
    config.optimizer.schedule = 'cosine'
    config.optimizer.warmup_steps = 50
    config.optimizer.clip_norm = 1.0
    common.use_small_data(config, 'mannequin/suit')
    config.data.ground_truth = ('mannequin/suit',)
    config.data.crop_size = 64
    config.data.box_aspect = (192, 256)
    # The suit's left and right differ: a mirrored one would contradict its colours.
    config.data.augment.flip = 0.0
    config.data.augment.scale = 0.1
    config.data.augment.rotation_degrees = 10.0
    config.data.augment.extreme_crop = 0.0
    config.data.augment.extreme_crop_needs = 'part'
    config.eval.every = 900
    config.checkpoint_every = 900
    return config


def bundled() -> ml_collections.ConfigDict:
    """From 2D keypoints alone: `make bundled` trains it for the package."""
    config = quickstart()
    config.num_steps = 15_000
    # No pictures: each step draws all its people.
    config.batch_size = 0
    config.data.mixture = ml_collections.ConfigDict()
    config.data.ground_truth = ()
    config.data.data_dir = 'runs/bundled/data'
    config.data.validation = ('amass/procedural_heldout',)
    config.tokenizer.checkpoint = 'runs/bundled/tokenizer'
    config.tokenizer.num_codes = common.BUNDLED_NUM_CODES
    config.tokenizer.model.update(common.BUNDLED_TOKENIZER)
    config.model.inputs = ('prompts',)
    config.model.prompts.update(width=256, lifter_width=512)
    config.model.decoder.update(width=256, depth=1, heads=4, head_dim=32, mlp_dim=512)
    # The lifter has mixed all that there is.
    config.model.mixer.depth = 0
    config.people.batch_size = 256
    # AdamW: Muon would take as long as the rest of the step.
    config.optimizer.learning_rate = 2e-3
    config.optimizer.muon_learning_rate = None
    config.people.poses = ('amass/procedural',)
    config.people.children = 0.15
    config.people.child_betas = tuple(shapes.YOUNGEST * beta for beta in shapes.CHILD_BETAS)
    config.loss_weights.keypoints2d = 0.05
    config.loss_weights.keypoints3d = 0.1
    config.loss_weights.global_orient = 0.3
    config.loss_weights.body_pose = config.loss_weights.tokens = 0.05
    config.loss_weights.betas = 0.005
    config.eval.every = 5000
    config.eval.limit = 1000
    config.checkpoint_every = 5000
    return config


def miniature() -> ml_collections.ConfigDict:
    """The quickstart's network, fine-tuned as the published one is: from weights that
    pseudo-ground-truth has trained, on a quarter of true labels and the rest of fitted ones.

    `make miniature` prepares what it needs; docs/miniature.md shows what comes out.
    """
    config = quickstart()
    config.model.inputs = ('image',)
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
