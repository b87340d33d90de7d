"""Check of the official files: found, valid, and missing for each task.

    python -m tokenhmr_jax.check --dir=/data/smpl --dir=/data/smplh --dir=/data/tokenhmr

Finds body models, the released weights of TokenHMR, and the benchmarks by their official names, in
the folders and their subfolders, and reads each. Says which steps from the released weights to
their published errors can be done. The exit code is 1 if a file is not usable.
"""

import dataclasses
from collections.abc import Sequence

from tokenhmr_jax import cli
from tokenhmr_jax.readers.official_files import check_files, describe_findings
from tokenhmr_jax.released.zoo import check_released, describe_released


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    folders = flags.paths('dir', None, 'Folder to look through; repeatable.', required=True)

    def command():
        bodies = check_files(folders.value)
        released = check_released(folders.value)
        print(describe_findings(bodies))
        print(describe_released(bodies, released))
        found = [dataclasses.asdict(finding) for finding in (*bodies, *released)]
        bad = any(finding.problem for finding in (*bodies, *released))
        convert = '' if bad or not released else cli.command_line('convert', '--help')
        return cli.Done(next=convert, result=found, code=int(bad))

    cli.run(flags, command)


if __name__ == '__main__':
    main()
