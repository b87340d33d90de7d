"""Cameras: from the network's three numbers to translations and projected points, and back.

Frames. Both cameras are OpenCV's (x right, y down, z forward), in metres, and have parallel axes:

- the *crop camera* looks at the centre of the square crop, with a made-up focal length of 5000 px
  for a crop of 256 px: nearly a parallel projection;
- the *full-image camera* has a focal length and a principal point in pixels of the full image.

Two projections take a network's (s, tx, ty) to keypoints. `project_crop` uses the crop camera, as
published; `project_in_picture` places the body in the full-image camera and projects it there, in
full perspective.

A person off the image's axis is seen from the side, by atan(offset / focal length). The crop camera
does not know of it: a network that sees the crop alone takes the person for one straight ahead, who
is turned by this angle. `turn_to` leads to the axes of a camera that looks at a person; its inverse
turns the network's body to the image's camera. `fit_translation` then puts it where it was seen.
TokenHMR leaves out the turn, and places bodies by `full_translation`: for its focal length of 19.5
times the image's larger side, the angle is about 2 degrees at most.

Units. *Crop units* are fractions of the crop's side from its centre: the crop spans [-0.5, 0.5].
Boxes, principal points and focal lengths of the full image are in its pixels.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float, Num

from tokenhmr_jax.types import Array

CROP_FOCAL_LENGTH = 5000.0
CROP_SIZE = 256.0
GUESSED_FOV = math.radians(55)  # across the diagonal
_TINY = 1e-9
_NEAREST = 0.05  # metres before the camera
_LEAST_SCALE, _LEAST_DEPTH = 0.1, 0.25  # of a projection: s, and share of the body's depth
# Gauss-Newton: of the lengths of a step, the first that does not lose more than rounding may.
_STEPS, _LENGTHS, _ROUNDING = 8, (1.0, 0.5, 0.1, 0.0), 1e-5


def crop_translation(
    camera: Float[Array, '*B 3'], focal_length: float = CROP_FOCAL_LENGTH, size: float = CROP_SIZE
) -> Float[Array, '*B 3']:
    """The body's origin in the crop camera, metres.

    camera: weak perspective (s, tx, ty): crop sides per two metres, and metres.
    focal_length, size: pixels of the crop camera.
    """
    s, tx, ty = jnp.moveaxis(camera, -1, 0)
    return jnp.stack([tx, ty, 2 * focal_length / (size * s + _TINY)], axis=-1)


def crop_camera(
    translation: Float[Array, '*B 3'],
    focal_length: float = CROP_FOCAL_LENGTH,
    size: float = CROP_SIZE,
) -> Float[Array, '*B 3']:
    """The camera (s, tx, ty) of a translation in the crop camera: inverts `crop_translation`."""
    x, y, z = jnp.moveaxis(translation, -1, 0)
    return jnp.stack([2 * focal_length / (size * z), x, y], axis=-1)


def project_crop(
    points: Float[Array, '*B N 3'],
    translation: Float[Array, '*B 3'],
    focal_length: float = CROP_FOCAL_LENGTH,
    size: float = CROP_SIZE,
) -> Float[Array, '*B N 2']:
    """Projects points (metres, from the body's origin) with the crop camera, to crop units."""
    seen = points + translation[..., None, :]
    return focal_length / size * seen[..., :2] / seen[..., 2:]


def guessed_focal_length(image_size: Num[Array, '*B 2']) -> Float[Array, '*B']:
    """The focal length, pixels, with 55 degrees across images of width x height pixels.

    The angle is that of the diagonal: a lens of 42 mm on 35 mm film.
    """
    return jnp.hypot(image_size[..., 0], image_size[..., 1]) * (0.5 / math.tan(GUESSED_FOV / 2))


def original_focal_length(image_size: Num[Array, '*B 2']) -> Float[Array, '*B']:
    """The focal length, pixels, that TokenHMR assumes for images of width x height pixels.

    It is 19.5 times the larger side: people come out ten to twenty times too far away.
    """
    return CROP_FOCAL_LENGTH / CROP_SIZE * jnp.max(image_size, axis=-1)


# Focal lengths for images whose camera is unknown, by the name of the guess.
GUESSES = {'diagonal': guessed_focal_length, 'original': original_focal_length}


def full_translation(
    camera: Float[Array, '*B 3'],
    box_center: Float[Array, '*B 2'],
    box_size: Float[Array, '*B'],
    focal_length: Float[Array, '*B'],
    principal_point: Float[Array, '*B 2'],
) -> Float[Array, '*B 3']:
    """The body's origin in the full-image camera, metres, from the crop's (s, tx, ty).

    The body then covers the same pixels as in the crop, up to its depth over its distance.
    TokenHMR's principal point is half the image's size.
    """
    scale = box_size * camera[..., 0] + _TINY
    shift = 2 * (box_center - principal_point) / scale[..., None]
    depth = 2 * focal_length / scale
    return jnp.concatenate([camera[..., 1:] + shift, depth[..., None]], axis=-1)


def place_in_picture(
    weak: Float[Array, '*B 3'], place: Float[Array, '*B 3']
) -> Float[Array, '*B 3']:
    """The body's origin in the picture's camera, metres, from the crop's (s, tx, ty).

    `full_translation`, with s held above 0: a network that has just begun may put bodies behind the
    camera.

    place: of the crop in the picture's camera, as `Prompts.camera`.
    """
    centre, side = place[..., :2], place[..., 2]
    scale = _held_above_zero(weak[..., :1], _LEAST_SCALE)
    weak = jnp.concatenate([scale, weak[..., 1:]], axis=-1)
    return full_translation(weak, centre, side, jnp.ones_like(side), jnp.zeros_like(centre))


def project_in_picture(
    points: Float[Array, '*B N 3'], weak: Float[Array, '*B 3'], place: Float[Array, '*B 3']
) -> Float[Array, '*B N 2']:
    """Projects points with the picture's own camera, in full perspective, to crop units.

    Points nearer than a share of the body's depth, or behind the camera, are taken for ones at this
    share: in full perspective they would be seen anywhere, and their gradients would have no bound.

    points: metres, the camera's axes, from the body's origin.
    weak: the crop's (s, tx, ty).
    place: of the crop in the picture's camera, as `Prompts.camera`.
    """
    transl = place_in_picture(weak, place)[..., None, :]
    seen = points + transl
    depth = jnp.maximum(seen[..., 2:], _LEAST_DEPTH * transl[..., 2:])
    return to_crop_units(seen[..., :2] / depth, place[..., :2], place[..., 2])


def _held_above_zero(x: Float[Array, '*B'], least: float) -> Float[Array, '*B']:
    """The value down to `least`, and below it what falls to 0, with gradients that stay alive."""
    return jnp.where(x > least, x, least * jnp.exp(jnp.minimum(x / least - 1, 0)))


def turn_to(point: Float[Array, '*B 2']) -> Float[Array, '*B 3 3']:
    """The shortest rotation to the axes of a camera that looks at a point of the picture.

    point: focal lengths from the principal point.
    """
    length = jnp.sqrt(1 + jnp.sum(jnp.square(point), axis=-1))
    x, y = jnp.moveaxis(point / length[..., None], -1, 0)
    z = 1 / length
    k = 1 / (1 + z)
    rows = (1 - k * x * x, -k * x * y, -x), (-k * x * y, 1 - k * y * y, -y), (x, y, z)
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def turn_points(
    points: Float[Array, '*B N 3'], rotation: Float[Array, '*B 3 3'], pivot: Float[Array, '*B 1 3']
) -> Float[Array, '*B N 3']:
    """Points turned about a pivot."""
    exact = jax.lax.Precision.HIGHEST
    return pivot + jnp.einsum('...ij,...nj->...ni', rotation, points - pivot, precision=exact)


def to_crop_units(
    pixels: Float[Array, '*B N 2'], box_center: Float[Array, '*B 2'], box_size: Float[Array, '*B']
) -> Float[Array, '*B N 2']:
    """Full-image pixels to units of the crop with this centre and side."""
    return (pixels - box_center[..., None, :]) / jnp.asarray(box_size)[..., None, None]


def to_full_pixels(
    keypoints: Float[Array, '*B N 2'],
    box_center: Float[Array, '*B 2'],
    box_size: Float[Array, '*B'],
) -> Float[Array, '*B N 2']:
    """Crop units to full-image pixels: inverts `to_crop_units`."""
    return keypoints * jnp.asarray(box_size)[..., None, None] + box_center[..., None, :]


def fit_translation(
    points: Float[Array, '*B N 3'], seen: Float[Array, '*B N 2']
) -> Float[Array, '*B 3']:
    """The translation, metres, with which points lie nearest to where they are seen.

    Least squares of the pixels' errors in full perspective, by Gauss-Newton steps from the closed
    form of `fit_crop_translation`.

    points: metres, the camera's axes, any origin.
    seen: focal lengths from the principal point; at least two must differ.
    """
    translation = fit_crop_translation(points, seen, jnp.ones(points.shape[:-1]), 1.0, 1.0)
    # Points near the camera's plane, or behind it, would be seen anywhere.
    behind = jnp.maximum(_NEAREST - jnp.min((points + translation[..., None, :])[..., 2], -1), 0)
    translation = translation.at[..., 2].add(behind)
    for _ in range(_STEPS):
        translation = _fitting_step(points, seen, translation)
    return translation


def _fitting_step(points, seen, translation) -> Float[Array, '*B 3']:
    """One Gauss-Newton step, as long as it helps."""
    off, depth, flat = _errors(points, seen, translation)
    # The unknowns are x, y and a way along the middle ray: they hardly depend on one another.
    middle = jnp.mean(flat, axis=-2, keepdims=True)
    zero, across = jnp.zeros_like(depth), 1 / depth
    forward = (middle - flat) * across
    columns = [[across, zero, forward[..., :1]], [zero, across, forward[..., 1:]]]
    jacobian = jnp.stack([jnp.concatenate(row, axis=-1) for row in columns], axis=-2)
    exact = jax.lax.Precision.HIGHEST
    normal = jnp.einsum('...nki,...nkj->...ij', jacobian, jacobian, precision=exact)
    gradient = jnp.einsum('...nki,...nk->...i', jacobian, off, precision=exact)
    x, y, z = jnp.moveaxis(jnp.linalg.solve(normal, gradient[..., None])[..., 0], -1, 0)
    ray = jnp.concatenate([middle[..., 0, :], jnp.ones_like(z)[..., None]], axis=-1)
    move = jnp.stack([x, y, jnp.zeros_like(z)], axis=-1) + z[..., None] * ray
    candidates = jnp.stack([translation - length * move for length in _LENGTHS])
    errors = jnp.sum(jnp.square(_errors(points, seen, candidates)[0]), axis=(-2, -1))
    first = jnp.argmax(errors <= (1 + _ROUNDING) * errors[-1], axis=0)
    return jnp.take_along_axis(candidates, first[None, ..., None], axis=0)[0]


def _errors(points, seen, translation):
    """Errors in focal lengths, depths, and where the points are."""
    placed = points + translation[..., None, :]
    depth = jnp.maximum(placed[..., 2:], _NEAREST)
    flat = placed[..., :2] / depth
    return flat - seen, depth, flat


def fit_crop_translation(
    points: Float[Array, '*B N 3'],
    keypoints2d: Float[Array, '*B N 2'],
    weights: Float[Array, '*B N'],
    focal_length: float = CROP_FOCAL_LENGTH,
    size: float = CROP_SIZE,
) -> Float[Array, '*B 3']:
    """The translation, metres, with which `project_crop` puts points nearest to their keypoints.

    Closed form. With f the focal length over the crop's size, each point asks for
    f (x + tx) = u (z + tz), which is linear in the translation. Weighted least squares are solved
    for tz with the means taken out. A residual is the error in crop units times the point's
    distance, nearly the same for all points of a body at this focal length.

    points: metres, the crop camera's axes, any origin.
    keypoints2d: crop units.
    weights: not negative; at least two points that differ must count.
    """
    f = focal_length / size
    total = jnp.sum(weights, axis=-1)[..., None, None]

    def mean(x):
        return jnp.sum(weights[..., None] * x, axis=-2, keepdims=True) / total

    # The mean depth is set aside: in float32, depth and distance must not mix.
    depth = mean(points[..., 2:])
    wanted = f * points[..., :2] - keypoints2d * (points[..., 2:] - depth)
    spread = keypoints2d - mean(keypoints2d)
    match = weights[..., None] * spread * (wanted - mean(wanted))
    extent = weights[..., None] * spread * spread
    distance = jnp.sum(match, axis=(-2, -1)) / jnp.sum(extent, axis=(-2, -1))
    offset = (distance[..., None, None] * mean(keypoints2d) - mean(wanted)) / f
    return jnp.concatenate([offset[..., 0, :], distance[..., None] - depth[..., 0, :]], axis=-1)
