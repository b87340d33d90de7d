"""Tars and pictures from outside: read as they are, refused before harm, never silently short."""

import io
import tarfile
import zlib

import cv2
import numpy as np
import pytest
import real_formats

from tokenhmr_jax.data import pictures
from tokenhmr_jax.readers import tars


def member(name, data=b'x', **changes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def write(path, *members):
    with tarfile.open(path, 'w') as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def test_samples_are_runs_of_members_with_one_stem(tmp_path):
    """Stems end at the first dot of the file's name, whatever dots the folders have."""
    samples = {
        'a.b/1': {'jpg': b'one', 'data.pyd': {'k': 1}, 'detection.npz': b'masks'},
        'a.b/2': {'data.pyd': b'two'},
        '3': {'json': b'{}'},
    }
    real_formats.write_tar(tmp_path / 'x/000000.tar', samples)
    found = list(tars.samples(tmp_path / 'x/000000.tar', ('jpg', 'data.pyd')))
    assert [(name, sorted(parts)) for name, parts in found] == [
        ('a.b/1', ['data.pyd', 'jpg']),
        ('a.b/2', ['data.pyd']),
    ]
    assert found[0][1]['jpg'] == b'one' and found[1][1]['data.pyd'] == b'two'


def test_dot_files_are_not_read(tmp_path):
    """macOS packs one before each member: a sample's parts are not neighbours any more."""
    members = [member(f'./a/{n}.{part}') for n in '12' for part in ('jpg', 'data.pyd')]
    packed = [member('./._a', real_formats.APPLE_DOUBLE), member('./.DS_Store.jpg')]
    for info, data in members:
        hidden = info.name.replace('/a/', '/a/._')
        packed += [member(hidden, real_formats.APPLE_DOUBLE), (info, data)]
    packed.append(member('.cache/3.jpg'))
    found = list(tars.samples(write(tmp_path / 'x.tar', *packed), tars.PARTS))
    assert found == [(name, {'jpg': b'x', 'data.pyd': b'x'}) for name in ('a/1', 'a/2')]


@pytest.mark.fault(12, 'a ../ member of a tar')
@pytest.mark.parametrize(
    'bad',
    [
        member('../evil.jpg'),
        member('/etc/evil.jpg'),
        member('a/../../evil.jpg'),
        member('evil.jpg', b'', type=tarfile.SYMTYPE, linkname='/etc/passwd'),
        member('evil.jpg', b'', type=tarfile.LNKTYPE, linkname='fine.jpg'),
        member('evil.jpg', b'', type=tarfile.CHRTYPE),
    ],
)
def test_members_that_lead_out_are_refused(tmp_path, bad):
    path = write(tmp_path / 'x.tar', member('fine.jpg'), bad, member('after.jpg'))
    samples = tars.samples(path, ('jpg',))
    with pytest.raises(ValueError, match=r'x\.tar: refused: the member .*evil'):
        list(samples)


def test_a_member_that_claims_to_be_huge_is_refused(tmp_path):
    path = write(tmp_path / 'x.tar', member('huge.jpg'))
    info = tarfile.TarInfo('huge.jpg')
    info.size = 10**12
    path.write_bytes(info.tobuf() + path.read_bytes()[512:])
    with pytest.raises(ValueError, match=r'x\.tar: refused: .*1000000000000 bytes'):
        list(tars.samples(path, ('jpg',)))


@pytest.mark.parametrize('compressed', [False, True])
def test_what_is_no_plain_tar_is_refused(tmp_path, compressed):
    path = tmp_path / 'x.tar'
    if compressed:
        with tarfile.open(path, 'w:gz') as tar:
            tar.addfile(tarfile.TarInfo('a.jpg'))
    else:
        path.write_text('<html>please register</html>' * 100)
    with pytest.raises(ValueError, match=r'x\.tar'):
        list(tars.samples(path, ('jpg',)))


def test_a_tar_cut_anywhere_or_broken_in_the_middle_is_named(tmp_path):
    """tarfile takes an end between two members, and a broken header, for the end of the archive."""
    whole = write(tmp_path / 'whole.tar', *(member(f'{i}.jpg', bytes(700)) for i in range(3)))
    content = whole.read_bytes()
    path = tmp_path / 'x.tar'
    for length in (0, 300, 512, 1000, 1536, 1536 + 256, 3 * 1536):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r'x\.tar'):
            list(tars.samples(path, ('jpg',)))
    path.write_bytes(content[:1536] + b'\xff' * 512 + content[2048:])
    seen = []
    with pytest.raises(ValueError, match=r'x\.tar: truncated or broken at byte 1536'):
        seen.extend(name for name, _ in tars.samples(path, ('jpg',)))
    assert len(list(tars.samples(whole, ('jpg',)))) == 3


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_pictures_are_rgb_and_know_their_size(suffix):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = (200, 100, 10)
    data = real_formats.encode(image, suffix)
    assert pictures.picture_size(data, 'a') == (30, 20)
    found = pictures.decode_picture(data, 'a')
    assert np.abs(found[:, 20:].astype(int) - (200, 100, 10)).max() < 12


def test_the_orientation_beside_the_pixels_is_ignored():
    """EXIF orientation 6 asks to turn the picture; the labels are in stored pixels."""
    data = real_formats.encode(np.zeros((20, 30, 3), np.uint8), '.jpg')
    tiff = b'MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    exif = b'\xff\xe1' + (len(tiff) + 8).to_bytes(2, 'big') + b'Exif\0\0' + tiff
    turned = data[:2] + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (30, 20, 3)
    assert pictures.decode_picture(turned, 'a').shape == (20, 30, 3)


def huge_png():
    header = (50_000).to_bytes(4, 'big') * 2 + b'\x08\x02\0\0\0'
    chunk = b'IHDR' + header
    return b'\x89PNG\r\n\x1a\n\0\0\0\r' + chunk + zlib.crc32(chunk).to_bytes(4, 'big') + b'\0' * 20


def huge_jpeg():
    data = bytearray(real_formats.encode(np.zeros((20, 30, 3), np.uint8), '.jpg'))
    at = data.index(b'\xff\xc0') + 5
    data[at : at + 4] = b'\xc3\x50\xc3\x50'
    return bytes(data)


@pytest.mark.fault(12, 'an image header of 50,000 x 50,000')
@pytest.mark.parametrize('data', [huge_png(), huge_jpeg()], ids=['png', 'jpeg'])
def test_a_decompression_bomb_is_refused_by_its_header(data, monkeypatch):
    def decode(*_):
        raise AssertionError('decoded')

    monkeypatch.setattr(cv2, 'imdecode', decode)
    with pytest.raises(ValueError, match=r'bomb: 50000 x 50000 px'):
        pictures.decode_picture(data, 'bomb')


def test_truncated_and_foreign_pictures_are_named():
    data = real_formats.encode(real_formats.image_records.picture((64, 48)), '.jpg')
    assert pictures.decode_picture(data + b'trailing bytes', 'a').shape == (48, 64, 3)
    for length in (0, 1, 2, 10, len(data) // 2, len(data) - 2):
        with pytest.raises(ValueError, match='broken'):
            pictures.decode_picture(data[:length], 'broken')
    with pytest.raises(ValueError, match='page: no JPEG or PNG'):
        pictures.decode_picture(b'<html>', 'page')
