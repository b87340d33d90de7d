"""The content of a result's web page."""

import base64
import json
import shutil

import numpy as np
import pytest
from page_results import add_samples
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import smpl
from tokenhmr_jax.inference.inputs.video_files import VideoFile
from tokenhmr_jax.inference.outputs import glb_files, gltf, overlays, page, page_content, results
from tokenhmr_jax.types import SmplParams


def content_of(text):
    return json.loads(text.split('type="application/json">')[1].split('</script>')[0])


def unpack(packed):
    raw = np.frombuffer(base64.b64decode(packed['data']), f'<{packed["dtype"]}')
    array = raw.reshape(packed['shape'])
    return packed['low'] + packed['step'] * array if 'step' in packed else array


def test_the_page_holds_all_of_a_video(film_result):
    text = page.page(film_result)
    data = content_of(text)
    times = [frame['time'] for frame in data['frames']]
    np.testing.assert_allclose(times, np.arange(12) / 10, atol=1e-3)
    assert [(person['first'], person['count']) for person in data['people']] == [
        (0, 12), (0, 12), (4, 7)
    ]  # fmt: skip
    assert base64.b64encode((film_result / 'overlay.webm').read_bytes()).decode() in text
    for person in data['people']:
        number = person['name'].split()[-1]
        body = glb_files.read_person(film_result / 'tracks' / f'{number}.glb')
        rotations, root = unpack(person['rotations']), unpack(person['root'])
        np.testing.assert_allclose(rotations, body.movement.rotations, atol=2e-5)
        origin = data['places'][0]['origin']
        np.testing.assert_allclose(root + origin, body.movement.root, atol=1e-5)
        np.testing.assert_allclose(unpack(person['vertices']), body.vertices, atol=2e-5)


def test_the_page_holds_all_of_pictures(album_result):
    data = content_of(page.page(album_result))
    assert [frame['name'] for frame in data['frames']] == ['a<!--<script>', 'b', 'c']
    assert [person['first'] for person in data['people']] == [0, 0, 0, 1]
    assert data['people'][3]['color'] == list(overlays.COLORS[1])  # as in its overlay
    for row, person in enumerate(data['people'][:3]):
        body = glb_files.read_person(album_result / 'meshes' / f'a<!--<script>_{row}.glb')
        moved = unpack(person['vertices']) + data['places'][0]['origin']
        np.testing.assert_allclose(moved, body.vertices, atol=2e-4)
    with pytest.raises(FileNotFoundError, match=r'no result.json'):
        page.page(album_result / 'frames')


def test_samples_are_where_the_camera_sees_them(film_result, album_result, tmp_path, monkeypatch):
    """Of a video also in a frame that its track lacks: halfway between the others."""
    film, album = shutil.copytree(film_result, tmp_path / 'f'), tmp_path / 'a'
    shutil.copytree(album_result, album)
    for path in results.frame_paths(album)[:2]:
        add_samples(album, f'frames/{path.name}')
    data = content_of(page.page(album))
    arrays = results.read_arrays(album / 'frames/b.npz')
    true = (arrays['sample_joints'][0] + arrays['translation'][0]) @ gltf.TO_Y_UP
    found = unpack(data['people'][3]['samples']) + data['places'][1]['origin']
    np.testing.assert_allclose(found, true[None], atol=1e-3)
    for number in (0, 1, 2):
        add_samples(film, f'tracks/{number}.npz')
    track = results.read_arrays(film / 'tracks/2.npz')
    places = (track['sample_joints'] + track['translation'][:, None, None]) @ gltf.TO_Y_UP
    track['sample_joints'][3] = np.nan
    results.write_arrays(film / 'tracks/2.npz', track)
    data = content_of(page.page(film))
    found = unpack(data['people'][2]['samples']) + data['places'][0]['origin']
    places[3] = (places[2] + places[4]) / 2
    np.testing.assert_allclose(found, places, atol=2e-3)
    monkeypatch.setattr(page_content, '_MOST_SAMPLED', 1)
    data = content_of(page.page(film))
    assert [person['samples']['shape'][1] for person in data['people']] == [2, 2, 2]


def test_a_page_says_what_it_leaves_out(album_result, tmp_path, capsys, monkeypatch):
    """Names that look like HTML stay names."""
    folder = tmp_path / 'DATA TITLE <b>'
    shutil.copytree(album_result, folder)
    monkeypatch.setattr(page_content, '_MOST_PICTURES', 1)
    monkeypatch.setattr(page_content, '_MOST_PEOPLE', 1)
    text = page.page(folder)
    assert '<title>DATA TITLE &lt;b&gt;</title>' in text
    assert '<' not in text.split('type="application/json">')[1].split('</script>')[0]
    data = content_of(text)
    assert len(data['frames']) == len(data['people']) == 1
    said = capsys.readouterr().out
    assert 'the first 1 pictures' in said and 'the first 1 persons' in said
    shutil.rmtree(folder / 'meshes')
    with pytest.raises(FileNotFoundError, match='--meshes=glb'):
        page.page(folder)


def test_a_large_video_is_encoded_anew(film_result, monkeypatch, tmp_path):
    """Of the picture alone, without the views beside it."""
    monkeypatch.setattr(page_content, '_MOST_VIDEO', 1000)
    content, video = page_content.page_content(film_result)
    (tmp_path / 'small.webm').write_bytes(video)
    frames = list(VideoFile(tmp_path / 'small.webm').decode())
    assert content['video']['share'] == 1 and frames[0].rgb().shape == (120, 160, 3)
    times = [frame['time'] for frame in content['frames']]
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-3)


def test_rest_joints_come_from_posed_ones(mannequin, rng):
    turns = Rotation.random(24, random_state=rng).as_matrix().astype(np.float32)
    betas = rng.normal(size=10).astype(np.float32)
    joints = np.asarray(smpl.forward(mannequin, SmplParams(turns[0], turns[1:], betas)).joints)
    rest = page_content._rest_joints(joints, turns, joints[0])
    still = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
    expected = smpl.forward(mannequin, SmplParams(still[0], still[1:], betas)).joints
    np.testing.assert_allclose(rest, np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize('degrees', [0, 12, -8])
def test_the_ground_is_level_under_people_at_several_distances(degrees, rng):
    """The camera's pitch is found within two degrees; one person tells nothing."""
    ground = np.stack([rng.uniform(-2, 2, 40), np.full(40, -1.5), -rng.uniform(3, 9, 40)], axis=1)
    ground[:4, 1] += 0.5  # jumpers
    seen = ground @ Rotation.from_euler('x', degrees, degrees=True).as_matrix()
    assert abs(np.rad2deg(page_content._pitch(seen)) - degrees) < 2
    assert page_content._pitch(seen[:1]) == 0


def test_persons_of_glb_files_are_read_back(mannequin, rng, tmp_path):
    weights, faces = np.asarray(mannequin.weights), np.asarray(mannequin.faces)
    vertices, joints = np.asarray(mannequin.template).T, np.asarray(mannequin.joint_template)
    turns = Rotation.random(2 * 24, random_state=rng).as_matrix().reshape(2, 24, 3, 3)
    motion = gltf.Motion(joints, turns, rng.normal(size=(2, 3)), np.arange(2.0))
    path = tmp_path / 'person.glb'
    path.write_bytes(gltf.people_glb([gltf.Person('person', vertices, motion)], faces, weights))
    found = glb_files.read_person(path)
    np.testing.assert_array_equal(found.faces, faces)
    np.testing.assert_allclose(found.vertices, vertices, atol=1e-6)
    np.testing.assert_allclose(found.skin.joints, joints, atol=1e-6)
    np.testing.assert_allclose(found.movement.root, motion.root, atol=1e-6)
    read = Rotation.from_quat(found.movement.rotations.reshape(-1, 4)).as_matrix()
    np.testing.assert_allclose(read.reshape(turns.shape), turns, atol=1e-6)
    path.write_bytes(b'no GLB')
    with pytest.raises(ValueError, match='no GLB file'):
        glb_files.read_person(path)
    results.write_json(tmp_path / 'result.json', {'request': {}})
    with pytest.raises(FileNotFoundError, match='no overlays'):
        page.page(tmp_path)
