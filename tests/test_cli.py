"""The command line that all commands share: flags, errors of one line, files written whole."""

import gc
import importlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, command

from tokenhmr_jax import cli
from tokenhmr_jax.__main__ import COMMANDS, list_commands, studies

TOKENIZER = f'--config={ROOT}/configs/tokenizer.py'


def main_of(name: str):
    return importlib.import_module(f'tokenhmr_jax.{name}').main


@pytest.mark.parametrize('name', [*COMMANDS, *studies()])
def test_every_command_explains_itself(name, capsys):
    """And has its line in the list."""
    main_of(name)(['--help'])  # returns: exit code 0
    printed = capsys.readouterr().out
    first = importlib.import_module(f'tokenhmr_jax.{name}').__doc__.splitlines()[0]
    assert printed.startswith(first) and 'flags:' in printed
    assert f'    python -m tokenhmr_jax.{name} ' in f'{printed} '.replace('\n', ' \n')
    [line] = [line for line in list_commands().splitlines() if line.split()[:1] == [name]]
    assert first in line and len(line) <= 100


def test_the_package_lists_its_commands():
    assert command('-m', 'tokenhmr_jax') == list_commands() + '\n'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--config=nowhere.py', '--workdir=x'], "No such file or directory: 'nowhere.py'"),
        (
            ['--config=tokeniser', '--workdir=x'],
            'expected a path, FILE.py, or one of',
        ),
        (['--config=tokenizer:large', '--workdir=x'], "variant='large': expected one of"),
        ([f'{TOKENIZER}:variant=large', '--workdir=x'], "variant='large': expected one of"),
        ([f'{TOKENIZER}:variants=release', '--workdir=x'], 'expected name=value with'),
        ([TOKENIZER, '--workdir=x', '--config.num_stps=3'], "no such setting: 'num_stps'"),
        ([TOKENIZER, '--workdir=x', '--config.model.wdth=3'], "no such setting: 'wdth'"),
        ([TOKENIZER, '--workdir=x', '--config.num_steps=few'], "--config.num_steps=few: .*'few'"),
        ([f'--config={ROOT}/LICENSE', '--workdir=x'], 'IndentationError: .*LICENSE'),
        ([TOKENIZER, '--workdir=x', '--checkpoint=y'], "flag 'checkpoint'"),  # of other commands
        ([TOKENIZER, '--workdir=x', 'more'], r"unknown arguments \['more'\]"),
        ([TOKENIZER], '--workdir is missing'),
        (['--workdir=x'], '--config is missing'),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f'^error: .*{message}') as error:
        main_of('train')(arguments)
    assert '\n' not in error.value.code
    assert not list(tmp_path.iterdir())


def test_a_mistake_has_no_traceback():
    printed = command('-m', 'tokenhmr_jax.train', TOKENIZER, '--workdir=x', '--tyop=1', expect=1)
    assert printed.splitlines() == [
        "error: Unknown command line flag 'tyop' (--help lists the flags)"
    ]


def test_a_fault_of_the_program_shows_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(cli.Flags('', []), lambda: 1 / 0)


def test_operands_and_flags_for_others():
    flags = cli.Flags('', ['a', '--n=2', 'b'], operands='FOLDER ...')
    number = flags.integer('n', 1, '')
    cli.run(flags, lambda: None)
    assert (flags.operands, number.value) == (['a', 'b'], 2)
    flags = cli.Flags('', ['--m=3', '--n=2'])
    flags.integer('n', 1, '')
    cli.run(flags, lambda: None, others=True)
    assert flags.rest == ['--m=3']
    with pytest.raises(SystemExit, match=r"\['a', 'b'\]: expected RESULT"):
        cli.run(cli.Flags('', ['a', 'b'], operands='RESULT'), lambda: None)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    """In paths of every kind; elsewhere, and within a name, it is a tilde."""
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path)
    home = f'{tmp_path}/home'
    (tmp_path / 'home').mkdir()
    shutil.copytree(ROOT / 'configs', tmp_path / 'home/configs')
    flags = cli.Flags(
        '',
        [
            '--out=~/x', '--in=~', '--in=gs://a/~/b', '--name=~/x', '~/operand',
            '--config=~/configs/tokenizer.py:variant=quickstart', '--config.data.data_dir=~/data',
        ],
        operands='FOLDER',
    )  # fmt: skip
    out, places = flags.path('out', None, ''), flags.paths('in', None, '')
    name, cache = flags.string('name', None, ''), flags.path('cache', '~/cache', '')
    config = flags.config()
    cli.run(flags, lambda: None)
    assert (out.value, cache.value, name.value) == (f'{home}/x', f'{home}/cache', '~/x')
    assert places.value == [home, 'gs://a/~/b'] and flags.operands == [f'{home}/operand']
    assert config.value.data.data_dir == f'{home}/data'
    for name, arguments in {
        'predict': ['--input=~/none.png', '--boxes=image', '--out=~/r'],
        'view': ['~/none.png'],
        'export': ['--checkpoint=~/none.png', '--out=~/r'],
    }.items():
        with pytest.raises(SystemExit, match=f'^error: {home}/none.png'):
            main_of(name)(arguments)
    assert [path.name for path in tmp_path.iterdir()] == ['home']


@pytest.mark.parametrize(
    'given',
    [
        ['--config=regressor:quickstart'],
        ['--config', 'regressor:variant=quickstart'],
        [f'--config={ROOT}/configs/regressor.py:quickstart,quantizer=vq'],
    ],
)
def test_a_config_by_its_name_or_path(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = cli.Flags('', [*given, '--config.num_steps=3'])
    config = flags.config()
    cli.run(flags, lambda: None)
    assert config.value.data.mixture.to_dict() == {'mannequin/suit': 1.0}
    assert config.value.num_steps == 3


def test_notes_of_libraries_are_hidden_but_before_an_error(capfd):
    with cli.hidden_notes():
        os.write(2, b'INFO: created\n')
    os.write(2, b'after\n')
    assert capfd.readouterr().err == 'after\n'
    with pytest.raises(ValueError), cli.hidden_notes():
        os.write(2, b'reason\n')
        raise ValueError
    assert capfd.readouterr().err == 'reason\n'


def test_ctrl_c_is_one_line(capsys):
    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()

    with pytest.raises(SystemExit) as error:
        cli.run(cli.Flags('', []), interrupted, on_interrupt='interrupted; go on so')
    assert error.value.code == 130
    assert capsys.readouterr().err == '\ninterrupted; go on so\n'


class Dying:
    """Sends Ctrl-C while it is taken away."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)  # where it arrives


def collect_garbage():
    def collected(phase, info):
        gc.callbacks.remove(collected)
        os.kill(os.getpid(), signal.SIGINT)

    gc.callbacks.append(collected)
    gc.collect()


@pytest.mark.parametrize('lose', [Dying, collect_garbage])
def test_ctrl_c_where_exceptions_are_swallowed_is_not_lost(lose):
    def work():
        lose()
        time.sleep(10)

    start = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as error:
            cli.run(cli.Flags('', []), work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert error.value.code == 130 and time.monotonic() - start < 5


def test_ctrl_c_is_one_line_from_the_first_import_on():
    """At moments within the seconds that imports take."""
    for seconds in (0.4, 0.8, 1.2):
        process = subprocess.Popen(
            [sys.executable, '-m', 'tokenhmr_jax.predict', '--input=none', '--out=none'],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        assert 'Traceback' not in printed and process.returncode != 0, printed


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / 'a.txt'
    for before in (None, 'old'):
        with pytest.raises(KeyboardInterrupt), cli.whole_file(path) as partial:
            assert partial.suffix == '.txt' and partial != path
            partial.write_text('half')
            raise KeyboardInterrupt
        assert [p.read_text() for p in tmp_path.iterdir()] == ([before] if before else [])
        with cli.whole_file(path) as partial:
            partial.write_text('old' if before is None else 'new')
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [('a.txt', 'new')]


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='a device of Linux')
def test_a_full_disk_names_the_file(tmp_path):
    def command():
        with cli.whole_file(tmp_path / 'a.txt') as partial:
            os.symlink('/dev/full', partial)
            partial.write_text('more than there is room for')

    with pytest.raises(SystemExit) as error:
        cli.run(cli.Flags('', []), command)
    assert error.value.code == f'error: {tmp_path}/a.txt: No space left on device'
    assert not list(tmp_path.iterdir())


def test_files_of_long_names_are_written(tmp_path):
    """As long as a file system allows; what is written first needs a name, too."""
    path = tmp_path / ('é' * 125 + 'a.txt')
    with cli.whole_file(path) as partial:
        partial.write_text('all')
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_names_in_messages():
    assert cli.one_line('größe 😀 "a"') == 'größe 😀 "a"'
    assert cli.one_line('a\nb\udcff') == r'a\nb\udcff'


def test_two_writers_of_a_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / 'a.txt'
    with cli.whole_file(path) as one:
        one.write_text('half')
        with cli.whole_file(path) as other:
            other.write_text('whole')
        assert path.read_text() == 'whole' and one.read_text() == 'half'
        one.write_text('also whole')
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt'] and path.read_text() == 'also whole'


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(ValueError, match='full disk'), cli.whole_folder(str(tmp_path / 'a')) as out:
        pathlib.Path(out, 'x').write_text('x')
        raise ValueError('full disk')
    assert not list(tmp_path.iterdir())
    with cli.whole_folder(str(tmp_path / 'a')) as out:
        pathlib.Path(out, 'x').write_text('x')
    assert (tmp_path / 'a/x').read_text() == 'x'
