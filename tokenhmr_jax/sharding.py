"""The mesh of devices, and how arrays lie on it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices, all of all hosts if not given, on one axis, `data`, that batches are split over."""
    return Mesh(np.asarray(devices or jax.devices()), ('data',))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: parameters, optimizer state, body model."""
    return NamedSharding(mesh, PartitionSpec())


def batch(mesh: Mesh) -> NamedSharding:
    """Arrays split over devices along their first axis."""
    return NamedSharding(mesh, PartitionSpec('data'))


def check_batch_size(batch_size: int, mesh: Mesh, name: str) -> None:
    """Raise ValueError if a global batch does not divide over the mesh's devices."""
    if batch_size % mesh.devices.size:
        raise ValueError(
            f'{name}={batch_size} does not divide over {mesh.devices.size} devices: '
            'expected a multiple'
        )


def put_batch(tree: Any, mesh: Mesh) -> Any:
    """This host's share of a batch, NumPy arrays, as global arrays split along the first axis."""
    place = lambda x: jax.make_array_from_process_local_data(batch(mesh), x)  # noqa: E731
    return jax.tree.map(place, tree)
