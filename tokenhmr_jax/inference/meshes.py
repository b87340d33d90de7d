"""A posed body as a mesh file: OBJ, PLY or GLB. Metres, y up, z towards the viewer."""

import pathlib

import numpy as np

from tokenhmr_jax.inference import gltf

FORMATS = ('obj', 'ply', 'glb')


def write_mesh(path: pathlib.Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a mesh in the format of the path's suffix.

    Args:
      path: NAME.obj, .ply or .glb.
      vertices: (V, 3) metres, in the camera's axes (y down, z forward).
      faces: (F, 3), counter-clockwise seen from outside.
    """
    vertices = vertices @ gltf.TO_Y_UP
    content = {'.obj': _obj, '.ply': _ply, '.glb': gltf.static_mesh}[path.suffix](vertices, faces)
    path.write_bytes(content)


def _obj(vertices, faces) -> bytes:
    lines = [f'v {x:.6f} {y:.6f} {z:.6f}' for x, y, z in vertices]
    lines += [f'f {a} {b} {c}' for a, b, c in faces + 1]
    return ('\n'.join(lines) + '\n').encode()


def _ply(vertices, faces) -> bytes:
    header = (
        'ply\nformat binary_little_endian 1.0\n'
        f'element vertex {len(vertices)}\n'
        'property float x\nproperty float y\nproperty float z\n'
        f'element face {len(faces)}\n'
        'property list uchar int vertex_indices\nend_header\n'
    )
    rows = np.empty(len(faces), [('count', 'u1'), ('corners', '<i4', 3)])
    rows['count'], rows['corners'] = 3, faces
    return header.encode() + vertices.astype('<f4').tobytes() + rows.tobytes()
