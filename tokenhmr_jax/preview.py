"""Preview of training data: augmented crops with their labels drawn on them.

    python -m tokenhmr_jax.preview --config=configs/regressor.py --out=preview.png

Shows crops of each dataset in the config's mixture, each with keypoints and with the body of its
augmented labels. The record's camera places the body, or its 2D keypoints if its distance is
unknown. Skeleton and body must lie on the person; left limbs are blue, right ones red.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import Float, UInt8

from tokenhmr_jax import cli
from tokenhmr_jax.body import camera, rotations, smpl
from tokenhmr_jax.data import augment, crop_batches, crops, pipeline
from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.tasks.body_models import check_gendered, load_body, load_gendered
from tokenhmr_jax.types import BodyOutput, SmplParams

_TILE = 256  # smallest side of a drawn crop, pixels
_CAPTION = 24  # pixels
_COLUMNS = 4


def draw_preview(config: ml_collections.ConfigDict, num: int) -> UInt8[np.ndarray, 'H W 3']:
    """A contact sheet with `num` augmented crops of each dataset.

    Raises FileNotFoundError or ValueError if data or a body model cannot be read.
    """
    data = config.data
    pipeline.check_mixture(data.mixture)
    settings = augment.AugmentSettings(**data.augment)
    bodies = load_body(config), *load_gendered(config)
    tiles, labels = [], []
    for source, name in enumerate(sorted(data.mixture)):
        split = pipeline.open_split(data.data_dir, name)
        order = np.random.default_rng((config.seed, source)).permutation(len(split))[:num]
        for index in order:
            record = split[int(index)]
            check_gendered(config, [record['gender']], [record['key']])
            body = bodies[int(record['gender'])]
            rng = np.random.default_rng((config.seed, source, index))
            person = record['keypoints2d'], record['box_size']
            drawn = augment.draw_augmentation(rng, settings, *person)
            tile = draw_record(record, drawn, body, data.crop_size, data.box_aspect)
            tiles.append(np.pad(tile, ((_CAPTION, 0), (0, 0), (0, 0)), constant_values=255))
            labels.append(f'{name} {drawn.extreme_crop or ""}')
    return render.contact_sheet(tiles, _COLUMNS, labels)


def draw_record(
    record: Mapping[str, Any],
    augmentation: augment.Augmentation,
    body: smpl.BodyModel,
    crop_size: int,
    box_aspect: Sequence[float] | None,
) -> UInt8[np.ndarray, 'H W 3']:
    """A record's augmented crop with keypoints, and beside it with the body, RGB."""
    columns = augment.augment_crop(record, augmentation, crop_size, box_aspect)
    labels = crop_batches.labels_of(columns)
    zoom = -(-_TILE // crop_size)
    image = np.minimum(columns['image'] * columns['color'], 255).astype(np.uint8)
    image = draw.enlarge(image, zoom)
    to_tile = zoom * augment.augmentation_matrix(record, augmentation, crop_size, box_aspect)
    to_tile[:, 2] += (zoom - 1) / 2
    points = labels['keypoints2d']
    points[:, :2] = (points[:, :2] + 0.5) * crop_size * zoom + (zoom - 1) / 2
    pictures = [draw.draw_keypoints(image, points), image]
    if record['has_pose']:
        seen = record['focal_length'], record['principal_point']
        focal, principal = crops.camera_in_crop(to_tile, *seen)
        vertices = place_true_body(body, labels, _translation(body, record), augmentation)
        faces = np.asarray(body.faces)
        pictures[1] = draw.draw_mesh(image, vertices, faces, (focal, focal, *principal))
    return draw.side_by_side(pictures)


def _translation(body: smpl.BodyModel, record: Mapping[str, Any]) -> Float[np.ndarray, ' 3']:
    """The body's place in the camera, metres; if unknown, the best fit to the 2D keypoints."""
    if record['transl'].any():
        return record['transl']
    pixels = record['keypoints2d'][:, :2] - record['principal_point']
    confidence = record['keypoints2d'][:, 2]
    if (confidence > 0).sum() < 2:
        return np.array([0, 0, record['focal_length'] * 2 / record['box_size'].max()])
    points = _keypoints(body, record['global_orient'], record['body_pose'], record['betas'])
    focal = float(record['focal_length'])
    fitted = camera.fit_crop_translation(points, pixels, confidence, focal, 1.0)
    return np.asarray(fitted)


def place_true_body(
    body: smpl.BodyModel,
    labels: Mapping[str, Any],
    transl: Float[np.ndarray, ' 3'],
    augmentation: augment.Augmentation,
) -> Float[np.ndarray, 'V 3']:
    """Vertices of the body of augmented labels in the crop's camera, metres.

    `transl` is the place in the camera before the augmentation.
    """
    # SMPL turns about the pelvis, which must follow the person's pelvis.
    betas = labels['betas']
    pelvis = np.asarray(body.joint_template[0] + betas @ body.joint_dirs[: len(betas), 0])
    moved = pelvis + transl
    moved[:2] = np.array(crops.in_plane(augmentation.rotation, augmentation.flip)) @ moved[:2]
    pose = (labels[name] for name in ('global_orient', 'body_pose', 'betas'))
    return np.asarray(_forward(body, *pose, moved - pelvis))


@jax.jit
def _forward(body, global_orient, body_pose, betas, transl) -> jax.Array:
    return _pose(body, global_orient, body_pose, betas, transl).vertices


@jax.jit
def _keypoints(body, global_orient, body_pose, betas) -> jax.Array:
    return smpl.keypoints(body, _pose(body, global_orient, body_pose, betas))


def _pose(body, global_orient, body_pose, betas, transl=None) -> BodyOutput:
    turns = map(rotations.axis_angle_to_matrix, (global_orient, body_pose))
    return smpl.forward(body, SmplParams(*turns, betas, transl))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    config = flags.config()
    out = flags.path('out', 'preview.png', 'The picture to write.')
    num = flags.integer('num', 16, 'Crops per dataset.', lower_bound=1)

    def command():
        path = pathlib.Path(out.value)
        if path.suffix not in ('.png', '.jpg'):
            raise ValueError(f'--out={path}: expected a picture, .png or .jpg')
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet = draw_preview(config.value, num.value)
        draw.write_image(path, sheet)
        train = cli.command_line('train', *flags.config_arguments(), '--workdir=RUN')
        return cli.Done(path, f'look at it, then {train}')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
