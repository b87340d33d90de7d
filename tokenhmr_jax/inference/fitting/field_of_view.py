"""The field of view of a camera, estimated from the people it sees.

A near body looks different from a far one: its near parts are larger, and its feet are seen from
above. For each field of view of a grid, every person's body is fitted to its 2D keypoints, with the
network's answer as the prior (`keypoint_fit`). The probability of the keypoints, over all bodies,
is that of the best fit times the volume of the bodies that fit as well (Laplace's approximation).
It is summed over levels of the keypoints' noise, from a detector's to none: the fits tell which.
People are independent, given the camera. Together with a prior of cameras this is a posterior over
the grid: its mean is the estimate, its deviation the uncertainty.

One person tells little from far away: what counts is the body's depth over its distance, against
the keypoints' noise. People at the picture's edge tell more, as wide lenses stretch them. A common
ground is no term here: before a level camera, the picture of a ground and of upright people on it
is the same for all fields of view, only their depths are not.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from tokenhmr_jax.body import camera, rotations
from tokenhmr_jax.body.keypoint_body import KeypointBody
from tokenhmr_jax.inference.fitting import keypoint_fit
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.types import Array, SmplParams

# Fields of view are logarithms of the tangent of half the angle across the diagonal: of half the
# diagonal over the focal length.
_GUESS = math.log(math.tan(camera.GUESSED_FOV / 2))
# Deviation of cameras from the guess: two thirds have from 38 to 76 degrees.
PRIOR_DEVIATION = 0.4
GRID = np.linspace(math.log(math.tan(math.radians(10))), math.log(math.tan(math.radians(57.5))), 16)
_FINE = np.linspace(GRID[0], GRID[-1], 721)
# An estimate whose deviation is at least this share of the prior's tells nothing.
_TELLING = 0.9
# Levels of the keypoints' noise, in the deviations of `keypoint_fit`, from those of detectors; and
# what is known of a person's level before: its median, and its deviation, logarithmic.
_LEVELS = 0.5 ** np.arange(8)
_LEVEL, _LEVEL_DEVIATION = 0.7, 1.0
_STEPS = np.array([12] + [6] * (len(_LEVELS) - 1))  # of Gauss-Newton, at each level
# Squared errors at which a keypoint is likelier stray than noisy: of the first steps, as in
# `refinement`, and of noise at the first level.
_START_TOLERANCE, _TOLERANCE = 10.0, 3.0
# Share of people whose keypoints may be all wrong, such as those of two people taken for one.
_WRONG = 0.03
_CHUNK = 4  # people at once
_NOBODY = np.zeros((0, len(GRID)))
MOST = 8  # people that count, those who look largest
LEAST_KEYPOINTS = 6


class People(NamedTuple):
    """Persons before one camera, and what a network takes them for with the guessed focal length.

    params: in the camera's axes.
    translation: metres, the bodies' origins in the camera.
    keypoints2d: pixels from the principal point, and confidence; 0 for absent ones.
    side: of the persons' boxes, pixels.
    """

    params: SmplParams
    translation: Float[Array, 'N 3']
    keypoints2d: Float[Array, 'N 44 3']
    side: Float[Array, ' N']


class FieldOfView(NamedTuple):
    """An estimate.

    place, deviation: mean and deviation of log(half the diagonal / focal length).
    people: number of those it is from, once for each picture; and pictures that show them.
    """

    place: float
    deviation: float
    people: int
    pictures: int = 1

    @property
    def is_telling(self) -> bool:
        """Whether the people tell more than is known without them."""
        return self.deviation < _TELLING * PRIOR_DEVIATION

    @property
    def degrees(self) -> float:
        """The field of view across the diagonal."""
        return math.degrees(2 * math.atan(math.exp(self.place)))

    @property
    def deviation_degrees(self) -> float:
        """Standard deviation of `degrees`."""
        return math.degrees(math.sin(2 * math.atan(math.exp(self.place)))) * self.deviation

    def focal_length(self, diagonal: float) -> float:
        """The focal length, in the unit of the picture's diagonal."""
        return diagonal / 2 / math.exp(self.place)


def estimate_from_people(
    model: Model, images: Sequence[np.ndarray], keypoints2d: Sequence[np.ndarray]
) -> FieldOfView:
    """The field of view of the camera that took pictures, all of one size.

    Args:
      model: reads keypoints.
      images: (H, W, 3) uint8, RGB.
      keypoints2d: (N, 44, 3) of the people in each picture; pixels and confidence.
    """
    seen = [(image, points) for image, each in zip(images, keypoints2d, strict=True)
            for points in each if (points[:, 2] > 0).sum() >= LEAST_KEYPOINTS]  # fmt: skip
    seen = sorted(seen, key=lambda person: -_extent(person[1]))[:MOST]
    found = posterior(people_evidence(model, *zip(*seen, strict=True)) if seen else _NOBODY)
    return found._replace(pictures=len(images))


def people_evidence(
    model: Model, images: Sequence[np.ndarray], keypoints2d: Sequence[np.ndarray]
) -> Float[np.ndarray, 'N grid']:
    """As `evidence`, of N persons' keypoints (44, 3) in images of one size, an image for each."""
    found, count = [], len(keypoints2d)
    diagonal = math.hypot(*images[0].shape[:2])
    for start in range(0, count, _CHUNK):
        rows = np.minimum(np.arange(start, start + _CHUNK), count - 1)
        points = np.stack([keypoints2d[row] for row in rows])
        people = _answers(model, [images[row] for row in rows], points)
        found.append(evidence(model.keypoint_body, people, diagonal))
    return np.concatenate(found)[:count]


def _extent(points: Float[np.ndarray, '44 3']) -> float:
    """The larger side of the box of the known points, pixels."""
    return float(np.ptp(points[points[:, 2] > 0, :2], axis=0).max())


def _answers(model: Model, images: Sequence[np.ndarray], keypoints2d: np.ndarray) -> People:
    """The network's bodies, with the guessed focal length."""
    found = model.predict_boxes(images, keypoints2d=keypoints2d)
    middle = np.append(found.principal_point[0], 0).astype(np.float32)
    return People(found.params, found.translation, keypoints2d - middle, found.crop_side)


def evidence(reduced: KeypointBody, people: People, diagonal: float) -> Float[np.ndarray, 'N grid']:
    """Logarithms of the probabilities of persons' keypoints in the fields of view of `GRID`.

    Up to a constant of each person; all 0 of one whom no body fits. `diagonal`: of the picture,
    pixels.
    """
    table = np.asarray(_evidence(reduced, people, np.float32(diagonal)), np.float64)
    levels = -0.5 * (np.log(_LEVELS / _LEVEL) / _LEVEL_DEVIATION) ** 2
    table = np.where(np.isfinite(table), table + levels, -np.inf)
    found = np.logaddexp.reduce(table, axis=-1)
    return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, 0.0)


@jax.jit
def _evidence(reduced, people, diagonal):
    """(N, grid, levels)"""
    focal_lengths = (diagonal / 2 / np.exp(GRID)).astype(jnp.float32)
    guess = diagonal / 2 / math.exp(_GUESS)
    one = functools.partial(_evidence_of_one, reduced, guess)
    by_camera = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(by_camera, in_axes=(0, None))(people, focal_lengths)


def _seen_by(person: People, guess, focal_length) -> tuple[SmplParams, Float[Array, '3']]:
    """The answer before another camera: as large, and seen from the same side."""
    seen = person.keypoints2d[:, 2] > 0
    middle = jnp.mean(person.keypoints2d[:, :2], axis=0, where=seen[:, None])
    before, now = camera.turn_to(middle / guess), camera.turn_to(middle / focal_length)
    turned = rotations.compose(rotations.compose(now.T, before), person.params.global_orient)
    farther = jnp.array([1.0, 1.0, focal_length / guess])
    return person.params.replace(global_orient=turned), person.translation * farther


def _evidence_of_one(reduced, guess, person, focal_length):
    """One person before one camera, at all levels of noise."""
    view = person.keypoints2d, focal_length, jnp.zeros(2), person.side
    problem = keypoint_fit.make_problem(*_seen_by(person, guess, focal_length), *view)
    known = jnp.isfinite(problem.sigma).sum()

    def at_level(x, now):
        level, steps = now
        noisy = problem._replace(sigma=problem.sigma * level)
        # The probability of a stray keypoint is the same at all levels.
        tolerance = jnp.sqrt(_TOLERANCE**2 - 4 * jnp.log(level))

        def step(i, x):
            early = (level == 1) & (i < steps // 2)
            now = jnp.where(early, _START_TOLERANCE, tolerance)
            return keypoint_fit.gauss_newton(reduced, noisy, x, now)

        x = jax.lax.fori_loop(0, steps, step, x)
        fit = keypoint_fit.linearised_fit(reduced, noisy, x, tolerance)
        volume = -jnp.log(jnp.diagonal(jnp.linalg.cholesky(fit.normal))).sum()
        return x, volume - fit.value / 2 - 2 * known * jnp.log(level)

    levels = jnp.asarray(_LEVELS, jnp.float32), jnp.asarray(_STEPS)
    return jax.lax.scan(at_level, keypoint_fit.start(reduced, problem), levels)[1]


def posterior(evidence: Float[np.ndarray, 'N grid']) -> FieldOfView:
    """The estimate from the evidence of N persons; of none, the guess and the prior's deviation."""
    weights = density(evidence)
    mean = float(weights @ _FINE)
    deviation = math.sqrt(weights @ (_FINE - mean) ** 2)
    return FieldOfView(mean, deviation, len(evidence))


def probability_below(evidence: Float[np.ndarray, 'N grid'], place: float) -> float:
    """Probability of a field of view narrower than `place`, given N persons and the prior."""
    return float(np.interp(place, _FINE, np.cumsum(density(evidence))))


def density(evidence: Float[np.ndarray, 'N grid']) -> Float[np.ndarray, ' fine']:
    """Probabilities of the fields of view of a fine grid, given N persons and the prior."""
    prior = -0.5 * ((_FINE - _GUESS) / PRIOR_DEVIATION) ** 2
    prior -= _log_sum(prior)
    total = prior.copy()
    for each in evidence:
        fine = CubicSpline(GRID, each)(_FINE)
        fine -= _log_sum(prior + fine)
        total += np.logaddexp(math.log1p(-_WRONG) + fine, math.log(_WRONG))
    return np.exp(total - _log_sum(total))


def _log_sum(values: Float[np.ndarray, ' fine']) -> float:
    return float(np.logaddexp.reduce(values))
