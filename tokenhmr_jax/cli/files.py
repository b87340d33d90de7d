"""Files and folders that are written whole or not at all."""

import contextlib
import os
import pathlib
import secrets
import tempfile
from collections.abc import Iterator

from etils import epath


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[epath.Path]:
    """A path to write to, beside `path`, renamed to it when all is written; removed on an error."""
    target = epath.Path(path)
    # A name of its own: on a cluster, two workers may write the same file at once.
    # Names have at most 255 bytes.
    stem = os.fsencode(target.stem)[:200].decode('utf-8', 'ignore')
    partial = target.with_name(f'.{stem}.{secrets.token_hex(4)}.partial{target.suffix}')
    try:
        yield partial
        partial.replace(target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if type(error) is OSError and error.errno and error.filename is None:
            error.filename = str(target)  # a full disk has no name
        raise


@contextlib.contextmanager
def whole_folder(path: str) -> Iterator[str]:
    """A folder that gets its name when all is written, and vanishes on an error."""
    target = pathlib.Path(path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{target.name}.', dir=target.parent) as parent:
        partial = pathlib.Path(parent) / target.name
        partial.mkdir()
        yield str(partial)
        os.rename(partial, target)
