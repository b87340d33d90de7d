"""2D keypoints as detectors find them: true ones, disturbed. Runs on the device, inside the step.

Detectors err by joint and by the person's size, miss points and limbs, exchange left and right,
take other people's limbs, and each knows the points of its own convention only.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import keypoint_conventions, skeleton
from tokenhmr_jax.data.draws import Draws
from tokenhmr_jax.types import Array


@dataclasses.dataclass(frozen=True)
class DetectorSettings:
    """Strengths of the disturbances. Raises ValueError for a value outside its range.

    noise: factor of the typical errors in `_ERROR`.
    missing: mean probability of a keypoint to be missing.
    limb: probability of each arm and leg to be missing.
    half: probability that all from the hips down is missing; half as often all above.
    swap: probability that the legs, the arms, or one pair of joints exchange left and right.
    stray: probability that a limb's end lies somewhere else, as on another person.
    conventions: of the detectors, names in `keypoint_conventions.CONVENTIONS`; none for all.
    """

    noise: float = 1.0
    missing: float = 0.06
    limb: float = 0.05
    half: float = 0.06
    swap: float = 0.04
    stray: float = 0.02
    conventions: tuple[str, ...] = ()

    def __post_init__(self):
        most = {
            'noise': 10.0,
            'missing': 0.3,
            'limb': 1.0,
            'half': 2 / 3,
            'swap': 1.0,
            'stray': 1.0,
        }
        for name, limit in most.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ValueError(f'detector.{name}={value}: expected from 0 to {limit:.2g}')
        known = keypoint_conventions.CONVENTIONS
        if unknown := set(self.conventions) - set(known):
            raise ValueError(
                f'detector.conventions={sorted(unknown)}: expected some of {", ".join(known)}'
            )


def _having(*words: str) -> np.ndarray:
    return np.array([any(word in name for word in words) for name in skeleton.KEYPOINTS])


_HEAD = _having('Nose', 'Eye', 'Ear', 'Head', 'Jaw')
_FEET = _having('Toe', 'Heel')
_HIPS, _LEGS = _having('Hip', 'Pelvis'), _having('Knee', 'Ankle', 'Toe', 'Heel')
_ARMS = _having('Elbow', 'Wrist')
_ENDS = _ARMS | _LEGS
_LIMBS = np.stack([
    [side in name and part[i] for i, name in enumerate(skeleton.KEYPOINTS)]
    for side in (' L', ' R') for part in (_ARMS, _LEGS)
])  # fmt: skip

# Typical error of a keypoint, in sizes of the person. Hips are where detectors differ most.
_ERROR = np.full(len(skeleton.KEYPOINTS), 0.012, np.float32)
_ERROR[_HEAD] = 0.008
_ERROR[_having('Wrist', 'Knee', 'Ankle', 'Elbow')] = 0.014
_ERROR[_HIPS | _FEET] = 0.018
# A share of errors is several times as large.
_HEAVY, _HEAVY_SHARE = 4.0, 0.04
_SPREAD = 0.5  # of a person's errors about the typical ones, logarithm
_LEAST_CONFIDENCE = 0.3
_STRAY_REACH = 0.5  # sizes of the person
# How far off the annotators' and detectors' points are from SMPL's, as factors about a centre:
# hips, about their middle; head, about the nose.
_HIP_WIDTH, _HEAD_WIDTH = (0.95, 1.5), (0.85, 1.15)
_DRAWS = 300  # random numbers of each kind
_MID_HIP, _NOSE = skeleton.KEYPOINTS.index('OP MidHip'), skeleton.KEYPOINTS.index('OP Nose')


def disturb(
    key: jax.Array,
    keypoints2d: Float[Array, '44 3'],
    size: Float[Array, ''],
    settings: DetectorSettings,
) -> Float[jax.Array, '44 3']:
    """One person's keypoints as a detector may find them.

    Args:
      keypoints2d: x, y, and confidence, above 0 where a point can be seen; any unit.
      size: of the whole person, in that unit: the larger side of the box.
    """
    draws, count = Draws(key, _DRAWS), len(skeleton.KEYPOINTS)
    points, seen = keypoints2d[:, :2], keypoints2d[:, 2] > 0

    points = _about(points, _MID_HIP, _HIPS, draws.between(*_HIP_WIDTH))
    points = _about(points, _NOSE, _HEAD, draws.between(*_HEAD_WIDTH))
    points, seen = _exchange(draws, points, seen, settings.swap)

    heavy = jnp.where(draws.chance(_HEAVY_SHARE, (count,)), _HEAVY, 1.0)
    scale = settings.noise * jnp.exp(_SPREAD * draws.normal()) * heavy
    error = draws.normal((count, 2)) * scale[:, None]
    points = points + size * _ERROR[:, None] * error
    stray = draws.chance(settings.stray, (count,)) & _ENDS
    middle = jnp.sum(points * seen[:, None], axis=0) / jnp.maximum(jnp.sum(seen), 1)
    elsewhere = middle + size * draws.between(-_STRAY_REACH, _STRAY_REACH, (count, 2))
    points = jnp.where(stray[:, None], elsewhere, points)

    surprise = jnp.linalg.norm(error, axis=-1) / 6 + 0.5 * stray
    confidence = 0.95 - surprise - 0.1 * jnp.abs(draws.normal((count,)))
    confidence = jnp.clip(confidence, _LEAST_CONFIDENCE, 1.0)
    given = keypoint_conventions.GIVEN
    known = jnp.asarray(np.stack([given[name] for name in settings.conventions or given]))
    known = known[draws.index(len(known))]
    found = seen & known & ~_missing(draws, settings)
    confidence = jnp.where(found, confidence, 0.0)
    return jnp.concatenate([jnp.where(found[:, None], points, 0.0), confidence[:, None]], axis=-1)


def _about(points, centre: int, moved: np.ndarray, factor) -> Float[Array, '44 2']:
    """Scales some of the points about one of them."""
    scaled = points[centre] + factor * (points - points[centre])
    return jnp.where(moved[:, None], scaled, points)


def _exchange(draws: Draws, points, seen, share: float) -> tuple[Float[Array, '44 2'], Array]:
    """Exchanges left and right of the legs, of the arms, or of one pair."""
    legs, arms, one = draws.chance(share, (3,))
    pair = jnp.where(one, draws.index(len(skeleton.KEYPOINTS)), -1)
    number = np.arange(len(skeleton.KEYPOINTS))
    alone = (number == pair) | (pair == skeleton.KEYPOINT_TWINS)
    swapped = (legs & _LEGS) | (arms & _ARMS) | (alone & _ENDS)
    source = jnp.where(swapped, skeleton.KEYPOINT_TWINS, number)
    return points[source], seen[source]


def _missing(draws: Draws, settings: DetectorSettings) -> Array:
    """Keypoints that the detector does not find."""
    # Most persons miss few points, some miss many.
    rate = jnp.minimum(3 * settings.missing * draws.between(0.0, 1.0) ** 2, 0.9)
    missing = draws.chance(rate, (len(skeleton.KEYPOINTS),))
    limb = draws.chance(settings.limb, (len(_LIMBS),))
    missing |= jnp.any(limb[:, None] & _LIMBS, axis=0)
    draw = draws.between(0.0, 1.0)
    missing |= (draw < settings.half) & (_LEGS | _HIPS)
    return missing | ((draw > 1 - settings.half / 2) & ~(_LEGS | _HIPS))
