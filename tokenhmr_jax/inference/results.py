"""The files of a result.

    RESULT/
      result.json           what was asked and done: input, model, camera, frames that failed
      frames/NAME.npz       the persons of a frame, one row each
      meshes/NAME_ROW.glb   (.obj, .ply) of images: the body where the camera sees it, axes as below
      overlays/NAME.jpg     the bodies over the image, and from the side and from above
      tracks/ID.npz         of a video: a person through time, smoothed; ID.glb, ID.bvh: animated
      overlay.webm          of a video; browsers play it

NAME is the picture's file name without suffix; of pictures whose names are equal, with it, and with
the folders that tell them apart. In a video it is the frame's number.

`frames/NAME.npz`, N persons; a frame without persons has boxes, scores and track_ids of no rows,
and no arrays of persons beyond these:

    boxes            (N, 4) left, top, right, bottom, px
    scores           (N,) of the detector, 1 where the boxes were given
    track_ids        (N,) the same person in all frames of a video; in images the row
    global_orient    (N, 3, 3) rotation from the body's axes (y up, facing z, its left is x) to the
                     camera's
    body_pose        (N, 23, 3, 3) rotations of SMPL's joints 1 to 23 relative to their parents
    betas            (N, 10) SMPL's shape coefficients
    joints           (N, 24, 3) metres, in the camera's axes, from the body's own origin
    keypoints3d      (N, 44, 3) likewise
    keypoints2d      (N, 44, 2) px of the image
    translation      (N, 3) metres: the body's origin in the image's camera. SMPL's `transl`
    focal_length     (N,) px, and principal_point (N, 2) px: the image's camera
    camera_source    where the focal length is from
    crop_camera      (N, 3) weak-perspective (s, tx, ty) of the crop, what the network predicts
    crop_translation (N, 3) metres, the body's origin in the *crop's* camera: not the image's
    crop_center      (N, 2) px, and crop_side (N,) px: the square that the network saw
    residual_tokens  (N, T) int32 the likeliest code of each residual token, and
    residual_token_confidence (N, T) its probability; absent for a head without tokens
    residual_token_probs (N, T, K) float16 of all codes, where asked for
    image_size       (2,) width and height, px
    index            () of the frame; time () seconds, NaN for images

**Frames and units.** The camera is OpenCV's: x right, y down, z forward, metres, its centre at the
origin. `joints + translation` is where the image's camera has the joints, and
`focal_length * xy / z + principal_point` their pixels, where the first pixel spans 0 to 1. The
distance is as good as the focal length: with the documented default, 5000 / 256 times the image's
larger side, persons are several times too far away, and cover the right pixels all the same.
Meshes and animations are turned to y up, z towards the viewer, as glTF wants: (x, -y, -z).

**global_orient off-centre.** The network sees a crop as if its camera looked straight at it. Crop
and image camera have parallel axes, so `global_orient` holds for both as it stands. But someone at
the image's edge is seen from the side by atan(offset / focal length), and their crop looks, but for
a slight stretch, like that of someone straight ahead who is turned by as much: by that angle the
crop leaves open what `global_orient` is. With a long focal length it is small.

`tracks/ID.npz`, T frames of one person: T rows of `TRACKED` fields as above, `index` and `time`
(T,), and `fps`; rotations and translation are smoothed, betas are one for all.

    camera_joints    (T, 24, 3) metres, in the image's camera, smoothed, and
    raw_camera_joints  as they were before
"""

import json
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from tokenhmr_jax.types import ImagePrediction

_ARRAYS = (
    'joints', 'keypoints3d', 'keypoints2d', 'crop_camera', 'crop_translation', 'crop_center',
    'crop_side', 'translation', 'focal_length', 'principal_point',
)  # fmt: skip
# Of a row of `frames`, what a track keeps.
TRACKED = (
    'boxes', 'scores', 'global_orient', 'body_pose', 'betas', 'translation', 'focal_length',
    'principal_point',
)  # fmt: skip


def person_arrays(prediction: ImagePrediction, all_probs: bool = False) -> dict[str, np.ndarray]:
    """The arrays, by the schema's names, of persons (N, ...)."""
    params = prediction.params
    arrays = {name: np.asarray(getattr(prediction, name)) for name in _ARRAYS}
    arrays |= {
        'global_orient': np.asarray(params.global_orient),
        'body_pose': np.asarray(params.body_pose),
        'betas': np.asarray(params.betas),
    }
    probs = prediction.residual_token_probs
    if probs is not None:
        arrays['residual_tokens'] = probs.argmax(-1).astype(np.int32)
        arrays['residual_token_confidence'] = probs.max(-1)
        if all_probs:
            arrays['residual_token_probs'] = probs.astype(np.float16)
    return arrays


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file whole or not at all."""
    partial = path.with_name(f'{path.name}.partial')
    with partial.open('wb') as file:
        np.savez_compressed(file, **arrays)
    partial.rename(path)


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a file of `write_arrays`."""
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def write_json(path: pathlib.Path, content: dict) -> None:
    """Write result.json whole or not at all."""
    partial = path.with_name(f'{path.name}.partial')
    partial.write_text(json.dumps(content, indent=1) + '\n')
    partial.rename(path)


def read_json(path: pathlib.Path) -> dict:
    """The content of a file of `write_json`.

    Raises:
      ValueError: if it is something else.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    if not (isinstance(content, dict) and isinstance(content.get('request'), dict)):
        raise ValueError(f'{path}: not what predict writes: expected the folder of a result')
    return content


def read_tracks(paths: Iterable[pathlib.Path]) -> dict[int, dict[str, np.ndarray]]:
    """The persons of a video's frames, each through time: id to arrays (T, ...), in order."""
    rows: dict[int, list[dict]] = {}
    for path in paths:
        frame = read_arrays(path)
        for row, track in enumerate(frame['track_ids']):
            person = {name: frame[name][row] for name in TRACKED}
            person |= {name: frame[name] for name in ('index', 'time')}
            rows.setdefault(int(track), []).append(person)
    return {
        track: {name: np.stack([p[name] for p in persons]) for name in persons[0]}
        for track, persons in sorted(rows.items())
    }
