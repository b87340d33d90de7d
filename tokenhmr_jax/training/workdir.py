"""A run's folder, in which one process at a time may write."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import TextIO

LOCK = 'lock'  # name of the file


def check_workdir(workdir: str) -> None:
    """Raises ValueError for a place without locks and files to append to, such as gs://..."""
    if '://' in workdir:
        raise ValueError(
            f'workdir={workdir!r}: expected a folder; gcsfuse and the like mount a bucket as one'
        )


@contextlib.contextmanager
def lock_workdir(workdir: str | os.PathLike) -> Iterator[None]:
    """Makes the folder and holds its lock, which the system releases when the process ends.

    On a file system without locks it holds none. Raises ValueError for a file, or if another
    process holds the lock.
    """
    folder = pathlib.Path(workdir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{folder} is a file: expected a folder')
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as file:
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


def _locked(folder: pathlib.Path) -> TextIO:
    """The open lock file of a folder."""
    while True:
        file = open(folder / LOCK, 'a+')  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                raise ValueError(
                    f'{folder}: another run is writing here, {file.read().strip()}; expected a '
                    'folder of its own for each run'
                ) from error
        except OSError:  # no locks on this file system
            return file
        # Its last holder may have removed the file since it was opened.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(folder / LOCK)):
                return file
        file.close()
