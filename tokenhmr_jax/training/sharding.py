"""The mesh of devices, and the places of arrays on it.

Batches are split over both axes, `data` and `fsdp`. The devices along `fsdp` share one copy of the
parameters and of the optimizer's state, and gather each layer's when they need it (Zhao et al.,
"PyTorch FSDP", VLDB 2023). With fsdp=1, the default, every device holds all parameters.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# The axis that `fsdp` splits, by the first pattern that an array's path contains; the optimizer's
# moments have the paths of their parameters. All other arrays lie whole on every device, as do
# those whose axis the devices do not divide.
RULES = (
    (r'/state/', None),  # codebook, frozen tokenizer
    # A twelfth of the backbone's size: the compiler would rather send the images' features around.
    (r'/head/', None),
    (r'/backbone/.*/kernel$', -1),
    (r'/(encoder|decoder)/.*/kernel$', -1),
)
_BATCH = PartitionSpec(('data', 'fsdp'))


def make_mesh(devices: Sequence[jax.Device] | None = None, fsdp: int = 1) -> Mesh:
    """A mesh (`data`, `fsdp`) of devices, by default of all devices of all hosts.

    Each host's devices stand together, and so does its share of a batch.
    Raises ValueError if the devices do not divide into groups of `fsdp`.
    """
    devices = devices or jax.devices()
    count = len(devices)
    if fsdp < 1 or count % fsdp:
        raise ValueError(f'mesh.fsdp={fsdp} does not divide {count} devices: expected a divisor')
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(ordered).reshape(-1, fsdp), ('data', 'fsdp'))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds whole, such as the body model."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that are split over all devices along their first axis."""
    return NamedSharding(mesh, _BATCH)


def by_rules(shapes: Any, mesh: Mesh) -> Any:
    """Shardings of the arrays of a training state, by `RULES`: a tree like `shapes`."""

    def place(path, array):
        name = '/' + jax.tree_util.keystr(path, simple=True, separator='/')
        spec = [None] * array.ndim
        axis = next((axis for pattern, axis in RULES if re.search(pattern, name)), None)
        size = mesh.shape['fsdp']
        if axis is not None and size > 1 and array.shape[axis] % size == 0:
            spec[axis] = 'fsdp'
        return NamedSharding(mesh, PartitionSpec(*spec) if any(spec) else PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, shapes)


def place_by_rules(shapes: Any, mesh: Mesh) -> Any:
    """The shapes of a training state, each with its sharding by `RULES`."""
    place = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)  # noqa: E731
    return jax.tree.map(place, shapes, by_rules(shapes, mesh))


def check_batch_size(batch_size: int, mesh: Mesh, name: str, parts: int = 1) -> None:
    """Raises ValueError for a global batch that does not divide over the devices, in its parts."""
    if batch_size % (mesh.devices.size * parts):
        each = f' in {parts} parts (accumulation_steps)' if parts > 1 else ''
        raise ValueError(
            f'{name}={batch_size}{each} does not divide over {mesh.devices.size} devices: '
            'expected a multiple'
        )


def put_batch(tree: Any, mesh: Mesh) -> Any:
    """Puts this host's share of a batch on its devices, as part of global arrays."""
    place = lambda x: jax.make_array_from_process_local_data(batch_sharding(mesh), x)  # noqa: E731
    return jax.tree.map(place, tree)


def split_batch(tree: Any, mesh: Mesh, parts: int) -> Any:
    """Reshapes arrays (B, ...) to (parts, B / parts, ...); rows stay on their devices."""
    place = NamedSharding(mesh, PartitionSpec(None, *_BATCH))

    def split(x):
        x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(x, place)

    return jax.tree.map(split, tree)
