"""Check of the official body files: found, valid, and missing for each task.

    python -m tokenhmr_jax.check --dir=/data/smpl --dir=/data/smplh

Finds the files by their official names, in the folders and their subfolders, and reads each. The
exit code is 1 if a file is not usable.
"""

from collections.abc import Sequence

from tokenhmr_jax import cli
from tokenhmr_jax.readers.official_files import check_files, describe_findings


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    folders = flags.strings('dir', None, 'Folder to look through; repeatable.', required=True)

    def command():
        found = check_files(folders.value)
        print(describe_findings(found))
        return int(any(finding.problem for finding in found))

    cli.run(flags, command)


if __name__ == '__main__':
    main()
