"""Small files in the formats of the real datasets, with known truth.

A picture is smooth with a dot at some keypoints of each person: left ones red, right ones blue.
"""

import importlib.util
import io
import pathlib
import pickle
import tarfile

import cv2
import image_records
import jax
import numpy as np
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.data import augment, crop_batches
from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.types import SmplParams

_RADIUS = 4  # of a dot, px
APPLE_DOUBLE = b'\0\5\x16\7\0\2\0\0Mac OS X        ' + bytes(80)
HEIGHTS = {'neutral': 1.0, 'male': 1.05, 'female': 0.95}  # of SMPL's models here
# From a world with y up to a camera with y down, a little from above.
TILT = Rotation.from_euler('x', np.pi + 0.2)


def load_builder(name):
    """The module `datasets/NAME/NAME_dataset_builder.py`."""
    folder = pathlib.Path(__file__).parent.parent / 'datasets'
    path = folder / f'{name}/{name}_dataset_builder.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_smpl(folder: pathlib.Path) -> None:
    """SMPL's three models, larger and smaller; the regressor of the extra keypoints beside."""
    arrays = mannequin_arrays()
    extra = arrays.pop('joint_regressor_extra')
    (folder / 'SMPL_to_J19.pkl').write_bytes(pickle.dumps(np.asarray(extra)))
    for gender, height in HEIGHTS.items():
        template = arrays['v_template'] * height
        np.savez(folder / f'SMPL_{gender.upper()}.npz', **arrays | {'v_template': template})


@jax.jit
def keypoints(body, global_orient, body_pose, betas, transl):
    """The 24 joints and 44 keypoints of bodies, by the whole mesh."""
    params = SmplParams(
        rotations.axis_angle_to_matrix(global_orient),
        rotations.axis_angle_to_matrix(body_pose),
        betas,
        transl,
    )
    output = smpl.forward(body, params)
    return output.joints, smpl.keypoints(body, output)


def people(rng, count):
    """Parameters of `count` bodies that stand upright in a world with y up, some metres apart."""
    yaw = Rotation.from_euler('y', rng.uniform(-0.8, 0.8, count)[:, None])
    return {
        'global_orient': yaw.as_rotvec(),
        'body_pose': rng.normal(0, 0.12, (count, 23, 3)),
        'betas': rng.normal(0, 1, (count, 10)),
        'transl': np.stack([np.linspace(-1, 1, count), *rng.normal(0, 0.1, (2, count))], axis=1),
    }


def turn(global_orient) -> Rotation:
    return Rotation.from_rotvec(global_orient)


def intrinsics(width, height, focal=500.0):
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def extrinsics(distance=5.0):
    matrix = np.eye(4)
    matrix[:3, :3] = TILT.as_matrix()
    matrix[:3, 3] = [0.1, -0.2, distance]
    return matrix


def seen(points, matrix, camera):
    """World points (..., 3) in the camera, metres, and in the picture, px: both by hand."""
    points = points @ matrix[:3, :3].T + matrix[:3, 3]
    x, y, z = np.moveaxis(points, -1, 0)
    pixels = [camera[0, 0] * x / z + camera[0, 2], camera[1, 1] * y / z + camera[1, 2]]
    return points, np.stack(pixels, axis=-1)


def dotted(pixels, size) -> np.ndarray:
    """A picture (H, W, 3) RGB of people whose keypoints (P, 44, 2) are given."""
    image = image_records.picture(size)
    for person in pixels:
        image_records.draw_dots(image, person, _RADIUS)
    return image


def encode(image, suffix) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 97] if suffix == '.jpg' else []
    return cv2.imencode(suffix, image[..., ::-1], quality)[1].tobytes()


def assert_dots(record):
    """The picture of a record shows the right dot at each keypoint that has no other one near."""
    columns = augment.augment_crop(record, augment.Augmentation(), 256)
    keypoints2d = crop_batches.labels_of(columns)['keypoints2d']
    pixels = record['keypoints2d'][image_records.DOTTED, :2]
    gaps = np.linalg.norm(pixels[:, None] - pixels, axis=-1) + 1e3 * np.eye(len(pixels))
    inside = (np.abs(keypoints2d[image_records.DOTTED, :2]) < 0.49).all(axis=1)
    alone = np.array(image_records.DOTTED)[inside & (gaps.min(axis=1) > 2 * _RADIUS)]
    assert len(alone) >= 4
    for i in alone:
        x, y = np.rint((keypoints2d[i, :2] + 0.5) * 256).astype(int)
        red, _, blue = columns['image'][y, x].astype(int)
        side = 1 if image_records.LEFT[i] else -1
        assert side * (red - blue) > 60, (record['key'], skeleton.KEYPOINTS[i], red, blue)


def box_of(pixels):
    """Centre and size of 1.2 times the box of points (K, 2)."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return (low + high) / 2, 1.2 * (high - low)


def pack_on_macos(folder):
    """Adds what an archive made on macOS has: `._<name>` beside every file, and .DS_Store."""
    for path in [path for path in folder.rglob('*') if path.is_file()]:
        (path.parent / f'._{path.name}').write_bytes(APPLE_DOUBLE)
        (path.parent / '.DS_Store').write_bytes(b'\0\0\0\1Bud1')


def write_tar(path, samples):
    """A WebDataset tar: samples {key: {part: bytes or object}}; objects are pickled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for key, parts in samples.items():
            for part, content in parts.items():
                data = content if isinstance(content, bytes) else pickle.dumps(content)
                member = tarfile.TarInfo(f'{key}.{part}')
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def fitted_person(rng, pixels, **changes):
    """A person of the 4D-Humans tars, as their pickles have them."""
    center, size = box_of(pixels)
    person = {
        'keypoints_2d': np.c_[pixels, np.full(44, 0.9)].astype(np.float32),
        'keypoints_3d': np.c_[rng.normal(0, 0.5, (44, 3)), np.ones(44)].astype(np.float32),
        'center': center.astype(np.float64),
        'scale': (size / 200).astype(np.float64),
        'body_pose': rng.normal(0, 0.2, 72).astype(np.float32),
        'betas': rng.uniform(-1, 1, 10).astype(np.float32),
        'has_body_pose': np.array(1.0),
        'has_betas': np.array(1.0),
        'extra_info': {
            'fitting_loss': np.array({'reprojection_loss': np.float32(1200.0)}, dtype=object),
            'detection_npz_idx': 0,
        },
    }
    person.update(changes)
    return {name: value for name, value in person.items() if value is not None}
