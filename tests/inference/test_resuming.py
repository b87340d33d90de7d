"""Results that go on: what changed is predicted again, all else stays, to the byte."""

import copy
import errno
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from small_model import picture

from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.inference.prediction import PredictSettings, predict, predict_with_checkpoint
from tokenhmr_jax.training import workdir

BOXES = {'a': 3, 'b': 1, 'c': 2}


def write_boxes(place, boxes=BOXES, left=5):
    lines = ['image,left,top,right,bottom']
    lines += [
        f'{n},{left + 3 * i},5,{left + 30 + i},55' for n, k in boxes.items() for i in range(k)
    ]
    (place / 'boxes.csv').write_text('\n'.join(lines))


@pytest.fixture
def pictures(tmp_path):
    place = tmp_path / 'pictures'
    place.mkdir()
    for i, name in enumerate('abc'):
        Image.fromarray(picture(60 + i, 80)).save(place / f'{name}.png')
    write_boxes(place)
    return place


@pytest.fixture
def run(small_model, pictures, tmp_path):
    """Predicts on the pictures; the result's summary."""
    settings = PredictSettings(boxes=str(pictures / 'boxes.csv'), batch_size=4)

    def predicted(model=small_model, out='r', **changes):
        return predict(model, str(pictures), str(tmp_path / out), settings._replace(**changes))

    return predicted


def contents(folder):
    """All files of a result; result.json without its seconds."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }
    summary = json.loads(found['result.json'])
    assert summary.pop('seconds')['all'] > 0
    return found | {'result.json': summary}


def states(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob('*')}


def test_removed_files_are_made_again(run, small_model, pictures, clip, tmp_path, capsys):
    run()
    before = contents(tmp_path / 'r')
    for name in ('meshes/a_1.glb', 'scenes/b.glb', 'overlays/c.jpg', 'joints.npz'):
        (tmp_path / 'r' / name).unlink()
    run()
    assert contents(tmp_path / 'r') == before
    assert 'as files of its bodies were removed since: a, b, c\n' in capsys.readouterr().out
    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4)
    film = lambda: predict(small_model, str(clip / 'clip.avi'), str(tmp_path / 'film'), settings)  # noqa: E731
    film()
    before = contents(tmp_path / 'film')
    for name in ('overlay.webm', 'scene.glb', 'tracks/1.bvh', 'amass/0_poses.npz'):
        (tmp_path / 'film' / name).unlink()
        film()
        assert contents(tmp_path / 'film') == before


def test_a_repeat_changes_no_file(run, pictures, tmp_path):
    (pictures / 'broken.png').write_bytes((pictures / 'a.png').read_bytes()[:900])
    first = run()
    assert first['frames'] == 3 and first['persons'] == 6 and list(first['failed']) == ['broken']
    assert first['cameras'] == {'guessed: 55 degrees across the diagonal': 3}
    before = states(tmp_path / 'r')
    assert run(batch_size=16) == first
    assert states(tmp_path / 'r') == before
    assert not (tmp_path / 'r/lock').exists()


def test_a_changed_picture_is_predicted_again(run, pictures, tmp_path, capsys):
    """Same size and time; the others' files are not touched."""
    pixels = picture(60, 80)
    Image.fromarray(pixels).save(pictures / 'a.bmp')
    (pictures / 'a.png').unlink()
    run()
    frames, was = tmp_path / 'r/frames', os.stat(pictures / 'a.bmp')
    before, old = states(frames), results.read_arrays(frames / 'a.npz')
    Image.fromarray(255 - pixels).save(pictures / 'a.bmp')
    os.utime(pictures / 'a.bmp', ns=(was.st_atime_ns, was.st_mtime_ns))
    assert os.stat(pictures / 'a.bmp').st_size == was.st_size
    run()
    assert 'predicted again, as the file has changed since: a\n' in capsys.readouterr().out
    after = states(frames)
    assert [path.stem for path in before if before[path] != after[path]] == ['frames', 'a'][1:]
    new = results.read_arrays(frames / 'a.npz')
    assert np.abs(new['body_pose'] - old['body_pose']).max() > 1e-4
    run(out='anew')
    assert contents(tmp_path / 'r') == contents(tmp_path / 'anew')


def test_changed_boxes(run, pictures, tmp_path, capsys):
    """One picture: it alone is predicted again, and what it no longer has is gone."""
    run()
    before = states(tmp_path / 'r/frames')
    write_boxes(pictures, BOXES | {'a': 1})
    summary = run()
    assert summary['persons'] == 4 and 'its persons have changed' in capsys.readouterr().out
    after = states(tmp_path / 'r/frames')
    assert {path.stem for path in before if before[path] != after[path]} - {'frames'} == {'a'}
    assert sorted(p.stem for p in (tmp_path / 'r/meshes').iterdir()) == ['a_0', 'b_0', 'c_0', 'c_1']
    run(out='anew')  # its batches have other sizes, which change the last digits
    assert contents(tmp_path / 'r').keys() == contents(tmp_path / 'anew').keys()
    for name in BOXES:
        ours, anew = (
            results.read_arrays(tmp_path / f'{out}/frames/{name}.npz') for out in ('r', 'anew')
        )
        np.testing.assert_allclose(ours['body_pose'], anew['body_pose'], atol=1e-5)


def test_a_changed_network(run, small_parts, tmp_path, capsys):
    config, task, params, state, body = small_parts
    run()
    other = jax.tree.map(lambda x: x * 1.01, params)
    run(Model('tiny', config, task, other, state, body))
    assert 'as the network has changed since: a, b, c\n' in capsys.readouterr().out
    wider = copy.deepcopy(config)
    wider.data.eval_box_aspect = (1, 1)
    run(Model('tiny', wider, task, other, state, body))
    assert 'as the network has changed since: a, b, c\n' in capsys.readouterr().out


def test_pictures_that_are_gone_broken_or_new(run, pictures, tmp_path, capsys):
    run()
    (pictures / 'c.png').unlink()
    (pictures / 'a.png').write_bytes(b'no picture any more')
    Image.fromarray(picture(70, 80)).save(pictures / 'aa.png')
    summary = run()
    assert 'kept of pictures that are no longer there: c\n' in capsys.readouterr().out
    assert (summary['frames'], summary['persons'], list(summary['failed'])) == (3, 3, ['a'])
    assert sorted(p.stem for p in (tmp_path / 'r/frames').iterdir()) == ['aa', 'b', 'c']
    assert sorted(p.stem for p in (tmp_path / 'r/meshes').iterdir()) == ['b_0', 'c_0', 'c_1']
    assert sorted(p.stem for p in (tmp_path / 'r/overlays').iterdir()) == ['aa', 'b', 'c']


def test_results_of_others(run, pictures, tmp_path):
    run()
    with pytest.raises(ValueError, match=r'holds another result: fov \(None -> 50.0\)'):
        run(fov=50.0)
    (tmp_path / 'r/result.json').write_text('{"request": {}}')
    with pytest.raises(ValueError, match='a result of another version'):
        run()
    (tmp_path / 'r/result.json').unlink()
    with pytest.raises(ValueError, match='is not empty, and holds no result'):
        run()


def test_half_a_run(run, pictures, tmp_path):
    """After a killed run the next one ends as an unbroken one, to the byte."""
    run(out='unbroken')
    unbroken, out = contents(tmp_path / 'unbroken'), tmp_path / 'r'
    out.mkdir()
    (out / '.result.0123abcd.partial.json').write_text('{')
    (out / 'lock').write_text('process 1 on here')
    run()
    assert contents(out) == unbroken
    for names in (['a'], ['b', 'c']):
        for name in names:
            (out / f'frames/{name}.npz').unlink()
            (out / f'meshes/{name}_0.glb').unlink()
        (out / 'frames/.a.0123abcd.partial.npz').write_bytes(b'half')
        (out / 'meshes/.a_0.0123abcd.partial.glb').write_bytes(b'half')
        (out / 'result.json').write_text(
            json.dumps({key: unbroken['result.json'][key] for key in ('version', 'request')})
        )
        run()
        assert contents(out) == unbroken
    (out / 'frames/b.npz').write_bytes((out / 'frames/b.npz').read_bytes()[:700])
    run()
    assert contents(out) == unbroken


def test_a_video_whose_boxes_change(small_model, film, clip, tmp_path):
    """One frame is predicted again; tracks are those of an unbroken run, in all frames."""
    shutil.copytree(film[0], tmp_path / 'r')
    shutil.copytree(clip, tmp_path / 'clip')
    path = tmp_path / 'clip/boxes.csv'

    def run(out):
        # The request names the files of the film.
        summary = results.read_json(tmp_path / 'r/result.json')
        request = summary['request'] | {'boxes': str(path), 'input': str(path.parent / 'clip.avi')}
        (tmp_path / 'r/result.json').write_text(json.dumps(summary | {'request': request}))
        settings = PredictSettings(boxes=str(path), batch_size=4)
        return predict(small_model, str(path.parent / 'clip.avi'), str(tmp_path / out), settings)

    before = states(tmp_path / 'r')
    assert run('r')['tracks'] == film[1]['tracks']
    after = states(tmp_path / 'r')
    assert {p.name for p in before if before[p] != after[p]} <= {'r', 'result.json'}
    lines = path.read_text().splitlines()
    path.write_text('\n'.join(lines[:13] + lines[14:]))  # without the second person's first box
    summary = run('r')
    assert summary['detections'] == film[1]['detections'] - 1 and summary['persons'] == 2
    run('anew')
    ours, anew = contents(tmp_path / 'r'), contents(tmp_path / 'anew')
    assert ours.keys() == anew.keys() and ours['result.json']['tracks'].keys() == {'0', '1'}
    for name in ('frames/000001.npz', 'tracks/1.npz'):
        a, b = (results.read_arrays(tmp_path / out / name) for out in ('r', 'anew'))
        np.testing.assert_array_equal(a['boxes'], b['boxes'])
        np.testing.assert_allclose(a['translation'], b['translation'], rtol=1e-4)


def test_a_shorter_video(small_model, film, clip, tmp_path):
    shutil.copytree(film[0], tmp_path / 'r')
    summary = film[1]
    name = f'{summary["frames"] + 3:06d}'
    shutil.copy(tmp_path / 'r/frames/000000.npz', tmp_path / f'r/frames/{name}.npz')
    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4)
    found = predict(small_model, str(clip / 'clip.avi'), str(tmp_path / 'r'), settings)
    assert found['frames'] == summary['frames'] and found['tracks'] == summary['tracks']
    assert contents(tmp_path / 'r') == contents(film[0])


HOLD = """
import sys, time
from tokenhmr_jax.training.workdir import lock_workdir
with lock_workdir(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


def test_two_runs_on_one_folder(run, pictures, tmp_path):
    run()
    before = states(tmp_path / 'r/frames')
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, tmp_path / 'r'], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == 'held\n'
    with pytest.raises(ValueError, match=f'/r: another run is writing here, process {holder.pid}'):
        run()
    with pytest.raises(ValueError, match='another run is writing here'):  # before the network
        predict_with_checkpoint(
            'no', '1', str(pictures), str(tmp_path / 'r'), PredictSettings('image')
        )
    holder.kill()
    holder.wait()
    assert (tmp_path / 'r/lock').exists()
    run()
    assert states(tmp_path / 'r/frames') == before and not (tmp_path / 'r/lock').exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(workdir.fcntl, 'flock', flock)
    with workdir.lock_workdir(tmp_path / 'r'), workdir.lock_workdir(tmp_path / 'r'):
        pass
    assert not list((tmp_path / 'r').iterdir())
