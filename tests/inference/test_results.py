"""The parts of prediction that need no network: pictures, boxes, tracks, filters, files."""

import json
import pathlib

import bvhio
import cv2
import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import ExifTags, Image
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.drawing import render
from tokenhmr_jax.inference import (
    animations,
    batching,
    boxes,
    cameras,
    meshes,
    picture_files,
    results,
    smoothing,
    sources,
    tracks,
)
from tokenhmr_jax.types import SmplParams

FRAME = sources.Frame('000139', 0, np.zeros((60, 80, 3), np.uint8))


def exif(**tags) -> Image.Exif:
    """EXIF data with tags by their names."""
    data = Image.Exif()
    for name, value in tags.items():
        number = ExifTags.Base[name]
        place = data if name == 'Orientation' else data.get_ifd(ExifTags.IFD.Exif)
        place[number] = value
    return data


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
    assert cameras.frame_camera(frame, None, None).source == 'EXIF'
    assert cameras.frame_camera(frame, 50.0, None) == (50.0, 'given focal length')
    wide = cameras.frame_camera(frame, None, 90.0)
    assert wide.focal_length == pytest.approx(20)  # half the width is as far as the image
    guess = cameras.frame_camera(FRAME, None, None)
    assert guess.focal_length == pytest.approx(5000 / 256 * 80) and 'default' in guess.source
    with pytest.raises(ValueError, match='expected one of them'):
        cameras.check_camera(50.0, 90.0)
    with pytest.raises(ValueError, match=r'fov=180.0: expected degrees'):
        cameras.check_camera(None, 180.0)


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


def test_broken_pictures_are_frames_that_say_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.jpg')
    whole = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'b.jpg').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'c.png').write_text('not a picture')
    (tmp_path / 'notes.txt').write_text('not asked for')
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


def test_boxes_of_files(tmp_path):
    """The same two boxes, of image 139, in each of the formats."""
    rows = [[10, 20, 30, 50], [1, 2, 3, 4]]
    coco = [
        {'image_id': 139, 'category_id': 1, 'bbox': [10, 20, 20, 30], 'score': 0.9},
        {'image_id': 139, 'category_id': 2, 'bbox': [0, 0, 9, 9], 'score': 0.9},
        {'image_id': 139, 'category_id': 1, 'bbox': [1, 2, 2, 2], 'score': 0.8},
        {'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 2, 2], 'score': 0.8},
    ]
    (tmp_path / 'a.json').write_text(json.dumps(coco))
    (tmp_path / 'a.csv').write_text(
        'image,left,top,right,bottom,track_id\n000139.jpg,10,20,30,50,4\n000139.jpg,1,2,3,4,0\n'
    )
    np.savez(tmp_path / 'a.npz', image=['000139'] * 2, boxes=rows)
    expected = {'json': ([0.9, 0.8], [-1, -1]), 'csv': ([1, 1], [4, 0]), 'npz': ([1, 1], [-1, -1])}
    source = sources.Images([pathlib.Path(name) for name in ('000139.jpg', 'other.jpg')])
    for suffix, (scores, track_ids) in expected.items():
        find, _ = boxes.make_finder(str(tmp_path / f'a.{suffix}'), source)
        found = find(FRAME)
        np.testing.assert_array_equal(found.boxes, rows)
        np.testing.assert_allclose(found.scores, scores)
        np.testing.assert_array_equal(found.track_ids, track_ids)
        assert find(FRAME._replace(name='other')).boxes.shape == (0, 4)
        assert find.unused({'000139', 'other'}) == (1 if suffix == 'json' else 0)
    whole, _ = boxes.make_finder('image', source)
    assert whole(FRAME).boxes.tolist() == [[0, 0, 80, 60]]


def test_wrong_boxes_are_named(tmp_path):
    (tmp_path / 'a.csv').write_text('image,left,top,right,bottom\na,1,2,1,4\n')
    with pytest.raises(ValueError, match=r'a.csv: box 0, of a, is \[1.0, 2.0, 1.0, 4.0\]'):
        boxes.read_boxes(str(tmp_path / 'a.csv'))
    (tmp_path / 'a.json').write_text('{"image_id": 3')
    with pytest.raises(ValueError, match=r'a.json: not boxes as expected'):
        boxes.read_boxes(str(tmp_path / 'a.json'))
    np.savez(tmp_path / 'a.npz', boxes=[[0, 0, 4, 4]])
    with pytest.raises(ValueError, match=r'a.npz: not boxes as expected .*image'):
        boxes.read_boxes(str(tmp_path / 'a.npz'))
    with pytest.raises(FileNotFoundError, match='no such file of boxes'):
        boxes.read_boxes(str(tmp_path / 'b.npz'))
    with pytest.raises(ValueError, match="expected 'detect', 'image', or a file"):
        boxes.read_boxes('people')


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (['a,0,0,4,4,3', 'b,0,0,4,4,'], 'a box of b has no track id'),
        (['a,0,0,4,4,3', 'b,0,0,4,4,5', 'b,1,0,4,4,5'], r'track ids \[5, 5\] of b'),
    ],
)
def test_track_ids_that_would_mix_people_are_named(tmp_path, rows, message):
    (tmp_path / 'a.csv').write_text('\n'.join(['image,left,top,right,bottom,track_id', *rows]))
    with pytest.raises(ValueError, match=message):
        boxes.read_boxes(str(tmp_path / 'a.csv'))


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
        boxes.make_finder(str(tmp_path / 'a.csv'), source)
    (tmp_path / 'a.csv').write_text('image,left,top,right,bottom\na_0,0,0,4,4\na_0.jpg,0,0,4,4\n')
    with pytest.raises(ValueError, match=r'a_0\.jpg has another name'):
        boxes.make_finder(str(tmp_path / 'a.csv'), source)


class Echo:
    """A network whose prediction is the box."""

    def predict(self, images, boxes, focal_length):
        return boxes


def test_frames_wait_for_few_others():
    """One person, then many frames with nobody, each of which holds its image in memory."""
    some, none, drawn = boxes.make_boxes([[0, 0, 4, 4]]), boxes.make_boxes([]), []

    def jobs():
        for i in range(60):
            drawn.append(i)
            found = some if i in (0, 1, 40) else none
            yield batching.FrameJob(FRAME._replace(index=i), found, cameras.Camera(1.0, ''))

    done = []
    for job in batching.predict_batches(Echo(), jobs(), 4):
        done.append(job)
        assert len(drawn) - len(done) <= 8
    assert [job.frame.index for job in done] == drawn == list(range(60))
    assert [job.frame.index for job in done if job.persons] == [0, 1, 40]


def test_results_of_something_else_are_refused(tmp_path):
    for text in ('{"epochs": 3}', '[1]', '{"request": '):
        (tmp_path / 'result.json').write_text(text)
        with pytest.raises(ValueError, match=r'result.json: not what predict writes'):
            results.read_json(tmp_path / 'result.json')


def test_opencv_finds_a_person(mannequin):
    """From head to feet, which are where the picture is not white."""
    vertices, faces = np.asarray(mannequin.template).T, np.asarray(mannequin.faces)
    image = render.render_view(vertices, faces, 'front', (300, 300), margin=1.5)
    rows = np.flatnonzero((image < 250).any(axis=(1, 2)))
    [[left, top, right, bottom]] = boxes.opencv_people(FRAME._replace(image=image)).boxes
    assert abs(top - rows[0]) < 10 and abs(bottom - rows[-1]) < 10
    assert abs(left + right - 300) < 20


def test_opencv_finds_nobody_in_noise_and_in_a_tiny_image():
    noise = np.random.default_rng(0).integers(0, 256, (200, 160, 3), np.uint8)
    assert boxes.opencv_people(FRAME._replace(image=noise)).boxes.shape == (0, 4)
    assert boxes.opencv_people(FRAME).boxes.shape == (0, 4)


def test_tracks_keep_their_identity_through_a_crossing():
    """Two walk towards each other and on; while they cover each other, only one is found."""
    tracker, found = tracks.Tracker(), []
    for t in range(60):
        left, right = 100 + 6 * t, 460 - 6 * t
        people = np.array([[left, 50, left + 60, 200], [right, 52, right + 60, 206]], float)
        order = [1, 0] if t % 2 else [0, 1]  # a detector has no order of its own
        kept = order if abs(left - right) > 18 else [1]
        ids = tracker.update(people[kept])
        found.append(dict(zip(kept, ids.tolist(), strict=True)))
    assert any(len(ids) == 1 for ids in found)
    assert {ids[0] for ids in found if 0 in ids} == {0}
    assert {ids[1] for ids in found} == {1}
    # Who comes into an empty place later is someone else.
    assert tracker.update(np.array([[900.0, 50, 960, 200]])).tolist() == [2]


def motion(count=80, fps=30.0):
    """A slow turn, and a walk at 4 m as the camera sees it, true and with a network's jitter."""
    rng = np.random.default_rng(0)
    times = np.arange(count) / fps
    axis = np.array([0.2, 1.0, 0.1])
    true = Rotation.from_rotvec(np.sin(2 * times)[:, None] * axis)
    noisy = true * Rotation.from_rotvec(rng.normal(0, 0.05, (count, 3)))
    place = np.stack([times, 0.3 * np.sin(3 * times), 4 * np.log(4) + 0 * times], axis=1) / 4
    return times, true, noisy, place, place + rng.normal(0, 0.01, place.shape)


@pytest.mark.parametrize('name', ['zero_lag', 'one_euro'])
def test_filters_lower_jitter_without_raising_the_error(name):
    times, true, noisy, place, seen = motion()
    turned, moved = smoothing.FILTERS[name](times, noisy.as_matrix()[:, None], seen)
    after = (Rotation.from_matrix(turned[:, 0]).inv() * true).magnitude().mean()
    before = (noisy.inv() * true).magnitude().mean()
    assert after < (0.6 if name == 'zero_lag' else 0.95) * before
    jitter = [
        smoothing.acceleration_error(p[:, None], times, place[:, None]) for p in (seen, moved)
    ]
    assert jitter[1] < (0.2 if name == 'zero_lag' else 0.5) * jitter[0]
    # The other one lags behind who walks.
    share = 0.7 if name == 'zero_lag' else 1.0
    assert np.abs(moved - place).mean() < share * np.abs(seen - place).mean()


def test_the_offline_filter_leaves_smooth_motion_alone():
    """Without lag: a turn at constant speed and a throw stay, where frames are missing too."""
    times = np.delete(np.arange(40), [7, 8, 20]) / 30
    turn = Rotation.from_rotvec(times[:, None] * [0.0, 2.0, 1.0]).as_matrix()[:, None]
    throw = np.stack([times, 3 * times - 4.9 * times**2], axis=1)
    turned, moved = smoothing.zero_lag(times, turn, throw)
    np.testing.assert_allclose(turned, turn, atol=1e-6)
    np.testing.assert_allclose(moved, throw, atol=1e-6)


def test_acceleration_is_that_of_a_fall():
    times = np.arange(10) / 25
    fall = np.zeros((10, 2, 3))
    fall[..., 1] = 4.905 * times[:, None] ** 2
    assert smoothing.acceleration_error(fall, times) == pytest.approx(9810)
    assert smoothing.acceleration_error(fall, times, fall) == 0
    assert smoothing.acceleration_error(fall[:2], times[:2]) is None


@pytest.fixture(scope='module')
def walker(mannequin):
    """A track of a turning, bending body, one frame missing, and its true joints, y up."""
    rng = np.random.default_rng(1)
    index = np.array([3, 4, 6, 7])
    rotvec = rng.normal(0, 0.5, (4, 24, 3))
    rotvec[:, 0] = [3.0, 0.3, 0.2]
    pose = Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(4, 24, 3, 3)
    track = {
        'index': index,
        'time': index / 30,
        'global_orient': pose[:, 0],
        'body_pose': pose[:, 1:],
        'betas': np.repeat(rng.normal(0, 1, (1, 10)), 4, axis=0),
        'translation': rng.normal([0, 0, 5], 1, (4, 3)),
    }
    track = {k: v.astype(np.float32) if v.dtype == float else v for k, v in track.items()}
    params = SmplParams(
        *(track[name] for name in ('global_orient', 'body_pose', 'betas', 'translation'))
    )
    output = smpl.forward(mannequin, params)
    return track, np.asarray(output.joints) * [1, -1, -1], np.asarray(output.vertices) * [1, -1, -1]


def test_bvh_has_the_joints_of_smpl(mannequin, walker, tmp_path):
    """Read and posed by bvhio."""
    track, joints, _ = walker
    animations.write_animations(tmp_path / '0', mannequin, track, fps=30.0)
    file = bvhio.readAsBvh(str(tmp_path / '0.bvh'))
    assert file.FrameTime == pytest.approx(1 / 30) and file.FrameCount == 5  # one is filled in
    root = bvhio.readAsHierarchy(str(tmp_path / '0.bvh'))
    for frame, expected in zip([0, 1, 3, 4], joints, strict=True):
        root.loadPose(frame)
        places = {joint.Name: np.array(joint.PositionWorld) / 100 for joint, _, _ in root.layout()}
        off = np.array([places[name] for name in skeleton.JOINTS]) - expected
        assert np.linalg.norm(off, axis=-1).max() < 1e-4  # metres


def read_glb(path):
    """The document, read by pygltflib, and a function from an accessor's number to its array."""
    document = pygltflib.GLTF2().load(path)
    kinds = {5126: '<f4', 5125: '<u4', 5123: '<u2'}
    width = {'SCALAR': (), 'VEC3': (3,), 'VEC4': (4,), 'MAT4': (4, 4)}

    def array(number):
        accessor = document.accessors[number]
        view = document.bufferViews[accessor.bufferView]
        data = document.binary_blob()[view.byteOffset :][: view.byteLength]
        shape = (accessor.count, *width[accessor.type])
        return np.frombuffer(data, kinds[accessor.componentType]).reshape(shape)

    return document, array


def posed_nodes(document, array, frame):
    """Global transforms (N, 4, 4) of all nodes at a frame of the animation."""
    motion = document.animations[0]
    for channel in motion.channels:
        value = array(motion.samplers[channel.sampler].output)[frame]
        setattr(document.nodes[channel.target.node], channel.target.path, value)
    world = np.zeros((len(document.nodes), 4, 4))

    def visit(number, above):
        node, local = document.nodes[number], np.eye(4)
        if node.rotation is not None:
            local[:3, :3] = Rotation.from_quat(node.rotation).as_matrix()
        if node.translation is not None:
            local[:3, 3] = node.translation
        world[number] = above @ local
        for child in node.children:
            visit(child, world[number])

    for root in document.scenes[0].nodes:
        visit(root, np.eye(4))
    return world


def test_animated_glb_has_the_joints_and_the_skin_of_smpl(mannequin, walker, tmp_path):
    """Its nodes, its skin and its motion, evaluated as the specification says."""
    track, joints, vertices = walker
    animations.write_animations(tmp_path / '0', mannequin, track, fps=30.0)
    document, array = read_glb(tmp_path / '0.glb')
    skin, attributes = document.skins[0], document.meshes[0].primitives[0].attributes
    times = array(document.animations[0].samplers[0].input)
    np.testing.assert_allclose(times, np.arange(5) / 30, atol=1e-6)
    binds = np.swapaxes(array(skin.inverseBindMatrices), 1, 2)
    rest, which, share = map(
        array, (attributes.POSITION, attributes.JOINTS_0, attributes.WEIGHTS_0)
    )
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-6)
    for frame, true_joints, skinned in zip([0, 1, 3, 4], joints, vertices, strict=True):
        world = posed_nodes(document, array, frame)[skin.joints]
        assert np.linalg.norm(world[:, :3, 3] - true_joints, axis=-1).max() < 1e-4
        blended = np.einsum('vk,vkij->vij', share, (world @ binds)[which])
        posed = np.einsum('vij,vj->vi', blended[:, :3, :3], rest) + blended[:, :3, 3]
        # Up to the pose correctives.
        assert np.linalg.norm(posed - skinned, axis=-1).mean() < 0.01


@pytest.mark.parametrize('suffix', meshes.FORMATS)
def test_meshes_read_back(suffix, tmp_path):
    """A triangle in the camera's axes comes out y up; read by trimesh."""
    vertices, faces = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 3]]), np.array([[0, 1, 2]])
    meshes.write_mesh(tmp_path / f'a.{suffix}', vertices, faces)
    found = trimesh.load(tmp_path / f'a.{suffix}', force='mesh', process=False)
    np.testing.assert_allclose(found.vertices, vertices * [1, -1, -1])
    np.testing.assert_array_equal(found.faces, faces)
