"""Persons of the 4D-Humans tars: pictures with fitted labels, or captured labels (Human3.6M).

A sample is `<key>.jpg` and `<key>.data.pyd`, a pickled list of persons. A box is `center` and
`scale`, (width, height) / 200 px. The tars lack the camera of the fits: a record has the crop's.
The picture's own is its EXIF data's, or that of a table of estimates.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tokenhmr_jax.data import pictures, records
from tokenhmr_jax.readers import labels, picture_cameras, tars
from tokenhmr_jax.readers.filters import Filters
from tokenhmr_jax.readers.shards import CORRUPT, Remark, corrupt

# The sets of HMR2.0's training: name in mixtures -> folder.
SETS = {
    'h36m': 'h36m-train',
    'mpii': 'mpii-train',
    'coco': 'coco-train-2014-pruned',
    'coco_vitpose': 'coco-train-2014-vitpose-pruned',
    'mpi_inf_3dhp': 'mpi-inf-train-pruned',
    'ava': 'ava-train-midframes-1fps-vitpose',
    'aic': 'aic-train-vitpose',
    'insta': 'insta-train-vitpose-replicate',
    'coco_val': 'coco-val',
}

# Samples and tars that the training code of HMR2.0 and TokenHMR leaves out by name, as corrupt.
KNOWN_CORRUPT = 'left out: known to be corrupt'
_CORRUPT_AIC = {
    '0394e6dc4df78042929b891dbc24f0fd7ffb6b6d',
    '0a047f0124ae48f8eee15a9506ce1449ee1ba669',
    '1a703aa174450c02fbc9cfbf578a5435ef403689',
    '39596a45cbd21bed4a5f9c2342505532f8ec5cbb',
    '3d33283b40610d87db660b62982f797d50a7366b',
    '4a77adb695bef75a5d34c04d589baf646fe2ba35',
    '5c032b9626e410441544c7669123ecc4ae077058',
    'a0689017b1065c664daef4ae2d14ea03d543217e',
    'ca018a7b4c5f53494006ebeeff9b4c0917a55f07',
}
_CORRUPT_INSTA_TARS = {f'{number:06d}' for number in range(2994, 3001)}


def is_broken_tar(path: pathlib.Path) -> bool:
    """Whether a tar is one of InstaVariety's that are known to be broken."""
    return path.parent.name == SETS['insta'] and path.stem in _CORRUPT_INSTA_TARS


def read_persons(
    path: str | os.PathLike, filters: Filters, options: Mapping[str, Any], cameras: str = ''
) -> Iterator[dict | Remark]:
    """Reads the persons in a tar.

    `options` go to `records.store_picture`; `cameras` is a table as of `picture_cameras`.

    Raises as `tars.samples`.
    """
    path = pathlib.Path(path)
    for sample, parts in tars.samples(path, tars.PARTS):
        name = f'{path.parent.name}/{path.stem}/{sample}'
        if path.parent.name == SETS['aic'] and pathlib.PurePath(sample).name in _CORRUPT_AIC:
            yield Remark(KNOWN_CORRUPT)
            continue
        try:
            picture, persons = tars.split_sample(name, parts)
            image = pictures.decode_picture(picture, name)
            camera = picture_cameras.find_camera(sample, picture, cameras)
        except ValueError as error:
            yield Remark(CORRUPT, str(error))
            continue
        source = picture_cameras.source_of(camera)
        remark = Remark(picture_cameras.REMARKS[source])
        for index, person in enumerate(persons):
            yield from _read_person(f'{name}/{index}', image, camera, person, filters, options)
            if cameras or source != 'default':
                yield remark


def _read_person(key, image, camera, person, filters, options):
    try:
        box_center = labels.read_field(person, 'center', 2)
        box_size = labels.PIXELS_PER_SCALE * labels.read_field(person, 'scale', 2)
        found, acted = filters(
            humans4d_labels(person) | labels.camera_of_box(box_center, box_size),
            _reprojection_loss(person),
        )
        if found is not None:
            yield records.assemble(image, key, box_center, box_size, found | camera, **options)
    except ValueError as error:
        yield corrupt(key, error)
    else:
        yield from map(Remark, acted)


def humans4d_labels(person: Mapping[str, Any]) -> dict[str, Any]:
    """Keypoints, pose and shape of a person, as fields of a record.

    Raises ValueError if a field is missing or has a wrong shape.
    """
    has_pose = float(labels.read_optional(person, 'has_body_pose') > 0)
    has_betas = float(labels.read_optional(person, 'has_betas') > 0)
    read = {True: labels.read_field, False: labels.read_optional}
    pose = labels.zero_untrusted(read[has_pose > 0](person, 'body_pose', 72), has_pose)
    return {
        'keypoints2d': labels.clean_confidence(labels.read_field(person, 'keypoints_2d', 44, 3)),
        'keypoints3d': labels.clean_confidence(labels.read_optional(person, 'keypoints_3d', 44, 4)),
        'global_orient': pose[:3],
        'body_pose': pose[3:].reshape(23, 3),
        'betas': labels.zero_untrusted(read[has_betas > 0](person, 'betas', 10), has_betas),
        'has_pose': has_pose,
        'has_betas': has_betas,
    }


def _reprojection_loss(person) -> float | None:
    """The fit's reprojection loss, if known, from a dictionary inside an array without axes."""
    extra = person.get('extra_info')
    loss = extra.get('fitting_loss') if isinstance(extra, dict) else None
    loss = loss.item() if isinstance(loss, np.ndarray) and loss.ndim == 0 else loss
    if not isinstance(loss, dict) or loss.get('reprojection_loss') is None:
        return None
    value = labels.read_numbers(loss, 'reprojection_loss')
    if value.size != 1:
        raise ValueError(f'`reprojection_loss` is {value.shape}, expected one number')
    return value.item()
