"""Settings of the regressor that the published method does without: prompts, pose tokens, the true
camera."""

import ml_collections


def pose_tokens() -> ml_collections.ConfigDict:
    """Settings of the training of `model.head='pose_tokens'`; other heads have no use for them."""
    config = ml_collections.ConfigDict()
    # False: stage 1's decoder reads mixtures of codes, as published. True: the likeliest code, with
    # the mixture's gradient. Off, since predictions decode mixtures.
    config.straight_through = False
    # Temperature of Gumbel noise on the logits, by which training samples tokens; 0 for none. Off,
    # since predictions have no noise.
    config.gumbel = 0.0
    # Share of each label that the codes around it get. None: nobody has tuned it.
    config.label_smoothing = 0.0
    return config


def prompts() -> ml_collections.ConfigDict:
    """Settings of a network with `model.inputs` of prompts; others have no use for them."""
    config = ml_collections.ConfigDict()
    # Shares of the examples that lose a part of what is known, so that any subset works.
    config.drop_image = 0.25
    config.drop_keypoints2d = 0.25
    config.drop_camera = 0.25
    # Share of the pictures that come with another person's keypoints: those are not to be believed.
    config.mistaken = 0.03
    # Disturbances of the labels' keypoints, as detectors make them; see data/detections.py.
    config.detector = ml_collections.ConfigDict()
    config.detector.update(noise=1.0, missing=0.06, limb=0.05, half=0.06, swap=0.04, stray=0.02)
    config.detector.conventions = ()
    return config


def people() -> ml_collections.ConfigDict:
    """People without pictures, drawn in each step beside the batch; see data/virtual_people.py."""
    config = ml_collections.ConfigDict()
    config.batch_size = 0
    # Prepared splits of datasets/amass, and how many poses of each.
    config.poses = ()
    config.max_poses = 200_000
    # Share of them whose pose, shape and 3D keypoints are labels; of all, the 2D keypoints are.
    config.labelled = 1.0
    config.distance = (1.0, 15.0)
    config.field_of_view = (20.0, 100.0)
    config.tilted = 0.12
    config.betas = 1.0
    config.children = 0.0
    config.child_betas = (0.0,) * 10
    return config


def use_true_camera(config: ml_collections.ConfigDict) -> None:
    """Places bodies in the picture's own camera, which the network reads beside the image."""
    config.camera.projection = 'full'
    config.model.inputs = config.eval.inputs = ('image', 'camera')
    # The camera is the only token: it has none to attend to.
    config.model.prompts.depth = 0
    config.prompts.drop_camera = 0.0
    # What TALS tolerates is the wrong camera's.
    config.tals.enabled = False


# CameraHMR (3DV 2025), by its public code: experiment/camerahmr.yaml, experiment/default.yaml and
# trainer/ddp.yaml.
CAMERAHMR = {
    'num_steps': 1_000_000,  # GENERAL.TOTAL_STEPS
    'batch_size': 192,  # devices 3 x TRAIN.BATCH_SIZE 64
    'reference_batch': 64.0,  # losses are sums over a GPU's examples
    'optimizer.learning_rate': 1e-5,  # TRAIN.LR
    'optimizer.weight_decay': 1e-4,  # TRAIN.WEIGHT_DECAY
    'loss_weights.keypoints2d': 0.05,  # LOSS_WEIGHTS.KEYPOINTS_2D_CROP
    'loss_weights.keypoints3d': 0.05,
    'loss_weights.global_orient': 0.001,
    'loss_weights.body_pose': 0.001,
    'loss_weights.betas': 0.001,
    'betas_reg': True,  # DATASETS.BETAS_REG; nothing to draw to zero where all betas are true
    'model.head': 'direct',  # smpl_head_cliff.py
    'model.rotation_6d': 'columns',  # rot6d_to_rotmat
    'data.augment.scale': 0.1,  # DATASETS.CONFIG
    'data.augment.rotation': 0.0,
    'data.augment.rotation_degrees': 0.0,
    'data.augment.translation': 0.0,
    'data.augment.color': 0.2,
    'data.augment.flip': 0.0,
    'data.augment.extreme_crop': 0.1,
    'eval.every': 10_000,  # GENERAL.VAL_STEPS
    'checkpoint_every': 10_000,
}
