"""Memory, operations and traffic of a training step, from its compiled program."""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
from jax.experimental import topologies

from tokenhmr_jax.drawing.markdown import markdown_table
from tokenhmr_jax.studies import collectives, flops
from tokenhmr_jax.studies.instruction_costs import Cost, find_costs
from tokenhmr_jax.tasks import Task, make_task
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import abstract_state, make_step
from tokenhmr_jax.types import TrainState


class Chip(NamedTuple):
    """A kind of TPU (https://cloud.google.com/tpu/docs/system-architecture-tpu-vm)."""

    memory: float  # bytes
    peak: float  # bfloat16 operations per second
    bandwidth: float  # of its memory, bytes per second
    cores: int  # per chip, as slices are named
    shapes: dict[int, str]  # of a slice, by its number of chips


_FLAT = {1: '1x1', 4: '2x2', 8: '2x4', 16: '4x4', 32: '4x8', 64: '8x8', 128: '8x16', 256: '16x16'}
_SOLID = {4: '2x2x1', 8: '2x2x2', 16: '2x2x4', 32: '2x4x4', 64: '4x4x4', 128: '4x4x8'}
_SOLID |= {256: '4x8x8', 512: '8x8x8'}
CHIPS = {
    'v4': Chip(32 * 2**30, 275e12, 1228e9, 2, _SOLID),
    'v5e': Chip(16 * 2**30, 197e12, 819e9, 1, _FLAT),
    'v5p': Chip(95 * 2**30, 459e12, 2765e9, 2, _SOLID),
    'v6e': Chip(32 * 2**30, 918e12, 1640e9, 1, _FLAT),
}


class Plan(NamedTuple):
    """Cost of one step on each device; sizes in bytes."""

    batch: int  # examples on all devices together
    parameters: int  # share of the device
    optimizer: int  # share of the device
    inputs: int  # body model, frozen weights, share of the batch
    activations: int  # arrays that the gradient keeps, for one part of the batch
    temporaries: (
        int | None
    )  # beside the inputs, activations included; None if the step does not fit
    problem: str | None  # the compiler's message if the step does not fit
    operations: float  # floating-point operations of matrix products and convolutions
    sent: dict[str, tuple[int, int]]  # number of collectives and bytes of their results, by kind
    costs: list[Cost]  # of the compiled program's instructions


def find_devices(topology: str) -> tuple[list[jax.Device], Chip | None]:
    """Devices of a topology and their kind of TPU; None for GPUs and CPUs.

    Raises ValueError for an unknown topology, or devices that this machine lacks.
    """
    kind, _, number = topology.replace(':', '-').partition('-')
    if not number.isdecimal() or kind not in (*CHIPS, 'gpu', 'cpu'):
        raise ValueError(f'topology {topology!r}: expected {", ".join(CHIPS)}-N, gpu:N or cpu:N')
    if kind not in CHIPS:
        if kind == 'cpu':
            jax.config.update('jax_num_cpu_devices', int(number))
        try:
            found = jax.devices(kind)
        except RuntimeError:  # no such platform here
            found = []
        if len(found) < int(number):
            raise ValueError(f'topology {topology!r}: this machine has {len(found)} {kind} devices')
        return found[: int(number)], None
    chip = CHIPS[kind]
    names = {chips * chip.cores: shape for chips, shape in chip.shapes.items()}
    if int(number) not in names:
        raise ValueError(f'topology {topology!r}: expected {kind}-N with N one of {list(names)}')
    # Only compiles: the accelerators of this machine stay free.
    jax.config.update('jax_platforms', 'cpu')
    alone = {'TPU_SKIP_MDS_QUERY': '1', 'TPU_ACCELERATOR_TYPE': topology}
    os.environ |= alone | {'TPU_WORKER_HOSTNAMES': 'localhost', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    shape = names[int(number)]
    # A slice smaller than a host has its own shape as the bounds of the host.
    bounds = [*map(int, shape.split('x')), 1][:3]
    hosts = {} if math.prod(bounds) >= 4 else {'chips_per_host_bounds': bounds}
    found = topologies.get_topology_desc(f'{kind}:{shape}', 'tpu', **hosts)
    return list(found.devices), chip


def make_plan(config: ml_collections.ConfigDict, devices: Sequence[jax.Device]) -> Plan:
    """Compiles the training step of a config for devices, and measures its cost.

    Uses the mannequin, whose arrays have the sizes of SMPL's, so no body file is needed.
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
    compiled, problem = _compile(step, state, frozen, batch, config.seed)
    text = compiled.as_text() if compiled else ''
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
        sent=collectives.totals(collectives.find_collectives(text)),
        costs=find_costs(text),
    )


def _compile(step: Any, *arguments: Any) -> tuple[Any, str | None]:
    """The compiled step, or None and the compiler's message if the step does not fit."""
    try:
        return step.lower(*arguments).compile(), None
    except jax.errors.JaxRuntimeError as error:
        lines = [line for line in str(error).splitlines() if 'RESOURCE_EXHAUSTED' in line]
        if not lines:
            raise
        return None, lines[0]


def find_largest_batch(
    config: ml_collections.ConfigDict, devices: Sequence[jax.Device], first: Plan
) -> int:
    """The largest batch that fits, by doubling or halving that of `first`, the config's own plan.

    0 if none fits.
    """
    config = ml_collections.ConfigDict(config.to_dict())
    unit = len(devices) * config.accumulation_steps
    each, fits = first.batch // unit, first.problem is None
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
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def _activations(task: Task, state: TrainState, frozen: Any, batch: Any) -> int:
    """Bytes that the gradient keeps of a batch: those that a second batch would add."""

    def residuals(params, beside, frozen, batch):
        rng = jax.random.key(0)
        loss = lambda params: task.loss(params, beside, frozen, batch, rng, 0)  # noqa: E731
        return jax.vjp(loss, params, has_aux=True)[1]

    def kept(times: int) -> int:
        many = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((times * x.shape[0], *x.shape[1:]), x.dtype), batch
        )
        shapes = jax.eval_shape(residuals, state.params, state.state, frozen, many)
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))

    return kept(2) - kept(1)


def plan_report(plan: Plan, chip: Chip | None) -> str:
    """The plan as text."""
    gib = lambda size: f'{size / 2**30:8.2f} GiB'  # noqa: E731
    of = f' of {chip.memory / 2**30:.0f}' if chip else ''
    lines = [
        f'parameters   {gib(plan.parameters)}',
        f'optimizer    {gib(plan.optimizer)}',
        f'other inputs {gib(plan.inputs)}',
        f'activations  {gib(plan.activations)}',
    ]
    if plan.problem:
        lines.append(f'does not fit{of}: {plan.problem}')
    else:
        held = plan.parameters + plan.optimizer + plan.inputs
        lines.append(f'temporaries  {gib(max(0, plan.temporaries - plan.activations))}')
        lines.append(f'together     {gib(held + plan.temporaries)}{of}')
    lines.append(f'operations   {plan.operations / 1e12:8.2f} TFLOP a step')
    if chip:
        seconds = plan.operations / chip.peak
        lines[-1] += f': {1000 * seconds:.1f} ms or more, {plan.batch / seconds:.0f} examples/s'
    for kind, (number, size) in plan.sent.items():
        lines.append(f'{kind:18} {number:5}  {size / 2**20:10.1f} MiB')
    return '\n'.join(lines)


def costliest(costs: Sequence[Cost], chip: Chip, number: int) -> str:
    """A table of the instructions that take a kind of TPU longest, at least; 'all' is their sum."""
    least = lambda cost: cost.seconds(chip.peak, chip.bandwidth)  # noqa: E731

    def line(source: str, times: str, by: str, *sums: float) -> list[str]:
        seconds, operations, moved = sums
        sizes = f'{operations / 1e9:.0f}', f'{moved / 2**20:.0f}'
        return [source, times, f'{1e3 * seconds:.1f}', by, *sizes]

    sums = [(least(cost), cost.operations, cost.moved) for cost in costs]
    lines = [line('all', '', '', *map(sum, zip(*sums, strict=True)))]
    for cost in sorted(costs, key=least, reverse=True)[:number]:
        by = 'operations' if cost.operations / chip.peak >= least(cost) else 'memory'
        sums = least(cost), cost.operations, cost.moved
        lines.append(line(cost.source, str(cost.times), by, *sums))
    header = ['instruction', 'times', 'ms or more', 'bound by', 'GFLOP', 'MiB']
    return markdown_table(header, lines)


def report_step(
    config: ml_collections.ConfigDict, topology: str, search: bool, number: int = 0
) -> bool:
    """Prints the plan of a step; returns whether the step fits.

    search: also print the largest batch that fits.
    number: of the costliest instructions to list.
    Raises ValueError for instructions of devices that are no TPUs.
    """
    devices, chip = find_devices(topology)
    if number and not chip:
        raise ValueError(f'--costliest={number}: expected a slice of TPUs, got {topology!r}')
    found = make_plan(config, devices)
    print(
        f'{topology}: {len(devices)} x {devices[0].device_kind}, batch {found.batch} in '
        f'{config.accumulation_steps}, fsdp {config.mesh.fsdp}; on each device:'
    )
    print(plan_report(found, chip), flush=True)
    if number and found.costs:
        print(f'\n{costliest(found.costs, chip, number)}\n', flush=True)
    if search and chip:
        print(f'largest batch that fits: {find_largest_batch(config, devices, found)}')
    return found.problem is None
