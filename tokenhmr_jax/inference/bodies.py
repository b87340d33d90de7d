"""Bodies of the people of one picture, as `Model.predict` returns them: files, overlay, formats."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from flax import struct
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from tokenhmr_jax import cli
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.inference.outputs import gltf, meshes, overlays, results, scene
from tokenhmr_jax.types import ImagePrediction


class Shown(NamedTuple):
    """The picture that bodies were predicted of, and what draws them over it.

    focal_length: of the picture's camera, pixels; the principal point is the middle.
    faces: vertex indices of the body's triangles.
    """

    image: UInt8[np.ndarray, 'H W 3']
    focal_length: float
    faces: Int[np.ndarray, 'F 3']


@struct.dataclass
class Bodies(ImagePrediction):
    """Bodies of the N people of one picture; N may be 0.

    The arrays are those of `ImagePrediction`. `len` is N.
    """

    shown: Shown = struct.field(pytree_node=False)

    def __len__(self) -> int:
        return len(self.vertices)

    def __repr__(self) -> str:
        height, width = self.shown.image.shape[:2]
        people = cli.counted(len(self), 'person', 'people')
        lens = f'focal length {self.shown.focal_length:.0f} px'
        arrays = {'global_orient': self.params.global_orient, 'body_pose': self.params.body_pose}
        arrays |= {'betas': self.params.betas} | {
            name: getattr(self, name)
            for name in ('vertices', 'joints', 'keypoints3d', 'keypoints2d', 'translation')
        }
        shapes = ', '.join(f'{name} {np.shape(value)}' for name, value in arrays.items())
        return f'Bodies of {people} in a picture of {width} x {height} px, {lens}\n  {shapes}'

    @property
    def camera_vertices(self) -> Float[np.ndarray, 'N 6890 3']:
        """Vertices in the picture's camera (x right, y down, z forward), metres."""
        return self.vertices + self.translation[:, None]

    def overlay(self) -> UInt8[np.ndarray, 'h w 3']:
        """The RGB picture with the bodies over it, and beside it from the side and from above."""
        image, focal, faces = self.shown
        middle = np.array(image.shape[1::-1]) / 2
        view = range(len(self)), focal, middle
        samples = self.camera_samples
        return overlays.overlay_sheet(image, self.camera_vertices, faces, *view, samples=samples)

    def to_glb(self) -> bytes:
        """A GLB file of all people and the camera, y up, metres, near the origin.

        Raises ValueError without people.
        """
        if not len(self):
            raise ValueError('no people: expected one at least')
        return scene.picture_glb(*self._scene())

    def _scene(self) -> tuple:
        size = self.shown.image.shape[1::-1]
        lens = gltf.Lens(self.shown.focal_length, np.array(size) / 2, size)
        return self.camera_vertices, self.shown.faces, np.arange(len(self)), lens

    def to_smpl(self) -> dict[str, np.ndarray]:
        """SMPL's parameters in axis-angle, radians, and metres, in the picture's camera.

        `global_orient` (N, 3), `body_pose` (N, 69), `betas` (N, S), `transl` (N, 3): the arguments
        of the layers of the package smplx.
        """
        turns = np.concatenate([self.params.global_orient[:, None], self.params.body_pose], axis=1)
        poses = np.zeros((len(self), 3 * turns.shape[1]), np.float32)
        for row, each in enumerate(turns):
            poses[row] = Rotation.from_matrix(each).as_rotvec().ravel()
        return {
            'global_orient': poses[:, :3],
            'body_pose': poses[:, 3:],
            'betas': np.asarray(self.params.betas),
            'transl': np.asarray(self.translation),
        }

    def save(self, folder: str | os.PathLike) -> pathlib.Path:
        """Writes bodies.npz, overlay.jpg and, of people, scene.glb and body_ROW.glb.

        The arrays are those of a result's `frames/NAME.npz` (inference/outputs/results.py).
        """
        out = pathlib.Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        results.write_arrays(out / 'bodies.npz', results.person_arrays(self))
        draw.write_image(out / 'overlay.jpg', self.overlay())
        for row, vertices in enumerate(self.camera_vertices):
            meshes.write_mesh(out / f'body_{row}.glb', vertices, self.shown.faces)
        if len(self):
            scene.write_picture_scene(out / 'scene.glb', *self._scene())
        return out
