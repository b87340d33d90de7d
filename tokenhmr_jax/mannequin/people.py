"""Pictures of the mannequin with their labels, as records of an image dataset.

A *job* is a run of persons. Its result depends on its content alone, in any process.
"""

import collections
import functools
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from tokenhmr_jax.body import camera as cameras
from tokenhmr_jax.body import keypoint_body, rotations, smpl
from tokenhmr_jax.data import records
from tokenhmr_jax.drawing import render
from tokenhmr_jax.mannequin import clothes, pseudo_gt, scenes
from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.types import Array, SmplParams

LOOKS = ('suit', 'clothed')
JOB_SIZE = 64  # persons, who are posed and fitted at once
_WAITING_JOBS = 128  # enough for as many processes


class DrawingJob(NamedTuple):
    """Up to `JOB_SIZE` persons; person n, counted from `start`, is random by (*seed, n)."""

    look: str  # one of `LOOKS`
    views: scenes.Views
    image_size: tuple[int, int]  # (width, height) px
    seed: tuple[int, ...]
    start: int
    keys: list[str]  # of the records
    global_orient: Float[np.ndarray, 'N 3']  # axis-angle, in a z-up world
    body_pose: Float[np.ndarray, 'N 21 3']
    pseudo: bool  # whether the labels are pseudo-ground-truth


class Result(NamedTuple):
    """Records, and `pseudo_gt.label_errors` of fitted labels; None for true labels."""

    records: list[dict]
    errors: dict[str, np.ndarray] | None


class Studio(NamedTuple):
    """The body of all jobs, its reduction to keypoints, its faces and its skin at rest."""

    body: smpl.BodyModel
    reduced: keypoint_body.KeypointBody
    faces: Int[np.ndarray, 'F 3']
    skin: clothes.RestSkin


@functools.cache
def studio() -> Studio:
    """The studio, made once per process."""
    arrays = mannequin_arrays()
    body = smpl.body_from_arrays(arrays, 'mannequin')
    faces = arrays['f'].astype(np.int64)
    return Studio(body, keypoint_body.reduce_body(body), faces, clothes.rest_skin(arrays))


@jax.jit
def pose_bodies(
    body: smpl.BodyModel,
    global_orient: Float[Array, 'N 3'],
    body_pose: Float[Array, 'N 23 3'],
    betas: Float[Array, 'N 10'],
) -> tuple[Float[Array, 'N V 3'], Float[Array, 'N 3'], Float[Array, 'N 44 3']]:
    """Vertices, pelvis and keypoints of bodies given as axis-angle, metres."""
    orient, pose = (rotations.axis_angle_to_matrix(x) for x in (global_orient, body_pose))
    output = smpl.forward(body, SmplParams(orient, pose, betas))
    return output.vertices, output.joints[:, 0], smpl.keypoints(body, output)


class Person(NamedTuple):
    """A posed body and its camera; vertices and points in metres, before `placement.transl`."""

    labels: dict[str, np.ndarray]  # global_orient, body_pose, betas of a record
    vertices: Float[np.ndarray, 'V 3']
    points: Float[np.ndarray, '44 3']  # keypoints
    placement: scenes.Placement
    rng: np.random.Generator  # of the picture


def place_people(job: DrawingJob) -> list[Person]:
    """A job's persons, posed and placed before their cameras."""
    body, count = studio().body, len(job.keys)
    rngs = [np.random.default_rng((*job.seed, job.start + i)) for i in range(count)]
    views = [scenes.sample_view(rng, job.views) for rng in rngs]
    orient = [scenes.orient_in_camera(v, o) for v, o in zip(views, job.global_orient, strict=True)]
    labels = {
        'global_orient': np.stack(orient),
        # Hands at rest.
        'body_pose': np.pad(job.body_pose, ((0, 0), (0, 2), (0, 0))).astype(np.float32),
        'betas': np.stack([scenes.sample_betas(rng) for rng in rngs]),
    }
    # One shape for all jobs: one compilation, and the same numbers in a short job.
    bodies = pose_bodies(body, **{name: _pad(value) for name, value in labels.items()})
    vertices, pelvis, points = (np.asarray(x)[:count] for x in bodies)
    people = []
    for i, (rng, view) in enumerate(zip(rngs, views, strict=True)):
        label = {name: value[i] for name, value in labels.items()}
        placement = scenes.place_body(vertices[i], pelvis[i], view, job.image_size)
        people.append(Person(label, vertices[i], points[i], placement, rng))
    return people


def run_job(job: DrawingJob) -> Result:
    """Draws and labels a job's persons."""
    drawn = [
        _record(key, person, draw_person(person, job.look, job.image_size))
        for key, person in zip(job.keys, place_people(job), strict=True)
    ]
    return _with_pseudo_labels(drawn) if job.pseudo else Result(drawn, None)


def _pad(array):
    """Repeats the last row up to `JOB_SIZE`."""
    return np.concatenate([array, np.repeat(array[-1:], JOB_SIZE - len(array), axis=0)])


def draw_person(
    person: Person, look: str, image_size: tuple[int, int]
) -> UInt8[np.ndarray, 'H W 3']:
    """The full image of a person; image_size is (width, height) px."""
    rng, placement, made = person.rng, person.placement, studio()
    stage_of = {'suit': clothes.suit_stage, 'clothed': clothes.clothed_stage}[look]
    stage = stage_of(rng, made.skin, image_size)
    vertices = person.vertices + placement.transl
    intrinsics = (placement.focal_length, placement.focal_length, *placement.principal_point)
    size = image_size[::-1]
    image, _ = render.render(vertices, made.faces, intrinsics, size, **stage._asdict())
    if look == 'clothed':
        image = clothes.occlude(rng, image, placement.box_center, placement.box_size)
        image = clothes.add_blur_and_noise(rng, image)
    return image


def _record(key, person, image):
    points, placement = person.points, person.placement
    ones = np.ones((len(points), 1), np.float32)
    pixels = scenes.project_body(points, placement)
    labels = person.labels | {
        'focal_length': placement.focal_length,
        'principal_point': placement.principal_point,
        'keypoints2d': np.concatenate([pixels, ones], axis=1),
        'keypoints3d': np.concatenate([points, ones], axis=1),
        'transl': placement.transl,
        'has_pose': 1,
        'has_betas': 1,
    }
    return records.assemble(image, key, placement.box_center, placement.box_size, labels)


def _with_pseudo_labels(true):
    """The same persons with the labels and the camera of the fit."""
    column = {name: _pad(np.stack([r[name] for r in true])) for name in records.SHAPES}
    side = column['box_size'].max(axis=-1)
    confidence = column['keypoints2d'][..., 2:]
    seen = cameras.to_crop_units(column['keypoints2d'][..., :2], column['box_center'], side)
    target = jnp.concatenate([seen, confidence], axis=-1)
    fit = pseudo_gt.fit_bodies(studio().reduced, target, column['global_orient'])
    errors = pseudo_gt.label_errors(fit, target, column)
    labels = {
        'global_orient': fit.global_orient,
        'body_pose': fit.body_pose,
        'betas': fit.betas,
        'transl': fit.transl,
        'keypoints3d': jnp.concatenate([fit.keypoints3d, confidence], axis=-1),
        'focal_length': side * cameras.CROP_FOCAL_LENGTH / cameras.CROP_SIZE,
        'principal_point': column['box_center'],
    }
    labels = {name: np.asarray(value, np.float32) for name, value in labels.items()}
    fitted = [r | {name: v[i] for name, v in labels.items()} for i, r in enumerate(true)]
    for record in fitted:
        records.check_record(record)
    return Result(fitted, {name: np.asarray(v)[: len(true)] for name, v in errors.items()})


def run_jobs(jobs: Iterable[DrawingJob], pool: futures.Executor | None) -> Iterator[Result]:
    """Runs jobs in the processes of a pool, few waiting at a time; yields results in order."""
    if pool is None:
        yield from map(run_job, jobs)
        return
    waiting = collections.deque()
    for job in jobs:
        waiting.append(pool.submit(run_job, job))
        if len(waiting) > _WAITING_JOBS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
