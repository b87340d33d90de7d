"""Prompts of the regressor's examples: of labels, and of people without pictures."""

import zlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Int32

from tokenhmr_jax.body import camera, keypoint_body, rotations
from tokenhmr_jax.config import check_choice
from tokenhmr_jax.data import detections, pipeline, virtual_people
from tokenhmr_jax.types import Array, ImageBatch, Prompts

# Sides of the crop up to which keypoints count; those beyond are another person's, or beside the
# camera.
FARTHEST = 1.5
# Cameras that pictures' keypoints are projected with: the crop's, made up, or the picture's own.
PROJECTIONS = ('crop', 'full')
Config = ml_collections.ConfigDict | ml_collections.FrozenConfigDict


@struct.dataclass
class Poses:
    """Poses that people without pictures take: axis-angle, the root in a z-up world."""

    global_orient: Float[Array, 'N 3']
    body_pose: Float[Array, 'N 21 3']


def load_poses(config: Config) -> Poses:
    """The poses of the prepared splits `people.poses`, at most `people.max_poses` of each, evenly.

    Raises FileNotFoundError for a missing split, ValueError for one without root orientations.
    """
    found = []
    for name in config.people.poses:
        split = pipeline.open_split(config.data.data_dir, name)
        count = min(len(split), config.people.max_poses)
        records = split.read(np.linspace(0, len(split) - 1, count).astype(int).tolist())
        if 'global_orient' not in records[0]:
            raise ValueError(
                f'{name} has no root orientations: expected poses of datasets/amass from version '
                '1.1.0; prepare it again'
            )
        found += records
    stack = lambda key: np.stack([record[key] for record in found])  # noqa: E731
    return Poses(jnp.asarray(stack('global_orient')), jnp.asarray(stack('body_pose')))


def seed_of(key: str | bytes) -> np.int32:
    """The seed of a record's own random numbers, from its key."""
    return np.int32(zlib.crc32(key if isinstance(key, bytes) else key.encode()) >> 1)


def seed_keys(seeds: Int32[Array, ' B']) -> jax.Array:
    """A random key per record."""
    return jax.vmap(jax.random.key)(seeds)


def prompts_of_labels(keys: jax.Array, batch: ImageBatch, config: Config) -> Prompts:
    """Prompts that a detector would give for the pictures of a batch, one key each.

    The camera alone for a network that reads no keypoints.
    """
    keypoints2d = batch.keypoints2d
    size = virtual_people.person_size(keypoints2d[..., :2], keypoints2d[..., 2])
    return Prompts(
        keypoints2d=(
            _disturb(keys, keypoints2d, size, config)
            if reads_keypoints(config)
            else jnp.zeros_like(keypoints2d)
        ),
        camera=jnp.zeros((len(size), 3)) if batch.camera is None else batch.camera,
        has_camera=jnp.zeros(len(size)) if batch.camera is None else jnp.ones(len(size)),
        has_image=jnp.ones(len(size)),
    )


def reads_keypoints(config: Config) -> bool:
    """Whether the network of a config reads 2D keypoints beside the camera."""
    return 'prompts' in config.model.inputs


def training_prompts(
    key: jax.Array, batch: ImageBatch, is_true: Bool[Array, ' B'], config: Config
) -> Prompts:
    """Prompts of pictures with parts dropped. `is_true`: examples whose poses are true."""
    draw, drop = jax.random.split(key)
    prompts = prompts_of_labels(jax.random.split(draw, len(is_true)), batch, config)
    if config.camera.projection == 'crop':
        # Fits, and the network that learns from them, are as the crop's camera sees them.
        known = is_true.astype(jnp.float32)
        prompts = prompts.replace(has_camera=prompts.has_camera * known)
    return drop_parts(drop, prompts, config)


def drop_parts(key: jax.Array, prompts: Prompts, config: Config) -> Prompts:
    """Drops image, keypoints and camera of some examples, at the config's rates.

    Some that keep their image get another example's keypoints.
    """
    image, points, place = jax.random.split(key, 3)
    count, rates = (len(prompts.camera),), config.prompts
    kept = lambda key, rate: 1.0 - jax.random.bernoulli(key, rate, count)  # noqa: E731
    with_points = kept(points, rates.drop_keypoints2d) * reads_keypoints(config)
    has_image = prompts.has_image
    # Something is left: only those with keypoints lose their image.
    has_image = has_image * jnp.maximum(kept(image, rates.drop_image), 1 - with_points)
    mistaken = jax.random.bernoulli(jax.random.fold_in(key, 1), rates.mistaken, count)
    mistaken &= has_image > 0
    others = jnp.roll(prompts.keypoints2d, 1, axis=0)
    keypoints2d = jnp.where(mistaken[:, None, None], others, prompts.keypoints2d)
    return Prompts(
        keypoints2d=keypoints2d * with_points[:, None, None],
        camera=prompts.camera,
        has_camera=prompts.has_camera * kept(place, rates.drop_camera),
        has_image=has_image,
    )


def draw_people(
    keys: jax.Array, body: keypoint_body.KeypointBody, poses: Poses, config: Config
) -> ImageBatch:
    """People in given poses without pictures: labels and prompts, one key each.

    Keypoints in crop units are of the picture's own camera.
    """
    bodies, detector, crop = jnp.unstack(jax.vmap(lambda k: jax.random.split(k, 3))(keys), axis=1)
    settings = people_settings(config)
    people = virtual_people.draw_people(
        bodies, body, poses.global_orient, poses.body_pose, settings
    )
    size = virtual_people.person_size(people.keypoints2d, jnp.ones_like(people.in_picture))
    seen = jnp.concatenate([people.keypoints2d, people.in_picture[..., None]], axis=-1)
    found = _disturb(detector, seen, size, config)
    centre, side = virtual_people.draw_crops(crop, found, tuple(config.data.eval_box_aspect))
    in_crop = lambda points: camera.to_crop_units(points, centre, side)  # noqa: E731
    ones, count = jnp.ones((len(keys), 44, 1)), len(keys)
    points = in_crop(people.keypoints2d)
    # Points beside the camera are projected to anywhere.
    near = jnp.all(jnp.abs(points) < FARTHEST, axis=-1, keepdims=True)
    known = found[..., 2:]
    place = jnp.concatenate([centre, side[:, None]], axis=-1)
    prompts = Prompts(
        keypoints2d=jnp.concatenate([in_crop(found[..., :2]) * (known > 0), known], axis=-1),
        camera=place,
        has_camera=jnp.ones(count),
        has_image=jnp.zeros(count),
    )
    axis_angle = rotations.matrix_to_axis_angle
    return ImageBatch(
        image=None,
        color=jnp.ones((count, 3)),
        keypoints2d=jnp.concatenate([points * near, near], axis=-1),
        keypoints3d=jnp.concatenate([people.keypoints3d, ones], axis=-1),
        global_orient=axis_angle(people.params.global_orient),
        body_pose=axis_angle(people.params.body_pose),
        betas=people.params.betas,
        gender=jnp.zeros(count),
        has_pose=jnp.ones(count),
        has_betas=jnp.ones(count),
        source=jnp.zeros(count, jnp.int32),
        camera=place,
        prompts=prompts,
    )


def keep_labels(key: jax.Array, batch: ImageBatch, config: Config) -> ImageBatch:
    """All labels of the share `people.labelled` of a batch; of the others, 2D keypoints alone."""
    if config.people.labelled == 1:
        return batch
    count = (len(batch.has_pose),)
    kept = jax.random.bernoulli(key, config.people.labelled, count).astype(jnp.float32)
    confidence = batch.keypoints3d[..., 3:] * kept[:, None, None]
    return batch.replace(
        keypoints3d=jnp.concatenate([batch.keypoints3d[..., :3], confidence], axis=-1),
        has_pose=batch.has_pose * kept,
        has_betas=batch.has_betas * kept,
    )


def people_settings(config: Config) -> virtual_people.PeopleSettings:
    """Raises ValueError for a value outside its range."""
    names = virtual_people.PeopleSettings.__dataclass_fields__
    return virtual_people.PeopleSettings(**{name: config.people[name] for name in names})


def _disturb(keys, keypoints2d, size, config: Config) -> Float[Array, 'B 44 3']:
    settings = detections.DetectorSettings(**config.prompts.detector)
    one = lambda key, points, size: detections.disturb(key, points, size, settings)  # noqa: E731
    return jax.vmap(one)(keys, keypoints2d, size)


def pick_poses(key: jax.Array, poses: Poses, count: int) -> Poses:
    """Poses drawn with replacement."""
    chosen = jax.random.randint(key, (count,), 0, len(poses.body_pose))
    return jax.tree.map(lambda x: x[chosen], poses)


def check_people(config: Config) -> None:
    """Raises ValueError for settings of people without pictures that do not go together."""
    detections.DetectorSettings(**config.prompts.detector)
    if config.people.batch_size:
        people_settings(config)
    if not 0 <= config.people.labelled <= 1:
        raise ValueError(f'people.labelled={config.people.labelled}: expected from 0 to 1')
    if not config.data.mixture and not config.people.batch_size:
        raise ValueError('data.mixture is empty and people.batch_size is 0: nothing to train on')
    if config.people.batch_size and 'prompts' not in config.model.inputs:
        raise ValueError(
            f'people.batch_size={config.people.batch_size} with model.inputs='
            f"{tuple(config.model.inputs)}: people without pictures need 'prompts'"
        )
    if config.data.mixture and 'image' not in config.model.inputs:
        raise ValueError(
            f'data.mixture with model.inputs={tuple(config.model.inputs)}: pictures need '
            "'image', expected an empty mixture otherwise"
        )


def check_camera(config: Config) -> None:
    """Raises ValueError for a `camera.projection` that is unknown, or that the network lacks the
    knowledge for."""
    check_choice(config, 'camera.projection', PROJECTIONS)
    if config.camera.projection == 'crop':
        return
    if not {'camera', 'prompts'} & set(config.model.inputs):
        raise ValueError(
            f"camera.projection='full' with model.inputs={tuple(config.model.inputs)}: the network "
            "must know where its crop lies, expected also 'camera' or 'prompts'"
        )
    if config.prompts.drop_camera:
        raise ValueError(
            f"camera.projection='full' with prompts.drop_camera={config.prompts.drop_camera}: a "
            'body cannot be placed in an unknown camera, expected 0'
        )
