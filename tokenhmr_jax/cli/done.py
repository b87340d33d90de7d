"""Outcome of a command: its last line, for people or for programs."""

import contextlib
import dataclasses
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokenhmr_jax.cli.words import one_line


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command hands to `run` at its end.

    wrote: the file or folder that it wrote.
    next: the command to run next, or what to do.
    result: its result, for --json: numbers, texts, arrays, and mappings and sequences of them.
    code: its exit code.
    """

    wrote: str | os.PathLike = ''
    next: str = ''
    result: Any = None
    code: int = 0

    def line(self) -> str:
        """For example 'wrote FOLDER; next: COMMAND'."""
        parts = [f'wrote {one_line(self.wrote)}'] if self.wrote else []
        return '; '.join(parts + ([f'next: {one_line(self.next)}'] if self.next else []))

    def json(self) -> str:
        """A JSON object in one line; numbers that are not finite are null, as JSON has none."""
        wrote = os.fspath(self.wrote) or None
        found = {'wrote': wrote, 'next': self.next or None, 'result': _plain(self.result)}
        return json.dumps(found, allow_nan=False)


def command_line(name: str, *arguments: str | os.PathLike) -> str:
    """A command of the package, as a shell takes it."""
    return shlex.join(['python', '-m', f'tokenhmr_jax.{name}', *map(str, arguments)])


def _plain(value: Any) -> Any:
    """A value in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, 'tolist'):  # arrays of NumPy and JAX
        return _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value


@contextlib.contextmanager
def prints_aside(aside: bool) -> Iterator[None]:
    """Sends to standard error what is printed, so that standard output is for a program alone."""
    with contextlib.redirect_stdout(sys.stderr) if aside else contextlib.nullcontext():
        yield
