"""Fields of view from people whose bodies are known."""

import math
import re

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera, keypoint_body, keypoint_conventions
from tokenhmr_jax.inference.fitting import camera_choice, field_of_view
from tokenhmr_jax.inference.fitting.field_of_view import GRID, FieldOfView, People
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import load
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.inference.people.persons import make_persons
from tokenhmr_jax.inference.prediction import PredictSettings, predict
from tokenhmr_jax.types import SmplParams

COUNT, DIAGONAL = 4, 2000.0  # as many people at once as the estimate takes


@pytest.fixture(scope='module')
def reduced(mannequin):
    return keypoint_body.reduce_body(mannequin)


def people_at(reduced, distance: float, degrees: float, aside: float = 1.0) -> People:
    """People before a camera, known but for the field of view: the answers are as large before the
    guessed one, and seen from the same side."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.3, (COUNT, 23, 3)) * np.where(np.arange(23) < 21, 1, 0)[:, None]
    turn = Rotation.from_euler('yx', np.stack([[20, 110, -60, 160], [190, 175, 185, 180]], 1),
                               degrees=True)  # fmt: skip
    pose = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(COUNT, 23, 3, 3)
    betas = rng.normal(0, 0.7, (COUNT, 10))
    upright = Rotation.from_euler('x', 180, degrees=True)
    params = SmplParams(*map(np.float32, ((upright * turn).as_matrix(), pose, betas)))
    points = np.asarray(jax.jit(keypoint_body.keypoints)(reduced, params))
    place = np.float32([[-0.3, 0.2, 1], [0.2, 0.1, 1.1], [0, 0.3, 1.2], [0.4, 0, 1.3]]) * distance
    place[:, :2] *= aside
    seen = points + place[:, None]
    focal = DIAGONAL / 2 / math.tan(math.radians(degrees / 2))
    pixels = focal * seen[..., :2] / seen[..., 2:]
    keypoints2d = np.concatenate([pixels, np.ones((COUNT, 44, 1))], axis=-1).astype(np.float32)
    guess = DIAGONAL / 2 / math.tan(math.radians(27.5))
    side = np.float32(1.2 * np.ptp(pixels, axis=1).max(-1))
    answers = place * np.float32([1, 1, guess / focal])
    before, now = (camera.turn_to(pixels.mean(axis=1) / f) for f in (focal, guess))
    turned = np.asarray(np.swapaxes(now, 1, 2) @ before @ params.global_orient)
    return People(params.replace(global_orient=turned), answers, keypoints2d, side)


@pytest.mark.parametrize('degrees', [32.0, 85.0])
def test_known_bodies_tell_the_field_of_view(reduced, degrees):
    """Each alone, and all together better: the truth lies within three deviations."""
    evidence = field_of_view.evidence(reduced, people_at(reduced, 2.5, degrees), DIAGONAL)
    together = field_of_view.posterior(evidence)
    assert together.is_telling and together.people == COUNT
    assert together.degrees == pytest.approx(degrees, rel=0.02)
    for each in evidence:
        alone = field_of_view.posterior(each[None])
        assert alone.deviation > together.deviation
        off = alone.place - math.log(math.tan(math.radians(degrees / 2)))
        assert abs(off) < max(3 * alone.deviation, 0.02)


def test_far_people_with_rounded_keypoints_tell_nothing(reduced):
    """COCO's points in whole pixels, of people of 80 pixels in the middle: the guess."""
    people = people_at(reduced, 60.0, 40.0, aside=0.05)
    points = people.keypoints2d * keypoint_conventions.GIVEN['coco'][:, None]
    points[..., :2] = np.round(points[..., :2])
    evidence = field_of_view.evidence(reduced, people._replace(keypoints2d=points), DIAGONAL)
    found = field_of_view.posterior(evidence[:1])
    assert not found.is_telling
    frame = sources.Frame('a', 0, np.zeros((1200, 1600, 3), np.uint8))
    chosen = camera_choice.estimated_camera(frame, found)
    assert chosen.source == 'guessed: 55 degrees across the diagonal (1 person do not tell it)'
    assert chosen.focal_length == pytest.approx(1000 / math.tan(math.radians(27.5)))


def test_without_keypoints_all_fields_of_view_are_equal(reduced):
    """Two have none; no body fits the other two."""
    people = people_at(reduced, 3.0, 60.0)
    people.keypoints2d[:2] = 0
    people.translation[2:] = np.nan
    evidence = field_of_view.evidence(reduced, people, DIAGONAL)
    assert np.ptp(evidence[:2], axis=1).max() < 0.05
    assert not evidence[2:].any()


def test_posteriors_are_products_of_normal_distributions():
    """By the closed form, for evidence that is normal and far above that of wrong people."""
    guess, prior = math.log(math.tan(math.radians(27.5))), field_of_view.PRIOR_DEVIATION
    nobody = field_of_view.posterior(np.zeros((0, len(GRID))))
    assert nobody.place == pytest.approx(guess, abs=0.02) and not nobody.is_telling
    assert nobody.deviation == pytest.approx(prior, rel=0.05)  # the grid ends
    evidence = np.stack([-0.5 * ((GRID - mean) / 0.08) ** 2 for mean in (-0.5, -0.4)])
    found = field_of_view.posterior(evidence)
    precision = 2 / 0.08**2 + 1 / prior**2
    mean = ((-0.5 - 0.4) / 0.08**2 + guess / prior**2) / precision
    assert found.place == pytest.approx(mean, abs=0.005)
    assert found.deviation == pytest.approx(precision**-0.5, rel=0.05)
    assert field_of_view.probability_below(evidence, mean) == pytest.approx(0.5, abs=0.05)
    # One whose keypoints are of two people does not overrule three.
    others = np.stack([-0.5 * ((GRID - mean) / 0.08) ** 2 for mean in (-0.5, -0.5, -0.5, -1.5)])
    assert field_of_view.posterior(others).place == pytest.approx(-0.5, abs=0.03)


def test_estimates_in_words_and_pixels():
    """The deviation of an angle by its derivative, numerically."""
    estimate = FieldOfView(place=-0.6, deviation=0.1, people=3)
    degrees = lambda place: math.degrees(2 * math.atan(math.exp(place)))  # noqa: E731
    slope = (degrees(-0.599) - degrees(-0.601)) / 0.002
    assert estimate.degrees == pytest.approx(degrees(-0.6))
    assert estimate.deviation_degrees == pytest.approx(0.1 * slope, rel=1e-4)
    frame = sources.Frame('a', 0, np.zeros((600, 800, 3), np.uint8))
    chosen = camera_choice.estimated_camera(frame, estimate)
    words = f'{degrees(-0.6):.0f} +- {0.1 * slope:.0f} degrees across the diagonal'
    assert chosen.source == f'estimated from 3 people: {words}'
    assert math.degrees(2 * math.atan(500 / chosen.focal_length)) == pytest.approx(degrees(-0.6))
    video = camera_choice.estimated_camera(frame, estimate._replace(people=9, pictures=8))
    assert video.source == f'estimated from 9 people in 8 frames: {words}'


@pytest.mark.slow
def test_predictions_estimate_the_camera_from_people(reduced, tmp_path):
    """With the bundled network, which does not know the bodies."""
    people = people_at(reduced, 2.5, 75.0)
    points = (people.keypoints2d + np.float32([800, 600, 0]))[:, :25]  # OpenPose's
    Image.fromarray(np.zeros((1200, 1600, 3), np.uint8)).save(tmp_path / 'a.png')
    np.savez(tmp_path / 'points.npz', image=['a'] * COUNT, keypoints=points)
    settings = PredictSettings(
        keypoints=str(tmp_path / 'points.npz'), camera_guess='people', meshes=(), overlays=False
    )
    found = predict(load('bundled'), tmp_path / 'a.png', tmp_path / 'out', settings)
    [source] = found['cameras']
    assert source.startswith('estimated from 4 people: ') and found['seconds']['camera'] > 0
    focal_length = results.read_arrays(tmp_path / 'out/frames/a.npz')['focal_length']
    degrees, deviation = map(float, re.findall(r'\d+', source)[1:])
    np.testing.assert_allclose(2 * np.degrees(np.arctan(1000 / focal_length)), degrees, atol=0.5)
    assert abs(degrees - 75) < 2.5 * deviation and deviation < 10


class _Film:
    """A video of 80 frames, of which number 15 is broken."""

    fps = 25.0

    def __len__(self):
        return 80

    def frames(self, skip):
        for i in range(80):
            image = None if skip(f'{i:06d}') or i == 15 else np.full((6, 8, 3), i, np.uint8)
            yield sources.Frame(f'{i:06d}', i, image)


class _Reads:
    name, reads_prompts = 'network', True


def test_a_video_has_one_camera(monkeypatch):
    """Its frames are spread over it, and looked at once."""
    seen = []

    def estimate(model, images, keypoints2d):
        seen.append([int(image[0, 0, 0]) for image in images])
        return FieldOfView(place=-0.5, deviation=0.1, people=2, pictures=len(images))

    monkeypatch.setattr(field_of_view, 'estimate_from_people', estimate)
    find = lambda frame: make_persons([[0, 0, 4, 4]])  # noqa: E731
    choose = camera_choice.CameraChoice(None, None, 'people', _Film(), _Reads(), find)
    frames = [frame for frame in _Film().frames(lambda name: False) if frame.image is not None]
    [chosen] = {choose(frame, find(frame)) for frame in frames}
    assert seen == [[5, 25, 35, 45, 55, 65, 75]]
    assert chosen.focal_length == pytest.approx(5 / math.exp(-0.5))
    assert chosen.source.startswith('estimated from 2 people in 7 frames: ')
    given = camera_choice.CameraChoice(50.0, None, 'people', _Film(), _Reads(), find)
    assert given(frames[0], find(frames[0])).source == 'given focal length' and len(seen) == 1
