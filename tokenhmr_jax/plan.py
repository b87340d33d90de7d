"""Memory, operations and traffic of a training step on a slice of TPUs.

    python -m tokenhmr_jax.plan --config=configs/regressor.py --topology=v5e-32

Compiles the real step. Needs no TPU: the package `libtpu` (extra `[tpu]`) holds the compiler.
Topologies: v4-N and v5p-N (N cores, two a chip), v5e-N and v6e-N (N chips), gpu:N (GPUs of this
machine) and cpu:N. The exit code is 1 if the step does not fit a TPU. For GPUs and CPUs, compare
the sizes with their memory.
"""

from collections.abc import Sequence

from tokenhmr_jax import cli
from tokenhmr_jax.studies import step_plan


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    config = flags.config()
    topology = flags.string(
        'topology', None, "Such as 'v5e-32', 'gpu:8' or 'cpu:8'.", required=True
    )
    search = flags.boolean('search', True, 'Look for the largest batch that fits.')
    costliest = flags.integer('costliest', 0, 'How many instructions to list, costliest first.')

    def command():
        settings = config.value, topology.value, search.value, costliest.value
        fits = step_plan.report_step(*settings)
        train = cli.command_line('train', *flags.config_arguments(), '--workdir=RUN')
        return cli.Done(next=train if fits else '', result={'fits': fits}, code=int(not fits))

    cli.run(flags, command)


if __name__ == '__main__':
    main()
