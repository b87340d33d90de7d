"""A software renderer: a z-buffer triangle rasteriser in NumPy.

Camera frame: OpenCV's (x right, y down, z forward, metres). Pixel (row i, column j) is the unit
square centred at image point (x=j, y=i), so a point projects to x = fx X / Z + cx.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, Num, UInt8

from tokenhmr_jax.types import Array

ArrayLike = Sequence | Num[Array, '...']

CANDIDATES_PER_CHUNK = 1 << 21  # bounds the memory of one rasterisation pass
EDGE_TOLERANCE = 1e-9  # closes float cracks between neighbouring triangles
LEAST_AREA = 1e-9  # square pixels; a smaller triangle is a line that its neighbours cover


class Light(NamedTuple):
    """A light at infinity; `direction` points from the scene to it, in the camera frame."""

    direction: tuple[float, float, float]
    intensity: float


DEFAULT_LIGHTS = (Light((-0.5, -0.8, -1.0), 0.62), Light((0.9, -0.1, -0.4), 0.22))
SKIN = (0.86, 0.70, 0.60)

VIEWS = {  # direction from body to camera, and the camera's up, in the body's y-up frame
    'front': ((0, 0, 1), (0, 1, 0)),
    'back': ((0, 0, -1), (0, 1, 0)),
    'left': ((1, 0, 0), (0, 1, 0)),
    'right': ((-1, 0, 0), (0, 1, 0)),
    'top': ((0, 1, 0), (0, 0, -1)),
    'bottom': ((0, -1, 0), (0, 0, 1)),
    'front_left': ((1, 0.3, 1), (0, 1, 0)),
    'back_right': ((-1, 0.3, -1), (0, 1, 0)),
}


def render(
    vertices: ArrayLike,
    faces: ArrayLike,
    intrinsics: ArrayLike,
    image_size: tuple[int, int],
    colors: ArrayLike = SKIN,
    background: UInt8[np.ndarray, 'H W 3'] | None = None,
    lights: Sequence[Light] = DEFAULT_LIGHTS,
    ambient: float = 0.28,
    supersample: int = 1,
    near: float = 0.01,
    normals: Float[np.ndarray, 'V 3'] | None = None,
) -> tuple[UInt8[np.ndarray, 'H W 3'], Float[np.ndarray, 'H W']]:
    """Draws a triangle mesh with smooth (per-pixel, Lambertian) shading.

    Returns the RGB image and the depth: z of the nearest sample in the pixel, inf where empty.
    Raises ValueError for wrong shapes, vertices that are not finite, and faces that point outside
    them.

    Args:
        vertices: (V, 3) metres, camera frame.
        faces: (F, 3) vertex indices, counter-clockwise seen from outside; back faces are culled.
        intrinsics: (3, 3) matrix or (fx, fy, cx, cy), pixels.
        image_size: (height, width).
        colors: (3,) or (V, 3) RGB in [0, 1].
        background: drawn over; black without.
        normals: unit, camera frame; by default `vertex_normals`.
        supersample: samples per pixel along each axis (antialiasing).
        near: surfaces at z < near (metres) are clipped away.
    """
    vertices, faces, colors = _check_mesh(vertices, faces, colors)
    fx, fy, cx, cy = _focal_and_centre(intrinsics)
    height, width = image_size
    if background is not None and background.shape != (height, width, 3):
        raise ValueError(f'background has shape {background.shape}, expected {(height, width, 3)}')
    s = supersample
    if normals is None:
        normals = vertex_normals(vertices, faces)
    attributes = np.concatenate([normals, colors], axis=1)
    vertices, attributes, faces = clip_near(vertices, attributes, faces, near)
    inverse_z = 1.0 / np.maximum(vertices[:, 2], near)
    x = s * (fx * vertices[:, 0] * inverse_z + cx + 0.5) - 0.5
    y = s * (fy * vertices[:, 1] * inverse_z + cy + 0.5) - 0.5
    points = np.stack([x, y], axis=1)
    sample, face, bary, z = rasterize(points, inverse_z, faces, (s * height, s * width))
    shaded = _shade(attributes, faces[face], bary, lights, ambient)
    return _blend(sample, shaded, z, image_size, background, s)


def _blend(sample, shaded, z, image_size, background, s):
    """RGB and depth of pixels from the covered ones of s * s samples each."""
    height, width = image_size
    image = np.zeros((height * width, 3), np.uint8)
    if background is not None:
        image[:] = background.reshape(-1, 3)
    depth = np.full(height * width, np.inf, np.float32)
    if s == 1:
        covered, pixel = sample, np.arange(len(sample))
    else:
        row, column = np.divmod(sample, s * width)
        covered, pixel = np.unique(row // s * width + column // s, return_inverse=True)
    share = np.bincount(pixel) / s**2
    rgb = np.stack([np.bincount(pixel, channel) for channel in shaded.T], axis=1) * (255.0 / s**2)
    image[covered] = rgb + (1.0 - share[:, None]) * image[covered] + 0.5
    nearest = np.full(len(covered), np.inf, np.float32)
    np.minimum.at(nearest, pixel, z.astype(np.float32))
    depth[covered] = nearest
    return image.reshape(height, width, 3), depth.reshape(height, width)


def _check_mesh(vertices, faces, colors):
    vertices, faces = np.asarray(vertices, float), np.asarray(faces).astype(np.int64)
    colors = np.asarray(colors, float)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f'vertices have shape {vertices.shape}, expected (V, 3)')
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f'faces have shape {faces.shape}, expected (F, 3)')
    if not np.isfinite(vertices).all():
        raise ValueError('vertices hold NaN or infinite values')
    if faces.size and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError(
            f'faces hold indices {faces.min()} to {faces.max()}, expected 0 to {len(vertices) - 1}'
        )
    if colors.shape not in ((3,), vertices.shape):
        raise ValueError(f'colors have shape {colors.shape}, expected (3,) or {vertices.shape}')
    return vertices, faces, np.broadcast_to(colors, vertices.shape)


def _focal_and_centre(intrinsics):
    intrinsics = np.asarray(intrinsics, float)
    if intrinsics.shape == (3, 3):
        return intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    if intrinsics.shape == (4,):
        return tuple(intrinsics)
    raise ValueError(f'intrinsics have shape {intrinsics.shape}, expected (3, 3) or (4,)')


def vertex_normals(
    vertices: Float[np.ndarray, 'V 3'], faces: Int[np.ndarray, 'F 3']
) -> Float[np.ndarray, 'V 3']:
    """Unit normals: the area-weighted mean of the normals of a vertex's faces."""
    a, b, c = (np.take(vertices, faces[:, i], axis=0) for i in range(3))
    columns = _cross(b - a, c - a).T.repeat(3, axis=1)
    normals = np.stack([np.bincount(faces.ravel(), x, len(vertices)) for x in columns], axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)


def _cross(u, v):  # several times faster than np.cross on (N, 3)
    (a, b, c), (x, y, z) = u.T, v.T
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=1)


def clip_near(
    vertices: Float[np.ndarray, 'V 3'],
    attributes: Float[np.ndarray, 'V A'],
    faces: Int[np.ndarray, 'F 3'],
    near: float,
) -> tuple[Float[np.ndarray, '_ 3'], Float[np.ndarray, '_ A'], Int[np.ndarray, '_ 3']]:
    """Cuts triangles at z = near; a tip or a quad (two triangles) remains of each in front."""
    front = vertices[:, 2] >= near
    if front.all():
        return vertices, attributes, faces
    count = front[faces].sum(axis=1)
    parts, new_vertices, new_attributes = [faces[count == 3]], [vertices], [attributes]
    total = len(vertices)
    for n_front in (1, 2):
        cut = faces[count == n_front]
        lone = np.argmax(front[cut] == (n_front == 1), axis=1)  # the corner alone on its side
        a, b, c = (cut[np.arange(len(cut)), (lone + i) % 3] for i in range(3))
        for end in (b, c):
            t = ((near - vertices[a, 2]) / (vertices[end, 2] - vertices[a, 2]))[:, None]
            new_vertices.append(vertices[a] + t * (vertices[end] - vertices[a]))
            new_attributes.append(attributes[a] + t * (attributes[end] - attributes[a]))
        ab = total + np.arange(len(cut))
        ac = ab + len(cut)
        total += 2 * len(cut)
        if n_front == 1:
            parts.append(np.stack([a, ab, ac], axis=1))
        else:
            parts += [np.stack([ab, b, c], axis=1), np.stack([ab, c, ac], axis=1)]
    return np.concatenate(new_vertices), np.concatenate(new_attributes), np.concatenate(parts)


def rasterize(
    points: Float[np.ndarray, 'V 2'],
    inverse_z: Float[np.ndarray, ' V'],
    faces: Int[np.ndarray, 'F 3'],
    image_size: tuple[int, int],
) -> tuple[
    Int[np.ndarray, ' P'], Int[np.ndarray, ' P'], Float[np.ndarray, 'P 3'], Float[np.ndarray, ' P']
]:
    """Finds the nearest triangle at each pixel centre, of those counter-clockwise in the image.

    Points are px; image_size is (height, width). Returns the P covered pixels' flat index, face
    index, perspective-correct barycentric coordinates, and z in metres.
    """
    height, width = image_size
    plane, low, extent, index = _triangle_setup(points, inverse_z, faces, image_size)
    counts = extent[0] * extent[1]
    ends = np.cumsum(counts)
    empty = np.uint64(0xFFFFFFFFFFFFFFFF)
    nearest = np.full(height * width, empty)  # depth's float bits above, triangle below
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + CANDIDATES_PER_CHUNK, 'right')), start + 1)
        triangle = np.repeat(np.arange(start, stop), counts[start:stop])
        offset = np.arange(len(triangle)) - np.take(ends - counts - done, triangle)
        row, column = np.divmod(offset, np.take(extent[0], triangle))
        x, y = column + np.take(low[0], triangle), row + np.take(low[1], triangle)
        b1, b2 = _two_shares(plane, triangle, x, y)
        inside = np.flatnonzero(np.minimum(np.minimum(b1, b2), 1.0 - b1 - b2) >= -EDGE_TOLERANCE)
        triangle, x, y = triangle[inside], x[inside], y[inside]
        inv = _inverse_z(plane, triangle, b1[inside], b2[inside])
        bits = (1.0 / inv).astype(np.float32).view(np.uint32).astype(np.uint64)
        key = (bits << np.uint64(32)) | triangle.astype(np.uint64)
        np.minimum.at(nearest, y * width + x, key)
        start = stop
    pixel = np.flatnonzero(nearest != empty)
    triangle = (nearest[pixel] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    y, x = np.divmod(pixel, width)
    b1, b2 = _two_shares(plane, triangle, x, y)
    inv = _inverse_z(plane, triangle, b1, b2)
    shares = np.stack([1.0 - b1 - b2, b1, b2], axis=1)
    weights = shares * inverse_z[faces[index[triangle]]] / inv[:, None]
    return pixel, index[triangle], weights, 1.0 / inv


class _Planes(NamedTuple):
    """Linear functions (T,) over the image for each triangle.

    Two corners' shares, by the way from the first corner (x, y), and 1 / z by the shares.
    """

    x: Float[np.ndarray, ' T']
    y: Float[np.ndarray, ' T']
    b1_x: Float[np.ndarray, ' T']
    b1_y: Float[np.ndarray, ' T']
    b2_x: Float[np.ndarray, ' T']
    b2_y: Float[np.ndarray, ' T']
    inverse_z: Float[np.ndarray, ' T']
    by_b1: Float[np.ndarray, ' T']
    by_b2: Float[np.ndarray, ' T']


def _triangle_setup(points, inverse_z, faces, image_size):
    """Planes, pixel bounds (2, T) and index of the triangles that may cover a pixel centre."""
    height, width = image_size
    px, py = np.ascontiguousarray(points.T)
    corners = faces.T
    ax, bx, cx = (np.take(px, corner) for corner in corners)
    ay, by, cy = (np.take(py, corner) for corner in corners)
    ux, uy, vx, vy = bx - ax, by - ay, cx - ax, cy - ay
    area = ux * vy - uy * vx
    index = np.flatnonzero(-area > LEAST_AREA)  # faces that look away are most of the others
    low_x, high_x = _bounds(ax[index], bx[index], cx[index], width)
    low_y, high_y = _bounds(ay[index], by[index], cy[index], height)
    keep = (low_x <= high_x) & (low_y <= high_y)
    index, low_x, high_x, low_y, high_y = (x[keep] for x in (index, low_x, high_x, low_y, high_y))
    ax, ay, ux, uy, vx, vy, area = (x[index] for x in (ax, ay, ux, uy, vx, vy, area))
    first, second, third = (np.take(inverse_z, corner[index]) for corner in corners)
    planes = _Planes(
        ax, ay, vy / area, -vx / area, -uy / area, ux / area, first, second - first, third - first
    )
    low = np.stack([low_x, low_y]).astype(np.int64)
    extent = np.stack([high_x, high_y]).astype(np.int64) - low + 1
    return planes, low, extent, index


def _bounds(a, b, c, size):
    """The first and last pixel between three coordinates, within the image."""
    low = np.ceil(np.minimum(np.minimum(a, b), c) - EDGE_TOLERANCE)
    high = np.floor(np.maximum(np.maximum(a, b), c) + EDGE_TOLERANCE)
    return np.maximum(low, 0), np.minimum(high, size - 1)


def _two_shares(plane, triangle, x, y):
    """Shares of the second and third corner at pixels of triangles."""
    dx, dy = x - np.take(plane.x, triangle), y - np.take(plane.y, triangle)
    b1 = np.take(plane.b1_x, triangle) * dx + np.take(plane.b1_y, triangle) * dy
    b2 = np.take(plane.b2_x, triangle) * dx + np.take(plane.b2_y, triangle) * dy
    return b1, b2


def _inverse_z(plane, triangle, b1, b2):
    first = np.take(plane.inverse_z, triangle)
    return first + b1 * np.take(plane.by_b1, triangle) + b2 * np.take(plane.by_b2, triangle)


def _shade(attributes, corners, bary, lights, ambient):
    values = sum(bary[:, i, None] * np.take(attributes, corners[:, i], axis=0) for i in range(3))
    normals, colors = values[:, :3], values[:, 3:]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    light = np.full(len(values), float(ambient))
    for direction, intensity in lights:
        cosine = normals @ (np.asarray(direction, float) / np.linalg.norm(direction))
        light += intensity * np.maximum(cosine, 0.0)
    return np.clip(colors * light[:, None], 0.0, 1.0)


def look_at(
    eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 1.0, 0.0)
) -> tuple[Float[np.ndarray, '3 3'], Float[np.ndarray, '3']]:
    """World-to-camera rotation and translation of an OpenCV camera with `target` in its centre.

    Raises ValueError where `eye` and `target` coincide, and where `up` is along the line of sight.
    """
    forward = np.asarray(target, float) - np.asarray(eye, float)
    right = np.cross(forward, np.asarray(up, float))
    if np.linalg.norm(right) < 1e-9 * max(np.linalg.norm(forward), 1e-9):
        raise ValueError(f'no view from {eye} to {target} with up {up}')
    down = np.cross(forward, right)
    rotation = np.stack([axis / np.linalg.norm(axis) for axis in (right, down, forward)])
    return rotation, -rotation @ np.asarray(eye, float)


def render_view(
    vertices: ArrayLike,
    faces: ArrayLike,
    view: str | Sequence[float] = 'front',
    image_size: tuple[int, int] = (512, 512),
    margin: float = 1.08,
    focus: ArrayLike | None = None,
    normals: Float[np.ndarray, 'V 3'] | None = None,
    **options,
) -> UInt8[np.ndarray, 'H W 3']:
    """A picture of a body in a y-up frame; `view` is in `VIEWS` or a direction to the camera.

    `focus` (N, 3) fills the image, by default the vertices. `normals` are unit vectors of the
    body's frame, by default `vertex_normals`. Other options go to `render`.
    """
    vertices = np.asarray(vertices, float)
    focus = vertices if focus is None else np.asarray(focus, float)
    rotation, translation, intrinsics = view_camera(view, focus, image_size, margin)
    options = {'supersample': 2, 'background': np.full((*image_size, 3), 255, np.uint8)} | options
    seen = vertices @ rotation.T + translation
    turned = None if normals is None else normals @ rotation.T
    return render(seen, faces, intrinsics, image_size, normals=turned, **options)[0]


def view_camera(
    view: str | Sequence[float],
    focus: Float[np.ndarray, 'N 3'],
    image_size: tuple[int, int],
    margin: float = 1.08,
) -> tuple[Float[np.ndarray, '3 3'], Float[np.ndarray, '3'], tuple[float, float, float, float]]:
    """Rotation, translation and intrinsics of the camera of a `render_view` of some points."""
    if isinstance(view, str) and view not in VIEWS:
        raise ValueError(f'view {view!r} is not one of {sorted(VIEWS)}')
    direction, up = VIEWS[view] if isinstance(view, str) else (view, (0, 1, 0))
    centre = (focus.min(axis=0) + focus.max(axis=0)) / 2
    size = np.linalg.norm(focus.max(axis=0) - focus.min(axis=0))
    direction = np.asarray(direction, float) / np.linalg.norm(direction)
    rotation, translation = look_at(centre + 4.0 * size * direction, centre, up)
    seen = focus @ rotation.T + translation
    half = np.abs(seen[:, :2] / seen[:, 2:]).max(axis=0) * margin
    focal = min(image_size[1] / 2 / half[0], image_size[0] / 2 / half[1])
    return rotation, translation, (focal, focal, (image_size[1] - 1) / 2, (image_size[0] - 1) / 2)


def contact_sheet(
    images: Sequence[UInt8[np.ndarray, '_ _ 3']], columns: int, labels: Sequence[str] = ()
) -> UInt8[np.ndarray, '_ _ 3']:
    """Images of one size in a grid, row by row, with a label in each corner."""
    shapes = {np.shape(image) for image in images}
    if len(shapes) != 1:
        raise ValueError(f'images of one sheet must share one shape, got {sorted(shapes)}')
    if labels and len(labels) != len(images):
        raise ValueError(f'{len(labels)} labels for {len(images)} images')
    height, width, _ = shapes.pop()
    rows = -(-len(images) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = image
        if labels:
            at, font = (x + 6, y + 18), cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(sheet, labels[i], at, font, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return sheet
