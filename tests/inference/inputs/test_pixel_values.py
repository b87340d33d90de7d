"""Pictures of any values as the 8-bit ones that they show."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tokenhmr_jax.inference.inputs.picture_files import read_picture
from tokenhmr_jax.inference.inputs.pixel_values import to_8_bits

# Grey from 0 to 255, and a quarter of white, in which an orientation shows.
GREY = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (48, 1))
GREY[:24, :40] = 255
GREEN = np.tile(np.linspace(0, 255, 48).astype(np.uint8)[:, None], (1, 80))
COLOR = np.stack([GREY, GREEN, 255 - GREY], axis=-1)
BGR = COLOR[..., ::-1]


def assert_shows(path, expected, note=None, most=1):
    """Reads a picture, which differs by at most `most` of 255."""
    found = read_picture(path)
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=-1)
    assert found.image.dtype == np.uint8 and found.image.shape == expected.shape
    assert np.abs(found.image.astype(int) - expected).max() <= most
    assert (found.note is None) if note is None else (note in found.note)


@pytest.mark.parametrize('suffix', ['png', 'tif', 'ppm', 'jp2'])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_few_bits_of_16(tmp_path, suffix, bits):
    """12 bits in a file of 16 are a sixteenth as bright in it."""
    for name, picture in ('color', BGR), ('grey', GREY):
        deep = np.rint(picture / 255.0 * (2**bits - 1)).astype(np.uint16)
        path = tmp_path / f'{name}.{"pgm" if (name, suffix) == ("grey", "ppm") else suffix}'
        cv2.imwrite(str(path), deep)
        note = None if bits == 16 else f'values of {bits} bits stored in 16: {2**bits - 1} is'
        assert_shows(path, picture[..., ::-1] if picture.ndim == 3 else picture, note, most=2)


@pytest.mark.parametrize(
    ('low', 'high', 'note'),
    [
        (0, 1, '1 is white'), (-0.02, 1.03, '1 is white'), (0, 255, '255 is white'),
        (0, 4095, '4095 is white'), (-1, 1, '-1 is black, 1 is white'),
        (0, 7, 'unusual range'), (0, 3e6, 'unusual range'), (-300, 500, 'unusual range'),
    ],
)  # fmt: skip
def test_floating_point_in_any_range(tmp_path, low, high, note):
    values = low + GREY.astype(np.float32) / 255 * (high - low)
    Image.fromarray(values).save(tmp_path / 'a.tif')
    assert_shows(tmp_path / 'a.tif', GREY, note, most=8 if low == -0.02 else 1)
    color = low + BGR.astype(np.float32) / 255 * (high - low)
    cv2.imwrite(str(tmp_path / 'b.tif'), color)
    assert_shows(tmp_path / 'b.tif', COLOR, note, most=8 if low == -0.02 else 2)


def test_lamps_and_pixels_without_a_value():
    """One of 3,840 pixels is the sun, one has no value: the others show."""
    values = GREY.astype(np.float32) / 255
    values[40, 0], values[40, 1], values[40, 2] = 5000, np.nan, np.inf
    found = to_8_bits(values)
    assert found.image[40, :3, 0].tolist() == [255, 0, 255]
    assert (found.image[:40, :, 0] == GREY[:40]).all()
    assert 'without a finite value' in found.note
    with pytest.raises(ValueError, match='no pixel has a finite value'):
        to_8_bits(np.full((4, 4), np.nan))


def tiff(values: np.ndarray, kind: int) -> bytes:
    """An uncompressed grey TIFF; `kind` is 1, 2 or 3 for unsigned, signed and floating point."""
    order = '>' if values.dtype.byteorder == '>' else '<'
    bits, data = 8 * values.dtype.itemsize, values.tobytes()
    height, width = values.shape
    tags = (
        (256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1),
        (278, height), (279, len(data)), (339, kind),
    )  # fmt: skip
    entries = b''.join(struct.pack(f'{order}HHII', tag, 4, 1, value) for tag, value in tags)
    mark = {'<': b'II', '>': b'MM'}[order]
    start = mark + struct.pack(f'{order}HI', 42, 8 + len(data))
    return start + data + struct.pack(f'{order}H', len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ('kind', 'factor', 'dtype', 'note'),
    [
        (1, 257, '>u2', None), (1, 16, '>u2', '12 bits stored in 16'),
        (2, 16, '<i2', '12 bits stored'), (2, 16, '>i4', '12 bits stored in 32'),
        (1, 1, '<u4', '8 bits stored in 32'), (1, 2**24, '<u4', 'the largest value is white'),
        (3, 1 / 255, '>f4', '1 is white'), (3, 1 / 255, '<f8', '1 is white'),
    ],
)  # fmt: skip
def test_numbers_of_other_kinds(tmp_path, kind, factor, dtype, note):
    (tmp_path / 'a.tif').write_bytes(tiff((GREY * float(factor)).astype(dtype), kind))
    assert_shows(tmp_path / 'a.tif', GREY, note)


def test_whole_numbers_below_0(tmp_path):
    """As of CT: -1000 is black, 275 is white; a step of grey is 5."""
    (tmp_path / 'a.tif').write_bytes(tiff((5 * GREY.astype(int) - 1000).astype('<i2'), 2))
    assert_shows(tmp_path / 'a.tif', GREY, 'from -1000 to 275: stretched')


def test_dark_pictures_of_8_bits_stay_dark(tmp_path):
    Image.fromarray(COLOR // 50).save(tmp_path / 'a.png')
    assert_shows(tmp_path / 'a.png', COLOR // 50, most=0)


def test_light_and_inks(tmp_path):
    """CIELAB, CMYK, one bit, palettes, and transparency over white."""
    muted, picture = COLOR // 2 + 60, Image.fromarray(COLOR)
    profiles = ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB')
    lab = ImageCms.profileToProfile(Image.fromarray(muted), *profiles, outputMode='LAB')
    lab.save(tmp_path / 'lab.tif')
    assert_shows(tmp_path / 'lab.tif', muted, most=12)
    picture.convert('CMYK').save(tmp_path / 'cmyk.tif')
    assert_shows(tmp_path / 'cmyk.tif', COLOR)
    picture.convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=100)  # inverted, as of Adobe
    assert_shows(tmp_path / 'cmyk.jpg', COLOR, most=8)
    Image.fromarray(GREY).convert('1', dither=0).save(tmp_path / 'one.tif', compression='group4')
    assert_shows(tmp_path / 'one.tif', np.where(GREY > 127, 255, 0), most=0)
    Image.fromarray(np.dstack([GREY, GREY])).save(tmp_path / 'la.png')
    over_white = 255 - GREY / 255.0 * (255.0 - GREY)
    assert_shows(tmp_path / 'la.png', over_white)
    deep = GREY.astype(np.uint16)
    deep = np.dstack([16 * deep, 16 * deep, 16 * deep, 257 * deep])
    cv2.imwrite(str(tmp_path / 'rgba.png'), deep)
    assert_shows(tmp_path / 'rgba.png', over_white, '12 bits', most=2)


def test_deep_pictures_are_turned_upright(tmp_path):
    """OpenCV reads them, and knows no EXIF data of PNG; TIFF it turns itself."""
    cv2.imwrite(str(tmp_path / 'a.png'), BGR.astype(np.uint16) * 16)
    png = (tmp_path / 'a.png').read_bytes()
    cv2.imwrite(
        str(tmp_path / 'a.tif'), BGR.astype(np.uint16) * 16, [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    )
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = Image.fromarray(COLOR)
        picture.getexif()[0x0112] = orientation
        upright = np.asarray(ImageOps.exif_transpose(picture))
        data = exif.tobytes().removeprefix(b'Exif\0\0')
        chunk = struct.pack('>I', len(data)) + b'eXIf' + data
        chunk += struct.pack('>I', zlib.crc32(chunk[4:]))
        (tmp_path / 'b.png').write_bytes(png[:33] + chunk + png[33:])
        assert_shows(tmp_path / 'b.png', upright, '12 bits', most=2)
        (tmp_path / 'b.tif').write_bytes(_turned((tmp_path / 'a.tif').read_bytes(), orientation))
        assert_shows(tmp_path / 'b.tif', upright, '12 bits', most=2)


def _turned(tiff: bytes, orientation: int) -> bytes:
    """A little-endian TIFF with an orientation; its table of tags is moved to the end."""
    at = struct.unpack_from('<I', tiff, 4)[0]
    count = struct.unpack_from('<H', tiff, at)[0]
    tags = [tiff[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    tags = [tag for tag in tags if struct.unpack_from('<H', tag)[0] != 274]
    tags.append(struct.pack('<HHII', 274, 3, 1, orientation))
    tags.sort(key=lambda tag: struct.unpack_from('<H', tag)[0])
    table = struct.pack('<H', len(tags)) + b''.join(tags) + bytes(4)
    return tiff[:4] + struct.pack('<I', len(tiff)) + tiff[8:] + table


@pytest.mark.parametrize('suffix', ['tif', 'gif', 'webp', 'mpo'])
def test_the_first_of_several_pictures(tmp_path, suffix):
    """The second picture of a camera's MPO is another view of the same."""
    first, second = Image.fromarray(COLOR), Image.fromarray(COLOR[::-1])
    options = {'lossless': True} if suffix == 'webp' else {}
    first.save(tmp_path / f'a.{suffix}', save_all=True, append_images=[second], **options)
    note = None if suffix == 'mpo' else 'the first of 2 pictures in the file'
    assert_shows(tmp_path / f'a.{suffix}', COLOR, note, most=255 if suffix in ('gif', 'mpo') else 1)
