"""Tables and plots of runs, such as those of a sweep.

    python -m tokenhmr_jax.report runs/tals --baseline=none

The runs may be under way. Runs whose configs differ in the seed alone are one row: mean, standard
deviation and difference to the baseline's mean. If a row has finished runs, only these count;
otherwise all count, at the newest step that they share. Scores are those of
`python -m tokenhmr_jax.evaluate` if all counted runs are finished and have them of the same splits,
else those of the evaluations in training. Writes `report.md`, `report.csv`, `curves.png` and
`errors.png`. Needs `pip install "tokenhmr_jax[report]"`.
"""

import shlex
from collections.abc import Sequence

from tokenhmr_jax import cli
from tokenhmr_jax.studies import extras
from tokenhmr_jax.training import history


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments, operands='WORKDIR ...')
    baseline = flags.path('baseline', None, 'Name of a row, or folder of a run.')
    out = flags.path('out', None, 'Folder to write to. Default: report in the first WORKDIR.')

    def command():
        first, *others = flags.operands
        root = None if others or history.has_begun(first) else first
        extras.need_packages('pandas', 'matplotlib')
        from tokenhmr_jax.studies import comparison

        out_folder = out.value or f'{first}/report'
        rows = comparison.report_runs(flags.operands, out_folder, baseline.value, root)
        look = f'look at {shlex.quote(out_folder)}/report.md'
        return cli.Done(out_folder, look, comparison.scores_by_row(rows))

    cli.run(flags, command)


if __name__ == '__main__':
    main()
