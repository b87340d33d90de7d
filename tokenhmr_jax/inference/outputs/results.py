"""Files of a result.

    RESULT/
      result.json           request, cameras, persons, failed frames, notes, tracks, seconds
      frames/NAME.npz       persons of a frame, one row each
      meshes/NAME_ROW.glb   (.obj, .ply) of images: the body where the camera sees it, axes as below
      scenes/NAME.glb       of images: all people, near the origin, and the camera
      overlays/NAME.jpg     bodies over the image; four of them from the side and above
      tracks/ID.npz         of a video: a person through time, smoothed; ID.glb, ID.bvh: animated
      amass/ID_poses.npz    of a video: the same in AMASS's format
      scene.glb             of a video: all tracks on one clock, near the origin, and the camera
      overlay.webm          of a video; browsers play it
      joints.npz            all joints in four conventions; with --format also .json and .csv

NAME is the picture's file name without suffix. Pictures of equal names keep the suffix, and the
folders that tell them apart. Names of more than 200 bytes are cut. In a video NAME is the frame's
number.

`frames/NAME.npz`, N persons. A frame without persons has boxes, scores, track_ids and
given_keypoints2d of no rows, and no other arrays of persons:

    boxes            (N, 4) left, top, right, bottom, px
    scores           (N,) of the detector; 1 by default for given boxes
    track_ids        (N,) of the person, through all frames of a video; in images the row
    global_orient    (N, 3, 3) rotation from the body's axes (y up, facing z, its left is x) to the
                     camera's
    body_pose        (N, 23, 3, 3) rotations of SMPL's joints 1 to 23 relative to their parents
    betas            (N, 10) SMPL's shape coefficients
    joints           (N, 24, 3) metres, in the camera's axes, from the body's own origin
    keypoints3d      (N, 44, 3) likewise
    keypoints2d      (N, 44, 2) px of the image, where the network sees them
    given_keypoints2d  (N, 44, 3) px of a file or detector, and confidence; 0 where not known
    translation      (N, 3) metres: the body's origin in the image's camera. SMPL's `transl`
    focal_length     (N,) px, and principal_point (N, 2) px: the image's camera
    camera_source    source of the focal length: given, 'EXIF', 'estimated from 3 people: 48 +- 6
                     degrees across the diagonal' (standard deviation), or 'guessed: ...'
    crop_camera      (N, 3) weak-perspective (s, tx, ty) of the crop, the network's output
    crop_translation (N, 3) metres, the origin in the *crop's* camera of the body before its turn
    crop_center      (N, 2) px, and crop_side (N,) px: the square that the network saw
    residual_tokens  (N, T) int32 the likeliest code of each residual token, and
    residual_token_confidence (N, T) its probability; absent for a head without them
    residual_token_probs (N, T, K) float16 of all codes, with --all_probs
    pose_tokens, pose_token_confidence, pose_token_probs  the same of a head of pose tokens
    refinement_moved_mm  (N,) mean movement of the joints by the refinement, with
    refinement_turned_degrees, refinement_error_before, refinement_error_after (% of the box) and
    refinement_changed (False: the network's answer); absent without refinement
    sample_body_pose (N, S, 21, 3) float16, axis-angle: S bodies drawn with --samples. The hands,
                     orientation, betas and translation are the person's
    sample_joints    (N, S, 24, 3) float16, their joints, as `joints`
    joint_spread_mm  (N, 24) radius around the mean of a joint's samples, from the body's own
                     origin, that four in five of them stay within; absent without samples, as both
    persons_without_keypoints  () persons left out, of whom the network can read nothing
    made_of          (4,) digests of the picture or video, of the source of its persons and of the
                     network, and the field of view that a file gives: a run that finds others
                     predicts the frame again
    image_size       (2,) width and height, px
    note             how a picture's pixels were made from its values, where that is a choice; or ''
    index            () of the frame; time () seconds from the video's first, NaN for images
    shot             () of the frame: the number of the part between two cuts, from 0; 0 for images

**Frames and units.** The camera is OpenCV's: x right, y down, z forward, metres, its centre at the
origin. `joints + translation` are joints in the image's camera, `focal_length * xy / z +
principal_point` their pixels; the first pixel spans 0 to 1. The distance is as good as the focal
length, which `camera_source` may call estimated or a guess. With the guess of TokenHMR, 5000 / 256
times the image's larger side, persons cover the right pixels but are ten to twenty times too far
away. Meshes and animations are turned to glTF's axes, y up, z towards the viewer: (x, -y, -z).

**global_orient off-centre.** The image's camera sees a person at its edge from the side, by the
angle atan(offset / focal length). Their crop looks, up to a slight stretch, like one of a person
straight ahead who is turned by this angle: so a network takes it that sees the crop alone. Here its
bodies are turned back, about the root joint, by the angle of the mean of `keypoints2d`; one that
reads the camera has done so itself. `translation` then puts `keypoints3d` onto `keypoints2d`, by
least squares. They differ where the crop's camera, nearly a parallel one, differs from the image's:
for people who are near, and at the edges of wide pictures (docs/predict.md has numbers). With a
guessed focal length the angle is a guess, too.

**Scenes.** People stand around the origin, y up, in the colours of the overlays. The camera of the
picture is a camera of the file; it looks along -z. The scene's `extras` have `offset` (metres: a
point of the file plus the offset is in the picture's camera, in glTF's axes), `focal_length`,
`principal_point` and `image_size` (px); the principal point of glTF's cameras is always the
middle. A video's people are one animation, whose time is the video's; a person
who is not there has the scale 0.

`result.json` tells of the whole result, whichever runs made it. Before a result is finished, it has
`version` and `request` alone:

    version, request   of these files; input, network and settings that all its runs share
    frames             number of them; `persons`, in a video its tracks, and their `detections`
    failed, notes      by frame: why it has no file, and what else is to know; `input_notes`
    cameras            numbers of frames by `camera_source`
    refinement         medians over persons
    persons_without_keypoints, boxes_of_no_frame  numbers of those left out
    fps, tracks, short_tracks  of a video: frames and accelerations by track
    seconds            of the run that finished the result

`tracks/ID.npz`, T frames of one person. Tracks of fewer frames than `shortest_track` have no files
here; they are in `frames/` and in the overlay alone. T rows of the `TRACKED` fields above, `index`,
`time` and `shot` (T,), and `fps`, the video's nominal rate. Rotations and translation are smoothed,
betas are constant.

    interpolated     (T,) True where the frame's body is not finite or behind the camera: the
                     track's other frames give it
    sample_joints    (T, S, 24, 3) float16, as in frames, turned as smoothing turned the body; NaN
                     where that is interpolated; absent without samples
    camera_joints    (T, 24, 3) metres, in the image's camera, smoothed
    camera_keypoints (T, 44, 3) likewise
    raw_camera_joints  (T, 24, 3) before smoothing

`joints.npz`, R persons in frames: as in `frames/` of images, in `tracks/` of a video. C is each of
smpl24, openpose25, coco17 and h36m17 (K joints); `body/joint_conventions.py` says where its joints
come from. joints.json has the same by person, joints.csv a line for each joint:

    frame            (R,) NAME of the frame's file, and person (R,): the row or the track
    time             (R,) seconds, NaN for images
    C                (R, K, 3) metres, in the image's camera
    C_px             (R, K, 2) px of the image, where the camera sees them; NaN behind it
    C_names          (K,) names of the joints

`amass/ID_poses.npz`: arrays as in `amass_files.amass_arrays`, SMPL-H's pose with hands at rest. The
world is the camera's, turned upright: x right, y forward, z up, metres. AMASS has one rate, that of
`mocap_framerate`: motion is resampled to it.
"""

import json
import os
import pathlib
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from tokenhmr_jax import cli
from tokenhmr_jax.body import skeleton
from tokenhmr_jax.readers import listing
from tokenhmr_jax.types import BodySamples, ImagePrediction

_ARRAYS = (
    'joints', 'keypoints3d', 'keypoints2d', 'crop_camera', 'crop_translation', 'crop_center',
    'crop_side', 'translation', 'focal_length', 'principal_point',
)  # fmt: skip
_PARAMS = ('global_orient', 'body_pose', 'betas')
# Fields of a person in a frame that a track keeps.
TRACKED = ('boxes', 'scores', *_PARAMS, 'translation', 'focal_length', 'principal_point')
_SAMPLES = 'sample_joints'  # a track keeps them, too, where frames have them


def person_arrays(prediction: ImagePrediction, all_probs: bool = False) -> dict[str, np.ndarray]:
    """The arrays of N persons, by the schema's names."""
    arrays = {name: np.asarray(getattr(prediction, name)) for name in _ARRAYS}
    arrays |= {name: np.asarray(getattr(prediction.params, name)) for name in _PARAMS}
    for kind in ('residual', 'pose'):
        probs = getattr(prediction, f'{kind}_token_probs')
        if probs is None:
            continue
        arrays[f'{kind}_tokens'] = probs.argmax(-1).astype(np.int32)
        arrays[f'{kind}_token_confidence'] = probs.max(-1)
        if all_probs:
            arrays[f'{kind}_token_probs'] = probs.astype(np.float16)
    return arrays | _sample_arrays(prediction.samples)


def _sample_arrays(samples: BodySamples | None) -> dict[str, np.ndarray]:
    if samples is None or not len(samples.joints):
        return {}
    body_pose = samples.body_pose[:, :, : skeleton.NUM_BODY_JOINTS]
    turns = Rotation.from_matrix(body_pose.reshape(-1, 3, 3)).as_rotvec()
    return {
        'sample_body_pose': turns.reshape(body_pose.shape[:-1]).astype(np.float16),
        'sample_joints': samples.joints.astype(np.float16),
        'joint_spread_mm': samples.spread_mm,
    }


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, ArrayLike]) -> None:
    """Writes an .npz file."""
    with cli.whole_file(path) as partial, partial.open('wb') as file:
        np.savez_compressed(file, **arrays)


def read_arrays(
    path: str | os.PathLike, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; of the given names only those that it has."""
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files if names is None or name in names}


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes result.json."""
    with cli.whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + '\n')


def read_json(path: str | os.PathLike) -> dict:
    """The content of result.json. Raises ValueError for a file of something else."""
    try:
        content = json.loads(pathlib.Path(path).read_text())
    except ValueError:
        content = None
    if not (isinstance(content, dict) and isinstance(content.get('request'), dict)):
        raise ValueError(f'{path}: not what predict writes: expected the folder of a result')
    return content


def frame_paths(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The files of a result's frames, in order, without half-written ones of a killed run."""
    frames = pathlib.Path(folder) / 'frames'
    return sorted(set(frames.glob('*.npz')) - set(frames.glob('.*.partial.npz')))


def track_paths(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The files of a video's tracks, in order of their ids."""
    paths = listing.find_files(pathlib.Path(folder, 'tracks'), '*.npz')
    return sorted(paths, key=lambda path: int(path.stem))


def read_tracks(folder: str | os.PathLike) -> dict[int, dict[str, np.ndarray]]:
    """The persons of a video's result through time: id to arrays of T rows, in order of frames."""
    rows: dict[int, list[dict]] = {}
    for path in frame_paths(folder):
        frame = read_arrays(path, ('track_ids', 'index', 'time', 'shot', *TRACKED, _SAMPLES))
        fields = TRACKED + ((_SAMPLES,) if _SAMPLES in frame else ())
        for row, track in enumerate(frame['track_ids']):
            person = {name: frame[name][row] for name in fields}
            person |= {name: frame[name] for name in ('index', 'time', 'shot')}
            rows.setdefault(int(track), []).append(person)
    return {
        track: {name: np.stack([p[name] for p in persons]) for name in persons[0]}
        for track, persons in sorted(rows.items())
    }
