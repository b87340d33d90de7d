"""People before cameras, without pictures."""

import functools

import jax
import numpy as np
import pytest

from tokenhmr_jax.body import keypoint_body
from tokenhmr_jax.data import virtual_people
from tokenhmr_jax.data.virtual_people import PeopleSettings

COUNT = 400
UPRIGHT = np.float32([np.pi / 2, 0, 0])  # y up, facing +z, to z up


@pytest.fixture(scope='module')
def reduced(mannequin):
    return keypoint_body.reduce_body(mannequin)


@pytest.fixture(scope='module')
def draw(reduced):
    @functools.cache
    def run(**settings):
        return people_of(reduced, jax.random.split(jax.random.key(0), COUNT), **settings)

    return run


def people_of(reduced, keys, **settings):
    root, pose = np.tile(UPRIGHT, (len(keys), 1)), np.zeros((len(keys), 21, 3), np.float32)
    settings = PeopleSettings(**settings)
    draw = jax.jit(lambda k: virtual_people.draw_people(k, reduced, root, pose, settings))
    return jax.tree.map(np.asarray, draw(keys))


def test_people_stand_upright_unless_they_are_tilted(draw):
    up = lambda people: -people.params.global_orient[:, 1, 1]  # noqa: E731  image y points down
    assert np.median(up(draw(tilted=0.0))) > 0.95 and up(draw(tilted=0.0)).min() > 0
    assert abs(up(draw(tilted=1.0, betas=0.0)).mean()) < 0.1


def test_people_face_any_way(draw):
    """Their front, in the camera's axes: as often towards it as away from it."""
    front = draw(tilted=0.0).params.global_orient[:, :, 2]
    assert abs((front[:, 2] < 0).mean() - 0.5) < 0.08 and abs((front[:, 0] < 0).mean() - 0.5) < 0.08


def test_keypoints_are_projections_of_the_body(draw):
    """A translation in front of the camera explains them all: least squares by NumPy."""
    people = draw()
    for flat, points in zip(people.keypoints2d[:20], people.keypoints3d[:20], strict=True):
        # (x + tx) - u (z + tz) = 0 and the same for y.
        rows = np.zeros((44, 2, 3))
        rows[:, 0, 0] = rows[:, 1, 1] = 1
        rows[..., 2] = -flat
        wanted = flat * points[:, 2:] - points[:, :2]
        transl, *_ = np.linalg.lstsq(rows.reshape(-1, 3), wanted.ravel(), rcond=None)
        seen = points + transl
        assert seen[:, 2].min() > 0.29
        np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], flat, atol=2e-3 * np.abs(flat).max())


def test_a_person_depends_on_its_own_key(reduced, draw):
    alone = people_of(reduced, jax.random.split(jax.random.key(0), COUNT)[1:3])
    np.testing.assert_allclose(draw().keypoints2d[1:3], alone.keypoints2d, rtol=1e-4, atol=1e-5)


def test_some_are_cut_off_and_few_are_empty(draw):
    seen = draw().in_picture.sum(axis=1)
    assert (seen == 44).mean() > 0.3 and (seen < 44).mean() > 0.2 and (seen < 3).mean() < 0.05


def test_children_lie_on_their_line(draw):
    line = tuple(float(x) for x in range(10))
    betas = draw(betas=0.0, children=1.0, child_betas=line).params.betas
    youth = betas[:, 1]
    np.testing.assert_allclose(betas, youth[:, None] * np.array(line), atol=1e-5)
    assert 0 <= youth.min() < 0.1 and 0.9 < youth.max() <= 1
    assert (draw(tilted=1.0, betas=0.0).params.betas == 0).all()


def test_crops_hold_their_keypoints_and_one_point_has_a_crop():
    points = np.zeros((2, 44, 3), np.float32)
    points[0, :3] = [[0.1, 0.2, 1], [0.3, 0.2, 0.5], [0.2, 0.8, 1]]
    points[1, 5] = [0.4, -0.1, 1]
    keys = jax.random.split(jax.random.key(0), 2)
    centre, side = virtual_people.draw_crops(keys, points, (192, 256))
    assert np.allclose(centre[0], [0.2, 0.5], atol=0.1) and 0.5 < side[0] < 1.1
    assert np.allclose(centre[1], [0.4, -0.1], atol=1e-3) and 0 < side[1] < 0.02


@pytest.mark.parametrize(
    'wrong, words',
    [({'distance': (2.0, 1.0)}, 'near and far'), ({'field_of_view': (20.0, 200.0)}, 'degrees'),
     ({'tilted': 1.5}, 'tilted=1.5'), ({'child_betas': (1.0,)}, 'child_betas')],
)  # fmt: skip
def test_settings_out_of_range(wrong, words):
    with pytest.raises(ValueError, match=words):
        PeopleSettings(**wrong)
