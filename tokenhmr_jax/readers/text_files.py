"""Tables and JSON that people write: encodings, and errors that name the file."""

import codecs
import json
import pathlib
from typing import Any


def read_text(path: pathlib.Path) -> str:
    """The text of a file in UTF-8 or UTF-16, else in the code page of Western Europe.

    Raises ValueError for a file that holds no text.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ['utf-16']
    elif b'\0' in data[:2]:  # UTF-16 without its mark: every other byte of plain text is 0
        encodings = ['utf-16-be' if data[0] == 0 else 'utf-16-le']
    else:
        encodings = ['utf-8-sig', 'cp1252']
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if '\0' not in text:
            return text
    raise ValueError(f'{path}: not a text file')


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file. Raises ValueError for a truncated one."""
    text = read_text(path)
    if not text.strip():
        raise ValueError(f'{path}: an empty file: expected JSON')
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not a whole JSON file ({error})') from error
