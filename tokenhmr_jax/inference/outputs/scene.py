"""All people of a picture or a video in one GLB file, near its origin, and the camera."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from tokenhmr_jax import cli
from tokenhmr_jax.inference.outputs import gltf, overlays


def write_scene(path: str | os.PathLike, *parts) -> None:
    """Writes `scene_glb` of `parts` to a file."""
    with cli.whole_file(path) as partial:
        partial.write_bytes(scene_glb(*parts))


def write_picture_scene(path: str | os.PathLike, *parts) -> None:
    """Writes `picture_glb` of `parts` to a file."""
    with cli.whole_file(path) as partial:
        partial.write_bytes(picture_glb(*parts))


def scene_glb(
    people: Sequence[gltf.Person],
    points: Float[np.ndarray, 'M K 3'],
    faces: Int[np.ndarray, 'F 3'],
    weights: Float[np.ndarray, 'V 24'] | None,
    lens: gltf.Lens,
) -> bytes:
    """A file of people, moved so that they stand around the origin, and the camera that saw them.

    Args:
      people: metres, glTF's axes, from the camera.
      points: of M bodies on which to centre, likewise.
      faces, weights: as in `gltf.people_glb`.
      lens: at the origin.
    """
    centre = _between_feet(points)
    people = [_moved(person, -centre) for person in people]
    lens = lens._replace(position=lens.position - centre)
    return gltf.people_glb(people, faces, weights, lens)


def picture_glb(
    vertices: Float[np.ndarray, 'N V 3'],
    faces: Int[np.ndarray, 'F 3'],
    track_ids: Int[np.ndarray, ' N'],
    lens: gltf.Lens,
) -> bytes:
    """A file of the N > 0 bodies of a picture; vertices are metres, in its camera."""
    upright = vertices @ gltf.TO_Y_UP
    people = [
        gltf.Person(f'person {number}', body, color=color_of(number))
        for number, body in zip(track_ids.tolist(), upright, strict=True)
    ]
    return scene_glb(people, upright, faces, None, lens)


def color_of(track_id: int) -> tuple[float, float, float]:
    """RGB of a person, as in the overlays."""
    return overlays.COLORS[track_id % len(overlays.COLORS)]


def on_one_clock(person: gltf.Person, start: float, end: float) -> gltf.Person:
    """A person whose motion begins at `start` and who is there until `end`, seconds.

    The motion's times are from 0; `end` is inf for a person who stays.
    """
    motion = person.motion
    moved = motion._replace(times=motion.times + start, shown=(start, end))
    return person._replace(motion=moved)


def _between_feet(points) -> np.ndarray:
    """The place on the ground amid bodies, robust against some that are far off."""
    across = np.median(points.mean(axis=1), axis=0)
    ground = np.median(points[..., 1].min(axis=1))
    return np.array([across[0], ground, across[2]])


def _moved(person: gltf.Person, by: np.ndarray) -> gltf.Person:
    if person.motion is None:
        return person._replace(vertices=person.vertices + by)
    return person._replace(motion=person.motion._replace(root=person.motion.root + by))
