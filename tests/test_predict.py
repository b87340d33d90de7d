"""From pictures and videos to files: the whole way, with a small network that learned nothing."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest
import skimage.data
from conftest import SMALL_REGRESSOR, command, quickstart_config
from PIL import Image

from tokenhmr_jax import view
from tokenhmr_jax.body import camera, smpl
from tokenhmr_jax.checkpoints.compatibility import describe_run
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.inference import results, sources, video
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.predict import PredictSettings, predict
from tokenhmr_jax.studies import stablehlo
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.types import RegressorOutput, SmplParams


@pytest.fixture(scope='module')
def parts(mannequin):
    """What a model is made of: config, task, parameters, state, body."""
    config = quickstart_config('regressor', SMALL_REGRESSOR)
    task = make_task(config)
    params, state = task.init(jax.random.key(0))
    # A codebook is empty until it comes from stage 1; its poses would be no rotations.
    state = state.replace(codes=jax.random.normal(jax.random.key(1), state.codes.shape))
    return config, task, params, state, mannequin


@pytest.fixture(scope='module')
def model(parts):
    return Model('tiny', *parts)


def picture(height, width, channels=3):
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)


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
def result(model, folder, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp('result')
    return out, predict(model, str(folder), str(out), settings)


def test_each_picture_does_the_right_thing(result, model):
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
    overlay = cv2.imread(str(out / 'overlays/large.jpg'))
    assert overlay.shape == (720, 960 + 360, 3)
    assert (out / 'overlays/nobody.jpg').exists()
    assert set(summary['seconds']) == {'all', 'decode', 'detect', 'network', 'write'}


def test_a_file_holds_what_the_model_predicts(result, model, folder):
    """Batches that fill across pictures change nothing; the schema's arrays fit together."""
    out, _ = result
    found = results.read_arrays(out / 'frames/many.npz')
    image = cv2.imread(str(folder / 'many.png'))[..., ::-1]
    focal = 40 / np.tan(np.radians(30))
    alone = model.predict(image, found['boxes'][[7]], focal)
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


def test_a_run_goes_on_where_it_stopped(result, model, folder, settings):
    out, first = result
    before = {p: p.stat().st_mtime_ns for p in (out / 'frames').iterdir()}
    (out / 'frames/a.npz').unlink()
    (out / 'frames/grey.npz.partial').write_bytes(b'half')
    again = predict(model, str(folder), str(out), settings)
    assert again['persons_in_this_run'] == 1 and again['frames'] == first['frames']
    after = {p: p.stat().st_mtime_ns for p in (out / 'frames').glob('*.npz')}
    changed = [p.stem for p in after if after[p] != before[p]]
    assert changed == ['a']
    with pytest.raises(ValueError, match=r'holds another result: fov'):
        predict(model, str(folder), str(out), settings._replace(fov=50.0))


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A video whose file promises twelve frames and ends after nine; two persons' boxes."""
    place = tmp_path_factory.mktemp('video')
    writer = cv2.VideoWriter(
        str(place / 'whole.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 25.0, (96, 64)
    )
    for t in range(12):
        writer.write(np.roll(picture(64, 96), 3 * t, axis=1))
    writer.release()
    content = (place / 'whole.avi').read_bytes()
    (place / 'clip.avi').write_bytes(content[: int(0.75 * len(content))])
    lines = ['image,left,top,right,bottom']
    lines += [f'{t},{5 + 2 * t},5,{35 + 2 * t},60' for t in range(12)]
    lines += [f'{t},{60 - 2 * t},4,{90 - 2 * t},62' for t in range(12)]
    (place / 'boxes.csv').write_text('\n'.join(lines))
    return place


@pytest.fixture(scope='module')
def film(model, clip, tmp_path_factory):
    out = tmp_path_factory.mktemp('film') / 'r'
    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4)
    return out, predict(model, str(clip / 'clip.avi'), str(out), settings)


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
    assert not list(out.glob('*.partial*'))
    assert summary['boxes_of_no_frame'] == 2 * (12 - frames)


def test_a_video_goes_on_where_it_stopped(film, model, clip, tmp_path):
    """Who is in both parts is still who they were."""
    shutil.copytree(film[0], tmp_path / 'r')
    before = results.read_arrays(tmp_path / 'r/tracks/1.npz')
    for t in range(4, film[1]['frames']):
        (tmp_path / f'r/frames/{t:06d}.npz').unlink()
    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4, overlays=False)
    with pytest.raises(ValueError, match=r'holds another result: overlays'):
        predict(model, str(clip / 'clip.avi'), str(tmp_path / 'r'), settings)
    settings = settings._replace(overlays=True)
    summary = predict(model, str(clip / 'clip.avi'), str(tmp_path / 'r'), settings)
    assert summary['persons_in_this_run'] == 2 * (film[1]['frames'] - 4)
    after = results.read_arrays(tmp_path / 'r/tracks/1.npz')
    for name in ('boxes', 'index', 'camera_joints'):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)


def test_the_page_holds_all_of_it(film):
    out, summary = film
    page = view.page(str(out))
    content = page.split('type="application/json">')[1].split('</script>')[0]
    data = json.loads(content)
    assert len(data['frames']) == summary['frames'] and len(data['people']) == 2
    assert 'http' not in page  # it needs no network
    with pytest.raises(FileNotFoundError, match=r'no result.json'):
        view.page(str(out / 'frames'))


def test_a_page_says_what_it_leaves_out(tmp_path, capsys, monkeypatch):
    """Of pictures whose names want to be more than names."""
    folder = tmp_path / 'DATA TITLE <b>'
    for name in ('overlays', 'frames', 'meshes'):
        (folder / name).mkdir(parents=True)
    (folder / 'result.json').write_text('{"request": {}}')
    for name in ('a<!--<script>', 'b'):
        cv2.imwrite(str(folder / f'overlays/{name}.jpg'), picture(8, 8))
        results.write_arrays(folder / f'frames/{name}.npz', {'boxes': np.zeros((2, 4))})
        for row in range(2):
            (folder / f'meshes/{name}_{row}.glb').write_bytes(b'a body')
    monkeypatch.setattr(view, '_MOST_FRAMES', 1)
    monkeypatch.setattr(view, '_MOST_PEOPLE', 1)
    page = view.page(str(folder))
    assert '<title>DATA TITLE &lt;b&gt;</title>' in page
    content = page.split('type="application/json">')[1].split('</script>')[0]
    assert '<' not in content
    data = json.loads(content)
    assert [frame['name'] for frame in data['frames']] == ['a<!--<script>']
    assert [person['label'] for person in data['people']] == ['a<!--<script> 0']
    said = capsys.readouterr().out
    assert 'the first 1 frames' in said and 'the first 1 persons' in said


def test_an_overlay_that_cannot_be_written(model, clip, tmp_path):
    """A full disk, or no encoder: the frame is not done."""
    Image.fromarray(picture(8, 8)).save(tmp_path / 'a.png')
    (tmp_path / 'boxes.csv').write_text('image,left,top,right,bottom\n')
    settings = PredictSettings(boxes=str(tmp_path / 'boxes.csv'))
    out = tmp_path / 'r'
    predict(model, str(tmp_path / 'a.png'), str(out), settings)
    (out / 'frames/a.npz').unlink()
    (out / 'overlays/a.jpg').unlink()
    (out / 'overlays/a.jpg').mkdir()
    with pytest.raises(OSError, match=r'overlays/a\.jpg'):
        predict(model, str(tmp_path / 'a.png'), str(out), settings)
    assert not (out / 'frames/a.npz').exists()
    source = sources.open_source(str(clip / 'clip.avi'))
    with pytest.raises(OSError, match=r'overlay\.webm: cannot be written as VP8'):
        video._overlay_video(source, tmp_path / 'nowhere/overlay.webm', model, {})


@pytest.fixture(scope='module')
def browse():
    """A function that opens a page in a browser without a display, with options; what it prints."""
    names = ('chromium-headless-shell', 'chromium', 'google-chrome')
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip('no headless Chromium here')
    options = [
        '--headless', '--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader',
        '--enable-unsafe-swiftshader', '--window-size=800,800', '--virtual-time-budget=3000',
    ]  # fmt: skip

    def run(path, option):
        line = [browser, *options, option, f'file://{path}']
        done = subprocess.run(line, check=True, timeout=120, capture_output=True, text=True)
        return done.stdout

    return run


def test_a_browser_draws_the_bodies_and_plays_the_video(film, browse, tmp_path):
    """The page above, the overlay video below it."""
    (tmp_path / 'view.html').write_text(view.page(str(film[0])))
    shutil.copy(film[0] / 'overlay.webm', tmp_path)
    (tmp_path / 'both.html').write_text(
        '<body style="margin:0"><iframe src="view.html" style="width:800px;height:400px;border:0">'
        '</iframe><video src="overlay.webm" autoplay muted loop style="position:absolute;top:400px;'
        'left:0;width:800px"></video></body>'
    )
    browse(tmp_path / 'both.html', f'--screenshot={tmp_path / "page.png"}')
    shot = cv2.imread(str(tmp_path / 'page.png')).astype(int)
    picture, space, video = shot[20:340, 20:380], shot[20:340, 420:780], shot[410:700, 10:500]
    assert picture.std() > 20 and video.std() > 20
    # Bodies are blue and orange, the floor's lines are nearly grey.
    blue, red = space[..., 0] - space[..., 2], space[..., 2] - space[..., 0]
    assert (blue > 40).sum() > 100 and (red > 40).sum() > 100


def test_the_page_answers_its_controls(film, browse, tmp_path):
    """The timeline shows its frame, a person vanishes, and the play button plays."""
    script = """<script>
      const colors = () => {
        draw();
        const pixels = new Uint8Array(4 * canvas.width * canvas.height);
        gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        let blue = 0, red = 0;
        for (let i = 0; i < pixels.length; i += 4) {
          blue += pixels[i + 2] - pixels[i] > 40;
          red += pixels[i] - pixels[i + 2] > 40;
        }
        return [blue, red];
      };
      const seen = {before: colors()};
      get('time').value = 3;
      get('time').dispatchEvent(new Event('input'));
      seen.moved = get('name').textContent;
      document.querySelector('#people input').click();
      seen.after = colors();
      get('play').click();
      setTimeout(() => {
        get('play').click();
        seen.played = now;
        document.body.innerHTML = `<pre>${JSON.stringify(seen)}</pre>`;
      }, 150);
    </script>"""
    (tmp_path / 'view.html').write_text(view.page(str(film[0])) + script)
    printed = browse(tmp_path / 'view.html', '--dump-dom')
    seen = json.loads(printed.split('<pre>')[1].split('</pre>')[0])
    assert min(seen['before']) > 100 and seen['moved'] == 'frame 3'
    assert seen['after'][0] == 0 and seen['after'][1] > 100
    assert 3 < seen['played'] < 9


def test_a_photograph(model, tmp_path, capsys, monkeypatch):
    """Of a person, in the public domain; with no detector installed, a line says so."""
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / 'eileen.png')
    for boxes in ('image', 'detect'):
        out = tmp_path / boxes
        settings = PredictSettings(boxes=boxes, meshes=('ply',))
        summary = predict(model, str(tmp_path / 'eileen.png'), str(out), settings)
        said = {
            'image': 'one in each image',
            'detect': "OpenCV's people detector, which misses many",
        }
        assert summary['frames'] == 1 and said[boxes] in capsys.readouterr().out
        found = results.read_arrays(out / 'frames/eileen.npz')
        assert len(found['boxes']) == len(list((out / 'meshes').glob('eileen_*.ply')))
    whole = results.read_arrays(tmp_path / 'image/frames/eileen.npz')
    assert whole['boxes'].tolist() == [[0, 0, 512, 512]]
    assert whole['focal_length'] == 10000 and 'not the world' in str(whole['camera_source'])


class PerfectNetwork(Model):
    """Answers with bodies that are known, under the crop camera that shows them best."""

    def __init__(self, parts, params, keypoints2d):
        super().__init__('perfect', *parts)
        self.known, self.keypoints2d = params, keypoints2d

    def answer(self, boxes):
        self.squares = self._squares(np.float32(boxes))
        return boxes

    def predict_crops(self, images):
        output = smpl.forward(self.body, self.known)
        points = smpl.keypoints(self.body, output)
        seen = camera.to_crop_units(self.keypoints2d, *self.squares)
        translation = camera.fit_crop_translation(points, seen, np.ones(points.shape[:2]))
        weak = camera.crop_camera(translation)
        return jax.device_get(
            RegressorOutput(self.known, weak, output, points, seen, token_probs=None)
        )


@pytest.mark.parametrize('focal_length', [400.0, 1200.0, 5000.0])
def test_translations_are_metres_in_the_images_camera(parts, mannequin, focal_length):
    """Bodies at known places, in the middle and at the edges, are found where they are."""
    places = np.float32([[0, 0.3, 5], [1.5, 0.2, 6], [-2.5, 0.5, 9], [0.4, -0.2, 4]])
    rest = np.broadcast_to(np.eye(3, dtype=np.float32), (4, 24, 3, 3)).copy()
    rest[:, 0] = np.diag([1, -1, -1])  # upright before the camera
    params = SmplParams(rest[:, 0], rest[:, 1:], np.zeros((4, 10), np.float32))
    points = np.asarray(smpl.keypoints(mannequin, smpl.forward(mannequin, params)))
    size = np.array([1.2, 0.8]) * focal_length
    seen = points + places[:, None]
    pixels = np.float32(focal_length * seen[..., :2] / seen[..., 2:] + size / 2)
    network = PerfectNetwork(parts, params, pixels)
    boxes = network.answer(np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1))
    image = np.zeros((int(size[1]), int(size[0]), 3), np.uint8)
    found = network.predict(image, boxes, focal_length)
    # The crop's parallel projection cannot be exact: a hundredth of the distance.
    off = np.linalg.norm(found.translation - places, axis=1)
    assert (off / places[:, 2]).max() < 0.015


def test_the_commands(parts, tmp_path):
    """From a checkpoint and a picture to a page, as a user types them."""
    config, _, params, state, body = parts
    with Checkpoints(str(tmp_path / 'run')) as saved:
        description = describe_run(config, smpl.topology(body))
        saved.save_converted(7, params, state, description)
    Image.fromarray(picture(60, 80)).save(tmp_path / 'a.png')
    printed = command(
        '-m', 'tokenhmr_jax.predict', f'--checkpoint={tmp_path}/run', f'--input={tmp_path}/a.png',
        f'--out={tmp_path}/r', '--boxes=image', f'--compilation_cache={tmp_path}/cache',
    )  # fmt: skip
    assert 'persons: one in each image' in printed and '1 frames, 0 left out' in printed
    assert list((tmp_path / 'cache').iterdir())
    command('-m', 'tokenhmr_jax.view', '--nobrowser', tmp_path / 'r')
    assert (tmp_path / 'r/view.html').stat().st_size > 100_000


@pytest.mark.parametrize('batch', [None, 2])
def test_an_exported_model_needs_no_model_code(model, tmp_path, batch):
    """Its loader runs without this package, and gives what the model gives."""
    stablehlo.export_program(model, str(tmp_path / 'program'), batch)
    crops = picture(128, 64).reshape(2, 64, 64, 3)
    np.save(tmp_path / 'crops.npy', crops)
    loader = tmp_path / 'program/load.py'
    assert 'tokenhmr' not in loader.read_text()
    arguments = [sys.executable, str(loader), 'crops.npy', 'out.npz']
    subprocess.run(arguments, cwd=tmp_path, check=True, env=os.environ | {'PYTHONPATH': ''})
    found, expected = results.read_arrays(tmp_path / 'out.npz'), model.predict_crops(crops)
    np.testing.assert_allclose(found['vertices'], expected.body.vertices, atol=1e-4)
    np.testing.assert_allclose(found['residual_token_probs'], expected.token_probs, atol=1e-4)
