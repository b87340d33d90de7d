"""Small 3DPW and EMDB in the official layouts, with their truth."""

import pickle

import numpy as np
import real_formats

from tokenhmr_jax.readers import smpl_files

SIZE = (640, 480)
CAMERA = real_formats.intrinsics(*SIZE, focal=600.0)
FRAMES = 3


def make_world(smpl_dir):
    """A man and a woman through three frames of a moving camera: parameters and the truth."""
    rng = np.random.default_rng(4)
    known = [real_formats.people(rng, 2) for _ in range(FRAMES)]
    betas = known[0]['betas']
    cameras = [real_formats.extrinsics(4.6 + 0.2 * frame) for frame in range(FRAMES)]
    truth = np.zeros((FRAMES, 2, 44, 3)), np.zeros((FRAMES, 2, 44, 2))
    for person, gender in enumerate(('MALE', 'FEMALE')):
        body = smpl_files.load_body_file(
            smpl_dir / f'SMPL_{gender}.npz', smpl_dir / 'SMPL_to_J19.pkl'
        )
        for frame in range(FRAMES):
            one = {key: value[person : person + 1] for key, value in known[frame].items()}
            one['betas'] = betas[person : person + 1]
            _, points = real_formats.keypoints(body, *one.values())
            found = real_formats.seen(np.asarray(points)[0], cameras[frame], CAMERA)
            for every, value in zip(truth, found, strict=True):
                every[frame, person] = value
    poses = [
        np.stack([np.r_[k['global_orient'][i], k['body_pose'][i].ravel()] for k in known])
        for i in range(2)
    ]
    trans = [np.stack([k['transl'][i] for k in known]) for i in range(2)]
    return {
        'poses': poses, 'trans': trans, 'betas': betas, 'cameras': np.stack(cameras), 'truth': truth
    }  # fmt: skip


def draw(folder, pattern, world, persons):
    folder.mkdir(parents=True)
    for frame in range(FRAMES):
        image = real_formats.dotted(world['truth'][1][frame][persons], SIZE)
        (folder / pattern.format(frame)).write_bytes(real_formats.encode(image, '.jpg'))


def write_3dpw(root, world, name='downtown_walking_00', **changes):
    """A file of 3DPW: a Python 2 pickle of two actors, the second hidden in the last frame."""
    detected = world['truth'][1][:, :, :18].transpose(1, 0, 3, 2)
    poses2d = np.concatenate([detected, np.full((2, FRAMES, 1, 18), 0.8)], axis=2)
    poses2d[0, 0, :, 5:] = 0  # not detected: zeros, confidence too
    poses2d[1, 2] = 0
    valid = np.ones((2, FRAMES), bool)
    valid[0, 1] = False
    content = {
        'sequence': name,
        'betas': [np.r_[b, np.zeros(290)] for b in world['betas']],
        'poses': world['poses'],
        'trans': world['trans'],
        'genders': ['m', 'f'],
        'cam_poses': world['cameras'],
        'campose_valid': list(valid),
        'cam_intrinsics': CAMERA,
        'poses2d': list(poses2d),
        'jointPositions': [np.zeros((FRAMES, 72))] * 2,
        'img_frame_ids': np.arange(FRAMES) * 2,
    }
    content.update(changes)
    path = root / f'sequenceFiles/test/{name}.pkl'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}, protocol=2))
    if not (root / f'imageFiles/{name}').exists():
        draw(root / f'imageFiles/{name}', 'image_{:05d}.jpg', world, [0, 1])
    return path


def write_emdb(root, world, name='09_outdoor_walk', emdb1=True, **changes):
    """A file of EMDB: one person, here the woman; the last frame is not a good one."""
    pixels = world['truth'][1][:, 1]
    content = {
        'gender': 'female',
        'name': f'P1_{name}',
        'emdb1': emdb1,
        'emdb2': False,
        'n_frames': FRAMES,
        'good_frames_mask': np.arange(FRAMES) < FRAMES - 1,
        'camera': {
            'intrinsics': CAMERA,
            'extrinsics': world['cameras'],
            'width': 640,
            'height': 480,
        },
        'smpl': {
            'poses_root': world['poses'][1][:, :3],
            'poses_body': world['poses'][1][:, 3:],
            'trans': world['trans'][1],
            'betas': world['betas'][1],
        },
        'kp2d': np.zeros((FRAMES, 24, 2)),
        'bboxes': {
            'bboxes': np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1),
            'invalid_idxs': np.array([FRAMES - 1]),
        },
    }
    content.update(changes)
    path = root / f'P1/{name}/P1_{name}_data.pkl'
    draw(path.parent / 'images', '{:05d}.jpg', world, [1])
    path.write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}))
    return path
