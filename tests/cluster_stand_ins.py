"""Stand-ins for the commands of a cluster."""

import os
import pathlib
import subprocess

from conftest import ROOT

OPTION = "--config.data.mixture={'a b/c': 1.0, 'd&e': 2.0}"  # a shell would split it

# Logs its arguments, each ended by a separator that no argument holds, and runs its body.
STAND_IN = r"""#!/bin/bash
{{ printf '%s\x1f' {name} "$@"; printf '\x1e'; }} >> {log}
{body}
"""


class Cluster:
    """Runs scripts of launch/ in a folder, with stand-ins for some commands.

    folder: of all that the tests write.
    checkout: current folder of the scripts.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self.checkout = folder, folder / 'checkout'
        self._stand_ins, self._log = folder / 'bin', folder / 'calls'
        self._stand_ins.mkdir()
        self.checkout.mkdir()

    def __call__(self, script, *arguments, env=(), **bodies):
        """Exit code, output, and the calls of the stand-ins, whose bodies are lines of shell."""
        self._log.write_text('')
        for name, body in bodies.items():
            path = self._stand_ins / name
            path.write_text(STAND_IN.format(name=name, log=self._log, body=body))
            path.chmod(0o755)
        paths = {'PATH': f'{self._stand_ins}:{os.environ["PATH"]}'}
        done = subprocess.run(
            [ROOT / 'launch' / script, *arguments],
            cwd=self.checkout,
            env=os.environ | paths | dict(env),
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,  # a stand-in may press Ctrl-C
        )
        calls = [call.split('\x1f')[:-1] for call in self._log.read_text().split('\x1e')[:-1]]
        return done.returncode, done.stdout + done.stderr, calls
