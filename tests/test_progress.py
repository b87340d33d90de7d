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
from tokenhmr_jax.cli import progress
with cli.Progress('counting', 'number', 3) as bar:
    for i in bar.over(range(3)):
        bar.say(f'at {i}')
"""


def test_a_pipe_has_lines_and_a_terminal_a_bar():
    run = [sys.executable, '-c', LOOP]
    piped = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    assert piped.stdout == 'at 0\nat 1\nat 2\n'
    assert piped.stderr == 'counting: 3/3 numbers in 00:00\n'
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    subprocess.run(run, cwd=ROOT, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    assert '\r' in shown and '3/3' in shown and 'at 2' in shown
