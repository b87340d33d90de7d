"""How wrong a perfect body looks under the made-up camera: 2D error against distance.

    python -m tokenhmr_jax.studies.camera_curve --out=docs/camera_curve.png

Bodies of procedural poses and random shapes are seen by true cameras at several distances, and by
the crop camera of f = 5000 px that fits each of them best. No training, no fitted labels: what is
left is the wrong camera's doing alone. `docs/pseudo_ground_truth.md` says what follows from it.
"""

import pathlib
from collections.abc import Sequence

import cv2
import jax
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.mannequin import people, poses, scenes
from tokenhmr_jax.objectives import tals
from tokenhmr_jax.studies.thresholds import crop_camera_errors

DISTANCES = (1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # metres
_IMAGE_SIZE = (1280, 960)
_INK, _GRID, _BAND = (50, 50, 50), (225, 225, 225), (205, 225, 245)
_LINE, _MARK = (20, 90, 190), (200, 60, 60)


def camera_errors(distances: Sequence[float], count: int, seed: int = 0) -> np.ndarray:
    """Mean L1 error over the keypoints, crop units, (D, N), of `count` true bodies per distance.

    The same bodies, sides and pitches (those of `scenes.EVERYWHERE`) at all distances.
    """
    drawn = list(poses.procedural((seed, 0), count))
    error_of = jax.jit(crop_camera_errors)
    result = np.zeros((len(distances), count))
    for row, distance in zip(result, distances, strict=True):
        views = scenes.EVERYWHERE._replace(distance=(distance, distance))
        for start in range(0, count, people.JOB_SIZE):
            job = _job(drawn[start : start + people.JOB_SIZE], views, (seed, 1), start)
            seen = [_seen(person) for person in people.cast(job)]
            points, keypoints = (np.stack(x) for x in zip(*seen, strict=True))
            error = error_of(points, keypoints).mean(axis=-1)
            row[start : start + people.JOB_SIZE] = error
    return result


def _job(chunk, views, seed, start):
    return people.DrawingJob(
        look='suit',
        views=views,
        image_size=_IMAGE_SIZE,
        seed=seed,
        start=start,
        keys=[pose.key for pose in chunk],
        global_orient=np.stack([pose.global_orient for pose in chunk]),
        body_pose=np.stack([pose.body_pose for pose in chunk]),
        pseudo=False,
    )


def _seen(person):
    """Keypoints (44, 4) in metres and (44, 3) in units of the crop, all of confidence 1."""
    placement, ones = person.placement, np.ones((len(person.points), 1))
    pixels = scenes.project_body(person.points, placement)
    crop = (pixels - placement.box_center) / placement.box_size.max()
    return np.concatenate([person.points, ones], 1), np.concatenate([crop, ones], 1)


def curve_picture(distances: Sequence[float], values: np.ndarray, threshold: float) -> np.ndarray:
    """The curve (H, W, 3) uint8, RGB: mean and 10th to 90th percentile of values (D, N), and the
    mean threshold of TALS beside it."""
    axes = _Axes(right=8.5, top=max(0.05, 1.05 * np.percentile(values, 90, axis=1).max()))
    low, high = np.percentile(values, (10, 90), axis=1)
    mean = values.mean(axis=1)
    outline = [*zip(distances, high, strict=True), *zip(distances[::-1], low[::-1], strict=True)]
    cv2.fillPoly(axes.image, [axes.points(outline)], _BAND, cv2.LINE_AA)
    for x in range(1, 9):
        axes.line([(x, 0), (x, axes.top)], _GRID, 1)
        axes.text((x, 0), str(x), (-5, 28))
    for y in np.arange(0, axes.top, 0.01):
        axes.line([(0, y), (axes.right, y)], _GRID, 1)
        axes.text((0, y), f'{y:.2f}', (-60, 6))
    axes.line([(0, threshold), (axes.right, threshold)], _MARK, 2)
    axes.text((axes.right, threshold), f'mean threshold of TALS {threshold:.4f}', (-330, -34))
    axes.line(list(zip(distances, mean, strict=True)), _LINE, 3)
    for x, y in zip(distances, mean, strict=True):
        cv2.circle(axes.image, axes.points([(x, y)])[0].tolist(), 6, _LINE, -1, cv2.LINE_AA)
        axes.text((x, y), f'{y:.3f}', (8, -12))
    axes.text((0, axes.top), '2D error of true bodies under the best f = 5000 camera', (0, -30))
    axes.text((0, axes.top), 'mean |dx|, |dy| of 44 keypoints, sides of the crop', (20, 30))
    axes.text((axes.right, 0), 'true distance, metres', (-230, 62))
    return axes.image


class _Axes:
    """A white picture with a coordinate system from (0, 0) to (right, top)."""

    def __init__(self, right: float, top: float):
        self.right, self.top = right, top
        self.image = np.full((750, 1200, 3), 255, np.uint8)
        self._origin, self._span = np.array([110, 660]), np.array([1050, -580])

    def points(self, values) -> np.ndarray:
        place = self._origin + np.asarray(values) / (self.right, self.top) * self._span
        return np.round(place).astype(np.int32)

    def line(self, values, color, width):
        cv2.polylines(self.image, [self.points(values)], False, color, width, cv2.LINE_AA)

    def text(self, at, text, shift):
        place = self.points([at])[0] + shift
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(self.image, text, place.tolist(), font, 0.6, _INK, 1, cv2.LINE_AA)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    path = flags.string('out', None, 'Where to draw, a .png.', required=True)
    num = flags.integer('num', 512, 'Bodies per distance.')

    def command():
        out, count = pathlib.Path(path.value), num.value
        if out.suffix != '.png' or not out.parent.is_dir():
            raise ValueError(f'out={out}: expected a .png in a folder that is there')
        if count < 1:
            raise ValueError(f'num={count}: expected at least 1')
        values = camera_errors(DISTANCES, count) / 2  # of |dx| + |dy|: the mean of the two
        for distance, row in zip(DISTANCES, values, strict=True):
            print(f'{distance:4.1f} m  {row.mean():.4f}')
        threshold = float(tals.load_thresholds('table1').keypoints2d.mean())
        draw.write_image(out, curve_picture(DISTANCES, values, threshold))
        print(out)

    cli.run(flags, command)


if __name__ == '__main__':
    main()
