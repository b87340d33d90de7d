"""Progress off a terminal, in lines, and on one, as a bar."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from conftest import ROOT

from tokenhmr_jax import cli
from tokenhmr_jax.cli import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def test_a_line_every_ten_seconds(clock, capsys):
    """At 4 frames per second, and at one in 20 seconds."""
    with cli.Progress('predicting', 'frame', 100) as bar:
        for _ in bar.over(range(100)):
            clock[0] += 0.25
    assert capsys.readouterr().err.splitlines() == [
        'predicting: 40/100 frames, 4 frames/s, 00:15 left',
        'predicting: 80/100 frames, 4 frames/s, 00:05 left',
        'predicting: 100/100 frames in 00:25',
    ]
    with cli.Progress('training', 'step', 3, start=1) as bar:
        bar.note('loss 0.5')
        clock[0] += 20
        bar.update()
    assert capsys.readouterr().err.splitlines() == [
        'training: 2/3 steps, 20 s/step, 00:20 left, loss 0.5',
        'training: 2/2 steps in 00:20, loss 0.5',
    ]


def test_without_a_total(clock, capsys):
    with cli.Progress('preparing', 'person') as bar:
        bar.say('two files')
        clock[0] += 10
        bar.set(30)
        bar.set(31)
    assert capsys.readouterr().err.splitlines() == [
        'preparing: 30 persons, 3 persons/s',
        'preparing: 31/31 persons in 00:10',
    ]
    with cli.Progress('preparing', 'person', shown=False) as bar:
        clock[0] += 100
        bar.update()
        bar.say('not of the first process')
    assert capsys.readouterr() == ('', '')


LOOP = """
from tokenhmr_jax import cli
with cli.Progress('counting', 'number', 3) as bar:
    for i in bar.over(range(3)):
        bar.say(f'at {i}')
"""
# A thousand steps, and a line in some.
FAST = """
import time
from tokenhmr_jax import cli
start = time.monotonic()
with cli.Progress('counting', 'number', 1000) as bar:
    for i in bar.over(range(1000)):
        bar.note(f'loss {i}')
        time.sleep(0.0005)
        if i % 250 == 0:
            bar.say(f'at {i}')
print('seconds', time.monotonic() - start)
"""


def shown_on_a_terminal(code: str) -> str:
    """What a program writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    run = [sys.executable, '-c', code]
    with subprocess.Popen(run, cwd=ROOT, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        parts = []
        while part := _read(ours):
            parts.append(part)
    os.close(ours)
    assert process.returncode == 0
    return b''.join(parts).decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 100_000)
    except OSError:  # how Linux ends a terminal that nobody writes to
        return b''


def lines_left(shown: str) -> list[str]:
    """The lines that stand on the terminal at last: text overwrites what stood there."""
    lines = []
    for line in shown.split('\n'):
        left = ''
        for part in line.split('\r'):
            left = part + left[len(part) :]
        lines.append(left.rstrip())
    return lines


def test_a_pipe_has_lines_and_a_terminal_a_bar():
    piped = subprocess.run(
        [sys.executable, '-c', LOOP], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert piped.stdout == 'at 0\nat 1\nat 2\n'
    assert piped.stderr == 'counting: 3/3 numbers in 00:00\n'
    shown = shown_on_a_terminal(LOOP)
    assert '\r' in shown and '3/3' in shown and 'at 2' in shown


def test_a_bar_does_not_flicker():
    """It is drawn ten times a second, and stands whole below the lines that are printed."""
    shown = shown_on_a_terminal(FAST)
    *said, bar, seconds, end = lines_left(shown)
    assert said == ['at 0', 'at 250', 'at 500', 'at 750'] and end == ''
    assert bar.startswith('counting: 100%|') and bar.endswith('loss 999]')
    drawn = shown.count('counting:')
    assert 4 < drawn <= 10 * float(seconds.split()[1]) + len(said) + 2
