"""Synthetic image records: a smooth picture with dots at keypoints."""

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import records

# Keypoints that get a dot: far enough from each other. Left ones are red, the others blue.
DOTTED = [
    i for i, name in enumerate(skeleton.KEYPOINTS)
    if name[:2] == 'OP' and name[3:] not in ('Neck', 'MidHip', 'REye', 'LEye', 'REar', 'LEar')
    and not name.endswith(('Toe', 'Heel'))
]  # fmt: skip
LEFT = np.array([name.split(' ', 1)[1][0] == 'L' for name in skeleton.KEYPOINTS])
RED, BLUE = (250, 30, 40), (20, 40, 250)


def person(rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    """Keypoints (44, 2) as they stand on a standing person seen from the front."""
    x = {'R': -0.25, 'L': 0.25}
    levels = {
        'Nose': 0.06, 'Eye': 0.05, 'Ear': 0.07, 'Head Top': 0.0, 'Jaw': 0.1, 'Head': 0.04,
        'Neck': 0.16, 'Thorax': 0.17, 'Shoulder': 0.2, 'Elbow': 0.35, 'Wrist': 0.5, 'Spine': 0.35,
        'Hip': 0.52, 'Pelvis': 0.51, 'Knee': 0.75, 'Ankle': 0.95, 'Toe': 1.0, 'Heel': 0.98,
    }  # fmt: skip
    points = []
    for name in skeleton.KEYPOINTS:
        part = name.split(' ', 1)[1]
        level = next(v for k, v in levels.items() if part.endswith(k))
        side = x.get(part[0], 0.0) if part not in ('Head Top', 'Head') else 0.0
        out = {'Elbow': 1.5, 'Wrist': 2.0}.get(part[1:], 1.0)
        points.append((out * side, level))
    points = np.array(points) + rng.uniform(-0.03, 0.03, (44, 2))
    return points * (width, height)


def make(rng: np.random.Generator, key='test/0', image_size=(640, 480), height=260.0, **changes):
    """A record of a standing person. `changes` go to `records.store_picture`."""
    center = np.array([rng.uniform(0.3, 0.7) * image_size[0], 0.5 * image_size[1]])
    points = person(rng, 0.4 * height, height) + center - (0, height / 2)
    image = picture(image_size)
    draw_dots(image, points)
    fields = records.store_picture(image, center, (0.6 * height, 1.2 * height), **changes)
    number = lambda shape, scale=1.0: rng.normal(0, scale, shape).astype(np.float32)  # noqa: E731
    return fields | {
        'key': key,
        'focal_length': np.float32(700),
        'principal_point': np.array(image_size, np.float32) / 2,
        'picture_focal_length': np.float32(700),
        'picture_principal_point': np.array(image_size, np.float32) / 2,
        'camera_source': np.float32(1),
        'keypoints2d': np.c_[points, np.ones(44)].astype(np.float32),
        'keypoints3d': np.c_[number((44, 3)), np.ones(44)].astype(np.float32),
        'global_orient': number(3),
        'body_pose': number((23, 3), 0.4),
        'betas': number(10),
        'transl': np.array([0.1, -0.2, 4.0], np.float32),
        'gender': np.float32(0),
        'has_pose': np.float32(1),
        'has_betas': np.float32(1),
    }


def picture(image_size) -> np.ndarray:
    """A smooth picture (H, W, 3): red grows along x, green along y, blue stays."""
    width, height = image_size
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 100 * x / width, 60 + 150 * y / height, 100 + 0 * x], -1).astype(np.uint8)


def draw_dots(image, points, radius=6, shift=4) -> None:
    """A dot at each keypoint (44, 2) of `DOTTED`."""
    for i in DOTTED:
        center = np.rint(points[i] * 2**shift).astype(int).tolist()
        color = RED if LEFT[i] else BLUE
        cv2.circle(image, center, radius << shift, color, -1, cv2.LINE_AA, shift)


def prepare(folder, dataset: str, splits: dict[str, list[dict]]) -> None:
    """Write records as the prepared dataset `dataset` in `folder`."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset
        VERSION = tfds.core.Version('1.0.0')
        pkg_dir_path = epath.Path(folder)

        def _info(self):
            return self.dataset_info_from_configs(features=records.features())

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(rows) for split, rows in splits.items()}

        def _generate_examples(self, rows):
            for record in rows:
                records.check_record(record)
                yield record['key'], record

    builder = Builder(data_dir=str(folder))
    builder.download_and_prepare(file_format='array_record', download_dir=str(folder / 'none'))
