"""Persons of the benchmarks: 3DPW's test set, EMDB 1, and metadata files of HMR2.0 and TokenHMR.

3DPW and EMDB have SMPL bodies of the person's gender in the world, and a camera for each frame: the
bodies move into the camera's frame, and SMPL gives their keypoints.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tokenhmr_jax.data import pictures, records
from tokenhmr_jax.readers import labels, pickles
from tokenhmr_jax.readers.shards import Remark, corrupt

NOT_SEEN = 'dropped: no 2D keypoint seen'
INVALID = 'dropped: frame or camera marked as not valid'
_GENDERS = {short: name for name in labels.GENDERS for short in (name, name[0])}


# Of joints half a metre from the pelvis, when the body grows by 2 to 4%.
_WITHOUT_GENDER = (
    "The labels of 3DPW and EMDB are of SMPL's models of men and women. Posed with the neutral "
    'model, the truth is another body, some per cent larger or smaller: PVE, and MPJPE by '
    '--truth=body, would be off by 10 to 20 mm for some persons, and are not comparable with '
    'published errors. Add the column; or, if the labels are of the neutral model or that is '
    'meant, give --gender=neutral'
)


class HmrEvalOptions(NamedTuple):
    """smpl_dir: for `labels.load_keypoint_body`. box_scale: factor of tight boxes. gender: of all
    persons of a metadata file that does not say."""

    smpl_dir: str
    box_scale: float
    gender: str = ''


class Track(NamedTuple):
    """One person through the N frames of a sequence, as in the files.

    gender: one of `labels.GENDERS`. pose, transl: in the world. extrinsics: from world to camera.
    low, high: corners of the tight box, px.
    """

    valid: Bool[np.ndarray, ' N']
    seen: Bool[np.ndarray, ' N']
    gender: str
    pose: Float[np.ndarray, 'N 72']
    transl: Float[np.ndarray, 'N 3']
    betas: Float[np.ndarray, ' 10']
    extrinsics: Float[np.ndarray, 'N 4 4']
    intrinsics: Float[np.ndarray, '3 3']
    low: Float[np.ndarray, 'N 2']
    high: Float[np.ndarray, 'N 2']


def read_3dpw(
    path: str | os.PathLike, picture_dir: str | os.PathLike, options: HmrEvalOptions
) -> Iterator[dict | Remark]:
    """Reads the persons of a sequence of 3DPW.

    `path` is `sequenceFiles/test/<sequence>.pkl`, `picture_dir` is `imageFiles/<sequence>`. Raises
    ValueError or FileNotFoundError if the file cannot be read or lacks a field.
    """
    content = _load(path)
    with _explaining(path):
        count = len(content['img_frame_ids'])
        tracks = [_track_3dpw(content, person) for person in range(len(content['poses']))]
    files = [pathlib.Path(picture_dir) / f'image_{frame:05d}.jpg' for frame in range(count)]
    yield from _read_tracks(f'3dpw/{pathlib.Path(path).stem}', tracks, files, options)


def _track_3dpw(content, person) -> Track:
    count = len(content['img_frame_ids'])
    keypoints = _array(content['poses2d'][person], count, 3, 18)
    confident = keypoints[:, 2:] > 0
    low = np.where(confident, keypoints[:, :2], np.inf).min(axis=-1)
    high = np.where(confident, keypoints[:, :2], -np.inf).max(axis=-1)
    return Track(
        valid=_array(content['campose_valid'][person], count) > 0,
        seen=(high > low).all(axis=-1),
        gender=_gender(content['genders'][person]),
        pose=_array(content['poses'][person], count, 72),
        transl=_array(content['trans'][person], count, 3),
        betas=_array(np.asarray(content['betas'][person])[:10], 10),
        extrinsics=_array(content['cam_poses'], count, 4, 4),
        intrinsics=_array(content['cam_intrinsics'], 3, 3),
        low=low,
        high=high,
    )


def read_emdb(path: str | os.PathLike, options: HmrEvalOptions) -> Iterator[dict | Remark]:
    """Reads the good frames of a sequence of EMDB, `P<k>/<sequence>/P<k>_<sequence>_data.pkl`.

    Raises as `read_3dpw`.
    """
    path = pathlib.Path(path)
    content = _load(path)
    with _explaining(path):
        name, track = content['name'], _track_emdb(content)
    files = [path.parent / 'images' / f'{frame:05d}.jpg' for frame in range(len(track.valid))]
    yield from _read_tracks(f'emdb/{name}', [track], files, options)


def _track_emdb(content) -> Track:
    count = int(content['n_frames'])
    body, camera = content['smpl'], content['camera']
    boxes = _array(content['bboxes']['bboxes'], count, 4)
    shown = (boxes[:, 2:] > boxes[:, :2]).all(axis=-1)
    shown[np.asarray(content['bboxes'].get('invalid_idxs', ()), int)] = False
    root, others = _array(body['poses_root'], count, 3), _array(body['poses_body'], count, 69)
    return Track(
        valid=_array(content['good_frames_mask'], count) > 0,
        seen=shown,
        gender=_gender(content['gender']),
        pose=np.concatenate([root, others], axis=1),
        transl=_array(body['trans'], count, 3),
        betas=_array(body['betas'], 10),
        extrinsics=_array(camera['extrinsics'], count, 4, 4),
        intrinsics=_array(camera['intrinsics'], 3, 3),
        low=boxes[:, :2],
        high=boxes[:, 2:],
    )


def emdb1_gender(path: str | os.PathLike) -> str | None:
    """The gender of a sequence's person; None if it is not of EMDB 1. Raises as `read_3dpw`."""
    content = _load(path)
    with _explaining(path):
        return _gender(content['gender']) if content['emdb1'] else None


def _load(path) -> dict:
    content = pickles.load_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path}: holds a {type(content).__name__}, expected a dictionary')
    return content


@contextlib.contextmanager
def _explaining(path):
    """Errors of an unexpected structure become a ValueError that names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f'{path}: no field {error}') from error
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(f'{path}: {error}') from error


def _array(value, *shape) -> np.ndarray:
    return labels.read_field({'array': value}, 'array', *shape)


def _gender(value) -> str:
    """'m', b'male', 'MALE', ... as one of `labels.GENDERS`."""
    name = text(value)
    if name.lower() not in _GENDERS:
        raise ValueError(f'gender {name!r}: expected male, female or neutral')
    return _GENDERS[name.lower()]


def _read_tracks(
    name: str, tracks: Sequence[Track], files: Sequence[pathlib.Path], options: HmrEvalOptions
) -> Iterator[dict | Remark]:
    """Records of the persons of a sequence, frame by frame."""
    found = [_track_labels(track, options.smpl_dir) for track in tracks]
    for frame, file in enumerate(files):
        persons = []
        for person, track in enumerate(tracks):
            if not track.valid[frame]:
                yield Remark(INVALID)
            elif not track.seen[frame]:
                yield Remark(NOT_SEEN)
            else:
                persons.append(person)
        if not persons:
            continue
        try:
            picture = _read_picture(file)
        except (OSError, ValueError) as error:
            yield from (corrupt(f'{name}/{file.stem}/{person}', error) for person in persons)
            continue
        for person in persons:
            track = tracks[person]
            low, high = track.low[frame], track.high[frame]
            row = {key: value[frame] for key, value in found[person].items()}
            row |= labels.camera_fields(track.intrinsics)
            box = (low + high) / 2, options.box_scale * (high - low)
            yield _record(picture, f'{name}/{file.stem}/{person}', *box, row)


def _read_picture(path: pathlib.Path) -> bytes:
    """The bytes of an image file that can be decoded. Raises OSError and ValueError."""
    data = path.read_bytes()
    pictures.decode_picture(data, str(path))
    return data


def _record(picture, key, box_center, box_size, row) -> dict | Remark:
    try:
        return records.assemble_file(picture, key, box_center, box_size, row)
    except ValueError as error:
        return corrupt(key, error)


def _track_labels(track: Track, smpl_dir: str) -> dict[str, np.ndarray]:
    """Labels of a person, a row per frame; undefined in frames that are not valid."""
    count, ones = len(track.pose), np.ones(len(track.pose))
    body = labels.load_keypoint_body(smpl_dir, track.gender)
    betas = np.broadcast_to(track.betas, (count, 10))
    pose = np.nan_to_num(track.pose)
    pelvis = labels.pose_bodies(body, pose[:1, :3], np.zeros((1, 23, 3)), betas[:1]).pelvis
    extrinsics = np.where(track.valid[:, None, None], track.extrinsics, np.eye(4))
    orient, transl = labels.into_camera(extrinsics, pose[:, :3], track.transl, pelvis)
    body_pose = pose[:, 3:].reshape(count, 23, 3)
    points = labels.pose_bodies(body, orient, body_pose, betas).keypoints3d
    with np.errstate(divide='ignore', invalid='ignore'):
        pixels = labels.project_points(points + transl[:, None], track.intrinsics)
    return {
        'keypoints2d': labels.with_confidence(pixels),
        'keypoints3d': labels.with_confidence(points),
        'global_orient': orient,
        'body_pose': body_pose,
        'betas': betas,
        'transl': transl,
        'gender': ones * labels.GENDERS.index(track.gender),
        'has_pose': ones,
        'has_betas': ones,
    }


def read_metadata(
    path: str | os.PathLike,
    picture_dir: str | os.PathLike,
    rows: Sequence[int],
    options: HmrEvalOptions,
) -> Iterator[dict | Remark]:
    """Reads rows of a metadata file, `3dpw_test.npz` or `emdb.npz`; it has no camera.

    Boxes are in pixels if the 2D keypoints are named `body_keypoints_2d` (3DPW), and in units of
    200 pixels if they are named `keypoints_2d` (EMDB). Raises ValueError or FileNotFoundError if
    the file cannot be read or lacks a column, also `gender`, unless `options.gender` is given.
    """
    columns = load_metadata(path)
    _check_gender_known(path, columns, options.gender)
    unit = labels.PIXELS_PER_SCALE if 'keypoints_2d' in columns else 1
    for row in rows:
        person = {name: column[row] for name, column in columns.items()}
        imgname = text(person['imgname'])
        key = f'{pathlib.Path(path).stem}/{pathlib.PurePath(imgname).with_suffix("")}/{row}'
        try:
            box_center = labels.read_field(person, 'center', 2)
            box_size = unit * np.broadcast_to(np.asarray(person['scale'], np.float32), 2)
            picture = _read_picture(pathlib.Path(picture_dir) / imgname)
            camera = labels.camera_of_box(box_center, box_size)
            found = _metadata_labels(person, options.gender) | camera
        except (OSError, ValueError) as error:
            yield corrupt(key, error)
            continue
        yield _record(picture, key, box_center, box_size, found)


def _metadata_labels(person: Mapping[str, Any], gender: str) -> dict[str, Any]:
    pose = labels.read_optional(person, 'body_pose', 72)
    keypoints3d = labels.read_optional(person, 'body_keypoints_3d', 25, 4)
    # Neck to ankles are other points than the 2D keypoints of the same name.
    keypoints3d[1:15, 3] = 0
    keypoints3d = [keypoints3d, labels.read_optional(person, 'extra_keypoints_3d', 19, 4)]
    keypoints2d = [
        labels.read_optional(person, 'body_keypoints_2d', 25, 3),
        labels.read_optional(person, 'extra_keypoints_2d', 19, 3),
    ]
    return {
        'keypoints2d': labels.clean_confidence(np.concatenate(keypoints2d)),
        'keypoints3d': labels.clean_confidence(np.concatenate(keypoints3d)),
        'global_orient': pose[:3],
        'body_pose': pose[3:].reshape(23, 3),
        'betas': labels.read_optional(person, 'betas', 10),
        'gender': labels.GENDERS.index(_gender(gender or person['gender'])),
        'has_pose': float(labels.read_optional(person, 'has_body_pose') > 0),
        'has_betas': float(labels.read_optional(person, 'has_betas') > 0),
    }


def load_metadata(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Loads the columns of a metadata file; raises as `read_metadata`."""
    optional = (
        'body_pose', 'has_body_pose', 'betas', 'has_betas', 'gender', 'keypoints_2d',
        'body_keypoints_2d', 'extra_keypoints_2d', 'body_keypoints_3d', 'extra_keypoints_3d',
    )  # fmt: skip
    return labels.load_columns(path, ('imgname', 'center', 'scale'), optional)


def check_genders(path: str | os.PathLike, given: str) -> str:
    """Checks that a metadata file names its persons' genders, unless one is `given` instead.

    Returns a warning, or ''. Raises ValueError for genders that are neither in the file nor given,
    or both; otherwise as `read_metadata`.
    """
    columns = load_metadata(path)
    _check_gender_known(path, columns, given)
    if given:
        return ''
    with _explaining(path):
        found = {_gender(value) for value in np.unique(columns['gender'])}
    alike = len(found) == 1 and len(columns['gender']) > 1
    if not alike:
        return ''
    return (
        f'{path}: all {len(columns["gender"])} persons are {found.pop()}. If `gender` was filled '
        "in, not known, errors are of other bodies than the labels'"
    )


def _check_gender_known(path, columns, given: str) -> None:
    if given and 'gender' in columns:
        raise ValueError(f'{path}: has a column `gender`: expected no --gender beside it')
    if not given and 'gender' not in columns:
        raise ValueError(f'{path}: no column `gender`. {_WITHOUT_GENDER}')


def text(value: str | bytes) -> str:
    """An element of a column of texts or of bytes, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
