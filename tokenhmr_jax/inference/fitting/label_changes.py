"""Report on refitted labels: how far they moved, and how far from the truth they are."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Bool, Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import keypoint_body, rotations, skeleton, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.types import Array, SmplParams

_BATCH = 256
_LABELS = ('key', 'global_orient', 'body_pose', 'betas', 'transl', 'has_pose')
_EDGES = (0.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, np.inf)  # metres from the camera
_MEASURED = ('mpjpe_mm', 'pa_mpjpe_mm', 'orient_deg', 'pose_deg')
# Values per person, by name; of joints (N, 24).
Values = dict[str, np.ndarray]


@jax.jit
def changes(
    reduced: keypoint_body.KeypointBody, ours: Mapping[str, Array], theirs: Mapping[str, Array]
) -> dict[str, Float[Array, 'B ...']]:
    """Differences between two sets of labels of the same persons, fields of a record.

    'joint_mm', 'joint_deg' (B, 24): of SMPL's joints, seen from the pelvis, and of rotations;
    'orient_deg', 'pose_deg' (B,): of the root's rotation, and the mean of all others;
    'mpjpe_mm', 'pa_mpjpe_mm' (B,): of the 14 joints of LSP, as they are reported.
    """
    (joints, points, turns), (joints_gt, points_gt, turns_gt) = (
        _body(reduced, labels) for labels in (ours, theirs)
    )
    angle = jnp.rad2deg(rotations.geodesic_angle(turns, turns_gt))
    return {
        'joint_mm': 1000 * metrics.distances(joints, joints_gt),
        'joint_deg': angle,
        'orient_deg': angle[:, 0],
        'pose_deg': jnp.mean(angle[:, 1:], axis=1),
        'mpjpe_mm': metrics.mean_distance_mm(points, points_gt),
        'pa_mpjpe_mm': metrics.mean_distance_mm(metrics.procrustes(points, points_gt), points_gt),
    }


def _body(reduced, labels):
    """Joints and LSP's points of labels, both centred, and rotations."""
    turns = rotations.axis_angle_to_matrix(
        jnp.concatenate([labels['global_orient'][:, None], labels['body_pose']], axis=1)
    )
    params = SmplParams(turns[:, 0], turns[:, 1:], labels['betas'])
    joints = smpl.forward(reduced.body, params).joints
    points = keypoint_body.keypoints(reduced, params)
    lsp = points[:, metrics.LSP14] - points[:, skeleton.PELVIS, None]
    return joints - joints[:, :1], lsp, turns


def report(
    reduced: keypoint_body.KeypointBody,
    old: pipeline.Records,
    new: pipeline.Records,
    truth: pipeline.Records | None,
    folder: epath.Path,
) -> None:
    """Prints tables and writes them to `refit.md` and `refit.json` in a folder.

    `truth` holds true labels of some of the persons, under the same keys.
    """
    moved, against = measure(reduced, old, new, truth)
    kept, trusted = len(moved['trusted']) / len(old), moved['trusted'].sum() / len(old)
    text = f'{new.name}: of {len(old)} persons of {old.name} {kept:.1%} are kept, {trusted:.1%} '
    text += 'with trusted labels.\n\nMoved by, at metres from the camera:\n\n'
    text += f'{_by_distance(moved)}\n\nMoved by, joint by joint:\n\n{_by_joint(moved)}\n'
    if against:
        text += f'\nErrors against {truth.name}, at metres from the camera:\n\n'
        text += f'{_by_distance(against)}\n'
    print(text, end='')
    means = {'kept': kept, 'trusted': trusted, 'moved': _means(moved), 'errors': _means(against)}
    for name, content in (('refit.md', text), ('refit.json', json.dumps(means, indent=1) + '\n')):
        with cli.whole_file(folder / name) as file:
            file.write_text(content)


def measure(
    reduced: keypoint_body.KeypointBody,
    old: pipeline.Records,
    new: pipeline.Records,
    truth: pipeline.Records | None,
) -> tuple[Values, Values]:
    """Changes of all persons of `new`; errors of those of `truth`, after and '... before'."""
    true = {} if truth is None else {r['key']: r for r in _labels(truth)}
    moved, against, before = [], [], _labels(old)
    with cli.Progress('comparing', 'person', len(new)) as bar:
        for after in _batches(_labels(new)):
            # The new records are some of the old ones, in their order.
            pairs = [next(r for r in before if r['key'] == record['key']) for record in after]
            trusted = np.array([record['has_pose'] > 0 for record in after])
            moved.append(_compare(reduced, after, pairs, after) | {'trusted': trusted})
            known = [i for i, record in enumerate(after) if record['key'] in true]
            if known:
                truths = [true[after[i]['key']] for i in known]
                errors, errors_before = (
                    _compare(reduced, [records[i] for i in known], truths, truths)
                    for records in (after, pairs)
                )
                errors |= {f'{name} before': errors_before[name] for name in _MEASURED}
                against.append(errors)
            bar.update(len(after))
    return _joined(moved), _joined(against)


def _labels(split: pipeline.Records) -> Iterator[dict]:
    """The labels of each record, without its picture."""
    for start in range(0, len(split), _BATCH):
        for record in split.read(range(start, min(start + _BATCH, len(split)))):
            yield {name: record[name] for name in _LABELS}


def _batches(labels: Iterator[dict]) -> Iterator[list[dict]]:
    while batch := list(itertools.islice(labels, _BATCH)):
        yield batch


def _compare(
    reduced: keypoint_body.KeypointBody,
    ours: Sequence[dict],
    theirs: Sequence[dict],
    placed: Sequence[dict],
) -> Values:
    """Changes between labels, and the distances of `placed`, metres. All batches have one shape."""
    rows = np.minimum(np.arange(_BATCH), len(ours) - 1)
    both = (
        {name: np.stack([records[i][name] for i in rows]) for name in _LABELS[1:]}
        for records in (ours, theirs)
    )
    found = {name: np.asarray(v)[: len(ours)] for name, v in changes(reduced, *both).items()}
    return found | {'distance': np.array([record['transl'][2] for record in placed])}


def _joined(batches: Sequence[Values]) -> Values:
    names = batches[0] if batches else ()
    return {name: np.concatenate([each[name] for each in batches]) for name in names}


def _means(values: Values) -> dict:
    return {name: np.mean(value, axis=0).tolist() for name, value in values.items()}


def _by_distance(values: Values) -> str:
    """Means of the values within ranges of distance, and of all, in Markdown."""
    columns = [n for name in _MEASURED for n in (f'{name} before', name) if n in values]
    lines = [
        [title, str(inside.sum()), *(format_number(values[n][inside].mean()) for n in columns)]
        for title, inside in by_distance(values['distance'])
    ]
    return markdown_table(['metres', 'persons', *columns], lines)


def by_distance(
    distance: Float[np.ndarray, ' N'],
) -> list[tuple[str, Bool[np.ndarray, ' N']]]:
    """Ranges of distance, metres, that hold someone, and who is in them; the last one is of all."""
    ranges = [(f'{low:g} to {high:g}', low, high) for low, high in itertools.pairwise(_EDGES)]
    inside = [(title, (low <= distance) & (distance < high)) for title, low, high in ranges]
    return [(t, each) for t, each in inside if each.any()] + [('all', np.isfinite(distance))]


def _by_joint(values: Values) -> str:
    columns = [values[name].mean(axis=0) for name in ('joint_mm', 'joint_deg')]
    lines = [
        [joint, format_number(mm), format_number(degrees)]
        for joint, mm, degrees in zip(skeleton.JOINTS, *columns, strict=True)
    ]
    return markdown_table(['joint', 'mm', 'degrees'], lines)
