"""Mesh files of posed bodies: OBJ, PLY or GLB. Metres, y up, z towards the viewer."""

import os
import pathlib

import numpy as np
from jaxtyping import Float, Int

from tokenhmr_jax import cli
from tokenhmr_jax.inference.outputs import gltf

FORMATS = ('obj', 'ply', 'glb')


def write_mesh(
    path: str | os.PathLike, vertices: Float[np.ndarray, 'V 3'], faces: Int[np.ndarray, 'F 3']
) -> None:
    """Writes a mesh in the format of the path's suffix.

    Vertices are metres in the camera's axes (y down, z forward); faces are counter-clockwise seen
    from outside.
    """
    upright, suffix = vertices @ gltf.TO_Y_UP, pathlib.PurePath(path).suffix
    with cli.whole_file(path) as partial, partial.open('wb') as file:
        if suffix == '.glb':
            file.write(gltf.people_glb([gltf.Person('person', upright)], faces))
            return
        import trimesh  # a second that predictions without files need not wait

        # Unprocessed: vertices keep their number and order.
        mesh = trimesh.Trimesh(upright, faces, process=False)
        mesh.export(file, file_type=suffix[1:])
