import collections

import jax
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import smpl
from tokenhmr_jax.body.skeleton import EXTRA, JOINT_TWINS, JOINTS, LANDMARKS, PARENTS
from tokenhmr_jax.mannequin.body import mannequin_arrays

MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope='module')
def body():
    return mannequin_arrays()


def edges(faces):
    """Directed edges (3 F, 2)."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def litres(vertices, faces):
    """The volume that a closed mesh encloses, by the divergence theorem."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.einsum('ij,ij->', a, np.cross(b, c)) / 6 * 1000


def pose(body, correctives=True, **degrees):
    """Vertices of the body with some joints turned, by the sums of the SMPL paper, in NumPy."""
    turn = np.zeros((24, 3))
    for name, angles in degrees.items():
        turn[JOINTS.index(name)] = np.deg2rad(angles)
    rotation = Rotation.from_rotvec(turn).as_matrix()
    rest, joints = body['v_template'], body['J_regressor'] @ body['v_template']
    if correctives:
        rest = rest + body['posedirs'] @ (rotation[1:] - np.eye(3)).ravel()
    world, place = rotation.copy(), joints.copy()
    for j in range(1, 24):
        p = PARENTS[j]
        world[j] = world[p] @ rotation[j]
        place[j] = place[p] + world[p] @ (joints[j] - joints[p])
    moved = np.einsum('jab,jvb->jva', world, rest - joints[:, None]) + place[:, None]
    return np.einsum('vj,jva->va', body['weights'], moved)


def crossings(vertices, faces):
    """Pairs of triangles, without a common vertex, of which one's edge pierces the other."""
    corners = vertices[faces]
    centre = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centre[:, None], axis=2).max(axis=1)
    pairs = cKDTree(centre).query_pairs(2 * np.percentile(radius, 99), output_type='ndarray')
    reach = radius[pairs].sum(axis=1)
    pairs = pairs[np.linalg.norm(np.diff(centre[pairs], axis=1)[:, 0], axis=1) <= reach]
    shared = (faces[pairs[:, 0]][:, :, None] == faces[pairs[:, 1]][:, None]).any(axis=(1, 2))
    pairs = pairs[~shared]
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    o, p, q = np.moveaxis(corners[pairs[:, 1]], 1, 0)
    found = np.zeros(len(pairs), bool)
    for i in range(3):
        start, end = corners[pairs[:, 0], i], corners[pairs[:, 0], (i + 1) % 3]
        normal = np.cross(p - o, q - o)
        d0 = np.einsum('ij,ij->i', start - o, normal)
        d1 = np.einsum('ij,ij->i', end - o, normal)
        crossing = np.flatnonzero(d0 * d1 < 0)
        t = (d0 / np.where(d0 == d1, 1.0, d0 - d1))[crossing, None]
        point = start[crossing] + t * (end - start)[crossing]
        inside = np.ones(len(crossing), bool)
        for a, b in ((o, p), (p, q), (q, o)):
            side = np.cross((b - a)[crossing], point - a[crossing])
            inside &= np.einsum('ij,ij->i', side, normal[crossing]) > 0
        found[crossing] |= inside
    return pairs[found]


def test_shapes_and_kinematic_tree(body):
    shapes = {name: array.shape for name, array in body.items()}
    assert shapes == {
        'v_template': (6890, 3),
        'f': (13776, 3),
        'shapedirs': (6890, 3, 10),
        'posedirs': (6890, 3, 207),
        'weights': (6890, 24),
        'J_regressor': (24, 6890),
        'J': (24, 3),
        'kintree_table': (2, 24),
        'joint_regressor_extra': (19, 6890),
        'mirror': (6890,),
    }
    assert body['f'].dtype == body['kintree_table'].dtype == np.uint32
    assert body['kintree_table'][0].tolist() == [4294967295, *PARENTS[1:]]
    assert body['kintree_table'][1].tolist() == list(range(24))
    assert all(np.isfinite(array).all() for array in body.values())


def test_the_skin_is_one_closed_surface_of_genus_zero(body):
    faces = body['f'].astype(int)
    directed = edges(faces)
    assert len(np.unique(directed, axis=0)) == len(directed)  # no two faces turn the same way
    undirected, uses = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    assert (uses == 2).all()
    assert 6890 - len(undirected) + 13776 == 2
    neighbours = collections.defaultdict(list)
    for a, b in directed.tolist():
        neighbours[a].append(b)
    reached, todo = {0}, [0]
    while todo:
        new = [b for b in neighbours[todo.pop()] if b not in reached]
        reached.update(new)
        todo += new
    assert len(reached) == 6890


def test_the_skin_faces_outwards_and_does_not_cross_itself(body):
    vertices, faces = body['v_template'], body['f'].astype(int)
    assert 60 < litres(vertices, faces) < 70
    assert len(crossings(vertices, faces)) == 0
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-6  # twice the area, m^2
    pushed = vertices.copy()  # the check itself finds a finger pushed through the palm
    pushed[LANDMARKS['left_index']] += [-0.12, -0.04, 0.0]
    assert len(crossings(pushed, faces)) > 0


def test_left_mirrors_right(body):
    mirror = body['mirror']
    np.testing.assert_array_equal(mirror[mirror], np.arange(6890))
    np.testing.assert_allclose(body['v_template'][mirror], body['v_template'] * MIRROR, atol=1e-12)
    np.testing.assert_allclose(body['weights'][mirror], body['weights'][:, JOINT_TWINS], atol=1e-12)
    np.testing.assert_allclose(
        body['shapedirs'][mirror], body['shapedirs'] * MIRROR[:, None], atol=1e-12
    )
    turned = {tuple(np.roll(t, -np.argmin(t))) for t in mirror[body['f']][:, ::-1].tolist()}
    assert turned == {tuple(np.roll(t, -np.argmin(t))) for t in body['f'].tolist()}
    left = pose(body, left_elbow=(10, -80, 5), left_hip=(-60, 10, 20), left_knee=(50, 0, 0))
    right = pose(body, right_elbow=(10, 80, -5), right_hip=(-60, -10, -20), right_knee=(50, 0, 0))
    np.testing.assert_allclose(left[mirror], right * MIRROR, atol=2e-4)


def test_proportions(body):
    vertices = body['v_template']
    height = np.ptp(vertices[:, 1])
    assert height == pytest.approx(1.70, abs=0.01)
    assert np.ptp(vertices[:, 0]) == pytest.approx(1.03 * height, abs=0.03)  # arms' span
    at = dict(zip(JOINTS, body['J'], strict=True))
    floor = vertices[:, 1].min()
    assert at['left_hip'][1] - floor == pytest.approx(0.530 * height, abs=0.02)
    assert at['left_knee'][1] - floor == pytest.approx(0.285 * height, abs=0.02)
    assert at['left_shoulder'][1] - floor == pytest.approx(0.818 * height, abs=0.02)
    assert abs(at['pelvis'][0]) < 1e-9 and -0.25 < at['pelvis'][1] < 0.0


def test_landmarks_are_the_points_they_name(body):
    at = {name: body['v_template'][index] for name, index in LANDMARKS.items()}
    joint = dict(zip(JOINTS, body['J'], strict=True))
    for name in at:
        if name.startswith('left'):
            assert at[name][0] > 0.02
            assert body['mirror'][LANDMARKS[name]] == LANDMARKS[name.replace('left', 'right')]
    head = body['v_template'][body['v_template'][:, 1] > joint['head'][1]]
    assert at['nose'][2] == head[:, 2].max() and at['nose'][0] == 0.0
    assert at['nose'][1] < at['left_eye'][1] < at['nose'][1] + 0.06
    assert at['left_eye'][2] > joint['head'][2] + 0.06 > at['left_ear'][2] + 0.06
    assert at['left_ear'][0] == pytest.approx(head[:, 0].max(), abs=0.006)
    tips = [at[f'left_{finger}'][0] for finger in ('index', 'middle', 'ring', 'pinky')]
    assert tips[1] == body['v_template'][:, 0].max() and tips[0] > tips[3] > joint['left_hand'][0]
    across = [at[f'left_{f}'][2] for f in ('thumb', 'index', 'middle', 'ring', 'pinky')]
    assert across == sorted(across, reverse=True)  # palms down, thumbs in front
    foot = body['v_template'][(body['v_template'][:, 0] > 0) & (body['v_template'][:, 1] < -1.1)]
    assert at['left_big_toe'][2] == foot[:, 2].max()
    assert at['left_big_toe'][0] < at['left_small_toe'][0]
    assert at['left_heel'][2] < joint['left_ankle'][2]
    assert at['left_heel'][1] < foot[:, 1].min() + 0.01


def test_weights(body):
    weights = body['weights']
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    assert weights.min() >= 0 and (weights > 0).sum(axis=1).max() <= 4
    pairs = edges(body['f'].astype(int))
    assert np.abs(weights[pairs[:, 0]] - weights[pairs[:, 1]]).max() < 0.5  # smooth
    assert (weights.max(axis=0) > 0.75).all()  # every joint has skin of its own
    follows = {
        'nose': 'head',
        'left_ear': 'head',
        'left_middle': 'left_hand',
        'right_big_toe': 'right_foot',
        'left_heel': 'left_ankle',
        'left_thumb': 'left_wrist',
    }
    for landmark, joint in follows.items():
        assert weights[LANDMARKS[landmark], JOINTS.index(joint)] > 0.9


def test_joints_lie_inside_and_follow_the_shape(body):
    regressor, vertices = body['J_regressor'], body['v_template']
    np.testing.assert_allclose(regressor.sum(axis=1), 1.0, atol=1e-12)
    assert regressor.min() >= 0 and (regressor > 0).sum(axis=1).max() < 350
    np.testing.assert_allclose(regressor @ vertices, body['J'], atol=2e-4)
    a, b, c = (vertices[body['f'].astype(int)][:, i] - body['J'][:, None] for i in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    dot = lambda x, y: np.einsum('jfi,jfi->jf', x, y)  # noqa: E731
    angle = 2 * np.arctan2(
        dot(a, np.cross(b, c)), la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
    )
    np.testing.assert_allclose(angle.sum(axis=1), 4 * np.pi, atol=1e-6)  # seen from inside
    size = vertices + 2 * body['shapedirs'][..., 0]
    legs = vertices + 2 * body['shapedirs'][..., 1]
    bone = lambda mesh, a, b: np.linalg.norm(  # noqa: E731
        (regressor @ mesh)[JOINTS.index(a)] - (regressor @ mesh)[JOINTS.index(b)]
    )
    for a, b in (('left_hip', 'left_knee'), ('right_elbow', 'right_wrist'), ('neck', 'head')):
        assert bone(size, a, b) == pytest.approx(1.06 * bone(vertices, a, b), rel=0.01)
    assert bone(legs, 'left_knee', 'left_ankle') > 1.05 * bone(vertices, 'left_knee', 'left_ankle')
    assert bone(legs, 'left_elbow', 'left_wrist') == pytest.approx(
        bone(vertices, 'left_elbow', 'left_wrist'), abs=1e-3
    )


def test_extra_keypoints(body):
    rows = body['joint_regressor_extra']
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-12)
    at = dict(zip(EXTRA, rows @ body['v_template'], strict=True))
    joint = dict(zip(JOINTS, body['J'], strict=True))
    for name in ('Ankle', 'Knee', 'Wrist', 'Elbow', 'Shoulder'):
        for side, full in (('L', 'left'), ('R', 'right')):
            expected = joint[f'{full}_{name.lower()}']
            np.testing.assert_allclose(at[f'LSP {side}{name}'], expected, atol=0.012)
    assert at['LSP LHip'][0] > joint['left_hip'][0] > 0 > at['LSP RHip'][0]
    assert at['LSP Head Top'][1] > body['v_template'][:, 1].max() - 0.02
    heights = [
        at[name][1]
        for name in (
            'MPII Pelvis',
            'H36M Spine',
            'MPII Thorax',
            'LSP Neck',
            'H36M Jaw',
            'H36M Head',
            'LSP Head Top',
        )
    ]
    assert heights == sorted(heights)


def test_shapes_are_people(body):
    vertices, faces, directions = body['v_template'], body['f'].astype(int), body['shapedirs']
    spread = np.sqrt((directions**2).sum(axis=1).mean(axis=0))
    assert (np.diff(spread) <= 1e-4).all() and spread[0] < 0.03 and spread[-1] > 0.001
    for i in range(10):
        for beta in (-2, 2):
            person = vertices + beta * directions[..., i]
            assert 1.58 < np.ptp(person[:, 1]) < 1.82
            assert 42 < litres(person, faces) < 84
            assert np.linalg.norm(person - vertices, axis=1).max() > 0.01  # clearly different
    taller = vertices + 2 * directions[..., 0]
    assert np.ptp(taller[:, 1]) > 1.75
    random = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 10))
    for betas in random:
        assert len(crossings(vertices + directions @ betas, faces)) < 10


@pytest.mark.parametrize(
    'joint, axis',
    [
        ('elbow', (0, -1, 0)),
        ('knee', (1, 0, 0)),
        ('hip', (-1, 0, 0)),
        ('wrist', (1, 0, 0)),
    ],
)
@pytest.mark.parametrize('degrees', [90, 120])
def test_correctives_keep_the_girth_of_bent_joints(body, joint, axis, degrees):
    # Where skin follows the joint by half, plain skinning draws it in to cos(angle / 2) of its
    # distance from the bending axis; the correctives keep the distance (at the hip, part of it).
    name = f'left_{joint}'
    angles = {name: degrees * np.array(axis, float)}
    vertices, faces = body['v_template'], body['f'].astype(int)
    follow = body['weights'][:, descendants(name)].sum(axis=1)
    rows = np.abs(follow - 0.5) < 0.2
    rest = np.linalg.norm(vertices[rows] - body['J'][JOINTS.index(name)], axis=1)
    kept = {}
    for correctives in (True, False):
        bent = pose(body, correctives, **angles)
        place = np.linalg.norm(bent[rows] - body['J'][JOINTS.index(name)], axis=1)
        kept[correctives] = (place / rest).mean()
        assert litres(bent, faces) == pytest.approx(litres(vertices, faces), rel=0.03)
    assert abs(kept[True] - 1) < 0.6 * abs(kept[False] - 1)
    assert kept[True] > 0.8


def descendants(name):
    found = {JOINTS.index(name)}
    for j in range(24):
        if PARENTS[j] in found:
            found.add(j)
    return sorted(found)


def test_loads_and_poses_like_smpl(body):
    model = smpl.body_from_arrays(body, 'mannequin')
    turn = np.zeros((24, 3))
    turn[JOINTS.index('left_elbow')] = np.deg2rad([0, -90, 0])
    rotation = Rotation.from_rotvec(turn).as_matrix().astype(np.float32)
    params = smpl.SmplParams(
        global_orient=rotation[:1][0],
        body_pose=rotation[1:],
        betas=np.zeros(10, np.float32),
        transl=None,
    )
    output = jax.jit(smpl.forward)(model, params)
    np.testing.assert_allclose(output.vertices, pose(body, left_elbow=(0, -90, 0)), atol=1e-5)


def test_is_the_same_every_time(body):
    again = mannequin_arrays()
    assert set(again) == set(body)
    for name, array in body.items():
        np.testing.assert_array_equal(again[name], array)
