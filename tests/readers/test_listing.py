"""Listing of files: any depth, no dot files."""

import pytest

from tokenhmr_jax.readers import listing

FILES = ('b.npz', 'a/c.npz', 'a/._c.npz', 'a/.b/d.npz', '.npz', 'a/b/e.npz', 'a/b/f.txt')


@pytest.mark.parametrize(
    ('pattern', 'expected'),
    [
        ('*.npz', ['b.npz']),
        ('*/*.npz', ['a/c.npz']),
        ('**/*.npz', ['a/b/e.npz', 'a/c.npz', 'b.npz']),
        ('a/**/*', ['a/b', 'a/b/e.npz', 'a/b/f.txt', 'a/c.npz']),
        ('nothing/*', []),
    ],
)
def test_files_by_pattern(tmp_path, pattern, expected):
    """In a folder that is hidden itself, and has characters that a pattern would interpret."""
    folder = tmp_path / '.x[1]*'
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('')
    assert listing.find_files(folder, pattern) == [folder / name for name in expected]


def test_links_to_folders_are_followed(tmp_path):
    (tmp_path / 'elsewhere/x').mkdir(parents=True)
    (tmp_path / 'elsewhere/x/a.npz').write_text('')
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/zip').symlink_to(tmp_path / 'elsewhere')
    found = listing.find_files(tmp_path, 'labels/**/*.npz')
    assert found == [tmp_path / 'labels/zip/x/a.npz']


@pytest.mark.parametrize(
    ('path', 'expected'),
    [('a/b.jpg', False), ('./a.jpg', False), ('../a.jpg', False), ('a/._b', True), ('.a/b', True)],
)
def test_hidden_paths(path, expected):
    assert listing.is_hidden(path) == expected
