"""Bodies as the crop shows them, placed in the camera of their image.

Networks differ by what they know of this camera, and by the camera of their projection:

- they see the crop alone: a person off the axis is taken for one straight ahead, so the body is
  turned by the angle that the person is seen at, and fitted to its keypoints;
- they read the crop's place, and have turned the body already, but their keypoints of pictures are
  the crop camera's (`camera.projection = 'crop'`): the body is fitted to them;
- they read it, and place bodies in the image's camera in training too ('full'): their own numbers
  are the translation.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float

from tokenhmr_jax.body import camera, rotations
from tokenhmr_jax.types import Array, BodyOutput, RegressorOutput


@struct.dataclass
class PlacedBodies:
    """Bodies in the axes of the image's camera; fields as in `ImagePrediction`."""

    global_orient: Float[Array, 'N 3 3']
    body: BodyOutput
    keypoints3d: Float[Array, 'N 44 3']
    keypoints2d: Float[Array, 'N 44 2']
    translation: Float[Array, 'N 3']


@functools.partial(jax.jit, static_argnames=('knows_camera', 'places_bodies'))
def place_bodies(
    output: RegressorOutput,
    center: Float[Array, 'N 2'],
    side: Float[Array, ' N'],
    focal_length: Float[Array, ' N'],
    principal_point: Float[Array, 'N 2'],
    knows_camera: bool,
    places_bodies: bool,
) -> PlacedBodies:
    """Puts bodies where the network sees their keypoints; see the module's text.

    Keypoints of a network that sees the crop alone are kept. Those of others are projected anew.

    Args:
      output: of crops, or of prompts.
      center, side: of the crops, pixels of the image.
      focal_length, principal_point: pixels, the image's camera.
      knows_camera: whether the network read the crop's place in the image's camera.
      places_bodies: whether its (s, tx, ty) place the body in the image's camera.
    """
    focal, middle = focal_length[:, None, None], principal_point[:, None]
    keypoints2d = camera.to_full_pixels(output.keypoints2d, center, side)
    seen = (keypoints2d - middle) / focal
    placed = PlacedBodies(
        output.params.global_orient, output.body, output.keypoints3d, keypoints2d, output.camera
    )
    if not knows_camera:
        back = jnp.swapaxes(camera.turn_to(jnp.mean(seen, axis=1)), -1, -2)
        placed = _turn(placed, back)
    place = jnp.concatenate([center - principal_point, side[:, None]], axis=-1)
    translation = camera.place_in_picture(output.camera, place / focal_length[:, None])
    if not places_bodies:
        fitted = camera.fit_translation(placed.keypoints3d, seen)
        possible = jnp.isfinite(fitted).all(axis=-1, keepdims=True)
        translation = jnp.where(possible, fitted, translation)
    if knows_camera:
        points = placed.keypoints3d + translation[:, None]
        keypoints2d = focal * points[..., :2] / points[..., 2:] + middle
    return placed.replace(translation=translation, keypoints2d=keypoints2d)


def _turn(placed: PlacedBodies, rotation: Float[Array, 'N 3 3']) -> PlacedBodies:
    """Bodies turned as by their `global_orient`: about the root joint."""
    root = placed.body.joints[:, :1]
    turn = lambda points: camera.turn_points(points, rotation, root)  # noqa: E731
    return placed.replace(
        global_orient=rotations.compose(rotation, placed.global_orient),
        body=jax.tree.map(turn, placed.body),
        keypoints3d=turn(placed.keypoints3d),
    )
