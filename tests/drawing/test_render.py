import numpy as np
import pytest

from tokenhmr_jax.drawing import render as rendering
from tokenhmr_jax.drawing.render import Light, look_at, render

WHITE, RED, GREEN = (1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
PIXELS = (1.0, 1.0, 0.0, 0.0)  # at z = 1 a vertex's x and y are its pixel


def flat(vertices, faces, intrinsics=PIXELS, size=(8, 8), colors=WHITE, **options):
    """A render without shading: surfaces show their own colour."""
    return render(vertices, faces, intrinsics, size, colors, lights=(), ambient=1.0, **options)


def sphere(centre, radius, rings=24, sectors=48):
    """A UV sphere, counter-clockwise from outside (in a right-handed frame)."""
    theta = np.linspace(0, np.pi, rings + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, sectors, endpoint=False)
    points = np.stack(
        np.broadcast_arrays(
            np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)
        ),
        axis=-1,
    ).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings), np.arange(sectors), indexing='ij')
    a, b = i * sectors + j, i * sectors + (j + 1) % sectors
    quads = np.stack([a, a + sectors, b + sectors, b], axis=-1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return points * radius + np.asarray(centre), faces


def test_coverage_of_a_triangle_by_hand():
    vertices = [[0.5, 0.5, 1], [0.5, 4.6, 1], [4.6, 0.5, 1]]
    image, depth = flat(vertices, [[0, 1, 2]])
    x, y = np.meshgrid(np.arange(8), np.arange(8))
    expected = (x >= 1) & (y >= 1) & (x + y <= 5)  # ten pixel centres
    assert expected.sum() == 10
    np.testing.assert_array_equal(np.isfinite(depth), expected)
    np.testing.assert_array_equal(image == 255, np.repeat(expected[..., None], 3, axis=2))


def test_back_faces_are_not_drawn():
    vertices = [[0.5, 0.5, 1], [0.5, 4.6, 1], [4.6, 0.5, 1]]
    assert not np.isfinite(flat(vertices, [[0, 2, 1]])[1]).any()
    assert np.isfinite(flat(vertices, [[0, 1, 2]])[1]).sum() == 10


def test_projects_like_a_pinhole():
    # A small square at (0.2, -0.1, 2) with f = 100, c = (32, 24): x = 42, y = 19.
    corner = np.array([[-1, -1, 0], [-1, 1, 0], [1, 1, 0], [1, -1, 0]]) * 0.011
    vertices = corner + np.array([0.2, -0.1, 2.0])
    matrix = np.array([[100.0, 0, 32], [0, 100, 24], [0, 0, 1]])
    _, depth = flat(vertices, [[0, 1, 2], [0, 2, 3]], matrix, (48, 64))
    assert np.argwhere(np.isfinite(depth)).tolist() == [[19, 42]]
    assert depth[19, 42] == pytest.approx(2.0)


def test_depth_and_colour_are_perspective_correct():
    # A plane n . p = d, seen along the ray r of a pixel, lies at z = d / (n . r).
    normal, offset = np.array([0.5, -0.3, -1.0]), -3.0
    x, y = np.array([-4.0, -4.0, 4.0]), np.array([-4.0, 4.0, 0.0])
    z = (offset - normal[0] * x - normal[1] * y) / normal[2]
    vertices = np.stack([x, y, z], axis=1)
    colors = np.stack([(x + 5) / 10, (y + 5) / 10, z / 10], axis=1)
    image, depth = flat(vertices, [[0, 1, 2]], (40.0, 40, 31.5, 23.5), (48, 64), colors)
    u, v = np.meshgrid((np.arange(64) - 31.5) / 40, (np.arange(48) - 23.5) / 40)
    expected = offset / (normal[0] * u + normal[1] * v + normal[2])
    seen = np.isfinite(depth)
    assert seen.sum() > 1000 and np.ptp(expected[seen]) > 2.0
    np.testing.assert_allclose(depth[seen], expected[seen], rtol=1e-6)
    place = np.stack([(u * expected + 5) / 10, (v * expected + 5) / 10, expected / 10], axis=2)
    np.testing.assert_allclose(image[seen], 255 * place[seen], atol=0.51)


@pytest.mark.parametrize('order', [[0, 1], [1, 0]])
def test_the_nearer_surface_wins_in_any_order(order):
    # Two triangles that cross: each is nearer on one side of x = 4.
    vertices = np.array([[0, 0, 1.0], [0, 8, 1], [8, 4, 2], [0, 4, 2], [8, 8, 1], [8, 0, 1]])
    vertices[:, :2] *= vertices[:, 2:]  # so that the pixels are as written
    colors = [RED] * 3 + [GREEN] * 3
    faces = np.array([[0, 1, 2], [3, 4, 5]])[order]
    image, depth = flat(vertices, faces, size=(9, 9), colors=colors)
    assert image[4, 2].tolist() == [255, 0, 0] and image[4, 6].tolist() == [0, 255, 0]
    assert depth[4, 2] == pytest.approx(1 / (1 - 0.5 * 2 / 8))  # 1 / z is linear in the image


def test_neighbouring_triangles_leave_no_crack():
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=-1) * 5
    points[1:-1, 1:-1] += rng.uniform(-2, 2, (10, 10, 2))
    vertices = np.concatenate([points.reshape(-1, 2), np.ones((144, 1))], axis=1)
    a = (np.arange(11)[:, None] * 12 + np.arange(11)).ravel()
    faces = np.concatenate([np.stack([a, a + 12, a + 13], 1), np.stack([a, a + 13, a + 1], 1)])
    assert np.isfinite(flat(vertices, faces, size=(56, 56))[1]).all()


def test_surfaces_behind_the_camera_are_cut_away():
    # A floor 1.5 m below, seen from above, from 5 m behind the camera to 50 m ahead.
    vertices = [[-60, 1.5, -5], [-60, 1.5, 50], [60, 1.5, 50], [60, 1.5, -5]]
    _, depth = flat(vertices, [[0, 2, 1], [0, 3, 2]], (30.0, 30, 31.5, 23.5), (48, 64))
    below = np.arange(48) - 23.5
    expected = np.where(below > 0, 30 * 1.5 / np.where(below > 0, below, 1.0), np.inf)
    near_enough = expected < 50
    np.testing.assert_array_equal(np.isfinite(depth), np.repeat(near_enough[:, None], 64, axis=1))
    np.testing.assert_allclose(
        depth[near_enough], np.repeat(expected[near_enough][:, None], 64, axis=1), rtol=1e-5
    )


@pytest.mark.parametrize('rings', [12, 160])  # triangles of many pixels, and far below one
def test_a_sphere_has_its_depth_and_outline(rings):
    vertices, faces = sphere((0.1, 0.05, 3.0), 0.8, rings, 2 * rings)
    _, depth = flat(vertices, faces, (60.0, 60, 31.5, 23.5), (48, 64))
    u, v = np.meshgrid((np.arange(64) - 31.5) / 60, (np.arange(48) - 23.5) / 60)
    ray = np.stack([u, v, np.ones_like(u)], axis=-1)
    b, square = ray @ np.array([0.1, 0.05, 3.0]), (ray**2).sum(axis=-1)
    root = b**2 - square * (0.1**2 + 0.05**2 + 9.0 - 0.64)
    tolerance = 6.0 / rings**2  # how far the chords lie inside the sphere
    inner = root > 0.3
    exact = (b - np.sqrt(np.maximum(root, 0))) / square
    assert np.isfinite(depth[inner]).all() and not np.isfinite(depth[root < 0]).any()
    np.testing.assert_allclose(depth[inner], exact[inner], atol=tolerance)


def test_brightness_is_the_cosine_to_the_light():
    vertices, faces = sphere((0.0, 0.0, 4.0), 1.0, 60, 120)
    image, _ = render(
        vertices,
        faces,
        (400.0, 400, 50, 50),
        (101, 101),
        (0.8, 0.4, 0.2),
        lights=[Light((0, 0, -2), 0.5), Light((-1, 0, 0), 0.3)],
        ambient=0.1,
    )
    for column in (50, 20, 80):
        ray = np.array([(column - 50) / 400, 0.0, 1.0])
        square = ray @ ray
        normal = ray * (4.0 - np.sqrt(16.0 - 15.0 * square)) / square - [0, 0, 4.0]
        brightness = 0.1 + 0.5 * -normal[2] + 0.3 * max(-normal[0], 0.0)
        np.testing.assert_allclose(
            image[50, column], 255 * brightness * np.array([0.8, 0.4, 0.2]), atol=1.5
        )


def test_supersampling_blends_edges_with_the_background():
    vertices = [[-5, -5, 1], [-5, 20, 1], [3, 20, 1], [3, -5, 1]]  # ends in the middle of column 3
    background = np.full((8, 8, 3), 100, np.uint8)
    image, depth = flat(vertices, [[0, 1, 2], [0, 2, 3]], background=background, supersample=2)
    np.testing.assert_array_equal(image[4, :, 0], [255] * 3 + [178] + [100] * 4)
    assert np.isfinite(depth[4]).tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize(
    'change, message',
    [
        ({'vertices': np.zeros((3, 2))}, 'vertices have shape'),
        ({'vertices': np.full((3, 3), np.nan)}, 'NaN'),
        ({'faces': [[0, 1]]}, 'faces have shape'),
        ({'faces': [[0, 1, 3]]}, 'faces hold indices 0 to 3, expected 0 to 2'),
        ({'colors': np.ones((2, 3))}, 'colors have shape'),
        ({'intrinsics': (1.0, 1.0)}, 'intrinsics have shape'),
        ({'background': np.zeros((4, 4, 3), np.uint8)}, 'background has shape'),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        'vertices': np.eye(3),
        'faces': [[0, 1, 2]],
        'intrinsics': PIXELS,
        'image_size': (8, 8),
    }
    with pytest.raises(ValueError, match=message):
        render(**(arguments | change))


def test_look_at():
    rotation, translation = look_at((3, 1, 0), (0, 1, 0))  # from the body's left, y up
    np.testing.assert_allclose(rotation @ [0, 1, 0] + translation, [0, 0, 3], atol=1e-12)
    np.testing.assert_allclose(rotation @ [0, 2, 0] + translation, [0, -1, 3], atol=1e-12)
    np.testing.assert_allclose(rotation @ [0, 1, 1] + translation, [-1, 0, 3], atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    with pytest.raises(ValueError, match='no view'):
        look_at((0, 1, 0), (0, 0, 0), up=(0, 1, 0))


def test_views_show_the_side_they_name():
    # Red on the left (+x), green above, blue in front (+z).
    vertices, faces = sphere((0.0, 0.0, 0.0), 1.0)
    options = {'colors': np.clip(vertices, 0, 1), 'lights': (), 'ambient': 1.0}
    strongest = {}
    for view in ('front', 'left', 'top', 'back'):
        image = rendering.render_view(vertices, faces, view, (65, 65), **options)
        strongest[view] = image[32, 32].tolist()
    assert strongest['left'][0] > 240 and strongest['top'][1] > 240 and strongest['front'][2] > 240
    assert max(strongest['back']) < 30
    front = rendering.render_view(vertices, faces, 'front', (65, 65), **options)
    assert front[32, 55, 0] > 100 > front[32, 9, 0]  # facing us, its left is on our right
    with pytest.raises(ValueError, match='sideways'):
        rendering.render_view(vertices, faces, 'sideways')


def test_contact_sheet_places_images_row_by_row():
    images = [np.full((30, 20, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = rendering.contact_sheet(images, columns=2)
    assert sheet.shape == (60, 40, 3)
    assert sheet[[15, 15, 45, 45], [10, 30, 10, 30], 0].tolist() == [10, 20, 30, 255]
    labelled = rendering.contact_sheet(images, columns=3, labels=['a', 'b', 'c'])
    assert (labelled[:, 20:40] != 20).any()
    with pytest.raises(ValueError, match='2 labels for 3 images'):
        rendering.contact_sheet(images, 2, ['a', 'b'])
    with pytest.raises(ValueError, match='share one shape'):
        rendering.contact_sheet([images[0], images[0][:10]], 2)
