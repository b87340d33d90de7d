"""Shapes of children: heights and proportions of published tables, and a whole skin."""

import numpy as np
import pytest

from tokenhmr_jax.body.skeleton import JOINTS
from tokenhmr_jax.drawing.render import vertex_normals
from tokenhmr_jax.mannequin import shapes
from tokenhmr_jax.mannequin.body import mannequin_arrays

J = {name: i for i, name in enumerate(JOINTS)}


@pytest.fixture(scope='module')
def body():
    return mannequin_arrays()


def shaped(body, youth):
    """Vertices and joints, metres above the soles."""
    vertices = body['v_template'] + body['shapedirs'] @ (youth * np.array(shapes.CHILD_BETAS))
    joints = body['J_regressor'] @ vertices
    floor = np.array([0, vertices[:, 1].min(), 0])
    return vertices - floor, joints - floor


@pytest.mark.parametrize(
    'youth, stature, heads', [(0, 1.70, 7.4), (0.54, 1.40, 6.7), (1, 1.15, 6), (1.1, 1.09, 5.8)]
)
def test_stature_and_head(body, youth, stature, heads):
    """Of an adult, of ten, six and five years."""
    vertices, joints = shaped(body, youth)
    assert np.ptp(vertices[:, 1]) == pytest.approx(stature, abs=0.015)
    face = body['weights'][:, J['head']] > 0.5
    face &= vertices[:, 2] > joints[J['head'], 2] + 0.06 * stature / 1.7
    head = vertices[:, 1].max() - vertices[face, 1].min()
    assert np.ptp(vertices[:, 1]) / head == pytest.approx(heads, abs=0.15)


def test_legs_arms_and_shoulders_are_short_for_the_height(body):
    def ratios(youth):
        vertices, joints = shaped(body, youth)
        stature = np.ptp(vertices[:, 1])
        bones = ('left_shoulder', 'left_elbow', 'left_wrist')
        arm = np.linalg.norm(np.diff(joints[[J[name] for name in bones]], axis=0), axis=1).sum()
        width = joints[J['left_shoulder'], 0] - joints[J['right_shoulder'], 0]
        return np.array([joints[J['left_hip'], 1], arm, width]) / stature

    adult, child = ratios(0), ratios(1)
    np.testing.assert_allclose(child / adult, (0.93, 0.96, 0.975), atol=0.02)


def test_the_youngest_skin_does_not_turn_inside_out(body):
    faces = body['f'].astype(int)
    old, young = (vertex_normals(shaped(body, y)[0], faces) for y in (0, shapes.YOUNGEST))
    assert np.quantile(np.sum(old * young, axis=1), 0.001) > 0.5


def test_share_of_children():
    rng = np.random.default_rng(0)
    size = np.array([shapes.sample_betas(rng, 0.5)[0] for _ in range(2000)])
    # Shorter than 1.5 m by size alone: 6/11 of the children are younger than 0.5 of the line.
    assert (size < -5.2).mean() == pytest.approx(0.5 * 6 / 11, abs=0.03)
    adults = np.array([shapes.sample_betas(rng, 0.0) for _ in range(500)])
    assert np.abs(adults).max() <= 2.5 and adults.std() == pytest.approx(1, abs=0.05)
    assert shapes.sample_betas(rng).dtype == np.float32
    with pytest.raises(ValueError, match=r'children=1\.5'):
        shapes.sample_betas(rng, 1.5)
