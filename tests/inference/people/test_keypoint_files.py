"""Keypoints of files, and errors that name what is wrong in them."""

import json

import numpy as np
import pytest
import real_formats

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.people import keypoint_files
from tokenhmr_jax.inference.people.persons import Listed


def points_of(count: int, confidence: float = 0.9) -> list[float]:
    """x, y, confidence of points along a line."""
    rows = [[10 + i, 20 + 2 * i, confidence] for i in range(count)]
    return [number for row in rows for number in row]


def of(found, name: str, person: int = 0) -> list[float]:
    return found.keypoints2d[person, skeleton.KEYPOINTS.index(name)].tolist()


def written(tmp_path, content) -> str:
    (tmp_path / 'a.json').write_text(content if isinstance(content, str) else json.dumps(content))
    return str(tmp_path / 'a.json')


def test_coco_results(tmp_path):
    """With a box, and without: then 1.2 times that of the points, 10 to 26 and 20 to 52."""
    rows = [
        {'image_id': 7, 'category_id': 1, 'keypoints': points_of(17), 'score': 0.5,
         'bbox': [1, 2, 30, 200], 'feet': points_of(4, 1)},
        {'image_id': 7, 'category_id': 1, 'keypoints': points_of(17),
         'foot_kpts': points_of(6, 1)},
        {'image_id': 7, 'category_id': 2, 'keypoints': []},
    ]  # fmt: skip
    found = keypoint_files.read_keypoints(written(tmp_path, rows)).persons['7']
    assert found.boxes[0].tolist() == [1, 2, 31, 202]
    np.testing.assert_allclose(found.boxes[1], [18 - 9.6, 36 - 19.2, 18 + 9.6, 36 + 19.2])
    assert found.scores.tolist() == [0.5, 1]
    np.testing.assert_allclose(of(found, 'OP RAnkle'), [26, 52, 0.9])
    assert of(found, 'OP LHeel') == [11, 22, 1] and of(found, 'OP RHeel') == [13, 26, 1]
    assert of(found, 'OP LHeel', 1) == [12, 24, 1] and of(found, 'OP RSmallToe', 1)[0] == 14
    assert of(found, 'OP Neck') == [0, 0, 0]


@pytest.mark.parametrize(
    ('count', 'name', 'number'),
    [(18, 'OP Neck', 1), (23, 'OP RHeel', 22), (25, 'OP MidHip', 8), (26, 'LSP Head Top', 17),
     (33, 'OP RBigToe', 32)],
)  # fmt: skip
def test_the_count_tells_the_convention(tmp_path, count, name, number):
    rows = [{'file_name': 'a.jpg', 'keypoints': points_of(count)}]
    found = keypoint_files.read_keypoints(written(tmp_path, rows)).persons['a.jpg']
    assert of(found, name)[:2] == [10 + number, 20 + 2 * number]


def test_frames_of_a_video(tmp_path):
    """`frame` comes before names and ids; a person keeps the number."""
    row = {'image_id': 1003, 'file_name': 'v.mp4', 'keypoints': points_of(17)}
    rows = [row | {'frame': 3, 'person': 5}, row | {'frame': 0, 'person': 2}]
    found = keypoint_files.read_keypoints(written(tmp_path, rows)).persons
    assert {name: value.track_ids.tolist() for name, value in found.items()} == {'3': [5], '0': [2]}
    rows[1]['file_name'] = 'w.mp4'
    with pytest.raises(ValueError, match=r'frames of v\.mp4, w\.mp4: expected one video'):
        keypoint_files.read_keypoints(written(tmp_path, rows))


def test_guesses_and_persons_of_none_but_guesses(tmp_path):
    row = {'image_id': 7, 'keypoints': [*points_of(16), 5, 5, 0.2]}
    none = {'image_id': 7, 'keypoints': points_of(17, 0.1)}
    nan = {'image_id': 7, 'keypoints': [float('nan')] * 3 + points_of(16)}
    found = keypoint_files.read_keypoints(written(tmp_path, [row, none, nan])).persons['7']
    assert len(found.boxes) == 2
    assert of(found, 'OP RAnkle') == [0, 0, 0] and of(found, 'OP Nose', 1) == [0, 0, 0]
    assert keypoint_files.read_keypoints(written(tmp_path, [])).persons == {}


def test_a_folder_of_openpose(tmp_path, clip):
    """A frame without persons has none; files are named by the video, or by pictures."""
    people = [{'pose_keypoints_2d': points_of(25)}, {'pose_keypoints_2d': points_of(25, 0)}]
    for name, content in {
        'clip_000000000002': people,
        'clip_000000000003': [],
        'x.y': people,
    }.items():
        text = json.dumps({'version': 1.3, 'people': content})
        (tmp_path / f'{name}_keypoints.json').write_text(text)
    real_formats.pack_on_macos(tmp_path)
    file = keypoint_files.read_keypoints(str(tmp_path))
    found = file.persons
    assert set(found) == {'clip_000000000002', 'x.y'}
    assert found['x.y'].keypoints2d.shape == (1, 44, 3)
    video = sources.open_source(clip / 'clip.avi')
    find = Listed(file, video)
    frames = list(video.frames(lambda name: False))
    assert [len(find(frame).boxes) for frame in frames[:4]] == [0, 0, 1, 0]
    assert find.unused({'000002'}) == 1


def test_arrays(tmp_path):
    points = np.array(points_of(26)).reshape(1, 26, 3)
    path = str(tmp_path / 'a.npz')
    np.savez(path, image=['a'], keypoints=points, track_ids=[4])
    found = keypoint_files.read_keypoints(path).persons['a']
    assert found.track_ids.tolist() == [4] and of(found, 'OP Neck')[0] == 28
    np.savez(path, image=['a'], keypoints=points, boxes=[[1, 2, 30, 40]])
    assert keypoint_files.read_keypoints(path).persons['a'].boxes.tolist() == [[1, 2, 30, 40]]
    for arrays, message in (
        ({'image': ['a', 'b'], 'keypoints': points}, r'shape \(1, 26, 3\) for 2 names'),
        ({'image': ['a'], 'keypoints': points[..., :2]}, r'expected \(1, K, 3\)'),
        ({'image': ['a'], 'keypoints': points, 'scores': [1, 1]}, '2 scores for 1 name'),
        ({'image': ['a']}, 'no array keypoints'),
        ({'image': ['a'], 'keypoints': points, 'boxes': [[1, 2, 3, 4, 1]]}, r'a\.npz: boxes of sh'),
        ({'image': ['a'], 'keypoints': points, 'scores': ['x']}, 'scores x: expected numbers'),
        ({'image': ['a'], 'keypoints': points, 'track_ids': [1.5]}, '1.5: expected whole numbers'),
        ({'image': ['a'], 'keypoints': points, 'track_ids': [np.nan]}, 'nan: expected whole'),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message):
            keypoint_files.read_keypoints(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[{"image_id": 1', 'not a whole JSON file'),
        ([{'image_id': 1, 'keypoints': points_of(19)}], r'entry 0, of 1: 19 keypoints in a pers'),
        ([{'image_id': 1, 'keypoints': [1, 2, 3, 4]}], r'keypoints \[1, 2, 3, 4\]: expected x, y'),
        ([{'image_id': 1}], 'entry 0, of 1, has no keypoints'),
        ([{'image_id': [1]}], r'entry 0, of \[1\], has no keypoints'),
        ([{'image_id': 1, 'category_id': [1]}], r'no person, but 1 of category_id \[1\]'),
        ([{'image_id': 1, 'keypoints': points_of(17), 'track_id': 'a'}], 'track_id a: expected'),
        ({'images': [{'id': 1}], 'annotations': []}, 'images without id and file_name'),
        ({'annotations': None}, 'expected a list of persons'),
        ({'people': []}, r"the keys people: .* OpenPose's files are given as their folder"),
        ([{'keypoints': points_of(17)}], 'entry 0 has no image_id, file_name or frame'),
        ([{'image_id': 1, 'keypoints': points_of(17), 'feet': [1, 2, 3]}], 'expected 12 numbers'),
        ([{'image_id': 1, 'keypoints': [0.1, 0.2, 1] * 17, 'bbox': [0, 0, 40, 80]}],
         r'entry 0: keypoints \[0\.1, 0\.2\]: fractions'),
    ],
)  # fmt: skip
def test_wrong_keypoints_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        keypoint_files.read_keypoints(written(tmp_path, content))


def test_folders_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no files NAME_keypoints\.json'):
        keypoint_files.read_keypoints(str(tmp_path))
    (tmp_path / 'a_keypoints.json').write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r'a_keypoints\.json: no list of people'):
        keypoint_files.read_keypoints(str(tmp_path))


def test_keypoints_of_photographs(shared):
    if not (shared / 'photos').is_dir():
        pytest.skip('no photographs')
    found = keypoint_files.read_keypoints(str(shared / 'photos/keypoints.json')).persons
    assert sum(len(each.boxes) for each in found.values()) == 22
    found = keypoint_files.read_keypoints(str(shared / 'photos/keypoints_video.json')).persons
    assert sum(len(each.boxes) for each in found.values()) == 241
