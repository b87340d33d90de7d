"""Models of checkpoints, ready to use: `tokenhmr_jax.load`, `load_tokenizer`, `load_prior`."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import ml_collections
import numpy as np
from jaxtyping import Int, Num
from numpy.typing import ArrayLike
from PIL import Image

from tokenhmr_jax.body import camera, smpl
from tokenhmr_jax.body.keypoint_body import KeypointBody, reduce_body
from tokenhmr_jax.inference.bodies import Bodies, Shown
from tokenhmr_jax.inference.inputs import digests, picture_files
from tokenhmr_jax.inference.inputs.sources import Frame
from tokenhmr_jax.inference.network_inputs import LookedAt, focal_lengths, look_at
from tokenhmr_jax.inference.people.detectors.choice import make_detector
from tokenhmr_jax.inference.people.persons import Finder, Persons, box_of_points, known_points
from tokenhmr_jax.inference.placement import PlacedBodies, place_bodies
from tokenhmr_jax.inference.pose_prior import PosePrior
from tokenhmr_jax.inference.pose_tokenizer import PoseTokenizer
from tokenhmr_jax.inference.samples import Sampler, SampleSettings
from tokenhmr_jax.models.regressor import FrozenWeights
from tokenhmr_jax.tasks import prompting
from tokenhmr_jax.tasks.prior import PriorTask
from tokenhmr_jax.tasks.regressor import RegressorTask
from tokenhmr_jax.tasks.tokenizer import TokenizerTask
from tokenhmr_jax.training.trained_run import Trained, open_prior, open_run, with_prior
from tokenhmr_jax.types import Array, ImagePrediction, Prompts, RegressorOutput

_NAMES = ('boxes', 'focal_length', 'keypoints')
Picturelike = str | os.PathLike | Image.Image | np.ndarray


class Weights(NamedTuple):
    """The arrays of a network: parameters, what is frozen in it, and its body."""

    params: dict
    state: FrozenWeights
    body: smpl.BodyModel


def load(path: str, step: str = 'best', prior: str | None = None, prior_steps: int = 1) -> 'Model':
    """The regressor of a run, or of converted weights, on the first device.

    `path` is the workdir, local or gs://...; 'hf://OWNER/NAME', a model of Hugging Face's hub; or
    'bundled', the network that comes with the package: it reads 2D keypoints alone, and its body is
    the mannequin. `step` is 'best', 'last', or its number. `prior` is a prior's run, for a network
    of pose tokens: by it samples and refinement know which joints' turns go together, and it
    refines the tokens in `prior_steps` parallel steps, 1 for not at all. Raises FileNotFoundError
    for a missing checkpoint or body model, and ValueError for a checkpoint of another kind, a
    missing step or setting, a body model other than the one of training, or as `with_prior`.
    """
    run, known = open_run(path, step, kind='regressor'), None
    of_prior = open_prior(prior, prior_steps)
    if of_prior is not None:
        run, known = with_prior(run, of_prior, prior_steps), _prior(of_prior)
    task = cast(RegressorTask, run.task)
    return Model(run.name, run.config, task, run.params, run.state, run.body, known)


def load_tokenizer(path: str, step: str = 'best') -> PoseTokenizer:
    """The pose tokenizer of a run, or 'bundled'. Arguments and errors as in `load`."""
    run = open_run(path, step, kind='tokenizer')
    task = cast(TokenizerTask, run.task)
    return PoseTokenizer(task.model, run.params, run.state.codes, run.body)


def load_prior(path: str, step: str = 'best') -> PosePrior:
    """The pose tokenizer with its prior, of a prior's run. Arguments and errors as in `load`."""
    return _prior(open_run(path, step, kind='prior'))


def _prior(run: Trained) -> PosePrior:
    return PosePrior(cast(PriorTask, run.task), run.params, run.state, run.body)


class Dispatched(NamedTuple):
    """A batch that the device works on, and arrays that it will fill."""

    looked: LookedAt
    output: RegressorOutput
    placed: PlacedBodies


class Model:
    """A trained regressor: name of its checkpoint, config, weights, body model, and prior of
    its pose tokens, None for none."""

    def __init__(
        self,
        name: str,
        config: ml_collections.ConfigDict,
        task: RegressorTask,
        params: dict,
        state: FrozenWeights,
        body: smpl.BodyModel,
        prior: PosePrior | None = None,
    ):
        self.name, self.config, self.body, self.prior = name, config, body, prior
        self.params, self.state = params, state
        self.reads_image = task.model.backbone is not None
        self.knows_camera = task.model.prompts is not None
        self.reads_prompts = prompting.reads_keypoints(config)
        # People without pictures are placed in the picture's camera in any training.
        self.places_bodies = config.camera.projection == 'full' or not self.reads_image
        self._task, self._bodies = task, jax.jit(task.bodies)

    @functools.cached_property
    def keypoint_body(self) -> KeypointBody:
        """The body reduced to its keypoints, for `refinement`."""
        return reduce_body(self.body)

    @functools.cached_property
    def tokenizer(self) -> PoseTokenizer:
        """Stage 1, as the checkpoint holds it: it decodes and edits `ImagePrediction.tokens`.

        Raises ValueError for a network without tokens.
        """
        stage1, weights, codes = self._task.model.tokenizer, self.state.tokenizer, self.state.codes
        if stage1 is None or weights is None or codes is None:
            raise ValueError(f'{self.name} regresses poses directly: it has no tokenizer')
        return PoseTokenizer(stage1, weights, codes, self.body)

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

    @property
    def weights(self) -> 'Weights':
        """All arrays of the network: the first argument of `apply`."""
        return Weights(self.params, self.state, self.body)

    def apply(
        self, weights: 'Weights', images: Array | None, prompts: Prompts | None = None
    ) -> RegressorOutput:
        """The bodies in crops, as a pure function of arrays: to be jitted and differentiated.

        Args:
          weights: as `weights`, or others of the same shapes.
          images: (B, S, S, 3) square RGB crops, 0 to 255; S is `config.data.crop_size`. None for a
            network that reads none.
          prompts: None for a network that reads none.
        """
        return self._task.bodies(*weights, images, prompts)

    def detect(self, image: Picturelike) -> Persons:
        """The people of a picture, with their 2D keypoints, by the best detector installed.

        Raises ImportError without one, and as `predict` for a picture that cannot be read.
        """
        picture = picture_files.as_picture(image)
        return self._find(Frame('picture', 0, picture.image))

    @functools.cached_property
    def _find(self) -> Finder:
        return make_detector('detect')[0]

    def predict(
        self,
        image: Picturelike | Sequence[Picturelike],
        boxes: ArrayLike | Sequence[ArrayLike] | None = None,
        focal_length: float | str | Sequence[float] | None = None,
        keypoints: ArrayLike | Sequence[ArrayLike] | None = None,
        samples: SampleSettings | int = 0,
    ) -> Bodies | list[Bodies]:
        """The bodies of the people in a picture, or in each of several.

        Raises ValueError as `predict_boxes`, or for a picture that is none, FileNotFoundError for a
        missing file, ImportError without a detector where one is needed.

        Args:
          image: a file's path, a picture of Pillow, or an array, grey or RGB; or a list of them,
            for which the result and all arguments below are lists, too.
          boxes: (N, 4) pixels: left, top, right, bottom; N may be 0. By default those of the
            keypoints; without these, the people that `detect` finds.
          focal_length: of the picture's camera in pixels, or a guess of `predict_boxes`. By default
            that of the file's EXIF data, else 'diagonal'.
          keypoints: (N, 44, 3) pixels and confidence; `keypoint_conventions.to_44` makes them.
          samples: bodies to draw for each person from the tokens' distribution, or how to draw
            them; the same for all pictures. ValueError for a network that cannot.
        """
        self.check_samples(samples)
        if isinstance(image, Sequence) and not isinstance(image, str):
            given = (boxes, focal_length, keypoints)
            lists = [
                _one_each(name, each, len(image)) for name, each in zip(_NAMES, given, strict=True)
            ]
            each = zip(image, *lists, [samples] * len(image), strict=True)
            return [self._predict(*arguments) for arguments in each]
        return self._predict(image, boxes, focal_length, keypoints, samples)

    def _predict(self, image, boxes, focal_length, keypoints, samples) -> Bodies:
        """The bodies of one picture; arguments as of `predict`."""
        picture = picture_files.as_picture(image)
        if focal_length is None:
            focal_length = picture.focal_length
        size = np.array([picture.image.shape[1::-1]], np.float32)
        [focal] = focal_lengths(focal_length, size)
        if boxes is None and keypoints is None:
            people = self.detect(picture.image)
            readable = self.reads_image | (people.keypoints2d[..., 2] > 0).any(axis=1)
            boxes, keypoints = people.boxes[readable], people.keypoints2d[readable]
        count = len(boxes if keypoints is None else keypoints)
        if not count:  # the body of nobody has the shapes
            boxes, keypoints = [[0, 0, *size[0]]], np.ones((1, 44, 3), np.float32)
        found = self.predict_boxes(picture.image, boxes, float(focal), keypoints)
        found = self.with_samples(found, samples)
        found = jax.tree.map(lambda x: x[:count], found)
        shown = Shown(picture.image, float(focal), self.faces)
        return Bodies(**vars(found), shown=shown)

    def predict_boxes(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        boxes: ArrayLike | None = None,
        focal_length: float | Sequence[float] | str | None = None,
        keypoints2d: ArrayLike | None = None,
    ) -> ImagePrediction:
        """The bodies of persons in boxes, with keypoints, or both; arrays alone.

        Their number is padded to a power of two, so that few numbers are compiled.

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
        looked = self.look(images, boxes, focal_length, keypoints2d)
        return self.fetch(self.dispatch(looked))

    def look(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        boxes: ArrayLike | None = None,
        focal_length: float | Sequence[float] | str | None = None,
        keypoints2d: ArrayLike | None = None,
    ) -> LookedAt:
        """The host's part of `predict_boxes`: crops and prompts; arguments and errors as there."""
        keypoints2d = self._check_keypoints(keypoints2d)
        if keypoints2d is not None and (boxes is None or not self.reads_image):
            boxes = np.stack([box_of_points(points) for points in keypoints2d])
        if not self.reads_prompts:
            keypoints2d = None
        data = self.config.data
        reads = {'image': self.reads_image, 'prompts': self.knows_camera}
        return look_at(
            images, boxes, focal_length, keypoints2d, data.crop_size, data.eval_box_aspect, **reads
        )

    def dispatch(self, looked: LookedAt) -> Dispatched:
        """Starts the network on its device, and does not wait for it."""
        count = len(looked.side)
        padded = cast(LookedAt, _padded(looked, count))
        output = self._bodies(self.params, self.state, self.body, padded.crops, padded.prompts)
        placed = place_bodies(
            dataclasses.replace(output, token_probs=None, own_token_probs=None),
            *padded[2:],
            knows_camera=self.knows_camera,
            places_bodies=self.places_bodies,
        )
        return Dispatched(looked, output, placed)

    def fetch(self, dispatched: Dispatched) -> ImagePrediction:
        """Waits for the bodies that `dispatch` has asked for."""
        looked = dispatched.looked
        first = lambda x: x[: len(looked.side)]  # noqa: E731
        output, placed = jax.tree.map(first, jax.device_get(dispatched[1:]))
        residual = not self._task.model.has_pose_tokens
        return ImagePrediction(
            params=dataclasses.replace(output.params, global_orient=placed.global_orient),
            vertices=placed.body.vertices,
            joints=placed.body.joints,
            keypoints3d=placed.keypoints3d,
            keypoints2d=placed.keypoints2d,
            crop_camera=output.camera,
            crop_translation=np.asarray(camera.crop_translation(output.camera)),
            crop_center=looked.center,
            crop_side=looked.side,
            translation=placed.translation,
            focal_length=looked.focal_length,
            principal_point=looked.principal_point,
            residual_token_probs=output.token_probs if residual else None,
            pose_token_probs=None if residual else output.token_probs,
            own_token_probs=output.own_token_probs,
            samples=None,
        )

    @functools.cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self._task.model, self.state, self.keypoint_body.body)

    def check_samples(self, samples: SampleSettings | int) -> None:
        """Raises ValueError if they cannot be drawn from this network."""
        settings = SampleSettings.of(samples)
        if settings.count:
            self._sampler.check(settings, self.name)

    def with_samples(
        self, prediction: ImagePrediction, samples: SampleSettings | int
    ) -> ImagePrediction:
        """The prediction with bodies drawn from its tokens' distribution around each person's.

        Where refinement has turned a joint, its samples are turned with it. Raises ValueError as
        `check_samples`.
        """
        settings = SampleSettings.of(samples)
        if not settings.count:
            return prediction
        self._sampler.check(settings, self.name)
        probs = prediction.residual_token_probs
        probs = cast(np.ndarray, prediction.pose_token_probs if probs is None else probs)
        drawn = self._sampler(prediction.params, probs, settings, prediction.own_token_probs)
        return dataclasses.replace(prediction, samples=drawn)

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
        """The known keypoints of each person; None for none."""
        if keypoints2d is not None:
            keypoints2d = np.array(keypoints2d, np.float32)
            if keypoints2d.ndim != 3 or keypoints2d.shape[1:] != (44, 3):
                raise ValueError(f'keypoints of shape {keypoints2d.shape}: expected (N, 44, 3)')
            keypoints2d = known_points(keypoints2d)
        if self.reads_image:
            return keypoints2d
        if keypoints2d is None:
            raise ValueError(f'{self.name} reads 2D keypoints, no pictures: expected keypoints2d')
        if lacking := np.flatnonzero(keypoints2d[..., 2].max(axis=1) <= 0).tolist():
            raise ValueError(f'persons {lacking}: no keypoint is known, expected at least one')
        return keypoints2d


def _padded(tree: Any, count: int) -> Any:
    """Arrays of `count` rows with the last one repeated, up to a power of two."""
    more = (1 << (count - 1).bit_length()) - count
    return jax.tree.map(lambda x: np.concatenate([x, np.repeat(x[-1:], more, axis=0)]), tree)


def _one_each(name: str, given: Any, count: int) -> Sequence:
    """A list of one value per picture; the same for all if it is none."""
    if given is None or isinstance(given, str | int | float | np.number):
        return [given] * count
    if len(given) != count:
        raise ValueError(f'{len(given)} {name} for {count} pictures: expected one of each')
    return given
