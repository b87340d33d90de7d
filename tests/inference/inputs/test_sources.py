"""Pictures of all kinds, broken ones, and names of frames."""

import cv2
import numpy as np
import pytest
import real_formats
from PIL import Image

from tokenhmr_jax.inference.inputs import picture_files, sources
from tokenhmr_jax.inference.people import finders


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


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(path, 'png')


def test_all_of_a_folder_is_read_or_named(tmp_path):
    """By content where the suffix says nothing; files beside pictures are passed over."""
    for name in ('a.PNG', 'b.jpg', 'without', 'c.dat', 'sub/d.png', 'sub/deep/e.png'):
        save(tmp_path / name)
    save(tmp_path / 'result/overlays/a.png')
    (tmp_path / 'result/frames').mkdir()
    (tmp_path / 'result/result.json').write_text('{}')
    save(tmp_path / '__MACOSX/a.png')
    (tmp_path / 'sub/back').symlink_to(tmp_path)
    (tmp_path / 'moved.jpg').symlink_to('nowhere.jpg')
    for name in ('f.CR2', 'g.mp4', 'h.MOV', 'i.pdf', 'notes.txt', 'f.xmp', 'Thumbs.db', '._a.PNG'):
        (tmp_path / name).write_text('something')
    source = sources.open_source(tmp_path)
    assert source.names == ['a', 'b', 'c', 'without']
    assert source.notes == [
        f'{tmp_path}: 1 picture (f.CR2) left out: a raw photo: expected it as JPEG, PNG or TIFF, '
        'as photo programs export it',
        f'{tmp_path}: 2 videos (g.mp4, h.MOV) left out: expected each as an input of its own',
        f'{tmp_path}: 1 file (i.pdf) left out: no pictures',
        f'{tmp_path}: 1 folder (sub) not read: expected --recursive',
        f'{tmp_path}: 1 link (moved.jpg) left out: nothing is there',
    ]
    source = sources.open_source(tmp_path, recursive=True)
    assert source.names == ['a', 'b', 'c', 'without', 'd', 'e']
    assert len(source.notes) == 4
    assert sources.open_source(f'{tmp_path}/b*').names == ['b']
    source = sources.open_source(f'{tmp_path}/*b*')
    assert source.names == ['b'] and '1 folder (sub) not read' in source.notes[-1]
    assert sources.open_source(f'{tmp_path}/*b*', recursive=True).names == ['b', 'd', 'e']
    with pytest.raises(FileNotFoundError, match=r'no pictures in it; 2 videos \(g\.mp4, h\.MOV\)'):
        sources.open_source(f'{tmp_path}/[gh].*')


def test_names_of_any_length_and_characters(tmp_path):
    """Names of a result's files fit with what is added, and stay apart."""
    long = 'é' * 120
    names = [f'{long}a.png', f'{long}b.png', 'x' * 250 + '.png', 'a\nb "c" %d 😀.png', '.d.png']
    names.append(b'e\xff.png'.decode('utf-8', 'surrogateescape'))
    for name in names:
        save(tmp_path / name)
    source = sources.Images([tmp_path / name for name in names])
    assert len(set(source.names)) == len(names)
    assert all(len(name.encode('utf-8', 'surrogateescape')) <= 200 for name in source.names)
    assert source.names[3:] == [name.removesuffix('.png') for name in names[3:]]
    assert len(source.notes) == 3 and all('long name' in note for note in source.notes)
    assert source.called(names[1]) == [source.names[1]]
    assert all(frame.image is not None for frame in source.frames(lambda name: False))
