"""The builders' settings as flags, and what of them makes another dataset."""

import dataclasses

import pytest
from absl import flags

from tokenhmr_jax.readers import prepare
from tokenhmr_jax.readers.prepare import setting


@dataclasses.dataclass(frozen=True)
class Settings:
    source: str = setting('', 'a file or a folder', path_or='made')
    count: int = setting(3, 'a number')
    workers: int = setting(1, 'that work', how=True)


def parse(*arguments):
    values = flags.FlagValues()
    prepare.define_flags(Settings, values)
    values(['builder', '--data_dir=DATA', *arguments])
    return values


def test_helpshort_lists_every_flag():
    """Flags are of the module that asks for them: of a builder that is run as a script."""
    listed = {flag.name for flag in parse().get_key_flags_for_module(__name__)}
    assert listed == {'data_dir', 'source', 'count', 'workers'}


@pytest.mark.parametrize('typed', ['in', 'in/', './x/../in', '~/in', '{}/in/'])
def test_a_path_is_the_same_however_it_is_typed(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    values = parse(f'--source={typed.format(tmp_path)}', '--count=4')
    assert prepare.read_flags(Settings, values) == Settings(str(tmp_path.resolve() / 'in'), 4)


@pytest.mark.parametrize('word', ['', 'made'])
def test_a_word_instead_of_a_path_stays(word):
    assert prepare.read_flags(Settings, parse(f'--source={word}')).source == word


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
