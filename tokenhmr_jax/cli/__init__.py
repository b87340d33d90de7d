"""Shared by all commands: flags, one way to run, errors, progress, files written whole.

def main(arguments=None):
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A run's workdir.", required=True)

    def command():
        rows, folder = evaluate(checkpoint.value)
        return cli.Done(folder, cli.command_line('report', checkpoint.value), rows)

    cli.run(flags, command)
"""

from tokenhmr_jax.cli.done import Done, command_line
from tokenhmr_jax.cli.files import whole_file, whole_folder
from tokenhmr_jax.cli.flags import Flags
from tokenhmr_jax.cli.progress import Progress
from tokenhmr_jax.cli.running import COMPILED, EXIT_INTERRUPTED, hidden_notes, keep_compiled, run
from tokenhmr_jax.cli.words import counted, one_line

__all__ = [
    'COMPILED', 'EXIT_INTERRUPTED', 'Done', 'Flags', 'Progress', 'command_line', 'counted',
    'hidden_notes', 'keep_compiled', 'one_line', 'run', 'whole_file', 'whole_folder',
]  # fmt: skip
