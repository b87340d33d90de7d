"""Bodies from axis-angle poses and betas, without and with gradient: ours against smplx.

    python benchmarks/smpl_forward.py

Both pose the mannequin in float32. The gradient is that of the mean square of all vertices and
joints with respect to the pose.
"""

import argparse
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import side_by_side
import smplx
import torch

from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.types import SmplParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batches', default='1,64,512', help='batch sizes, separated by commas')
    parser.add_argument('--turns', type=int, default=15, help='how often each side is timed')
    options = parser.parse_args()
    print(side_by_side.start())
    arrays = mannequin_arrays()
    body, layer = smpl.body_from_arrays(arrays), torch_body(arrays)
    for batch in map(int, options.batches.split(',')):
        compare(body, layer, batch, options.turns)


def torch_body(arrays: dict[str, np.ndarray]) -> smplx.SMPL:
    """The body as a module of smplx."""
    layer = smplx.SMPL('', data_struct=types.SimpleNamespace(**arrays), create_transl=False)
    return layer.to(side_by_side.torch_device())


def compare(body: smpl.BodyModel, layer: smplx.SMPL, batch: int, turns: int) -> None:
    """Checks that both sides agree on random poses and shapes, then times them."""
    rng = np.random.default_rng(0)
    arrays = rng.normal(0, 0.4, (batch, 24, 3)), rng.normal(0, 1, (batch, 10))
    inputs = [jnp.asarray(x, jnp.float32) for x in arrays]
    pose, betas = (torch.tensor(x).to(layer.shapedirs) for x in arrays)
    pose.requires_grad_()

    def their_forward():
        with torch.no_grad():
            return _pose_theirs(layer, pose, betas)

    def their_gradient():
        vertices, joints = _pose_theirs(layer, pose, betas)
        return torch.autograd.grad(vertices.square().mean() + joints.square().mean(), pose)[0]

    (vertices, joints), (their_vertices, their_joints) = _forward(body, *inputs), their_forward()
    side_by_side.check(f'batch {batch}, vertices', vertices, their_vertices, tolerance=1e-5)
    side_by_side.check(f'batch {batch}, joints', joints, their_joints, tolerance=1e-5)
    ours, theirs = _gradient(body, *inputs), their_gradient()
    side_by_side.check(f'batch {batch}, gradient', ours, theirs, tolerance=1e-4)
    time = functools.partial(side_by_side.measure, turns=turns)
    time(f'batch {batch}, forward', lambda: _forward(body, *inputs), their_forward)
    time(f'batch {batch}, with gradient', lambda: _gradient(body, *inputs), their_gradient)


@jax.jit
def _forward(body: smpl.BodyModel, pose: jax.Array, betas: jax.Array):
    rotation = rotations.axis_angle_to_matrix(pose)
    output = smpl.forward(body, SmplParams(rotation[:, 0], rotation[:, 1:], betas))
    return output.vertices, output.joints


@jax.jit
def _gradient(body: smpl.BodyModel, pose: jax.Array, betas: jax.Array) -> jax.Array:
    def scalar(pose):
        vertices, joints = _forward(body, pose, betas)
        return jnp.mean(vertices**2) + jnp.mean(joints**2)

    return jax.grad(scalar)(pose)


def _pose_theirs(layer: smplx.SMPL, pose: torch.Tensor, betas: torch.Tensor):
    output = layer(global_orient=pose[:, 0], body_pose=pose[:, 1:].flatten(1), betas=betas)
    return output.vertices, output.joints[:, :24]  # smplx appends landmarks


if __name__ == '__main__':
    main()
