"""Formats of picture files, what they need, and their sizes."""

import warnings

import numpy as np
import pytest
from PIL import Image, features

from tokenhmr_jax.inference.inputs import picture_files
from tokenhmr_jax.inference.inputs.picture_files import read_picture

COLOR = np.zeros((30, 40, 3), np.uint8)
COLOR[:, :20], COLOR[:, 20:] = (200, 0, 0), (0, 100, 0)
HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(40)
FORMATS = ('jfif', 'jpe', 'gif', 'bmp', 'dib', 'tga', 'ppm', 'jp2', 'j2k', 'mpo', 'sgi', 'qoi')


@pytest.mark.parametrize('suffix', [*FORMATS, 'avif'])
def test_formats_of_pictures(tmp_path, suffix):
    """By the suffix in any case, or with another one, or without."""
    if suffix == 'avif' and not features.check('avif'):
        pytest.skip('a Pillow without AVIF')
    path = tmp_path / f'a.{suffix.upper()}'
    Image.fromarray(COLOR).save(tmp_path / f'a.{suffix}')
    (tmp_path / f'a.{suffix}').rename(path)
    for name in (path.name, 'b.jpg', 'without'):
        content = path.read_bytes()
        (tmp_path / name).write_bytes(content)
        found = read_picture(tmp_path / name).image
        assert np.abs(found[15, [5, 35]].astype(int) - [[200, 0, 0], [0, 100, 0]]).max() < 12
        assert picture_files.is_picture(tmp_path / name) or suffix == 'tga'  # which has no mark


@pytest.mark.parametrize('name', ['a.HEIC', 'a.heif', 'a.jpg', 'a'])
def test_pictures_of_packages(tmp_path, name):
    """Phones' pictures under any name: the message names the package that reads them."""
    (tmp_path / name).write_bytes(HEIC)
    assert picture_files.is_picture(tmp_path / name)
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        message = 'HEIC or HEIF, which needs: pip install pillow-heif'
    else:
        message = 'not a readable picture'
    with pytest.raises(ValueError, match=message):
        read_picture(tmp_path / name)


def test_phones_pictures_are_read(tmp_path):
    pillow_heif = pytest.importorskip('pillow_heif')
    pillow_heif.from_pillow(Image.fromarray(COLOR)).save(tmp_path / 'a.heic')
    found = read_picture(tmp_path / 'a.heic').image
    assert np.abs(found[15, [5, 35]].astype(int) - [[200, 0, 0], [0, 100, 0]]).max() < 12


def test_what_is_no_picture(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'')
    (tmp_path / 'b.jpg').write_text('<html>not found</html>')
    Image.fromarray(COLOR).save(tmp_path / 'c.nef', 'tiff')  # a preview, as raw files have
    for name, message in (
        ('a.jpg', 'an empty file'),
        ('b.jpg', 'no picture, or one of a rare kind: expected JPEG or PNG'),
        ('c.nef', 'a raw photo: expected it as JPEG'),
    ):
        with pytest.raises(ValueError, match=rf'{name}: .*{message}'):
            read_picture(tmp_path / name)
    assert not picture_files.is_picture(tmp_path / 'b.jpg')


def read_in_silence(path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return read_picture(path).image


def test_pillows_limit_does_not_hold(tmp_path, monkeypatch):
    """Beyond it Pillow warns of an attack, and beyond twice it refuses."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    Image.fromarray(COLOR).save(tmp_path / 'a.png')
    assert (read_in_silence(tmp_path / 'a.png') == COLOR).all()
    assert Image.MAX_IMAGE_PIXELS == 500
    monkeypatch.setattr(picture_files, 'MAX_PIXELS', 1000)
    with pytest.raises(ValueError, match='40 x 30 pixels: expected at most'):
        read_picture(tmp_path / 'a.png')


@pytest.mark.slow
def test_a_photograph_of_182_megapixels(tmp_path):
    Image.new('L', (14000, 13000), 77).save(tmp_path / 'a.png')
    image = read_in_silence(tmp_path / 'a.png')
    assert image.shape == (13000, 14000, 3) and image[-1, -1].tolist() == [77] * 3
