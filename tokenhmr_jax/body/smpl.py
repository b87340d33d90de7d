"""SMPL and SMPL-H: from pose and shape to joints and skin, as pure functions over a pytree.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Int

from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.types import Array, BodyOutput, SmplParams

# By default TPUs and GPUs multiply in bfloat16 or TF32: up to centimetres of error on a body.
_EXACT = jax.lax.Precision.HIGHEST

REQUIRED = ('v_template', 'shapedirs', 'posedirs', 'J_regressor', 'weights', 'kintree_table', 'f')
HAND_MEANS = ('hands_meanl', 'hands_meanr')
OPTIONAL = ('joint_regressor_extra', *HAND_MEANS)


@struct.dataclass
class BodyModel:
    """The arrays of a body model. V vertices, J joints, S shape directions, F triangles.

    Coordinates are planar (all x, then all y, then all z): vertices fill the last axis, as vector
    units and the TPU's 128 lanes want. Each linear map of the mesh is a plain matrix, so that it
    and its gradient are one matrix product.

    template: rest mesh, metres.
    shape_dirs: metres per unit of beta.
    pose_dirs: correctives, linear in R - I of joints 1 to J-1 (row-major).
    weights: skinning weights, summing to 1 over joints.
    joint_template: rest joints of the mean shape.
    joint_dirs: their motion per unit of beta.
    joint_regressor: from rest vertices to joints.
    extra_regressor: from posed vertices to the keypoints `skeleton.EXTRA`, or None.
    hand_mean: axis-angle mean of SMPL-H's hand joints, or None.
    parents: parent of each joint, -1 for the root.
    """

    template: Float[Array, '3 V']
    shape_dirs: Float[Array, 'S 3*V']
    pose_dirs: Float[Array, '9*(J-1) 3*V']
    weights: Float[Array, 'V J']
    joint_template: Float[Array, 'J 3']
    joint_dirs: Float[Array, 'S J 3']
    joint_regressor: Float[Array, 'J V']
    extra_regressor: Float[Array, '19 V'] | None
    hand_mean: Float[Array, '30 3'] | None
    faces: Int[Array, 'F 3']
    parents: tuple[int, ...] = struct.field(pytree_node=False)

    @property
    def num_joints(self) -> int:
        return len(self.parents)


def forward(body: BodyModel, params: SmplParams) -> BodyOutput:
    """Shapes, poses and skins bodies (SMPL, equations 6 to 10), in the frame of `global_orient`.

    `params.body_pose` may stop early: the joints after it keep their rest rotation, and cost
    almost nothing. `params.betas` may have fewer entries than the model.
    """
    lead = params.global_orient.shape[:-2]
    pose = jnp.concatenate([params.global_orient[..., None, :, :], params.body_pose], axis=-3)
    pose = pose.reshape(-1, *pose.shape[-3:])
    batch, posed = pose.shape[:2]
    vertices, joints = body.template, body.joint_template
    if params.betas is not None:
        betas = params.betas.reshape(batch, -1)
        count = betas.shape[-1]
        offsets = jnp.matmul(betas, body.shape_dirs[:count], precision=_EXACT)
        vertices += offsets.reshape(batch, 3, -1)
        joints += jnp.einsum('bs,sjc->bjc', betas, body.joint_dirs[:count], precision=_EXACT)
    joints = jnp.broadcast_to(joints, (batch, body.num_joints, 3))

    features = (pose[:, 1:] - jnp.eye(3)).reshape(batch, -1)
    offsets = jnp.matmul(features, body.pose_dirs[: features.shape[-1]], precision=_EXACT)
    vertices += offsets.reshape(batch, 3, -1)
    resting = jnp.broadcast_to(jnp.eye(3), (batch, body.num_joints - posed, 3, 3))
    pose = jnp.concatenate([pose, resting], axis=1)
    rotation, posed_joints = kinematic_chain(pose, joints, body.parents)
    weights = _merge_resting(body.weights, body.parents, posed)
    vertices = _skin(
        weights, rotation[:, :posed], posed_joints[:, :posed], joints[:, :posed], vertices
    )
    if params.transl is not None:
        transl = params.transl.reshape(batch, 1, 3)
        vertices, posed_joints = vertices + transl, posed_joints + transl
    return BodyOutput(
        vertices=vertices.reshape(*lead, -1, 3), joints=posed_joints.reshape(*lead, -1, 3)
    )


def pose_body(body: BodyModel, body_pose: Float[Array, 'B P 3 3']) -> BodyOutput:
    """Bodies of mean shape with the root at rest, from the rotations of joints 1 to P."""
    root = jnp.broadcast_to(jnp.eye(3), (len(body_pose), 3, 3))
    return forward(body, SmplParams(global_orient=root, body_pose=body_pose))


def trim(body: BodyModel, posed: int) -> BodyModel:
    """The body without the correctives of the joints after the first `posed`, root included.

    Slicing them in every step would copy all the others.
    """
    return body.replace(pose_dirs=body.pose_dirs[: 9 * (posed - 1)])


def thin(body: BodyModel, stride: int) -> BodyModel:
    """The body with every `stride`-th vertex, without faces and regressors from vertices."""
    if stride == 1:
        return body

    def take(maps):
        return maps.reshape(len(maps), 3, -1)[..., ::stride].reshape(len(maps), -1)

    return body.replace(
        template=body.template[:, ::stride],
        shape_dirs=take(body.shape_dirs),
        pose_dirs=take(body.pose_dirs),
        weights=body.weights[::stride],
        joint_regressor=body.joint_regressor[:, :0],
        extra_regressor=None,
        faces=body.faces[:0],
    )


def _merge_resting(
    weights: Float[Array, 'V J'], parents: tuple[int, ...], posed: int
) -> Float[Array, 'V {posed}']:
    """Skinning weights of the posed joints: a joint at rest moves exactly as its parent does."""
    if posed == len(parents):
        return weights
    mover = np.zeros((len(parents), posed), np.float32)
    for joint in range(len(parents)):
        ancestor = joint
        while ancestor >= posed:
            ancestor = parents[ancestor]
        mover[joint, ancestor] = 1
    return jnp.matmul(weights, mover, precision=_EXACT)


def kinematic_chain(
    pose: Float[Array, 'B J 3 3'], joints: Float[Array, 'B J 3'], parents: tuple[int, ...]
) -> tuple[Float[Array, 'B J 3 3'], Float[Array, 'B J 3']]:
    """Forward kinematics: rotations and positions in the frame of the root's rotation.

    pose: rotation of each joint relative to its parent.
    joints: rest joints, metres. The root stays in its place.
    """
    rotation, position = {}, {}
    for level in _levels(parents):
        ours = jnp.array(level)
        if parents[level[0]] < 0:
            level_rotation, level_position = pose[:, ours], joints[:, ours]
        else:
            above = [parents[j] for j in level]
            parent_rotation = jnp.stack([rotation[p] for p in above], axis=1)
            bones = joints[:, ours] - joints[:, jnp.array(above)]
            level_rotation = rotations.compose(parent_rotation, pose[:, ours])
            level_position = rotations.rotate(parent_rotation, bones)
            level_position += jnp.stack([position[p] for p in above], axis=1)
        for i, j in enumerate(level):
            rotation[j], position[j] = level_rotation[:, i], level_position[:, i]
    order = range(len(parents))
    return jnp.stack([rotation[j] for j in order], 1), jnp.stack([position[j] for j in order], 1)


def _levels(parents: tuple[int, ...]) -> list[list[int]]:
    """Joints grouped by their depth in the tree. A parent stands before its children."""
    depth = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return [[j for j, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]


def _skin(
    weights: Float[Array, 'V J'],
    rotation: Float[Array, 'B J 3 3'],
    posed_joints: Float[Array, 'B J 3'],
    joints: Float[Array, 'B J 3'],
    vertices: Float[Array, '#B 3 V'],
) -> Float[Array, 'B V 3']:
    """Linear blend skinning."""
    offset = posed_joints - rotations.rotate(rotation, joints)
    transform = jnp.concatenate([rotation, offset[..., None]], axis=-1)
    # One plain matrix product: as a batched one, its gradient takes four times as long on CPUs.
    flat = jnp.moveaxis(transform, 1, -1).reshape(-1, transform.shape[1])
    blended = jnp.matmul(flat, weights.T, precision=_EXACT).reshape(len(transform), 3, 4, -1)
    # Written out: as a reduction over an axis of 3, XLA's CPU code is 25 times slower.
    x, y, z = (vertices[:, None, axis] for axis in range(3))
    posed = blended[:, :, 0] * x + blended[:, :, 1] * y + blended[:, :, 2] * z + blended[:, :, 3]
    return jnp.swapaxes(posed, 1, 2)


def keypoints(body: BodyModel, output: BodyOutput) -> Float[Array, '*B 44 3']:
    """The 44 keypoints `skeleton.KEYPOINTS` of posed bodies, metres.

    Raises ValueError if the model has no regressor for the 19 extra keypoints.
    """
    if body.extra_regressor is None:
        raise ValueError(
            'this body model has no regressor for the 19 extra keypoints: load it with '
            'extra_regressor_path=SMPL_to_J19.pkl'
        )
    landmarks = output.vertices[..., skeleton.LANDMARK_VERTICES, :]
    joints = jnp.concatenate([output.joints[..., : skeleton.NUM_JOINTS, :], landmarks], axis=-2)
    extra = jnp.einsum('kv,...vc->...kc', body.extra_regressor, output.vertices, precision=_EXACT)
    return jnp.concatenate([joints[..., skeleton.OPENPOSE_SOURCE, :], extra], axis=-2)


def body_from_arrays(arrays: Mapping[str, Any], name: str = 'body model') -> BodyModel:
    """Builds a BodyModel from arrays under SMPL's keys, `REQUIRED` and `OPTIONAL`.

    Regressors may be scipy sparse. `name` is the model's in errors.
    Raises ValueError naming the missing key, or the array whose shape or values are not a body's.
    """
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise ValueError(f'{name}: no {", ".join(missing)}; found {sorted(map(str, arrays))}')
    plain = {key: dense(arrays[key]) for key in REQUIRED}
    parents = _parents(plain['kintree_table'], name)
    num_vertices, num_joints = len(plain['v_template']), len(parents)
    num_shapes = plain['shapedirs'].shape[-1]
    expected = {
        'v_template': (num_vertices, 3),
        'shapedirs': (num_vertices, 3, num_shapes),
        'posedirs': (num_vertices, 3, 9 * (num_joints - 1)),
        'J_regressor': (num_joints, num_vertices),
        'weights': (num_vertices, num_joints),
        'f': (len(plain['f']), 3),
    }
    if all(key in arrays for key in HAND_MEANS):
        plain |= {key: np.ravel(dense(arrays[key])) for key in HAND_MEANS}
        expected |= dict.fromkeys(HAND_MEANS, (45,))
    extra = arrays.get('joint_regressor_extra')
    if extra is not None:
        plain['joint_regressor_extra'] = dense(extra)
        expected['joint_regressor_extra'] = (len(skeleton.EXTRA), num_vertices)
    for key, shape in expected.items():
        if plain[key].shape != shape:
            raise ValueError(f'{name}: {key} has shape {plain[key].shape}, expected {shape}')
        if not np.isfinite(plain[key]).all():
            raise ValueError(f'{name}: {key} holds values that are not finite')
    if num_vertices != skeleton.NUM_VERTICES or not 0 <= plain['f'].max() < num_vertices:
        raise ValueError(
            f'{name}: {num_vertices} vertices, triangles up to {plain["f"].max()}: another '
            f'topology; expected the {skeleton.NUM_VERTICES} vertices of SMPL and SMPL-H'
        )
    return _assemble(plain, parents)


def _float32(array) -> jax.Array:
    return jnp.asarray(np.ascontiguousarray(array), jnp.float32)


def _assemble(plain, parents) -> BodyModel:
    regressor = plain['J_regressor'].astype(np.float64)
    template, shape_dirs = plain['v_template'], plain['shapedirs']
    extra = plain.get('joint_regressor_extra')
    hands = [plain[key].reshape(15, 3) for key in HAND_MEANS if key in plain]
    return BodyModel(
        template=_float32(template.T),
        shape_dirs=_float32(_planar(shape_dirs)),
        pose_dirs=_float32(_planar(plain['posedirs'])),
        weights=_float32(plain['weights']),
        joint_template=_float32(regressor @ template),
        joint_dirs=_float32(np.einsum('jv,vcs->sjc', regressor, shape_dirs)),
        joint_regressor=_float32(regressor),
        extra_regressor=None if extra is None else _float32(extra),
        hand_mean=_float32(np.concatenate(hands)) if hands else None,
        faces=jnp.asarray(plain['f'].astype(np.int32)),
        parents=parents,
    )


def _planar(directions: Float[np.ndarray, 'V 3 N']) -> Float[np.ndarray, 'N 3*V']:
    """All x, then all y, then all z."""
    return np.transpose(directions, (2, 1, 0)).reshape(directions.shape[-1], -1)


def dense(value) -> np.ndarray:
    """A plain array from one that may be scipy sparse."""
    return value.toarray() if hasattr(value, 'toarray') else np.asarray(value)


def _parents(kintree_table: np.ndarray, name: str) -> tuple[int, ...]:
    """The parents row of the table, whose root carries 4294967295 (-1 as uint32)."""
    parents = (-1, *(int(p) for p in kintree_table[0][1:]))
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise ValueError(f'{name}: kintree_table {parents}: a parent must stand before its child')
    return parents


def topology(body: BodyModel) -> dict:
    """Topology of a body model: vertex count, kinematic tree, digest of the triangles."""
    faces = np.asarray(body.faces, np.int32)
    return {
        'num_vertices': int(body.template.shape[-1]),
        'parents': list(body.parents),
        'faces_sha256': hashlib.sha256(faces.tobytes()).hexdigest(),
    }
