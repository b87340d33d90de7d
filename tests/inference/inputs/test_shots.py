"""Cuts inside a video, and what looks like one."""

import itertools

import cv2
import numpy as np
import pytest
from moving_pictures import write_video

from tokenhmr_jax.inference.inputs import shots, sources
from tokenhmr_jax.inference.prediction import PredictSettings, predict


def world(seed, width=960, height=240):
    """A wide scene of large and small blots."""
    rng = np.random.default_rng(seed)
    coarse, fine = (
        cv2.resize(rng.integers(0, 256, (height // s, width // s, 3)).astype(np.float32),
                   (width, height), interpolation=cv2.INTER_CUBIC)
        for s in (40, 15)
    )  # fmt: skip
    return np.clip((coarse + fine) / 2, 0, 255)


def view(scene, left=0, top=0):
    return scene[top : top + 180, left : left + 320]


def film(views, gains=(), noise=3.0):
    """Frames as a camera takes them: its sensor has noise, and a range."""
    rng = np.random.default_rng(0)
    pairs = zip(views, gains or itertools.repeat(1.0), strict=False)
    return [np.clip(v * g + rng.normal(0, noise, v.shape), 0, 255).astype(np.uint8)
            for v, g in pairs]  # fmt: skip


def cuts(images):
    small = (cv2.resize(image, shots.SIZE, interpolation=cv2.INTER_AREA) for image in images)
    numbers = list(shots.number_shots(small))
    assert len(numbers) == len(images)
    return np.flatnonzero(np.diff(numbers)).tolist()


@pytest.mark.parametrize('seed', range(4))
def test_cuts(seed):
    """Still and moving cameras, in light and darkness, and with black in between."""
    one, other = world(seed), world(seed + 10)
    still = [view(one)] * 6
    assert cuts(film(still + [view(other)] * 6)) == [5]
    assert cuts(film(still + [view(other)] * 6, itertools.repeat(0.06))) == [5]
    assert cuts(film(still + [view(one, 500)] * 6)) == [5]  # two cameras in one place
    pans = [view(one, 20 * t) for t in range(8)] + [view(other, 300 - 20 * t) for t in range(8)]
    assert cuts(film(pans)) == [7]
    black = [0 * view(one)] * 5
    assert cuts(film(still + black + [view(other)] * 6)) == [10]
    assert cuts(film([*still, *[view(other)] * 4, *still])) == [5, 9]


@pytest.mark.parametrize('level', [0, 255])
@pytest.mark.parametrize('bars', [np.s_[36:-36], np.s_[:, 90:-90], np.s_[20:-10, 40:-30]])
def test_bars_at_the_border(bars, level):
    """Films in other proportions than the file's: bars are alike on both sides of a cut."""

    def framed(image):
        out = np.full_like(image, level)
        out[bars] = image[bars]
        return out

    one, other = world(0), world(10)
    assert cuts(film([framed(view(each)) for each in [one] * 6 + [other] * 6])) == [5]
    assert cuts(film([framed(view(one, 25 * t)) for t in range(12)])) == []
    assert cuts(film([framed(view(one))] * 6, [1, 1, 1, 0.5, 0.5, 0.5])) == []


def test_a_shot_of_one_picture():
    one, other, third = (view(world(seed)) for seed in (0, 10, 20))
    assert cuts(film([one] * 6 + [other] + [third] * 6)) == [5, 6]
    assert cuts(film([one] * 6 + [other] + [one] * 6)) == []  # a flash, or a picture gone wrong


@pytest.mark.parametrize('seed', range(4))
def test_no_cuts(seed):
    """A camera that turns, slowly or in two frames; light that changes, flashes or fails."""
    scene = world(seed)
    still = [view(scene)] * 12
    for step in (5, 30, 80):
        turn = [view(scene, min(step * max(t - 3, 0), 640), t) for t in range(12)]
        assert cuts(film(turn)) == []
    blurred = [cv2.blur(np.ascontiguousarray(v), (60, 1)) for v in turn]
    assert cuts(film(blurred)) == []
    for gain in (0.2, 0.5, 2.0):
        assert cuts(film(still, [1.0] * 6 + [gain] * 6)) == []
    assert cuts(film(still, [1, 1, 1, 1, 9, 9, 1, 1, 1, 0, 0, 1])) == []
    assert cuts(film(still, np.linspace(1, 0.05, 12).tolist())) == []
    assert cuts(film(still, [1, 0.5, 0.2, 0, 0, 0, 0, 0, 0, 0.2, 0.5, 1])) == []
    assert cuts(film(still, itertools.repeat(0.05))) == []
    walker = [v.copy() for v in still]
    for t, image in enumerate(walker):
        left = 40 * t - 100
        image[20:, max(left, 0) : max(left + 120, 0)] = (30, 60, 90)
    assert cuts(film(walker)) == []
    noise = np.random.default_rng(seed).integers(0, 256, (12, 180, 320, 3), np.uint8)
    assert cuts(list(noise)) == []


@pytest.mark.slow
def test_tracks_end_at_a_cut(small_model, tmp_path):
    """Persons found in one place before and after a cut are two; given ids are the user's."""
    images = film([view(world(1))] * 6 + [view(world(2))] * 6)
    path = write_video(tmp_path / 'a.mp4', images, np.arange(12) / 25)
    frames = list(sources.open_source(path).frames(lambda name: False))
    assert [frame.shot for frame in frames] == [0] * 6 + [1] * 6
    row = '{t},100,20,180,170'
    lines = [row.format(t=t) for t in range(12)]
    (tmp_path / 'boxes.csv').write_text('\n'.join(['image,left,top,right,bottom', *lines]))
    lines = [line + ',7' for line in lines]
    (tmp_path / 'ids.csv').write_text('\n'.join(['image,left,top,right,bottom,track_id', *lines]))
    settings = PredictSettings(boxes=str(tmp_path / 'boxes.csv'), overlays=False)
    found = predict(small_model, path, tmp_path / 'r', settings)['tracks']
    assert {i: track['frames'] for i, track in found.items()} == {'0': 6, '1': 6}
    # A run that goes on finds the same.
    for t in range(8, 12):
        (tmp_path / f'r/frames/{t:06d}.npz').unlink()
    found = predict(small_model, path, tmp_path / 'r', settings)['tracks']
    assert {i: track['frames'] for i, track in found.items()} == {'0': 6, '1': 6}
    settings = settings._replace(boxes=str(tmp_path / 'ids.csv'))
    found = predict(small_model, path, tmp_path / 'ids', settings)['tracks']
    assert {i: track['frames'] for i, track in found.items()} == {'7': 12}
