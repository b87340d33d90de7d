"""Persons of the 4D-Humans tars: pictures with fitted labels, or captured labels (Human3.6M).

A sample is `<key>.jpg` and `<key>.data.pyd`, a pickled list of persons. A box is `center` and
`scale`, (width, height) / 200 px. The tars lack the camera of the fits: a record has the crop's.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tokenhmr_jax.data import pictures, records
from tokenhmr_jax.readers import labels, tars
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


def read_persons(
    path: str | os.PathLike, filters: Filters, options: Mapping[str, Any]
) -> Iterator[dict | Remark]:
    """Reads the persons in a tar; `options` go to `records.store_picture`.

    Raises as `tars.samples`.
    """
    path = pathlib.Path(path)
    for sample, parts in tars.samples(path, tars.PARTS):
        name = f'{path.parent.name}/{path.stem}/{sample}'
        try:
            picture, persons = tars.split_sample(name, parts)
            image = pictures.decode_picture(picture, name)
        except ValueError as error:
            yield Remark(CORRUPT, str(error))
            continue
        for index, person in enumerate(persons):
            yield from _read_person(f'{name}/{index}', image, person, filters, options)


def _read_person(key, image, person, filters, options):
    try:
        box_center = labels.read_field(person, 'center', 2)
        box_size = labels.PIXELS_PER_SCALE * labels.read_field(person, 'scale', 2)
        found, acted = filters(
            humans4d_labels(person) | labels.camera_of_box(box_center, box_size),
            _reprojection_loss(person),
        )
        if found is not None:
            yield records.assemble(image, key, box_center, box_size, found, **options)
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
