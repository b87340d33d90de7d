"""Content of the page of a result: pictures or a video, people as quantised joint data, cameras.

Coordinates are metres, y up, z towards the viewer, from a *place*: the ground amid the people of a
picture, or of a video. Its `origin` leads back to the camera; its `pitch`, radians, turns the
camera's axes about x to those of the ground.
"""

import base64
import itertools
import pathlib
import tempfile
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float
from scipy import optimize
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.inputs import picture_files
from tokenhmr_jax.inference.inputs.video_files import VideoFile
from tokenhmr_jax.inference.outputs import glb_files, gltf, overlays, results, webm

_LONGEST = 720  # pixels of a picture in the page
_QUALITY = 80  # of its JPEG
_MOST_PICTURES, _MOST_PEOPLE = 1000, 300  # the page must still open
# Bytes of a video that is taken as it is; a larger one is encoded anew, at no less bits per second.
_MOST_VIDEO, _LEAST_BIT_RATE = 8_000_000, 400_000
# Bytes of all people's samples; of each person as many are shown as fit, but some.
_MOST_SAMPLED, _LEAST_SAMPLES = 4_000_000, 2
_FLESH = 0.1  # metres around joints
_GROUND = 2  # percentile of the lowest joints of a video's bodies
# Of the ground: points that tell it, their error in metres, and how steep a camera may see it.
_MOST_FEET, _FEET_ERR, _SLOPES = 60, 0.15, 0.2


def page_content(folder: pathlib.Path) -> tuple[dict, bytes]:
    """The content as JSON has it, and a WebM; no bytes for pictures.

    Raises FileNotFoundError for a result without overlays or GLB files, and ValueError for a
    result.json of something else.
    """
    summary = results.read_json(folder / 'result.json')
    if summary.get('fps'):
        return _video_content(folder, summary)
    return _pictures_content(folder)


def _pictures_content(folder: pathlib.Path) -> tuple[dict, bytes]:
    paths = sorted(path for path in folder.glob('overlays/*.jpg') if path.name[0] != '.')
    if not paths:
        raise FileNotFoundError(f'{folder}: no overlays; expected a finished run with --overlays')
    _tell(len(paths), _MOST_PICTURES, 'pictures')
    frames, places, people, faces = [], [], [], None
    left_out = 0
    for number, path in enumerate(paths[:_MOST_PICTURES]):
        arrays = results.read_arrays(folder / 'frames' / f'{path.stem}.npz')
        frames.append({'name': path.stem, 'image': _picture(path, arrays)} | _camera(arrays))
        place, bodies = _place(_joints(arrays)), range(len(arrays['boxes']))
        places.append(place)
        for row in bodies[: _MOST_PEOPLE - len(people)]:
            body = _read_glb(folder / 'meshes' / f'{path.stem}_{row}.glb')
            people.append(_still_person(body, arrays, row, number, place))
            faces = body.faces
        left_out += len(bodies)
    _tell(left_out, _MOST_PEOPLE, 'persons')
    return _content(frames, places, people, {} if faces is None else {'faces': _packed(faces)}), b''


def _video_content(folder: pathlib.Path, summary: dict) -> tuple[dict, bytes]:
    if not (folder / 'overlay.webm').exists():
        raise FileNotFoundError(f'{folder}: no overlays; expected a finished run with --overlays')
    names = ('index', 'time', 'image_size', 'focal_length', 'principal_point', 'camera_source')
    arrays = [results.read_arrays(path, names) for path in results.frame_paths(folder)]
    seen = next((frame for frame in arrays if len(frame.get('focal_length', ()))), arrays[0])
    frames = [{'name': f'frame {int(f["index"])}', 'time': float(f['time'])} for f in arrays]
    paths = results.track_paths(folder)
    _tell(len(paths), _MOST_PEOPLE, 'persons')
    tracks = [(path, results.read_arrays(path)) for path in paths[:_MOST_PEOPLE]]
    joints = [track['camera_joints'] @ gltf.TO_Y_UP for _, track in tracks]
    place = _place(np.concatenate(joints) if joints else np.zeros((0, 24, 3)))
    people, shared = [], {}
    for path, track in tracks:
        body = _read_glb(path.with_suffix('.glb'))
        people.append(_moving_person(body, track, int(path.stem), place))
        shared = shared or _topology(body)
    path = folder / 'overlay.webm'
    video, share = _video(path, seen['image_size'], len(arrays), summary['fps'])
    more = {
        'fps': summary['fps'],
        'camera': _camera(seen),
        'video': {'share': share},
        'short_tracks': summary.get('short_tracks', 0),
    }
    return _content(frames, [place], people, shared) | more, video


def _content(frames: list, places: list, people: list, topology: dict) -> dict:
    parents = list(skeleton.PARENTS)
    return {
        'frames': frames,
        'places': places,
        'people': _with_packed_samples(people),
        'topology': topology,
        'skeleton': {'names': list(skeleton.JOINTS), 'parents': parents},
    }


def _tell(count: int, most: int, what: str) -> None:
    if count > most:
        print(f'the page shows the first {most} {what} and leaves out the others')


def _read_glb(path: pathlib.Path) -> glb_files.PersonFile:
    if not path.exists():
        raise FileNotFoundError(f'{path} is missing: expected a result with --meshes=glb')
    return glb_files.read_person(path)


def _joints(arrays: dict) -> Float[np.ndarray, 'N 24 3']:
    """Joints of the persons of a picture, glTF's axes, from the camera."""
    if not len(arrays['boxes']):
        return np.zeros((0, 24, 3))
    return (arrays['joints'] + arrays['translation'][:, None]) @ gltf.TO_Y_UP


def _place(joints: Float[np.ndarray, 'N 24 3']) -> dict:
    """The place of bodies: its origin and pitch, and the box around them there."""
    if not len(joints):
        nobody = {'low': [-1.0, 0.0, -1.0], 'high': [1.0, 1.8, 1.0]}
        return {'origin': [0.0, 0.0, 0.0], 'pitch': 0.0} | nobody
    pitch = _pitch(joints[np.arange(len(joints)), joints[..., 1].argmin(axis=1)])
    turn = Rotation.from_rotvec([pitch, 0, 0]).as_matrix()
    joints = joints @ turn.T
    low, high = joints.min(axis=(0, 1)) - _FLESH, joints.max(axis=(0, 1)) + _FLESH
    origin = (low + high) / 2
    origin[1] = np.percentile(joints[..., 1].min(axis=1), _GROUND) - _FLESH / 2
    box = {'low': (low - origin).tolist(), 'high': (high - origin).tolist()}
    return {'origin': (origin @ turn).tolist(), 'pitch': pitch} | box


def _pitch(feet: Float[np.ndarray, 'N 3']) -> float:
    """The turn about x, radians, that levels the ground on which the lowest points stand.

    A person's distance errs along the line of sight, which leads to the ground: so few people, or
    people at one distance, leave the camera level.
    """
    feet = feet[np.linspace(0, len(feet) - 1, min(len(feet), _MOST_FEET)).astype(int)]
    middle = np.median(feet, axis=0)
    y, z = (feet - middle)[:, 1], (feet - middle)[:, 2]
    errors = lambda x: np.append((y - x[0] - x[1] * z) / _FEET_ERR, x[1] / _SLOPES)  # noqa: E731
    slope = optimize.least_squares(errors, (0.0, 0.0), loss='soft_l1').x[1]
    return float(np.arctan(slope))


def _still_person(
    body: glb_files.PersonFile, arrays: dict, row: int, frame: int, place: dict
) -> dict:
    turns = np.concatenate([arrays['global_orient'][row][None], arrays['body_pose'][row]])
    turns[0] = gltf.TO_Y_UP @ turns[0]
    quaternions = Rotation.from_matrix(turns).as_quat()[None]
    joints = arrays['joints'][row]
    root = (joints[:1] + arrays['translation'][row]) @ gltf.TO_Y_UP
    rest = _rest_joints(joints @ gltf.TO_Y_UP, turns, joints[0])
    number = int(arrays['track_ids'][row])
    person = _person(number, frame, 1, float(arrays['scores'][row]), arrays['betas'][row])
    person['vertices'] = _quantised(body.vertices - place['origin'])
    if 'sample_joints' in arrays:
        samples = arrays['sample_joints'][row] + arrays['translation'][row]
        person['samples'] = samples[None] @ gltf.TO_Y_UP - place['origin']
    return person | _movement(rest, quaternions, root, place)


def _rest_joints(joints, turns, pelvis) -> Float[np.ndarray, '24 3']:
    """Joints of the rest pose, from posed ones and their rotations relative to the parents.

    SMPL turns about the pelvis, which is at rest where it is at rest.
    """
    world, rest = [turns[0]], [pelvis]
    for joint, parent in itertools.islice(enumerate(skeleton.PARENTS), 1, None):
        rest.append(rest[parent] + world[parent].T @ (joints[joint] - joints[parent]))
        world.append(world[parent] @ turns[joint])
    return np.stack(rest)


def _moving_person(body: glb_files.PersonFile, track: dict, number: int, place: dict) -> dict:
    movement, index = body.movement, track['index']
    score, betas = float(np.mean(track['scores'])), track['betas'][0]
    person = _person(number, int(index[0]), len(movement.root), score, betas)
    person['vertices'] = _quantised(body.vertices)
    if 'sample_joints' in track:
        person['samples'] = _moving_samples(track, person) @ gltf.TO_Y_UP - place['origin']
    return person | _movement(body.skin.joints, movement.rotations, movement.root, place)


def _moving_samples(track: dict, person: dict) -> Float[np.ndarray, 'T S 24 3']:
    """Joints of samples in the camera, in all of a person's frames: missing ones interpolated."""
    joints = track['sample_joints'] + track['translation'][:, None, None]
    seen = np.isfinite(joints).all(axis=(1, 2, 3))
    frames = person['first'] + np.arange(person['count'])
    columns = joints[seen].reshape(seen.sum(), -1).T
    moved = [np.interp(frames, track['index'][seen], column) for column in columns]
    return np.stack(moved, axis=1).reshape(-1, *joints.shape[1:])


def _with_packed_samples(people: list[dict]) -> list[dict]:
    """The people with their samples quantised, as many of each as the page has room for."""
    sampled = [person['samples'] for person in people if 'samples' in person]
    if not sampled:
        return people
    bytes_of_one = sum(2 * samples[:, 0].size for samples in sampled)
    most = max(_MOST_SAMPLED // bytes_of_one, _LEAST_SAMPLES)
    _tell(sampled[0].shape[1], most, 'samples of each person')
    return [person | {'samples': _quantised(person['samples'][:, :most])} for person in people]


def _person(number: int, first: int, count: int, score: float, betas) -> dict:
    """The person's number, colour, and frames; confidence of the detector, and shape."""
    return {
        'name': f'person {number}',
        'color': overlays.COLORS[number % len(overlays.COLORS)],
        'first': first,
        'count': count,
        'score': round(score, 3),
        'betas': np.round(betas, 4).tolist(),
    }


def _movement(rest, quaternions, root, place: dict) -> dict:
    return {
        'rest': _packed(rest.astype('<f4')),
        'rotations': _quantised(quaternions),
        'root': _packed((root - place['origin']).astype('<f4')),
    }


def _topology(body: glb_files.PersonFile) -> dict:
    return {
        'faces': _packed(body.faces),
        'influences': _packed(body.skin.influences.astype('u1')),
        'weights': _packed(np.round(65535 * body.skin.weights).astype('<u2')),
    }


def _camera(arrays: dict) -> dict:
    """Size of the picture, and its camera, pixels; without people, the focal length is unknown."""
    known = len(arrays.get('focal_length', ())) > 0
    camera = {'size': arrays['image_size'].tolist(), 'source': str(arrays['camera_source'])}
    if known:
        camera['focal'] = float(arrays['focal_length'][0])
        camera['middle'] = arrays['principal_point'][0].tolist()
    return camera


def _picture(path: pathlib.Path, arrays: dict) -> str:
    """The picture with the bodies, without the views beside it."""
    sheet = picture_files.read_picture(path).image[..., ::-1]
    width, height = overlays.drawn_size(arrays['image_size'])
    image = sheet[:height, :width]
    scale = min(_LONGEST / max(image.shape[:2]), 1.0)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


def _video(path: pathlib.Path, image_size, count: int, fps: float) -> tuple[bytes, float]:
    """A WebM of the overlays, and the share of its width that the picture has."""
    width, height = overlays.drawn_size(image_size)
    if path.stat().st_size <= _MOST_VIDEO:
        return path.read_bytes(), width / (width + height // 2)
    rate = max(int(8 * _MOST_VIDEO * fps / count), _LEAST_BIT_RATE)
    with tempfile.TemporaryDirectory() as folder:
        small = pathlib.Path(folder, 'small.webm')
        webm.write_webm(small, _small_frames(path, width, height), fps, rate)
        return small.read_bytes(), 1.0


def _small_frames(path, width: int, height: int) -> Iterator[tuple[float, np.ndarray]]:
    scale = min(_LONGEST / max(width, height), 1.0)
    for frame in VideoFile(path).decode():
        picture = frame.rgb()[:height, :width]
        yield (
            frame.time,
            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
        )


def _packed(array: np.ndarray, **how) -> dict:
    """An array for JSON: its type, its shape, and its bytes in base64."""
    if array.dtype == np.dtype('<u4') and array.max(initial=0) < 65536:
        array = array.astype('<u2')
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {'dtype': array.dtype.str[1:], 'shape': list(array.shape), 'data': data} | how


def _quantised(array: np.ndarray) -> dict:
    """The same in 16 bits between the array's extremes: value = low + step * number."""
    low = float(array.min())
    step = max(float(array.max()) - low, 1e-6) / 65535
    return _packed(np.round((array - low) / step).astype('<u2'), low=low, step=step)
