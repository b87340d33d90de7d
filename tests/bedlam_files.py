"""A small BEDLAM in the official layout, with its truth."""

import numpy as np
import real_formats

LANDSCAPE, PORTRAIT = (640, 360), (360, 640)


def make_scene(mannequin, rng, size, pictures=2):
    """Rows of people in pictures, with their true keypoints in the camera and in the picture."""
    camera = real_formats.intrinsics(*size)
    rows, truth, images = [], [], []
    for picture in range(pictures):
        known = real_formats.people(rng, 2)
        spread = known['transl'] * [0.8 * size[0] / 640, 1, 1]
        # Labels are in the camera already; the camera's own place is added to the bodies'.
        root = (real_formats.TILT * real_formats.turn(known['global_orient'])).as_rotvec()
        place = np.array([0.05, 0.1, 4.0])
        joints, points = (
            np.asarray(each)
            for each in real_formats.keypoints(
                mannequin, root, known['body_pose'], known['betas'], spread + place
            )
        )
        _, pixels = real_formats.seen(points, np.eye(4), camera)
        _, joint_pixels = real_formats.seen(joints, np.eye(4), camera)
        images.append(real_formats.dotted(pixels, size))
        for i in range(2):
            center, box = real_formats.box_of(pixels[i])
            matrix = np.eye(4)
            matrix[:3, 3] = place
            rows.append(
                {
                    'imgname': f'seq_000000/seq_000000_{5 * picture:04d}.png',
                    'center': center,
                    'scale': box.max() / 200,
                    'pose_cam': np.r_[root[i], known['body_pose'][i].ravel()],
                    'pose_world': np.zeros(72),
                    'shape': np.r_[known['betas'][i], 0.1],
                    'trans_cam': spread[i],
                    'trans_world': np.zeros(3),
                    'cam_ext': matrix,
                    'cam_int': camera,
                    'gtkps': joint_pixels[i],  # or `openpose_order`
                    'gender': 'female',
                    'motion_info': 'walk',
                    'sub': 'rp_a_1',
                }
            )
            truth.append((points[i], pixels[i]))
    return rows, truth, images


def openpose_order(made):
    """The same scene with `gtkps` as in bedlam-labels-smpl.zip: the 44 keypoints, and ones."""
    rows, truth, images = made
    points = [np.c_[pixels, np.ones(44)] for _, pixels in truth]
    changed = [row | {'gtkps': each} for row, each in zip(rows, points, strict=True)]
    return changed, truth, images


def write_official(folder, name, made, stored_turned=False, labels='labels'):
    """Labels and pictures of a scene; rows in an order of their own."""
    rows, _, images = made
    order = np.random.default_rng(2).permutation(len(rows))
    (folder / labels).mkdir(parents=True, exist_ok=True)
    columns = {key: np.array([rows[i][key] for i in order]) for key in rows[0]}
    np.savez(folder / f'{labels}/{name}.npz', **columns)
    for picture, image in enumerate(images):
        path = folder / f'images/{name}/png/seq_000000/seq_000000_{5 * picture:04d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.rot90(image) if stored_turned else image  # counter-clockwise
        path.write_bytes(real_formats.encode(stored, '.png'))
