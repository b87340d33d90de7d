"""Tracks of persons through a video."""

import numpy as np

from tokenhmr_jax.inference.people import tracks


def test_tracks_keep_their_identity_through_a_crossing():
    """Two walk towards each other and on; while they cover each other, only one is found."""
    tracker, found = tracks.Tracker(), []
    for t in range(60):
        left, right = 100 + 6 * t, 460 - 6 * t
        people = np.array([[left, 50, left + 60, 200], [right, 52, right + 60, 206]], float)
        order = [1, 0] if t % 2 else [0, 1]  # a detector has no order of its own
        kept = order if abs(left - right) > 18 else [1]
        ids = tracker.update(people[kept])
        found.append(dict(zip(kept, ids.tolist(), strict=True)))
    assert any(len(ids) == 1 for ids in found)
    assert {ids[0] for ids in found if 0 in ids} == {0}
    assert {ids[1] for ids in found} == {1}
    # Who comes into an empty place later is someone else.
    assert tracker.update(np.array([[900.0, 50, 960, 200]])).tolist() == [2]
