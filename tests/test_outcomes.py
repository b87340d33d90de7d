"""The last line of every command, in words and as JSON."""

import json
import pathlib

import numpy as np
import pytest
from conftest import ROOT
from test_cli import main_of

from tokenhmr_jax import cli
from tokenhmr_jax.__main__ import COMMANDS, studies

TOKENIZER = ROOT / 'tokenhmr_jax/bundled/tokenizer'


def last_line(capsys, name: str, *arguments: str) -> str:
    main_of(name)(arguments)
    return capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ('name', 'arguments', 'expected'),
    [
        (
            'pack',
            [f'--checkpoint={TOKENIZER}', '--out=pack ed'],
            "wrote pack ed; next: python -m tokenhmr_jax.evaluate '--checkpoint=pack ed'",
        ),
        (
            'export',
            [f'--checkpoint={TOKENIZER}', '--out=shared', '--format=safetensors'],
            'wrote shared; next: read its README.md, then hf upload OWNER/NAME shared',
        ),
        ('check', ['--dir=.'], 'released weights: none (docs/released_weights.md)'),
    ],
)
def test_the_last_line_tells_what_was_written_and_what_is_next(
    name, arguments, expected, tmp_path, monkeypatch, capsys
):
    if name == 'export':
        pytest.importorskip('safetensors')
    monkeypatch.chdir(tmp_path)
    assert last_line(capsys, name, *arguments) == expected


def test_every_command_has_an_outcome():
    for name in (*COMMANDS, *studies()):
        source = (ROOT / f'tokenhmr_jax/{name.replace(".", "/")}.py').read_text()
        assert name == 'refit' or 'cli.Done(' in source, name


def test_json_is_all_of_standard_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'SMPL_MALE.pkl').write_bytes(b'torn')
    with pytest.raises(SystemExit) as ended:
        main_of('check')(['--dir=.', '--json'])
    printed = capsys.readouterr()
    [found] = json.loads(printed.out)['result']
    assert ended.value.code == 1 and found['path'].endswith('SMPL_MALE.pkl') and found['problem']
    assert 'NOT USABLE' in printed.err
    main_of('pack')([f'--checkpoint={TOKENIZER}', '--out=packed', '--json'])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found['wrote'] == 'packed' and found['result']['bytes'] > 1e5
    assert 'MB of arrays' in printed.err
    with pytest.raises(SystemExit, match=r'^error: '):
        main_of('check')(['--dir=nowhere', '--json'])
    assert capsys.readouterr().out == ''


def test_outcomes_are_valid_json():
    """Arrays, paths and tuples are JSON's own; numbers that are not finite are null."""
    result = {'a': np.float32(0.5), 1: (np.nan, np.arange(2)), 'p': pathlib.Path('x')}
    done = cli.Done(pathlib.Path('out'), result=result)
    expected = {'a': 0.5, '1': [None, [0, 1]], 'p': 'x'}
    assert json.loads(done.json()) == {'wrote': 'out', 'next': None, 'result': expected}
    assert (done.line(), cli.Done().line()) == ('wrote out', '')


def test_the_config_for_another_command():
    flags = cli.Flags('', ['--out=x', '--config', 'a.py', '--config.b=1', '-config.c', '2', 'y'])
    expected = ['--config', 'a.py', '--config.b=1', '-config.c', '2']
    assert flags.config_arguments() == expected
