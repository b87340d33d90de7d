"""A run's folder, in which one process at a time may write."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator


def check_workdir(workdir: str) -> None:
    """Raises ValueError for a place without locks and files to append to, such as gs://..."""
    if '://' in workdir:
        raise ValueError(
            f'workdir={workdir!r}: expected a folder; gcsfuse and the like mount a bucket as one'
        )


@contextlib.contextmanager
def lock_workdir(workdir: str | os.PathLike) -> Iterator[None]:
    """Makes the folder and holds its lock, which the system releases when the process ends.

    Raises ValueError if another process holds the lock.
    """
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'a+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ValueError(
                f'{workdir}: another run is writing here, {file.read().strip()}; expected a '
                'workdir of its own for each run'
            ) from error
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        yield
