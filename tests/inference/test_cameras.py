"""Focal lengths, and places of bodies in the image's camera."""

import numpy as np
import pytest
from PIL import ExifTags, Image
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera, rotations, smpl
from tokenhmr_jax.inference import cameras
from tokenhmr_jax.inference.fitting import camera_choice
from tokenhmr_jax.inference.inputs import picture_files, sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.types import RegressorOutput, SmplParams

FRAME = sources.Frame('000139', 0, np.zeros((60, 80, 3), np.uint8))


def exif(**tags) -> Image.Exif:
    """EXIF data with tags by their names."""
    data = Image.Exif()
    for name, value in tags.items():
        number = ExifTags.Base[name]
        place = data if name == 'Orientation' else data.get_ifd(ExifTags.IFD.Exif)
        place[number] = value
    return data


def test_exif_turns_the_picture_and_tells_the_focal_length(tmp_path):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:, :30] = 200  # bright on the left; turned by 90 degrees clockwise, above
    tags = exif(Orientation=6, FocalLengthIn35mmFilm=28)
    Image.fromarray(stored).save(tmp_path / 'turned.jpg', exif=tags)
    found = picture_files.read_picture(tmp_path / 'turned.jpg')
    assert found.image.shape == (60, 40, 3)
    assert found.image[5].min() > 180 and found.image[55].max() < 20
    # The film's diagonal is 43.27 mm, the picture's 72.11 px.
    assert found.focal_length == pytest.approx(28 / 43.2666 * 72.111, rel=1e-4)
    frame = sources.Frame('a', 0, found.image, found.focal_length)
    assert cameras.told_camera(frame, None, None).source == 'EXIF'
    assert cameras.told_camera(frame, 50.0, None) == (50.0, 'given focal length')
    wide = cameras.told_camera(frame, None, 90.0)
    assert wide.focal_length == pytest.approx(20)  # half the width is as far as the image
    assert cameras.told_camera(FRAME, None, None) is None
    guess = cameras.guessed_camera(FRAME)
    assert guess.source == 'guessed: 55 degrees across the diagonal'
    assert 2 * np.degrees(np.arctan(50 / guess.focal_length)) == pytest.approx(55)  # 60 x 80
    guess = cameras.guessed_camera(FRAME, 'original')
    assert guess.focal_length == pytest.approx(5000 / 256 * 80) and 'guessed' in guess.source
    check = camera_choice.check_cameras
    with pytest.raises(ValueError, match='expected one of them'):
        check(50.0, 90.0, 'diagonal')
    with pytest.raises(ValueError, match=r'fov=180.0: expected degrees'):
        check(None, 180.0, 'diagonal')
    with pytest.raises(ValueError, match=r"camera_guess='wide': expected one of"):
        check(None, None, 'wide')
    with pytest.raises(ValueError, match=r'--fov=60deg: expected degrees, or a file .csv, .json'):
        check(None, camera_choice.number_or_file('60deg'), 'people')
    assert camera_choice.number_or_file('60') == 60.0


def test_off_centre_a_crop_shows_a_turned_body(mannequin):
    """By atan(offset / focal length), as the result's documentation says of `global_orient`."""
    body = np.asarray(mannequin.template).T * [1, -1, -1]  # upright before the camera,
    body = Rotation.from_euler('y', 45, degrees=True).apply(body)  # and not flat before it
    tangent = 0.5  # offset / focal length
    angle = np.arctan(tangent)
    turned = Rotation.from_euler('y', -angle).apply(body)

    def crop(points, x):
        seen = points + np.array([20 * x, 0, 20])
        pixels = seen[:, :2] / seen[:, 2:]
        pixels -= pixels.mean(axis=0)
        return pixels / pixels[:, 1].std()

    at_the_edge = crop(body, tangent) * [np.cos(angle), 1]  # without the stretch
    assert np.abs(at_the_edge - crop(turned, 0)).mean() < 0.01
    assert np.abs(at_the_edge - crop(body, 0)).mean() > 0.05


class PerfectNetwork(Model):
    """Answers with bodies that are known, as they look in crops: turned by the angle of their ray,
    under the crop camera that shows them best."""

    def __init__(self, parts, params, keypoints2d, rays):
        super().__init__('perfect', *parts)
        del self._bodies
        turned = rotations.compose(camera.turn_to(rays), params.global_orient)
        self.known, self.keypoints2d = params.replace(global_orient=turned), keypoints2d

    def look(self, *arguments):
        looked = super().look(*arguments)
        self.squares = looked.center, looked.side
        return looked

    def _bodies(self, *_):
        output = smpl.forward(self.body, self.known)
        points = smpl.keypoints(self.body, output)
        seen = camera.to_crop_units(self.keypoints2d, *self.squares)
        translation = camera.fit_crop_translation(points, seen, np.ones(points.shape[:2]))
        weak = camera.crop_camera(translation)
        return RegressorOutput(self.known, weak, output, points, seen, token_probs=None)


@pytest.mark.parametrize('focal_length', [400.0, 1200.0, 5000.0])
def test_translations_are_metres_in_the_images_camera(small_parts, mannequin, focal_length):
    """Bodies at known places, in the middle and at the edges, are found where they are."""
    places = np.float32([[0, 0.3, 5], [1.5, 0.2, 6], [-2.5, 0.5, 9], [0.4, -0.2, 4]])
    rest = np.broadcast_to(np.eye(3, dtype=np.float32), (4, 24, 3, 3)).copy()
    rest[:, 0] = np.diag([1, -1, -1])  # upright before the camera
    params = SmplParams(rest[:, 0], rest[:, 1:], np.zeros((4, 10), np.float32))
    points = np.asarray(smpl.keypoints(mannequin, smpl.forward(mannequin, params)))
    size = np.array([1.2, 0.8]) * focal_length
    seen = points + places[:, None]
    pixels = np.float32(focal_length * seen[..., :2] / seen[..., 2:] + size / 2)
    rays = np.float32((pixels.mean(axis=1) - size / 2) / focal_length)
    network = PerfectNetwork(small_parts, params, pixels, rays)
    boxes = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    image = np.zeros((int(size[1]), int(size[0]), 3), np.uint8)
    found = network.predict(image, boxes, focal_length)
    np.testing.assert_allclose(found.params.global_orient, params.global_orient, atol=0.01)
    # The crop's parallel projection cannot be exact.
    off = np.linalg.norm(found.translation - places, axis=1)
    assert (off / places[:, 2]).max() < 0.015
