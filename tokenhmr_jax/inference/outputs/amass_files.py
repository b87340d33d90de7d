"""Motion in AMASS's format (SMPL-H), which viewers of AMASS and `readers/amass.py` read.

Mahmood et al., "AMASS: Archive of Motion Capture as Surface Shapes", ICCV 2019.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.outputs import gltf, resampling

_JOINTS = 52  # SMPL-H: the root, the body, and the hands
_BETAS, _DMPLS = 16, 8
# From glTF's axes (y up, z towards the viewer) to AMASS's: x stays, z is up.
_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def amass_arrays(
    motion: gltf.Motion, betas: Float[np.ndarray, ' S'], fps: float
) -> dict[str, np.ndarray]:
    """The arrays of a file, T frames at one rate, in a z-up world.

    poses            (T, 156) axis-angle, radians: root, 21 joints of the body, 30 of the hands, 0
    trans            (T, 3) metres: SMPL's `transl`
    betas            (16,): the S given, then 0
    dmpls            (T, 8) soft tissue: 0
    gender           'neutral'
    mocap_framerate  fps

    SMPL's two hand joints are no joints of SMPL-H, and are left out. `motion` is resampled.
    """
    motion = resampling.at_rate(motion, fps)
    count = len(motion.times)
    turned = motion.rotations[:, : 1 + skeleton.NUM_BODY_JOINTS].copy()
    turned[:, 0] = _TO_Z_UP @ turned[:, 0]
    poses = np.zeros((count, _JOINTS, 3))
    poses[:, : turned.shape[1]] = (
        Rotation.from_matrix(turned.reshape(-1, 3, 3)).as_rotvec().reshape(count, -1, 3)
    )
    return {
        'poses': poses.reshape(count, -1),
        # SMPL turns about the root joint: it lies at rest where `trans` is 0.
        'trans': motion.root @ _TO_Z_UP.T - motion.joints[0],
        'betas': np.pad(np.asarray(betas, float), (0, _BETAS - len(betas))),
        'dmpls': np.zeros((count, _DMPLS)),
        'gender': np.array('neutral'),
        'mocap_framerate': np.array(float(fps)),
    }
