"""Mesh files of posed bodies: OBJ, PLY or GLB. Metres, y up, z towards the viewer."""

import os
import pathlib

import numpy as np
from jaxtyping import Float, Int

from tokenhmr_jax import cli
from tokenhmr_jax.inference import gltf

FORMATS = ('obj', 'ply', 'glb')


def write_mesh(
    path: str | os.PathLike, vertices: Float[np.ndarray, 'V 3'], faces: Int[np.ndarray, 'F 3']
) -> None:
    """Writes a mesh in the format of the path's suffix.

    Vertices are metres in the camera's axes (y down, z forward); faces are counter-clockwise seen
    from outside.
    """
    import trimesh  # a second that predictions without files need not wait

    suffix = pathlib.PurePath(path).suffix
    # Unprocessed: vertices keep their number and order.
    mesh = trimesh.Trimesh(vertices @ gltf.TO_Y_UP, faces, process=False)
    if suffix == '.glb':
        material = trimesh.visual.material.PBRMaterial(**gltf.SKIN)
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
    with cli.whole_file(path) as partial, partial.open('wb') as file:
        mesh.export(file, file_type=suffix[1:])
