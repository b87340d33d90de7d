"""From pictures and videos to files: the whole way, with a small network that learned nothing."""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
import skimage.data
from glb_files import read_glb
from PIL import Image
from small_model import picture

from tokenhmr_jax.inference import overlay_video
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.outputs import page, results
from tokenhmr_jax.inference.prediction import PredictSettings, predict
from tokenhmr_jax.inference.summary import report


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Pictures of all kinds, one of them broken, and boxes of persons in them."""
    place = tmp_path_factory.mktemp('pictures')
    Image.fromarray(picture(60, 80)).save(place / 'a.jpg')
    (place / 'broken.jpg').write_bytes((place / 'a.jpg').read_bytes()[:900])
    Image.fromarray(picture(60, 81)[..., 0]).save(place / 'grey.png')
    Image.fromarray(picture(60, 82, 4)).save(place / 'rgba.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(61, 80)).save(place / 'turned.jpg', exif=exif)
    cv2.imwrite(str(place / 'deep.png'), picture(60, 83).astype(np.uint16) * 257)
    Image.fromarray(picture(3000, 4000)).save(place / 'large.jpg', quality=30)
    Image.fromarray(picture(62, 80)).save(place / 'many.png')
    Image.fromarray(picture(63, 80)).save(place / 'nobody.png')
    lines = ['image,left,top,right,bottom']
    lines += [f'{name},10,5,40,55' for name in ('a', 'broken', 'grey', 'rgba', 'turned', 'deep')]
    lines += ['large,100,200,1600,2900', *(f'many,{i},5,{i + 30},55' for i in range(40))]
    (place / 'boxes.csv').write_text('\n'.join(lines))
    return place


@pytest.fixture(scope='module')
def settings(folder):
    return PredictSettings(boxes=str(folder / 'boxes.csv'), meshes=('glb', 'obj'), fov=60.0)


@pytest.fixture(scope='module')
def result(small_model, folder, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp('result')
    return out, predict(small_model, str(folder), str(out), settings)


def test_each_picture_does_the_right_thing(result, small_model):
    out, summary = result
    assert list(summary['failed']) == ['broken'] and summary['frames'] == 8
    counts = {p.stem: len(results.read_arrays(p)['boxes']) for p in (out / 'frames').glob('*.npz')}
    one = dict.fromkeys(('a', 'grey', 'rgba', 'turned', 'deep', 'large'), 1)
    assert counts == one | {'many': 40, 'nobody': 0}
    sizes = {
        p.stem: results.read_arrays(p)['image_size'].tolist() for p in (out / 'frames').glob('*')
    }
    assert sizes['turned'] == [61, 80] and sizes['large'] == [4000, 3000]
    assert len(list((out / 'meshes').glob('*.glb'))) == 46
    scenes = {p.stem: len(read_glb(p)[0].meshes) for p in (out / 'scenes').iterdir()}
    assert scenes == {name: count for name, count in counts.items() if count}
    assert len(results.read_arrays(out / 'joints.npz')['coco17']) == 46
    overlay = cv2.imread(str(out / 'overlays/large.jpg'))
    assert overlay.shape == (720, 960 + 360, 3)
    assert (out / 'overlays/nobody.jpg').exists()
    stages = {'all', 'decode', 'detect', 'camera', 'crop', 'network', 'write'}
    assert set(summary['seconds']) == stages


def test_a_file_holds_what_the_model_predicts(result, small_model, folder):
    """Batches that fill across pictures change nothing; the schema's arrays fit together."""
    out, _ = result
    found = results.read_arrays(out / 'frames/many.npz')
    image = cv2.imread(str(folder / 'many.png'))[..., ::-1]
    focal = 40 / np.tan(np.radians(30))
    alone = small_model.predict(image, found['boxes'][[7]], focal)
    np.testing.assert_allclose(found['focal_length'], focal, rtol=1e-6)
    assert found['camera_source'] == 'given field of view'
    np.testing.assert_allclose(found['body_pose'][7], alone.params.body_pose[0], atol=1e-5)
    np.testing.assert_allclose(found['translation'][7], alone.translation[0], rtol=1e-4)
    seen = found['keypoints3d'][7] + found['translation'][7]
    pixels = focal * seen[:, :2] / seen[:, 2:] + found['principal_point'][7]
    assert np.abs(pixels - found['keypoints2d'][7]).max() < 3
    assert found['residual_tokens'].shape == found['residual_token_confidence'].shape
    vertices = np.array([
        [float(x) for x in line.split()[1:]]
        for line in (out / 'meshes/many_7.obj').read_text().splitlines()
        if line.startswith('v ')
    ])  # fmt: skip
    expected = (alone.vertices[0] + alone.translation[0]) * [1, -1, -1]
    np.testing.assert_allclose(vertices, expected, atol=1e-3)


def test_a_run_goes_on_where_it_stopped(result, small_model, folder, settings):
    out, first = result
    before = {p: p.stat().st_mtime_ns for p in (out / 'frames').iterdir()}
    (out / 'frames/a.npz').unlink()
    (out / 'frames/.grey.1f2e3d4c.partial.npz').write_bytes(b'half')
    again = predict(small_model, str(folder), str(out), settings)
    for key in first.keys() - {'seconds'}:
        assert again[key] == first[key], key
    after = {p: p.stat().st_mtime_ns for p in results.frame_paths(out)}
    changed = [p.stem for p in after if after[p] != before[p]]
    assert changed == ['a']
    with pytest.raises(ValueError, match=r'holds another result: fov'):
        predict(small_model, str(folder), str(out), settings._replace(fov=50.0))


def test_a_photograph(small_model, tmp_path, capsys, monkeypatch):
    """A photograph in the public domain; without a detector it needs boxes."""
    for name in ('rtmlib', 'torchvision', 'ai_edge_litert'):
        monkeypatch.setitem(sys.modules, name, None)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / 'eileen.png')
    out, settings = tmp_path / 'image', PredictSettings(meshes=('ply',))
    with pytest.raises(ImportError, match='no detector of persons is installed'):
        predict(small_model, str(tmp_path / 'eileen.png'), str(out), settings)
    assert not out.exists()
    settings = settings._replace(boxes='image')
    summary = predict(small_model, str(tmp_path / 'eileen.png'), str(out), settings)
    assert summary['frames'] == 1 and 'one in each image' in capsys.readouterr().out
    found = results.read_arrays(out / 'frames/eileen.npz')
    assert len(found['boxes']) == len(list((out / 'meshes').glob('eileen_*.ply')))
    assert found['boxes'].tolist() == [[0, 0, 512, 512]]
    assert found['focal_length'] == pytest.approx(256 * 2**0.5 / np.tan(np.radians(27.5)))
    assert str(found['camera_source']) == 'guessed: 55 degrees across the diagonal'


def test_a_video_that_ends_in_the_middle(film):
    out, summary = film
    frames = summary['frames']
    assert 5 < frames < 12 and f'ends after {frames} of 12 frames' in summary['failed']['end']
    assert set(summary['tracks']) == {'0', '1'}
    for track_id, track in summary['tracks'].items():
        assert track['acceleration_after'] < track['acceleration_before']
        arrays = results.read_arrays(out / f'tracks/{track_id}.npz')
        assert len(arrays['camera_joints']) == track['frames'] == frames
        assert (out / f'tracks/{track_id}.bvh').exists()
    # They cross, and keep their ways.
    left = results.read_arrays(out / 'tracks/0.npz')['boxes'][:, 0]
    np.testing.assert_allclose(np.diff(left), 2)
    capture = cv2.VideoCapture(str(out / 'overlay.webm'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == frames
    assert not list(out.rglob('*.partial*'))
    assert summary['boxes_of_no_frame'] == 2 * (12 - frames)


def test_a_video_goes_on_where_it_stopped(film, small_model, clip, tmp_path):
    """Persons keep their identity from one part to the other."""
    shutil.copytree(film[0], tmp_path / 'r')
    before = results.read_arrays(tmp_path / 'r/tracks/1.npz')
    for t in range(4, film[1]['frames']):
        (tmp_path / f'r/frames/{t:06d}.npz').unlink()
    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4, overlays=False)
    with pytest.raises(ValueError, match=r'holds another result: overlays'):
        predict(small_model, str(clip / 'clip.avi'), str(tmp_path / 'r'), settings)
    settings = settings._replace(overlays=True)
    summary = predict(small_model, str(clip / 'clip.avi'), str(tmp_path / 'r'), settings)
    for key in film[1].keys() - {'seconds'}:
        assert summary[key] == film[1][key], key
    after = results.read_arrays(tmp_path / 'r/tracks/1.npz')
    for name in ('boxes', 'index', 'camera_joints'):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)


def test_short_tracks_are_in_the_arrays_alone(small_model, clip, tmp_path):
    """Three tracks of 9, 4 and 2 frames, with limits of 5 and 4 frames."""
    lines = ['image,left,top,right,bottom,track_id', *(f'{t},5,5,35,60,0' for t in range(9))]
    lines += [*(f'{t},50,5,80,60,1' for t in range(3, 7)), *(f'{t},1,1,30,30,2' for t in (0, 1))]
    (tmp_path / 'boxes.csv').write_text('\n'.join(lines))
    settings = PredictSettings(boxes=str(tmp_path / 'boxes.csv'), overlays=False)
    for shortest, written in ((5, {'0'}), (4, {'0', '1'})):
        out = tmp_path / f'r{shortest}'
        limited = settings._replace(shortest_track=shortest)
        summary = predict(small_model, str(clip / 'clip.avi'), str(out), limited)
        assert set(summary['tracks']) == written == {p.stem for p in (out / 'tracks').iterdir()}
        assert {p.name for p in (out / 'amass').iterdir()} == {f'{i}_poses.npz' for i in written}
        joints = results.read_arrays(out / 'joints.npz')
        assert set(joints['person'].astype(str)) == written
        assert summary['short_tracks'] == 3 - len(written)
        ids = [results.read_arrays(p)['track_ids'].tolist() for p in results.frame_paths(out)]
        assert ids[:5] == [[0, 2], [0, 2], [0], [0, 1], [0, 1]]
        names = {node.name for node in read_glb(out / 'scene.glb')[0].nodes}
        assert {name for name in names if 'body' in name} == {f'person {i} body' for i in written}
    with pytest.raises(ValueError, match=r'shortest_track=0: expected frames, at least 1'):
        settings._replace(shortest_track=0).check()


def test_unusual_pictures_are_said_and_written(small_model, tmp_path, capsys):
    """Their values, their names, and what is not read: also by a run that finds all done."""
    place, out = tmp_path / 'pictures', tmp_path / 'r'
    place.mkdir()
    long, odd = 'x' * 250, 'a\n%d\udcff'
    for name in (long, odd):
        Image.fromarray(picture(60, 80)).save(place / f'{name}.png')
    Image.fromarray(picture(60, 80, 1)[..., 0] / np.float32(255)).save(place / 'light.tif')
    (place / 'clip.mp4').write_text('no picture')
    settings = PredictSettings(boxes='image', format=('json', 'csv'))
    for _ in range(2):
        summary = predict(small_model, str(place), str(out), settings)
        assert summary['frames'] == 3 and not summary['failed']
        assert summary['notes'] == {'light': 'floating-point values: 1 is white'}
        video_said, name_said = summary['input_notes']
        assert '1 video (clip.mp4) left out' in video_said
        assert f'its files are called {long[:191]}_' in name_said
    report(summary, str(out))
    printed = capsys.readouterr().out
    assert '1 picture: floating-point values: 1 is white: light' in printed
    assert printed.isascii() and '1 video (clip.mp4) left out' in printed
    assert len(list((out / 'meshes').iterdir())) == len(list((out / 'overlays').iterdir())) == 3
    assert 'udcff' in page.page(out)
    found = json.loads((out / 'joints.json').read_text())['persons']
    assert found[0]['frame'] == odd and len(found) == 3
    assert 'udcff' in (out / 'joints.csv').read_text()


@pytest.mark.parametrize('size', [(1, 1), (1, 3000), (3000, 1), (3, 2)])
def test_pictures_of_one_pixel(small_model, size, tmp_path):
    """Also where the drawn picture is 960 pixels long, and a third of one high."""
    Image.new('RGB', size).save(tmp_path / 'a.png')
    settings = PredictSettings(boxes='image')
    found = predict(small_model, str(tmp_path / 'a.png'), str(tmp_path / 'r'), settings)
    assert found['persons'] == 1 and not found['failed']
    with Image.open(tmp_path / 'r/overlays/a.jpg') as sheet:
        assert sheet.height == min(max(size[1], 2), 960)


def test_an_overlay_that_cannot_be_written(small_model, clip, tmp_path):
    """A full disk, or no encoder: the frame is not done."""
    Image.fromarray(picture(8, 8)).save(tmp_path / 'a.png')
    (tmp_path / 'boxes.csv').write_text('image,left,top,right,bottom\n')
    settings = PredictSettings(boxes=str(tmp_path / 'boxes.csv'))
    out = tmp_path / 'r'
    predict(small_model, str(tmp_path / 'a.png'), str(out), settings)
    (out / 'frames/a.npz').unlink()
    (out / 'overlays/a.jpg').unlink()
    (out / 'overlays/a.jpg').mkdir()
    with pytest.raises(OSError, match=r'overlays/a\.jpg'):
        predict(small_model, str(tmp_path / 'a.png'), str(out), settings)
    assert not (out / 'frames/a.npz').exists()
    source = sources.open_source(str(clip / 'clip.avi'))
    with pytest.raises(OSError, match=r'overlay\.webm: cannot be written as VP9'):
        overlay_video.write_overlay_video(source, tmp_path / 'no/overlay.webm', small_model, {})
