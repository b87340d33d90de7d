"""SHA-256 digests of files and arrays: what made a prediction."""

import hashlib
import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike


def file_digest(path: str | os.PathLike) -> str:
    """The digest of a file's content. Raises OSError for a file that cannot be read."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def array_digest(arrays: Iterable[ArrayLike], text: str = '') -> str:
    """The digest of a text and of arrays, with their types and shapes."""
    found = hashlib.sha256(text.encode())
    for array in map(np.asarray, arrays):
        found.update(f'{array.dtype.str}{array.shape}'.encode())
        found.update(np.ascontiguousarray(array).data.cast('B') if array.size else b'')
    return found.hexdigest()
