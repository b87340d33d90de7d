"""What a training step asks of each chip, before anything is paid for.

    python -m tokenhmr_jax.plan --config=configs/regressor.py --topology=v5e-32

compiles the real step for a slice of TPUs, which need not be there: the package `libtpu` (in the
extra `[tpu]`) holds the compiler. Topologies: v4-N, v5p-N (N cores, two a chip, as Google names
slices), v5e-N, v6e-N (N chips), gpu:N, of those of this machine, and cpu:N. Ends with exit code 1
if the step does not fit a TPU, whose compiler says so; of others, compare with their memory.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jax.experimental import topologies

from tokenhmr_jax import cli
from tokenhmr_jax.studies import collectives, flops
from tokenhmr_jax.tasks import Task, make_task
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import abstract_state, make_step
from tokenhmr_jax.types import TrainState


class Chip(NamedTuple):
    """A kind of TPU: bytes of memory, most bfloat16 operations per second, cores in a slice's name.

    From Google's documentation of each, https://cloud.google.com/tpu/docs/system-architecture-tpu-vm.
    """

    memory: float
    peak: float
    cores: int
    shapes: dict[int, str]


_FLAT = {1: '1x1', 4: '2x2', 8: '2x4', 16: '4x4', 32: '4x8', 64: '8x8', 128: '8x16', 256: '16x16'}
_SOLID = {4: '2x2x1', 8: '2x2x2', 16: '2x2x4', 32: '2x4x4', 64: '4x4x4', 128: '4x4x8'}
_SOLID |= {256: '4x8x8', 512: '8x8x8'}
CHIPS = {
    'v4': Chip(32 * 2**30, 275e12, 2, _SOLID),
    'v5e': Chip(16 * 2**30, 197e12, 1, _FLAT),
    'v5p': Chip(95 * 2**30, 459e12, 2, _SOLID),
    'v6e': Chip(32 * 2**30, 918e12, 1, _FLAT),
}


class Plan(NamedTuple):
    """What one step asks of each device; sizes in bytes.

    batch: examples, of all devices.
    parameters, optimizer: their shares that lie on the device.
    inputs: all else that goes in: body model, frozen weights, the batch's share.
    activations: what the gradient keeps of the examples, of one part of the batch.
    temporaries: all that the compiled step needs beside its inputs, activations included; None if
      it does not fit.
    problem: what the compiler says if it does not fit, else None.
    operations: of matrix products and convolutions.
    sent: by kind of collective, how many, and the bytes of their results.
    """

    batch: int
    parameters: int
    optimizer: int
    inputs: int
    activations: int
    temporaries: int | None
    problem: str | None
    operations: float
    sent: dict[str, tuple[int, int]]


def find_devices(topology: str) -> tuple[list[jax.Device], Chip | None]:
    """The devices of a topology, and the kind of TPU that they are.

    Raises:
      ValueError: if there is no such topology, or no such devices here.
    """
    kind, _, number = topology.replace(':', '-').partition('-')
    if not number.isdecimal() or kind not in (*CHIPS, 'gpu', 'cpu'):
        raise ValueError(f'topology {topology!r}: expected {", ".join(CHIPS)}-N, gpu:N or cpu:N')
    if kind not in CHIPS:
        if kind == 'cpu':
            jax.config.update('jax_num_cpu_devices', int(number))
        found = _local_devices(kind)
        if len(found) < int(number):
            raise ValueError(f'topology {topology!r}: this machine has {len(found)} {kind} devices')
        return found[: int(number)], None
    chip = CHIPS[kind]
    names = {chips * chip.cores: shape for chips, shape in chip.shapes.items()}
    if int(number) not in names:
        raise ValueError(f'topology {topology!r}: expected {kind}-N with N one of {list(names)}')
    # Compile only: whatever this machine has is left alone.
    jax.config.update('jax_platforms', 'cpu')
    alone = {'TPU_SKIP_MDS_QUERY': '1', 'TPU_ACCELERATOR_TYPE': topology}
    os.environ |= alone | {'TPU_WORKER_HOSTNAMES': 'localhost', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    shape = names[int(number)]
    # Slices of up to a host's chips lie on one host, whose chips have the slice's shape.
    bounds = [int(n) for n in shape.split('x')] + [1] * (3 - len(shape.split('x')))
    hosts = {} if np.prod(bounds) >= 4 else {'chips_per_host_bounds': bounds}
    found = topologies.get_topology_desc(f'{kind}:{shape}', 'tpu', **hosts)
    return list(found.devices), chip


def _local_devices(kind: str) -> list[jax.Device]:
    try:
        return jax.devices(kind)
    except RuntimeError:  # no such platform here
        return []


def make_plan(config: ml_collections.ConfigDict, devices: Sequence[jax.Device]) -> Plan:
    """Compile the training step of a config for devices, and see what it asks of each.

    The body is the mannequin, whose arrays have the sizes of SMPL's: no file is needed.
    """
    config = ml_collections.ConfigDict(config.to_dict())
    config.update({name: '' for name in ('body_male', 'body_female') if name in config})
    config.body = 'mannequin'
    mesh, parts = sharding.make_mesh(devices, config.mesh.fsdp), config.accumulation_steps
    sharding.check_batch_size(config.batch_size, mesh, 'batch_size', parts)
    task = make_task(config)
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    state = abstract_state(task, tx, mesh)
    frozen = _shapes(task.frozen(), sharding.replicated(mesh))
    batch = _shapes(task.batch_shapes(), sharding.batch_sharding(mesh))
    step = make_step(task, tx, mesh, parts)
    problem, compiled = None, None
    try:
        compiled = step.lower(state, frozen, batch, config.seed).compile()
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        problem = next(line for line in str(error).splitlines() if 'RESOURCE_EXHAUSTED' in line)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, frozen, batch))
    return Plan(
        batch=config.batch_size,
        parameters=_share(state.params),
        optimizer=_share(state.opt_state),
        inputs=_share((state.state, frozen, batch)),
        activations=_activations(task, *one) // (len(devices) * parts),
        temporaries=compiled and compiled.memory_analysis().temp_size_in_bytes,
        problem=problem,
        operations=flops.count_flops(step, *one, config.seed) / len(devices),
        sent=collectives.totals(collectives.find_collectives(compiled.as_text()))
        if compiled
        else {},
    )


def largest(config: ml_collections.ConfigDict, devices: Sequence[jax.Device], known: Plan) -> int:
    """The largest batch that fits, among those that double the examples on each device.

    `known` is the plan of the config's own batch; 0 if not even one example a device fits.
    """
    config = ml_collections.ConfigDict(config.to_dict())
    unit = len(devices) * config.accumulation_steps
    each, fits = known.batch // unit, known.problem is None
    while fits or each > 1:
        following = each * 2 if fits else each // 2
        config.batch_size = following * unit
        if (make_plan(config, devices).problem is None) != fits:
            return (each if fits else following) * unit
        each = following
    return 0


def _shapes(tree: Any, place: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def _share(tree: Any) -> int:
    """Bytes of a tree of placed shapes on one device."""
    return sum(
        int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize
        for x in jax.tree.leaves(tree)
    )


def _activations(task: Task, state: TrainState, frozen: Any, batch: Any) -> int:
    """Bytes that the gradient keeps for each batch: what a second batch would add."""

    def kept(times: int) -> int:
        def residuals(params, beside, frozen, batch):
            rng = jax.random.key(0)
            loss = lambda params: task.loss(params, beside, frozen, batch, rng, 0)  # noqa: E731
            return jax.vjp(loss, params, has_aux=True)[1]

        many = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((times * x.shape[0], *x.shape[1:]), x.dtype), batch
        )
        shapes = jax.eval_shape(residuals, state.params, state.state, frozen, many)
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))

    return kept(2) - kept(1)


def plan_report(plan: Plan, chip: Chip | None) -> str:
    """A plan as text."""
    gib = lambda size: f'{size / 2**30:8.2f} GiB'  # noqa: E731
    lines = [
        f'parameters   {gib(plan.parameters)}',
        f'optimizer    {gib(plan.optimizer)}',
        f'other inputs {gib(plan.inputs)}',
    ]
    held = plan.parameters + plan.optimizer + plan.inputs
    of = f' of {chip.memory / 2**30:.0f}' if chip else ''
    if plan.problem:
        lines += [f'activations  {gib(plan.activations)}', f'does not fit{of}: {plan.problem}']
    else:
        rest = max(0, plan.temporaries - plan.activations)
        lines += [
            f'activations  {gib(plan.activations)}',
            f'temporaries  {gib(rest)}',
            f'together     {gib(held + plan.temporaries)}{of}',
        ]
    lines.append(f'operations   {plan.operations / 1e12:8.2f} TFLOP a step')
    if chip:
        seconds = plan.operations / chip.peak
        lines[-1] += f': {1000 * seconds:.1f} ms or more, {plan.batch / seconds:.0f} examples/s'
    for kind, (number, size) in plan.sent.items():
        lines.append(f'{kind:18} {number:5}  {size / 2**20:10.1f} MiB')
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    config = flags.config()
    topology = flags.string(
        'topology', None, "Such as 'v5e-32', 'gpu:8' or 'cpu:8'.", required=True
    )
    search = flags.boolean('search', True, 'Whether to look for the largest batch that fits.')

    def command():
        devices, chip = find_devices(topology.value)
        found = make_plan(config.value, devices)
        print(
            f'{topology.value}: {len(devices)} x {devices[0].device_kind}, '
            f'batch {found.batch} in {config.value.accumulation_steps}, '
            f'fsdp {config.value.mesh.fsdp}; on each device:'
        )
        print(plan_report(found, chip), flush=True)
        if search.value and chip:
            print(f'largest batch that fits: {largest(config.value, devices, found)}')
        if found.problem:
            sys.exit(1)

    cli.run(flags, command)


if __name__ == '__main__':
    main()
