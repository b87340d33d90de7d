"""The mannequin's skin: the subdivided cage, projected onto the implicit surface."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from tokenhmr_jax.mannequin.anatomy import cage, form

ITERATIONS = 16
SMOOTHING = 0.5
STEP = 1e-4  # metres, of the gradient's finite differences
LONGEST_MOVE = 0.01  # metres per projection: no vertex jumps to another limb


class Skin(NamedTuple):
    """The surface of the whole body."""

    vertices: Float[np.ndarray, 'V 3']  # metres, y from the floor
    quads: Int[np.ndarray, 'Q 4']
    parts: Int[np.ndarray, ' V']  # indices into `form.PARTS`
    names: dict[str, int]  # vertex indices of landmarks
    partner: Int[np.ndarray, ' V']  # each vertex's mirror image


def build_skin() -> Skin:
    """The whole body at rest; the left half's vertices come first."""
    half = cage.subdivide(cage.half_body())
    source, partner = cage.mirror_index(half)
    count = len(half.points)
    middle = np.flatnonzero(partner[:count] == np.arange(count))
    other = partner[:count][half.quads[:, [0, 3, 2, 1]]]  # the same diagonals as on the left
    quads = np.concatenate([half.quads, other])
    points = _fit(half, source, quads, middle)
    right = {name.replace('left', 'right'): int(partner[i]) for name, i in half.names.items()}
    names = half.names | right
    return Skin(_whole(points, source), quads, half.parts[source], names, partner)


def _whole(points, source):
    vertices = points[source]
    vertices[len(points) :, 0] *= -1.0
    return vertices


def neighbour_mean(
    quads: Int[np.ndarray, 'Q 4'], count: int, lengths: Float[np.ndarray, ' E'] | None = None
) -> sp.spmatrix:
    """The matrix (V, V) that averages a vertex's neighbours, weighted by 1 / `lengths`."""
    i, j = cage.quad_edges(quads)[0].T
    weight = np.ones(len(i)) if lengths is None else 1.0 / lengths
    matrix = sp.csr_matrix((np.r_[weight, weight], (np.r_[i, j], np.r_[j, i])), (count, count))
    return sp.diags(1.0 / np.asarray(matrix.sum(axis=1)).ravel()) @ matrix


def _fit(half, source, quads, middle):
    """Alternates smoothing along the surface with projection onto it, then adds the reliefs.

    Weights 1 / (edge length in the cage) keep the cage's spacing: dense hands, face, joints.
    """
    points, count = half.points.copy(), len(half.points)
    start = _whole(points, source)
    i, j = cage.quad_edges(quads)[0].T
    mean = neighbour_mean(quads, len(source), np.linalg.norm(start[i] - start[j], axis=1))[:count]
    plain = neighbour_mean(quads, len(source))[:count]
    blend = np.array([form.BLEND[name] for name in form.PARTS])[half.parts]
    for _ in range(6):  # parts pass smoothly into each other
        blend = plain @ blend[source]
    pace = SMOOTHING * (1.0 - _digit_ends(half, plain, source))[:, None]
    for iteration in range(ITERATIONS):
        if iteration < ITERATIONS - 2:  # the last two only project
            normal = _unit(_value_and_gradient(points, half.parts, blend)[1])
            move = mean @ _whole(points, source) - points
            move -= np.einsum('ij,ij->i', move, normal)[:, None] * normal
            points += pace * move
            points[middle, 0] = 0.0
        value, gradient = _value_and_gradient(points, half.parts, blend)
        gradient[middle, 0] = 0.0
        step = -(value / np.einsum('ij,ij->i', gradient, gradient))[:, None] * gradient
        length = np.linalg.norm(step, axis=1, keepdims=True)
        points += step * np.minimum(1.0, LONGEST_MOVE / np.maximum(length, 1e-12))
    gradient = _value_and_gradient(points, half.parts, blend)[1]
    gradient[middle, 0] = 0.0
    return points + form.relief_height(points)[:, None] * _unit(gradient)


def _digit_ends(half, plain, source):
    """1 at the vertices (N,) within two edges of a digit's tip, which stays round."""
    end = np.zeros(len(half.points))
    end[[half.names[f'left_{name}'] for name in form.DIGITS]] = 1.0
    for _ in range(2):
        end = np.maximum(end, plain @ end[source] > 0)
    return end


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _value_and_gradient(points, parts, blend):
    shifts = np.concatenate([np.zeros((1, 3)), STEP * np.eye(3)])
    moved = (points + shifts[:, None]).reshape(-1, 3)
    value = form.signed_distance(moved, np.tile(parts, 4), np.tile(blend, 4)).reshape(4, -1)
    return value[0], (value[1:] - value[0]).T / STEP
