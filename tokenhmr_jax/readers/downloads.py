"""Downloads that went wrong: other files saved under the name of the one that was wanted."""

import os
import re

from etils import epath

_LFS = b'version https://git-lfs.github.com/spec/'
_PAGE = re.compile(rb'\s*<(!doctype\s+html|html|head|\?xml)', re.IGNORECASE)


def check_download(path: str | os.PathLike) -> None:
    """Raises ValueError for a web page or a Git LFS pointer under the name of another file."""
    with epath.Path(path).open('rb') as file:
        head = file.read(1024).removeprefix(b'\xef\xbb\xbf')
    if head.startswith(_LFS):
        raise ValueError(
            f'{path}: a Git LFS pointer, not the file itself: `git lfs pull` fetches that'
        )
    if _PAGE.match(head):
        raise ValueError(
            f'{path}: a web page, not the file itself: log in, and download it again from its page'
        )
