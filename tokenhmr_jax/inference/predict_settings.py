"""Settings of a prediction."""

from typing import NamedTuple

from tokenhmr_jax.inference import smoothing
from tokenhmr_jax.inference.fitting.camera_choice import check_cameras
from tokenhmr_jax.inference.outputs import joint_files, meshes
from tokenhmr_jax.inference.people import finders
from tokenhmr_jax.inference.samples import SampleSettings


class PredictSettings(NamedTuple):
    """Settings of a prediction; the command's flags explain each."""

    boxes: str = 'detect'
    keypoints: str | None = None
    detector_weights: str | None = None
    focal_length: float | None = None
    fov: float | str | None = None
    camera_guess: str = 'diagonal'
    batch_size: int = 16
    meshes: tuple[str, ...] = ('glb',)
    format: tuple[str, ...] = ()
    overlays: bool = True
    all_probs: bool = False
    smoothing: str = 'zero_lag'
    shortest_track: int = 5
    refine: bool | None = None
    recursive: bool = False
    gif: bool = False
    samples: int = 0
    seed: int = 0
    temperature: float | None = None

    def check(self) -> None:
        """Raises ValueError for settings that cannot be served; also as `check_finder`."""
        finders.check_finder(self.boxes, self.keypoints)
        check_cameras(self.focal_length, self.fov, self.camera_guess)
        if self.batch_size < 1 or self.batch_size & (self.batch_size - 1):
            raise ValueError(f'batch_size={self.batch_size}: expected a power of two')
        unknown = set(self.meshes) - set(meshes.FORMATS)
        if unknown:
            raise ValueError(f'meshes={sorted(unknown)}: expected some of {meshes.FORMATS}')
        unknown = set(self.format) - set(joint_files.FORMATS)
        if unknown:
            raise ValueError(f'format={sorted(unknown)}: expected some of {joint_files.FORMATS}')
        if self.smoothing not in smoothing.FILTERS:
            raise ValueError(f'smoothing={self.smoothing!r}: expected one of {smoothing.FILTERS}')
        if self.shortest_track < 1:
            raise ValueError(f'shortest_track={self.shortest_track}: expected frames, at least 1')
        self.sampling().check()

    def sampling(self) -> SampleSettings:
        """Settings of the samples."""
        return SampleSettings(self.samples, self.seed, self.temperature)
