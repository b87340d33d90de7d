"""BlazePose (MediaPipe, Apache-2.0) on LiteRT, for pictures of several people.

Its detector sees one or two people who fill the picture, so it also looks at overlapping tiles, and
again at each candidate with its surroundings: it finds true people again. Each candidate goes
through the landmark network several times, in crops as the first landmarks tell: true people stay
where they are, ghosts wander off. That takes seconds per picture: for videos, files of keypoints
are faster.
"""

import os
import pathlib
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from tokenhmr_jax import cli
from tokenhmr_jax.body import keypoint_conventions
from tokenhmr_jax.data import crops
from tokenhmr_jax.inference.inputs.sources import Frame
from tokenhmr_jax.inference.people.detectors import blazepose_files
from tokenhmr_jax.inference.people.detectors import blazepose_geometry as geometry
from tokenhmr_jax.inference.people.persons import (
    LEAST_CONFIDENCE,
    Finder,
    Persons,
    box_of_points,
    make_persons,
)

# Sides of the tiles, as shares of the picture's shorter side; they overlap by half.
_TILES = (1.0, 0.55, 0.35)
_LEAST_TILE = 96  # pixels: smaller people have too few
_LEAST_DETECTION, _LEAST_PRESENCE = 0.35, 0.5
# Landmarks of less quality are no person's; without the detector's word they need more.
_LEAST_QUALITY, _LEAST_QUALITY_ALONE = 0.3, 0.88
_MOST_INSIDE = 0.5
# Sides of the crops that confirm a candidate, as shares of its region's.
_CONTEXTS = (0.8, 1.2, 1.8)
_LEAST_EVIDENCE, _LEAST_OF_OTHERS, _MOST_CANDIDATES = 0.28, 0.6, 40
_SAME_REGION, _SAME_PERSON = 0.35, 0.45
_LEAST_POINTS, _LEAST_REGION = 5, 16.0
# Of a half body only half of the 33 points are seen.
_POINTS_OF_QUALITY = 17
# Sides of the crops of further looks, as shares of the region that the first one tells.
_LOOKS = (0.8, 0.9, 1.0, 1.15)
_CONVENTION = 'blazepose'


class Body(NamedTuple):
    """One person's landmarks.

    points: x, y in pixels of the image, confidence; at least `_LEAST_POINTS` are known.
    region: the square that they fill.
    quality: of the landmarks, 0 to 1.
    score: of the person, 0 to 1.
    """

    points: Float[np.ndarray, '33 3']
    region: geometry.Region
    quality: float
    score: float = 0.0


class Network:
    """A network of a file, on the CPU."""

    def __init__(self, file: pathlib.Path):
        from ai_edge_litert.interpreter import Interpreter

        threads = min(os.cpu_count() or 1, 4)
        with cli.hidden_notes():
            self._interpreter = Interpreter(str(file), num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]['index']
        self._outputs = [each['index'] for each in self._interpreter.get_output_details()]

    def __call__(self, picture: Float[np.ndarray, 'S S 3']) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, picture[None].astype(np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output)[0] for output in self._outputs]


def blazepose() -> Finder:
    """The detector. Raises as `blazepose_files.network_files`."""
    detector, landmarks = map(Network, blazepose_files.network_files())

    def find(frame: Frame) -> Persons:
        return persons_of_bodies(find_bodies(frame.image, detector, landmarks))

    return find


def find_bodies(
    image: UInt8[np.ndarray, 'H W 3'], detector: Network, landmarks: Network
) -> list[Body]:
    """The people in an image, the surest first."""
    bodies = []
    for where, evidence in confirmed(image, candidates(image, detector), detector):
        body = steady_look(image, where, landmarks)
        if body is None:
            continue
        if evidence >= _LEAST_EVIDENCE and body.quality >= _LEAST_QUALITY:
            bodies.append(body._replace(score=body.quality * evidence))
        elif body.quality >= _LEAST_QUALITY_ALONE:
            bodies.append(body._replace(score=body.quality * _LEAST_EVIDENCE))
    return distinct(bodies)


def candidates(image: UInt8[np.ndarray, 'H W 3'], detector: Network) -> list[geometry.Region]:
    """Regions of people in the image and its tiles, the surest first."""
    found = [_detect(image, tile, detector) for tile in tiles(*image.shape[:2])]
    every = sorted((each for tile in found for each in tile), key=lambda each: -each[1])
    return _added([], [where for where, _ in every])


def confirmed(
    image: UInt8[np.ndarray, 'H W 3'], regions: list[geometry.Region], detector: Network
) -> list[tuple[geometry.Region, float]]:
    """The regions as the detector sees them again in crops around them, and how well it does.

    Others that it sees there are tried likewise.
    """
    tried, regions = [], list(regions)
    for where in regions:  # grows meanwhile
        best, evidence, others = where, 0.0, []
        for share in _CONTEXTS:
            found = _detect(image, _context(where, share, *image.shape[:2]), detector)
            others += [region for region, score in found if score >= _LEAST_OF_OTHERS]
            for region, score in found:
                agreement = score * geometry.region_overlap(where, region)
                if agreement > evidence:
                    best, evidence = region, agreement
        tried.append((best if evidence >= _LEAST_EVIDENCE else where, evidence))
        if len(regions) < _MOST_CANDIDATES:
            regions[:] = _added(regions, others)
    return tried


def _context(
    where: geometry.Region, share: float, height: int, width: int
) -> tuple[float, float, float]:
    """Left, top and side of a square around a region, or of the picture's if that is smaller."""
    side = share * where.side
    if side > max(height, width):
        return _around(height, width)
    return (*(where.centre - side / 2).tolist(), side)


def _added(regions: list[geometry.Region], others: list[geometry.Region]) -> list[geometry.Region]:
    """The regions, and those of the others that are not among them."""
    regions = list(regions)
    for where in others:
        if all(geometry.region_overlap(where, known) <= _SAME_REGION for known in regions):
            regions.append(where)
    return regions


def tiles(height: int, width: int) -> list[tuple[float, float, float]]:
    """Left, top and side of squares: one around the image, then smaller ones inside it."""
    squares = [_around(height, width)]
    for share in _TILES:
        side = share * min(height, width)
        if side < _LEAST_TILE:
            continue
        columns, rows = (int(np.ceil(2 * (n - side) / side)) + 1 for n in (width, height))
        for top in np.linspace(0, height - side, rows):
            squares += [(left, top, side) for left in np.linspace(0, width - side, columns)]
    return squares


def _around(height: int, width: int) -> tuple[float, float, float]:
    side = max(height, width)
    return (width - side) / 2, (height - side) / 2, float(side)


def _detect(
    image: np.ndarray, tile: tuple[float, float, float], detector: Network
) -> list[tuple[geometry.Region, float]]:
    """Regions in one tile, pixels of the image, and their scores."""
    left, top, side = tile
    scale = side / geometry.DETECTOR_SIDE
    to_image = np.array([[scale, 0, left], [0, scale, top]])
    raw, logits = detector(_crop(image, to_image, geometry.DETECTOR_SIDE) / 127.5 - 1)
    found = geometry.decode(raw, logits[:, 0], _LEAST_DETECTION)
    found, origin = geometry.merge_overlapping(found), np.array([left, top])
    regions = [
        geometry.region(centre * side + origin, on_circle * side + origin)
        for centre, on_circle in zip(found.centre, found.on_circle, strict=True)
    ]
    pairs = zip(regions, found.scores.tolist(), strict=True)
    return [(where, score) for where, score in pairs if where.side >= _LEAST_REGION]


def steady_look(
    image: UInt8[np.ndarray, 'H W 3'], where: geometry.Region, landmarks: Network
) -> Body | None:
    """The person in a region: the median of several looks, from closer and farther away.

    The quality falls with their disagreement.
    """
    first = look(image, where, landmarks)
    again = first and [look(image, first.region.grown(share), landmarks) for share in _LOOKS]
    again = [body for body in again or () if body is not None]
    if not again:
        return None
    points = np.stack([body.points for body in (first, *again)])
    median = np.median(points, axis=0)
    agreement = geometry.similarity(median[:, :2], points[..., :2], first.region.side)
    quality = np.array([body.quality for body in (first, *again)])
    return first._replace(points=median, quality=float((agreement * quality).mean()))


def look(
    image: UInt8[np.ndarray, 'H W 3'], where: geometry.Region, landmarks: Network
) -> Body | None:
    """The person in a region; None if there is none."""
    to_image = geometry.crop_to_image(where)
    picture = _crop(image, to_image, geometry.LANDMARK_SIDE)
    values, presence, _, heatmaps, _ = landmarks(picture / 255)
    if presence[0] < _LEAST_PRESENCE:
        return None
    values = values.reshape(-1, 5)
    values[:, :2] = geometry.refined(values[:, :2], heatmaps)
    body = body_of_output(values, float(presence[0]), to_image, *image.shape[:2])
    known = (body.points[:, 2] >= LEAST_CONFIDENCE).sum()
    return body if known >= _LEAST_POINTS and body.region.side >= _LEAST_REGION else None


def body_of_output(
    values: Float[np.ndarray, '39 5'],
    presence: float,
    to_image: Float[np.ndarray, '2 3'],
    height: int,
    width: int,
) -> Body:
    """The landmark network's output in the image: x, y, z, logits of visibility and presence."""
    xy = crops.transform(to_image, values[:, :2])
    body = slice(0, geometry.NUM_LANDMARKS)
    visible = 1 / (1 + np.exp(-np.clip(values[body, 3], -50, 50)))
    confidence = visible * geometry.inside(xy[body], width, height)
    points = np.concatenate([xy[body], confidence[:, None]], axis=1)
    quality = presence * float(np.sort(confidence)[-_POINTS_OF_QUALITY:].mean())
    return Body(points, geometry.region_of_landmarks(xy), quality)


def distinct(bodies: list[Body]) -> list[Body]:
    """The bodies, the surest first, one for each person: of several findings the surest.

    An unsure body must lie beside the others.
    """
    groups: list[list[Body]] = []
    for body in sorted(bodies, key=lambda body: -body.score):
        for group in groups:
            if _same_person(body, group[0]):
                group.append(body)
                break
        else:
            sure = body.score > _LEAST_EVIDENCE
            if sure or all(_share_inside(body, group[0]) < _MOST_INSIDE for group in groups):
                groups.append([body])
    return [group[0] for group in groups]


def _same_person(body: Body, other: Body) -> bool:
    size = min(body.region.side, other.region.side)
    same = geometry.similarity(other.points[:, :2], body.points[None, :, :2], size)
    return bool(same[0] > _SAME_PERSON)


def _share_inside(body: Body, other: Body) -> float:
    """The share of a body's known points that lie in another one's box."""
    known = body.points[body.points[:, 2] >= LEAST_CONFIDENCE, :2]
    left, top, right, bottom = box_of_points(other.points)
    return float(((known > [left, top]) & (known < [right, bottom])).all(axis=1).mean())


def persons_of_bodies(bodies: list[Body]) -> Persons:
    """Bodies as persons, whose boxes lie around the known points."""
    points = np.reshape([body.points for body in bodies], (-1, geometry.NUM_LANDMARKS, 3))
    points = keypoint_conventions.to_44(points.astype(np.float32), _CONVENTION)
    return make_persons(None, [body.score for body in bodies], None, points)


def _crop(image: np.ndarray, to_image: np.ndarray, side: int) -> np.ndarray:
    """A square of the image of so many pixels; the image's edges repeat beside it."""
    centres = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(centres) @ np.concatenate([to_image, [[0, 0, 1]]]) @ centres
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        image, matrix[:2], (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
