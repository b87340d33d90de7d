"""Pictures of all kinds, broken ones, and names of frames."""

import cv2
import numpy as np
import pytest
import real_formats
from PIL import Image

from tokenhmr_jax.inference import finders, picture_files, sources


def test_pictures_of_every_kind(tmp_path):
    """Left half red or dark, right half green or bright, in all of them."""
    color = np.zeros((8, 12, 3), np.uint8)
    color[:, :6], color[:, 6:] = (200, 0, 0), (0, 100, 0)
    Image.fromarray(color).save(tmp_path / 'rgb.png')
    np.testing.assert_array_equal(picture_files.read_picture(tmp_path / 'rgb.png').image, color)
    Image.fromarray(color).quantize(4).save(tmp_path / 'palette.png')
    np.testing.assert_array_equal(picture_files.read_picture(tmp_path / 'palette.png').image, color)

    grey = np.full((8, 12), 257 * 30, np.uint16)
    grey[:, 6:] = 65535
    cv2.imwrite(str(tmp_path / 'grey16.png'), grey)
    found = picture_files.read_picture(tmp_path / 'grey16.png').image
    assert found.shape == (8, 12, 3) and found[0, [0, 11], 1].tolist() == [30, 255]
    cv2.imwrite(str(tmp_path / 'color16.png'), color[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(picture_files.read_picture(tmp_path / 'color16.png').image, color)
    Image.fromarray(color[..., 0]).save(tmp_path / 'grey.png')
    assert picture_files.read_picture(tmp_path / 'grey.png').image[0, [0, 11]].tolist() == [
        [200] * 3,
        [0] * 3,
    ]

    alpha = np.dstack([color, np.full((8, 12), 255, np.uint8)])
    alpha[:4, :, 3] = 0
    Image.fromarray(alpha).save(tmp_path / 'rgba.png')
    found = picture_files.read_picture(tmp_path / 'rgba.png').image
    assert found[0, 0].tolist() == [255] * 3 and found[7, 0].tolist() == [200, 0, 0]


def test_broken_pictures_are_frames_that_say_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.jpg')
    whole = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'b.jpg').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'c.png').write_text('not a picture')
    (tmp_path / 'notes.txt').write_text('not asked for')
    real_formats.pack_on_macos(tmp_path)
    source = sources.open_source(str(tmp_path))
    frames = list(sources.ahead(source.frames(lambda name: False)))
    assert [frame.name for frame in frames] == ['a', 'b', 'c'] and len(source) == 3
    assert frames[0].image.shape == (64, 64, 3) and frames[0].error is None
    for frame, name in zip(frames[1:], ('b.jpg', 'c.png'), strict=True):
        assert frame.image is None and f'{name}: not a readable picture' in frame.error
    assert len(sources.open_source(str(tmp_path / '*.jpg'))) == 2
    assert len(sources.open_source(str(tmp_path / 'a.jpg'))) == 1
    with pytest.raises(FileNotFoundError, match='no such image, folder, video'):
        sources.open_source(str(tmp_path / 'nowhere*'))


def test_pictures_of_equal_names(tmp_path):
    """Each has its own, whatever lies beside it, and boxes find it by its file."""
    paths = ('cam0/000001.jpg', 'cam1/000001.jpg', 'a.jpg', 'a.png', 'a_0.jpg', 'a.b_1.jpg')
    source = sources.Images([tmp_path / path for path in paths])
    names = [frame.name for frame in source.frames(lambda name: True)]
    assert names == ['cam0_000001.jpg', 'cam1_000001.jpg', 'a.jpg', 'a.png', 'a_0', 'a.b_1']
    known = {'cam1/000001': 1, 'cam0/1.jpg': 0, 'a.png': 3, 'a.b_1': 5, 'a.b_1.jpg': 5}
    for name, index in known.items():
        assert source.called(name) == [names[index]], name
    assert source.called(str(tmp_path / 'cam1/000001.jpg')) == [names[1]]
    assert source.called('cam2/000001.jpg') == source.called('a.b_2') == []
    (tmp_path / 'a.csv').write_text('image,left,top,right,bottom\na,0,0,4,4\n')
    with pytest.raises(ValueError, match=r'a may be any of a\.jpg, a\.png'):
        finders.make_finder(str(tmp_path / 'a.csv'), None, source)
    (tmp_path / 'a.csv').write_text('image,left,top,right,bottom\na_0,0,0,4,4\na_0.jpg,0,0,4,4\n')
    with pytest.raises(ValueError, match=r'a_0\.jpg has another name'):
        finders.make_finder(str(tmp_path / 'a.csv'), None, source)
