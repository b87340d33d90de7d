"""Traffic between devices at a fixed batch per device, from the compiled training step.

    python benchmarks/weak_scaling.py --config=configs/regressor.py:variant=quickstart

Compiles the step for 1, 2, 4 and 8 devices of the CPU, and runs nothing. The config's batch is that
of one device. `sent`: by each device, where n of them form a ring: of a sum 2 (n - 1) / n of the
array, of a gathered array (n - 1) / n.
"""

import jax
import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from tokenhmr_jax.drawing.markdown import markdown_table
from tokenhmr_jax.studies import step_plan

_CONFIG = config_flags.DEFINE_config_file('config', None, "A stage's.", lock_config=True)
_DEVICES = flags.DEFINE_list('devices', ['1', '2', '4', '8'], 'Numbers of devices.')
_HEADER = ('devices', 'batch', 'collective', 'number', 'results, MiB', 'sent, MiB')


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f'unknown arguments: {argv[1:]}')
    logging.set_verbosity(logging.WARNING)  # JAX reports each platform that is not there
    counts = [int(count) for count in _DEVICES.value]
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', max(counts))
    lines = [line for count in counts for line in traffic(_CONFIG.value, count)]
    print(markdown_table(_HEADER, lines))


def traffic(config: ml_collections.ConfigDict, count: int) -> list[tuple[str, ...]]:
    """Lines of the table for a number of devices, by kind of collective."""
    config = ml_collections.ConfigDict(config.to_dict())
    config.batch_size *= count
    plan = step_plan.make_plan(config, jax.devices()[:count])
    lines = []
    for kind, (number, size) in plan.sent.items() or [('none', (0, 0))]:
        sent = (2 if kind == 'all-reduce' else 1) * size * (count - 1) / count
        row = (count, config.batch_size, kind, number, f'{size / 2**20:.1f}', f'{sent / 2**20:.1f}')
        lines.append(tuple(map(str, row)))
    return lines


if __name__ == '__main__':
    flags.mark_flag_as_required('config')
    app.run(main)
