"""2D error of true bodies under the crop camera, by distance.

    python -m tokenhmr_jax.studies.camera_curve --out=docs/camera_curve.png

True cameras at several distances see bodies of procedural poses and random shapes. The error is
that of the crop camera, f = 5000 px, that fits each body best: nothing is trained, no label is
fitted. See `docs/pseudo_ground_truth.md`. Needs the extra `report`.
"""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.mannequin import people, poses, scenes
from tokenhmr_jax.objectives import tals
from tokenhmr_jax.studies import extras
from tokenhmr_jax.studies.thresholds import crop_camera_errors

DISTANCES = (1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # metres
_IMAGE_SIZE = (1280, 960)


def camera_errors(
    distances: Sequence[float], count: int, seed: int = 0
) -> Float[np.ndarray, 'D N']:
    """Mean L1 errors over the keypoints, crop units, of the same `count` bodies at each distance.

    Sides and pitches of the cameras, of `scenes.EVERYWHERE`, are the same at all distances, too.
    """
    drawn = list(poses.procedural((seed, 0), count))
    error_of = jax.jit(crop_camera_errors)
    result = np.zeros((len(distances), count))
    for row, distance in zip(result, distances, strict=True):
        views = scenes.EVERYWHERE._replace(distance=(distance, distance))
        for start in range(0, count, people.JOB_SIZE):
            chunk = slice(start, start + people.JOB_SIZE)
            keys, orient, body_pose = zip(*drawn[chunk], strict=True)
            bodies = list(keys), np.stack(orient), np.stack(body_pose)
            job = people.DrawingJob('suit', views, _IMAGE_SIZE, (seed, 1), start, *bodies, False)
            seen = [_seen(person) for person in people.place_people(job)]
            points, keypoints = (np.stack(x) for x in zip(*seen, strict=True))
            row[chunk] = error_of(points, keypoints).mean(axis=-1)
    return result


def _seen(person: people.Person) -> tuple[Float[np.ndarray, 'K 4'], Float[np.ndarray, 'K 3']]:
    """Keypoints in metres and in crop units, all of confidence 1."""
    placement, ones = person.placement, np.ones((len(person.points), 1))
    pixels = scenes.project_body(person.points, placement)
    crop = (pixels - placement.box_center) / placement.box_size.max()
    return np.concatenate([person.points, ones], 1), np.concatenate([crop, ones], 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    path = flags.path('out', None, 'Picture to write, a .png.', required=True)
    num = flags.integer('num', 512, 'Bodies per distance.', lower_bound=1)

    def command():
        extras.need_packages('matplotlib')
        from tokenhmr_jax.drawing import study_plots

        out = pathlib.Path(path.value)
        if out.suffix != '.png' or not out.parent.is_dir():
            raise ValueError(f'out={out}: expected a .png in an existing folder')
        values = camera_errors(DISTANCES, num.value) / 2  # of |dx| + |dy|: the mean of the two
        for distance, row in zip(DISTANCES, values, strict=True):
            print(f'{distance:4.1f} m  {row.mean():.4f}')
        threshold = float(tals.load_thresholds('table1').keypoints2d.mean())
        extras.write_figure(out, study_plots.plot_camera_curve(DISTANCES, values, threshold))
        errors = dict(zip(DISTANCES, values.mean(1), strict=True))
        return cli.Done(out, f'look at {out}', errors)

    cli.run(flags, command)


if __name__ == '__main__':
    main()
