"""Cameras: from the network's three numbers to translations and projected points, and back.

Frames. Both cameras are OpenCV's (x right, y down, z forward), in metres, and have parallel axes:

- the *crop camera* looks at the centre of the square crop, with a made-up focal length of 5000 px
  for a crop of 256 px: nearly a parallel projection;
- the *full-image camera* has a focal length and a principal point in pixels of the full image.

Because the axes are parallel, `global_orient` is the same in both. A person off the image's axis is
seen from the side of the ray to them, by atan(offset / focal length), and the crop camera does not
know of this turn: it belongs to `global_orient` as the network predicts it.

Units. *Crop units* are fractions of the crop's side from its centre: the crop spans [-0.5, 0.5].
Full-image points are pixels; boxes and principal points are in the same pixel coordinates.
Every function takes any leading axes.
"""

import jax
import jax.numpy as jnp

CROP_FOCAL_LENGTH = 5000.0
CROP_SIZE = 256.0
_TINY = 1e-9


def crop_translation(
    camera: jax.Array, focal_length: float = CROP_FOCAL_LENGTH, size: float = CROP_SIZE
) -> jax.Array:
    """Where the body's origin is in the crop camera, (..., 3) metres.

    Args:
      camera: (..., 3) weak perspective (s, tx, ty): crop sides per two metres, and metres.
      focal_length: pixels of a crop of `size` pixels.
      size: side of that crop, pixels.
    """
    s, tx, ty = jnp.moveaxis(camera, -1, 0)
    return jnp.stack([tx, ty, 2 * focal_length / (size * s + _TINY)], axis=-1)


def crop_camera(
    translation: jax.Array, focal_length: float = CROP_FOCAL_LENGTH, size: float = CROP_SIZE
) -> jax.Array:
    """The camera (s, tx, ty), (..., 3), of a translation in the crop camera: the way back."""
    x, y, z = jnp.moveaxis(translation, -1, 0)
    return jnp.stack([2 * focal_length / (size * z), x, y], axis=-1)


def project_crop(
    points: jax.Array,
    translation: jax.Array,
    focal_length: float = CROP_FOCAL_LENGTH,
    size: float = CROP_SIZE,
) -> jax.Array:
    """Project points with the crop camera.

    Args:
      points: (..., N, 3) metres, the crop camera's axes, the body's origin.
      translation: (..., 3) of `crop_translation`.
      focal_length, size: as there.

    Returns:
      (..., N, 2) crop units.
    """
    seen = points + translation[..., None, :]
    return focal_length / size * seen[..., :2] / seen[..., 2:]


def full_focal_length(image_size: jax.Array) -> jax.Array:
    """The focal length (...,), pixels, that TokenHMR assumes for an image (..., 2) of w x h px."""
    return CROP_FOCAL_LENGTH / CROP_SIZE * jnp.max(image_size, axis=-1)


def full_translation(
    camera: jax.Array,
    box_center: jax.Array,
    box_size: jax.Array,
    focal_length: jax.Array,
    principal_point: jax.Array,
) -> jax.Array:
    """Where the body's origin is in the full-image camera, (..., 3) metres.

    The body then covers the same pixels as in the crop, up to its depth over its distance.

    Args:
      camera: (..., 3) the crop's (s, tx, ty).
      box_center: (..., 2) of the square crop, full-image pixels.
      box_size: (...,) its side, full-image pixels.
      focal_length: (...,) of the full image, pixels.
      principal_point: (..., 2) full-image pixels; TokenHMR takes half the image's size.
    """
    scale = box_size * camera[..., 0] + _TINY
    shift = 2 * (box_center - principal_point) / scale[..., None]
    depth = 2 * focal_length / scale
    return jnp.concatenate([camera[..., 1:] + shift, depth[..., None]], axis=-1)


def camera_from_full(
    translation: jax.Array,
    box_center: jax.Array,
    box_size: jax.Array,
    focal_length: jax.Array,
    principal_point: jax.Array,
) -> jax.Array:
    """The crop's (s, tx, ty), (..., 3), of a translation in the full-image camera: the way back.

    Args:
      translation: (..., 3) metres.
      box_center, box_size, focal_length, principal_point: as in `full_translation`.
    """
    s = 2 * focal_length / (box_size * translation[..., 2])
    shift = 2 * (box_center - principal_point) / (box_size * s)[..., None]
    return jnp.concatenate([s[..., None], translation[..., :2] - shift], axis=-1)


def project_full(
    points: jax.Array, focal_length: jax.Array, principal_point: jax.Array
) -> jax.Array:
    """Project with the full-image camera.

    Args:
      points: (..., N, 3) metres, full-image camera; in front of it (z > 0).
      focal_length: (...,) pixels.
      principal_point: (..., 2) pixels.

    Returns:
      (..., N, 2) full-image pixels.
    """
    focal_length = jnp.asarray(focal_length)[..., None, None]
    return focal_length * points[..., :2] / points[..., 2:] + principal_point[..., None, :]


def to_crop_units(pixels: jax.Array, box_center: jax.Array, box_size: jax.Array) -> jax.Array:
    """Full-image pixels (..., N, 2) to units of the crop with centre (..., 2) and side (...,)."""
    return (pixels - box_center[..., None, :]) / jnp.asarray(box_size)[..., None, None]


def to_full_pixels(keypoints: jax.Array, box_center: jax.Array, box_size: jax.Array) -> jax.Array:
    """Crop units (..., N, 2) to full-image pixels: the way back from `to_crop_units`."""
    return keypoints * jnp.asarray(box_size)[..., None, None] + box_center[..., None, :]


def project_full_to_crop(
    points: jax.Array,
    focal_length: jax.Array,
    principal_point: jax.Array,
    box_center: jax.Array,
    box_size: jax.Array,
) -> jax.Array:
    """What the crop really shows of points (..., N, 3) in the full-image camera: (..., N, 2).

    True perspective of the image's own camera, in crop units; arguments as in `project_full` and
    `to_crop_units`. With focal length and size of the crop camera, both centres zero, it is
    `project_crop`.
    """
    pixels = project_full(points, focal_length, principal_point)
    return to_crop_units(pixels, box_center, box_size)


def fit_crop_translation(
    points: jax.Array,
    keypoints2d: jax.Array,
    weights: jax.Array,
    focal_length: float = CROP_FOCAL_LENGTH,
    size: float = CROP_SIZE,
) -> jax.Array:
    """The translation under which the crop camera sees points best where they were seen.

    Closed form: with f the focal length over the crop's size, each point asks for
    f (x + tx) = u (z + tz), which is linear in the translation; the weighted least squares of these
    are solved for tz with their means taken out. A residual is the error in crop units times the
    point's distance, nearly the same for all points of a body at this focal length.

    Args:
      points: (..., N, 3) metres, the crop camera's axes, any origin.
      keypoints2d: (..., N, 2) crop units.
      weights: (..., N) not negative; at least two points that differ must count.
      focal_length, size: of the crop camera.

    Returns:
      (..., 3) metres, to go into `project_crop`.
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
    distance = jnp.sum(match, axis=(-2, -1)) / jnp.sum(
        weights[..., None] * spread * spread, axis=(-2, -1)
    )
    offset = (distance[..., None, None] * mean(keypoints2d) - mean(wanted)) / f
    return jnp.concatenate([offset[..., 0, :], distance[..., None] - depth[..., 0, :]], axis=-1)
