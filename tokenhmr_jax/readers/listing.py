"""Lists of downloaded files, without dot files: `._<name>` and `.DS_Store` of macOS, and others."""

import glob
import os
import pathlib


def find_files(folder: str | os.PathLike, pattern: str) -> list[pathlib.Path]:
    """Sorted paths in a folder that match a glob pattern; `**/` stands for folders at any depth.

    No wildcard matches a name that begins with a dot. Links to folders are followed.
    """
    names = glob.glob(pattern, root_dir=folder, recursive=True)
    return sorted(pathlib.Path(folder, name) for name in names)


def is_hidden(path: str | os.PathLike) -> bool:
    """Whether a file or one of its folders has a name that begins with a dot."""
    return any(part.startswith('.') and part != '..' for part in pathlib.PurePath(path).parts)
