"""The web page of a result, which needs no network and no other file.

Its parts lie in the folder `page`. Modules of JavaScript and three.js are named in an import map,
each as a data URL: so one file holds them all, also when it is opened from a disk.
"""

import base64
import html
import json
import os
import pathlib
import re

from tokenhmr_jax import cli
from tokenhmr_jax.inference.outputs.page_content import page_content

_PARTS = pathlib.Path(__file__).parent / 'page'
_LIBRARIES = {  # names that modules import three.js by
    'three': 'three.module.min.js',
    'three/core': 'three.core.min.js',
    'three/OrbitControls': 'OrbitControls.js',
}


def write_page(result: str | os.PathLike) -> pathlib.Path:
    """Writes view.html into a result's folder; returns its path. Raises as `page`."""
    text, path = page(result), pathlib.Path(result).resolve() / 'view.html'
    with cli.whole_file(path) as partial:
        partial.write_text(text)
    return path


def page(result: str | os.PathLike) -> str:
    """The HTML of a result: pictures with bodies, bodies in 3D, a timeline, a list of people.

    Raises FileNotFoundError for a folder without a result, overlays or GLB files, and ValueError
    for a result.json of something else.
    """
    folder = pathlib.Path(result)
    if not (folder / 'result.json').exists():
        raise FileNotFoundError(f'{result}: no result.json; expected a result of predict')
    title = cli.one_line(folder.resolve().name)
    content, video = page_content(folder)
    # No name may end the script that holds the data, or begin another.
    parts = {
        'TITLE': html.escape(title),
        'STYLE': (_PARTS / 'style.css').read_text(),
        'LICENCE': (_PARTS / 'three/LICENSE').read_text(),
        'MODULES': json.dumps({'imports': _modules()}),
        'VIDEO': base64.b64encode(video).decode(),
        'DATA': json.dumps({'title': title} | content).replace('<', r'\u003c'),
    }
    template = (_PARTS / 'page.html').read_text()
    return re.sub('|'.join(parts), lambda found: parts[found[0]], template)


def _modules() -> dict[str, str]:
    """Modules as data URLs, by the names that they are imported by."""
    libraries = {name: _PARTS / 'three' / file for name, file in _LIBRARIES.items()}
    own = {f'page/{path.name}': path for path in sorted(_PARTS.glob('*.js'))}
    return {name: _data_url(path) for name, path in (libraries | own).items()}


def _data_url(path: pathlib.Path) -> str:
    # A data URL has no folder that a relative name could start from.
    text = path.read_text().replace('"./three.core.min.js"', '"three/core"')
    return 'data:text/javascript;base64,' + base64.b64encode(text.encode()).decode()
