"""The mannequin's skin: the subdivided cage, drawn onto the implicit surface."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from tokenhmr_jax.mannequin import cage, form

ITERATIONS = 16
SMOOTHING = 0.5
STEP = 1e-4  # metres, of the gradient's differences
LONGEST_MOVE = 0.01  # metres a projection may move a vertex, so that none jumps to another limb


class Skin(NamedTuple):
    """`vertices` (V, 3) metres with y from the floor, `quads` (Q, 4), `parts` (V,) index into
    `mannequin_form.PARTS`, vertex indices by `names`, and each vertex's mirror `partner` (V,)."""

    vertices: np.ndarray
    quads: np.ndarray
    parts: np.ndarray
    names: dict[str, int]
    partner: np.ndarray


def skin() -> Skin:
    """The whole body at rest; the left half's vertices come first."""
    half = cage.subdivide(cage.half_body())
    source, partner = cage.mirror_index(half)
    count = len(half.points)
    middle = np.flatnonzero(partner[:count] == np.arange(count))
    other = partner[:count][half.quads[:, [0, 3, 2, 1]]]  # the same diagonals as on the left
    quads = np.concatenate([half.quads, other])
    points = _fit(half, source, quads, middle)
    names = dict(half.names)
    for name in half.names:
        names[name.replace('left', 'right')] = int(partner[half.names[name]])
    return Skin(_whole(points, source), quads, half.parts[source], names, partner)


def _whole(points, source):
    vertices = points[source]
    vertices[len(points) :, 0] *= -1.0
    return vertices


def edges_of(quads) -> np.ndarray:
    """Unique edges (E, 2) of quads, sorted."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    return np.unique(np.sort(sides, axis=1), axis=0)


def neighbour_mean(quads, count, lengths=None) -> sp.csr_matrix:
    """The matrix (V, V) that averages a vertex's neighbours, weighted by 1 / `lengths` (E,)."""
    i, j = edges_of(quads).T
    weight = np.ones(len(i)) if lengths is None else 1.0 / lengths
    matrix = sp.csr_matrix((np.r_[weight, weight], (np.r_[i, j], np.r_[j, i])), (count, count))
    return sp.diags(1.0 / np.asarray(matrix.sum(axis=1)).ravel()) @ matrix


def _fit(half, source, quads, middle):
    """Alternates smoothing along the surface with projection onto it, then adds the reliefs.

    Weights 1 / (edge length in the cage) keep the cage's spacing: dense hands, face, joints.
    """
    points, count = half.points.copy(), len(half.points)
    start = _whole(points, source)
    i, j = edges_of(quads).T
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
    return points + form.relief(points)[:, None] * _unit(gradient)


def _digit_ends(half, plain, source):
    """1 at the vertices (N,) within two edges of a finger's or toe's tip, which stay round."""
    end = np.zeros(len(half.points))
    end[[half.names[f'left_{name}'] for name in form.DIGITS]] = 1.0
    for _ in range(2):
        end = np.maximum(end, plain @ end[source] > 0)
    return end


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _value_and_gradient(points, parts, blend):
    value = form.signed_distance(points, parts, blend)
    gradient = np.stack(
        [
            (form.signed_distance(points + STEP * axis, parts, blend) - value) / STEP
            for axis in np.eye(3)
        ],
        axis=1,
    )
    return value, gradient
