"""The builders' settings as flags, and what of them makes another dataset."""

import dataclasses
import re

import pytest

from tokenhmr_jax import cli
from tokenhmr_jax.readers import prepare
from tokenhmr_jax.readers.prepare import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    source: str = setting('', 'a file or a folder', path_or='made')
    count: int = setting(3, 'a number')
    workers: int = setting(1, 'that work', how=True)


def parse(*arguments):
    flags = cli.Flags('A builder.', ['--data_dir=DATA', *arguments])
    prepare.define_flags(flags, Settings)
    flags.parse()
    return flags


def test_help_lists_every_flag():
    listed = re.findall(r'^  --(\w+):', parse().describe(), re.MULTILINE)
    assert listed == ['count', 'data_dir', 'json', 'source', 'workers']


@pytest.mark.parametrize('typed', ['in', 'in/', './x/../in', '~/in', '{}/in/'])
def test_a_path_is_the_same_however_it_is_typed(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    values = parse(f'--source={typed.format(tmp_path)}', '--count=4')
    assert prepare.read_flags(values, Settings) == Settings(str(tmp_path.resolve() / 'in'), 4)


@pytest.mark.parametrize('word', ['', 'made'])
def test_a_word_instead_of_a_path_stays(word):
    assert prepare.read_flags(parse(f'--source={word}'), Settings).source == word


def test_a_file_is_its_name_and_content_and_a_folder_its_path(tmp_path):
    def deciding(path, content=None):
        if content is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        return prepare.deciding_fields(Settings(str(path)))

    first = deciding(tmp_path / 'a/table', 'one')
    assert first == deciding(tmp_path / 'b/table', 'one')
    assert first != deciding(tmp_path / 'a/table', 'two')
    assert first != deciding(tmp_path / 'a/other', 'one')
    assert deciding(tmp_path / 'a') == {'source': str(tmp_path / 'a'), 'count': 3}
