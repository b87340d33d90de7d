"""Files of the site: the pages and what they link to, in the places that they have in the project.

So one relative link is right in a checkout and on the site.
"""

import pathlib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = pathlib.Path(__file__).parents[1]
_FOLDERS = (
    'docs',
    'benchmarks',
    'configs',
    'datasets',
    'launch',
    'notebooks',
    'tests',
    'tokenhmr_jax',
)
_KINDS = ('.md', '.py', '.ipynb', '.png', '.jpg', '.webp', '.yaml', '.csv')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces the pages of docs/ by all of the project's, and adds the theme's own files."""
    found = [path for path in _ROOT.iterdir() if path.is_file() and path.name[0] != '.']
    for folder in _FOLDERS:
        found += [p for p in (_ROOT / folder).rglob('*') if p.suffix in _KINDS and p.is_file()]
    names = [path.relative_to(_ROOT).as_posix() for path in sorted(found)]
    pages = [File.generated(config, name, abs_src_path=str(_ROOT / name)) for name in names]
    return Files([*(file for file in files if file.src_dir != config.docs_dir), *pages])
