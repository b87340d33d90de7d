"""Models of checkpoints, ready to predict: `tokenhmr_jax.load` and `load_tokenizer`."""

import functools
from collections.abc import Sequence

import jax
import ml_collections
import numpy as np
from jaxtyping import Float, Int, Num
from numpy.typing import ArrayLike

from tokenhmr_jax.body import camera, smpl
from tokenhmr_jax.body.keypoint_body import KeypointBody, reduce_body
from tokenhmr_jax.data import crops
from tokenhmr_jax.inference import cameras, digests
from tokenhmr_jax.inference.persons import box_of_points, known_points
from tokenhmr_jax.inference.placement import place_bodies
from tokenhmr_jax.inference.pose_tokenizer import PoseTokenizer
from tokenhmr_jax.models.regressor import FrozenWeights
from tokenhmr_jax.tasks import prompting
from tokenhmr_jax.tasks.regressor import RegressorTask
from tokenhmr_jax.training.trained_run import open_run
from tokenhmr_jax.types import ImagePrediction, Prompts, RegressorOutput


def load(path: str, step: str = 'best') -> 'Model':
    """The regressor of a run, or of converted weights, on the first device.

    `path` is the workdir, local or gs://..., or 'bundled', the network that comes with the package:
    it reads 2D keypoints alone, and its body is the mannequin. `step` is 'best', 'last', or its
    number. Raises FileNotFoundError for a missing checkpoint or body model, and ValueError for a
    checkpoint of another kind, a missing step or setting, or a body model other than the one of
    training.
    """
    run = open_run(path, step, kind='regressor')
    return Model(run.name, run.config, run.task, run.params, run.state, run.body)


def load_tokenizer(path: str, step: str = 'best') -> PoseTokenizer:
    """The pose tokenizer of a run, or 'bundled'. Arguments and errors as in `load`."""
    run = open_run(path, step, kind='tokenizer')
    return PoseTokenizer(run.task.model, run.params, run.state.codes, run.body)


class Model:
    """A trained regressor: name of its checkpoint, config, weights and body model."""

    def __init__(
        self,
        name: str,
        config: ml_collections.ConfigDict,
        task: RegressorTask,
        params: dict,
        state: FrozenWeights,
        body: smpl.BodyModel,
    ):
        self.name, self.config, self.body = name, config, body
        self.params, self.state = params, state
        self.reads_image = task.model.backbone is not None
        self.knows_camera = task.model.prompts is not None
        self.reads_prompts = prompting.reads_keypoints(config)
        # People without pictures are placed in the picture's camera in any training.
        self.places_bodies = config.camera.projection == 'full' or not self.reads_image
        self._bodies = jax.jit(task.bodies)

    @functools.cached_property
    def keypoint_body(self) -> KeypointBody:
        """The body reduced to its keypoints, for `refinement`."""
        return reduce_body(self.body)

    @functools.cached_property
    def digest(self) -> str:
        """The digest of the weights, the body and those settings that change a prediction."""
        config, arrays = self.config, jax.tree.leaves((self.params, self.state, self.body))
        crop = config.data.crop_size, config.data.eval_box_aspect
        full = 'full' if config.camera.projection == 'full' else ''
        return digests.array_digest(arrays, f'{config.model}{config.tokenizer.model}{crop}{full}')

    @property
    def faces(self) -> Int[np.ndarray, 'F 3']:
        """Vertex indices of the body's triangles."""
        return np.asarray(self.body.faces)

    def predict(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        boxes: ArrayLike | None = None,
        focal_length: float | Sequence[float] | str | None = None,
        keypoints2d: ArrayLike | None = None,
    ) -> ImagePrediction:
        """The bodies of persons in boxes, with keypoints, or both. Each number is compiled once.

        A network that reads prompts takes the keypoints, and looks at the box of them where it
        looks at no picture. Raises ValueError for another shape or type, a box without area, an
        impossible focal length, or a person of whom the network can read nothing.

        Args:
          images: (H, W, 3) uint8, RGB; one of all boxes, or one per box.
          boxes: (N, 4) pixels: left, top, right, bottom; by default those of the keypoints.
          focal_length: of the image's camera in pixels, one or N, or a guess: 'diagonal' (the
            default), 55 degrees across the image's diagonal; 'original', TokenHMR's 19.5 times
            the larger side.
          keypoints2d: (N, 44, 3) pixels and confidence; `keypoint_conventions.to_44` makes them.
        """
        keypoints2d = self._check_keypoints(keypoints2d)
        if keypoints2d is not None and (boxes is None or not self.reads_image):
            boxes = np.stack([box_of_points(points) for points in keypoints2d])
        boxes = _check_boxes(boxes)
        images = _one_per_box(images, len(boxes))
        center, side = self._squares(boxes)
        image_size = np.array([image.shape[1::-1] for image in images], np.float32)
        focal_length = _focal_lengths(focal_length, image_size)
        middle = image_size / 2
        prompts = None
        if self.knows_camera:
            place = np.concatenate([center - middle, side[:, None]], axis=1) / focal_length[:, None]
            prompts = self._prompts(keypoints2d, center, side, place)
        output = self.predict_crops(self._cut(images, center, side), prompts)
        bodies, view = output.replace(token_probs=None), (center, side, focal_length, middle)
        knows = {'knows_camera': self.knows_camera, 'places_bodies': self.places_bodies}
        placed = jax.device_get(place_bodies(bodies, *view, **knows))
        return ImagePrediction(
            params=output.params.replace(global_orient=placed.global_orient),
            vertices=placed.body.vertices,
            joints=placed.body.joints,
            keypoints3d=placed.keypoints3d,
            keypoints2d=placed.keypoints2d,
            crop_camera=output.camera,
            crop_translation=np.asarray(camera.crop_translation(output.camera)),
            crop_center=center,
            crop_side=side,
            translation=placed.translation,
            focal_length=focal_length,
            principal_point=middle,
            residual_token_probs=output.token_probs,
        )

    def predict_crops(
        self, images: Num[np.ndarray, 'B H W 3'] | None, prompts: Prompts | None = None
    ) -> RegressorOutput:
        """The bodies in square RGB crops, or of prompts; None for what the network does not read.

        Raises ValueError for a size other than the config's.
        """
        size = self.config.data.crop_size
        if images is not None and images.shape[1:] != (size, size, 3):
            raise ValueError(f'crops of shape {images.shape}: expected (B, {size}, {size}, 3)')
        return jax.device_get(self._bodies(self.params, self.state, self.body, images, prompts))

    def _check_keypoints(self, keypoints2d) -> np.ndarray | None:
        """The keypoints that the network reads; None for none."""
        if keypoints2d is not None:
            keypoints2d = np.array(keypoints2d, np.float32)
            if keypoints2d.ndim != 3 or keypoints2d.shape[1:] != (44, 3):
                raise ValueError(f'keypoints of shape {keypoints2d.shape}: expected (N, 44, 3)')
            keypoints2d = known_points(keypoints2d)
        if self.reads_image:
            return keypoints2d if self.reads_prompts else None
        if keypoints2d is None:
            raise ValueError(f'{self.name} reads 2D keypoints, no pictures: expected keypoints2d')
        if lacking := np.flatnonzero(keypoints2d[..., 2].max(axis=1) <= 0).tolist():
            raise ValueError(f'persons {lacking}: no keypoint is known, expected at least one')
        return keypoints2d

    def _cut(self, images, center, side) -> np.ndarray | None:
        """The crops; None if the network reads none."""
        if not self.reads_image:
            return None
        size = self.config.data.crop_size
        squares = zip(images, center, side, strict=True)
        return np.stack(
            [crops.warp(image, crops.crop_matrix(c, s, size), size) for image, c, s in squares]
        )

    def _prompts(self, keypoints2d, center, side, place) -> Prompts:
        ones = np.ones(len(side), np.float32)
        points = np.zeros((len(side), 44, 3), np.float32)
        if keypoints2d is not None:
            points = keypoints2d.copy()
            points[..., :2] = (points[..., :2] - center[:, None]) / side[:, None, None]
            near = np.abs(points[..., :2]).max(axis=-1, keepdims=True) < prompting.FARTHEST
            points = np.where((points[..., 2:] > 0) & near, points, 0)
        return Prompts(points, place.astype(np.float32), has_camera=ones, has_image=ones)

    def _squares(
        self, boxes: Float[np.ndarray, 'N 4']
    ) -> tuple[Float[np.ndarray, 'N 2'], Float[np.ndarray, ' N']]:
        """Centres and sides of the squares that the network sees, pixels."""
        aspect = self.config.data.eval_box_aspect
        sides = [max(crops.grow_box(size, aspect)) for size in boxes[:, 2:] - boxes[:, :2]]
        return (boxes[:, :2] + boxes[:, 2:]) / 2, np.array(sides, np.float32)


def _check_boxes(boxes) -> np.ndarray:
    boxes = np.asarray(boxes, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ValueError(f'boxes of shape {boxes.shape}: expected (N, 4), N at least 1')
    wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if wrong.any():
        raise ValueError(
            f'boxes {boxes[wrong].tolist()}: expected left, top, right, bottom, finite, left < '
            'right and top < bottom'
        )
    return boxes


def _focal_lengths(given, image_size: np.ndarray) -> np.ndarray:
    """Pixels, one per box, of what `Model.predict` is given."""
    if given is None or isinstance(given, str):
        guess = 'diagonal' if given is None else given
        cameras.check_camera(None, None, guess, camera.GUESSES)
        return np.asarray(camera.GUESSES[guess](image_size), np.float32)
    found = np.asarray(given, np.float32)
    if found.shape not in ((), (len(image_size),)):
        raise ValueError(
            f'focal_length of shape {found.shape}: expected one number, or {len(image_size)}'
        )
    if not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f'focal_length={found.tolist()}: expected pixels, above 0')
    return np.broadcast_to(found, len(image_size))


def _one_per_box(images, count: int) -> list[np.ndarray]:
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = [images] * count
    if len(images) != count:
        raise ValueError(f'{len(images)} images for {count} boxes: expected one, or one per box')
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            found = f'an image of {image.dtype} {image.shape}'
            raise ValueError(f'{found}: expected uint8 (H, W, 3), RGB')
    return list(images)
