"""The script of launch/ for slices of TPUs, with a stand-in for gcloud."""

import re
import shlex
import signal
import subprocess
import tarfile
import tomllib

import pytest
from cluster_stand_ins import OPTION, Cluster
from conftest import ROOT
from packaging.specifiers import SpecifierSet

PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']

POD = ('--name=hmr', '--zone=z1', '--type=v5litepod-32')
# Texts that tell the calls of gcloud apart.
GCLOUD = {
    'describe': 'resources describe',
    'create': 'resources create',
    'delete': 'resources delete',
    'setup': '--command=mount',
    'scp': 'tpu-vm scp',
    'install': '--command=mkdir',
    'train': 'train --distributed',
    'watch': 'flock running',
}
NOT_FOUND = 'echo "ERROR: (gcloud) NOT_FOUND: hmr" >&2; exit 1'
MADE_READY = ['create', 'scp', 'install', 'train']


def steps(calls):
    """Names of the calls of gcloud, without questions about the state."""
    lines = [' '.join(call) for call in calls]
    found = [next(name for name, text in GCLOUD.items() if text in line) for line in lines]
    return [name for name in found if name != 'describe']


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


@pytest.fixture
def pod(cluster):
    """Runs tpu_pod.sh in a checkout; a slice exists from its creation to its deletion.

    A line of shell replaces gcloud's answer to a command; several answer one call each, the last
    one all further calls.
    """
    there = cluster.folder / 'there'
    (cluster.checkout / 'code.py').write_text('committed')
    git = ['git', '-C', cluster.checkout]
    subprocess.run([*git, 'init', '-q'], check=True)
    subprocess.run([*git, 'add', '.'], check=True)
    author = ['-c', 'user.name=A', '-c', 'user.email=a@b.c', '-c', 'commit.gpgsign=false']
    subprocess.run([*git, *author, 'commit', '-qm', 'All'], check=True)

    def in_turn(name, bodies):
        count = cluster.folder / f'{name}.count'
        cases = '\n'.join(f'{number}) {body} ;;' for number, body in enumerate(bodies[:-1], 1))
        last = f'*) {bodies[-1]} ;;'
        return f'printf x >> {count}; case $(wc -c < {count}) in\n{cases}\n{last}\nesac'

    def run(*options, **answers):
        usual = {
            'describe': f'[[ -e {there} ]] && echo ACTIVE || {{ {NOT_FOUND}; }}',
            'create': f'touch {there}',
            'delete': f'rm {there}',
            'watch': 'echo 0; echo 0',
        }
        cases = [
            f'*"{GCLOUD[name]}"*) {in_turn(name, [body] if isinstance(body, str) else body)} ;;'
            for name, body in (usual | answers).items()
        ]
        return cluster(
            'tpu_pod.sh', *POD, *options, '--', '--config=c.py', OPTION,
            gcloud='\n'.join(['case "$*" in', *cases, 'esac']), env={'POLL_SECONDS': '0'},
        )  # fmt: skip

    run.there, run.folder, run.checkout = there, cluster.folder, cluster.checkout
    return run


@pytest.mark.parametrize(('codes', 'last'), [('0 0', 0), ('1 1', 1), ('134 1', 1)])
def test_a_pod_is_made_again_until_the_training_ends(pod, codes, last):
    """The first slice is lost, the second one preempted; on the third the training ends."""
    watch = (f'rm {pod.there}; exit 255', 'echo 75; echo 75', f"printf '%s\\n' {codes}")
    code, printed, calls = pod(watch=watch)
    assert code == last
    assert steps(calls) == [*MADE_READY, 'watch', 'delete'] * 3
    assert 'billed' not in printed
    made = next(call for call in calls if 'create' in call)
    assert {'--spot', '--accelerator-type=v5litepod-32', '--zone=z1'} <= set(made)
    training = next(call for call in calls if any('tokenhmr_jax.train' in part for part in call))
    assert '--worker=all' in training
    command = next(part for part in training if part.startswith('--command='))
    inner = command.split('train --distributed ')[1].split(' 9>&-')[0]
    assert shlex.split(inner) == ['--config=c.py', OPTION]


def test_a_worker_runs_what_is_committed(pod):
    """The training runs detached; its log is shown and its exit code returned."""
    python = pod.folder / 'worker/tokenhmr/.venv/bin/python'
    python.parent.mkdir(parents=True)
    python.write_text("""#!/bin/bash
    for _ in {1..100}; do
        [[ -e watched ]] && { echo "wrong: $*"; exit 1; }
        sleep 0.02
    done""")
    python.chmod(0o755)
    worker = f'cd {pod.folder}/worker; bash -c "${{7#--command=}}"'
    code, printed, calls = pod(
        scp=f'cp "$5" {pod.folder}/sent',
        train=worker,
        watch=f'touch {pod.folder}/worker/tokenhmr/watched; {worker}',
    )
    assert code == 1
    assert steps(calls) == [*MADE_READY, 'watch', 'delete']
    assert f'wrong: -m tokenhmr_jax.train --distributed --config=c.py {OPTION}' in printed
    with tarfile.open(pod.folder / 'sent') as sent:
        assert sent.getnames() == ['code.py']


@pytest.mark.parametrize('change', ['code.py', 'new.py'])
def test_changes_that_are_not_committed_are_refused(pod, change):
    (pod.checkout / change).write_text('changed')
    code, printed, calls = pod()
    assert (code, calls) == (1, [])
    assert 'commit them' in printed
    assert change in printed


def test_each_worker_is_set_up_before_the_training(pod):
    setup = "mount 'a b' /data && ls /data"
    code, _, calls = pod(f'--setup={setup}')
    assert code == 0
    assert steps(calls) == ['create', 'setup', 'scp', 'install', 'train', 'watch', 'delete']
    assert {'--worker=all', f'--command={setup}'} <= set(calls[3])


def test_a_slice_that_is_not_made_ready_is_tried_three_times(pod):
    code, printed, calls = pod(install='exit 1')
    assert code == 1
    assert steps(calls) == ['create', 'scp', 'install', 'delete'] * 3
    assert 'billed' not in printed
    installing = next(part for call in calls for part in call if '--command=mkdir' in part)
    python = re.search(r'--python (3\.\d+) ', installing)[1]
    assert python in SpecifierSet(PROJECT['requires-python'])


@pytest.mark.parametrize('step', ['create', 'setup', 'train'])
def test_a_failure_that_passes_does_not_end_the_script(pod, step):
    """Some steps fail half done; the first deletion fails as well."""
    usual = f'[[ ! -e {pod.there} ]] && touch {pod.there}' if step == 'create' else ':'
    answers = {step: (f'touch {pod.there}; exit 1', usual), 'delete': ('exit 1', f'rm {pod.there}')}
    code, printed, calls = pod('--setup=mount', **answers)
    assert code == 0
    assert steps(calls).count('create') == 2
    assert steps(calls)[-2:] == ['watch', 'delete']
    assert 'billed' not in printed


@pytest.mark.parametrize('state', ['FAILED', 'SUSPENDED', ''])
def test_a_slice_that_never_comes_is_made_again(pod, state):
    """Other lines of gcloud's output do not count as the state."""
    no = f"echo 'an update is available' >&2; echo {state}" if state else NOT_FOUND
    code, _, calls = pod(describe=(NOT_FOUND, no, no, 'echo ACTIVE'))
    assert code == 0
    assert steps(calls) == ['create', 'delete', *MADE_READY, 'watch', 'delete']


def test_a_slice_is_waited_for_without_a_network(pod):
    describe = (NOT_FOUND, 'echo WAITING_FOR_RESOURCES', 'echo no route >&2; exit 1', 'echo ACTIVE')
    code, printed, calls = pod(describe=describe)
    assert code == 0
    assert steps(calls) == [*MADE_READY, 'watch', 'delete']
    assert 'no route' in printed


def test_a_lost_connection_is_no_lost_slice(pod):
    code, _, calls = pod(watch=(*['exit 255'] * 4, 'echo 0; exit 255', 'echo 0; echo 0'))
    assert code == 0
    assert steps(calls) == [*MADE_READY, *['watch'] * 6, 'delete']


def test_a_worker_that_stays_silent_when_others_have_ended_is_lost(pod):
    code, _, calls = pod(watch=(*['echo 75; exit 255'] * 3, 'echo 0'))
    assert code == 0
    first = [*MADE_READY, *['watch'] * 3, 'delete']
    assert steps(calls) == [*first, *MADE_READY, 'watch', 'delete']


DELETION = 'gcloud compute tpus queued-resources delete hmr --force --quiet --zone=z1'


def test_a_slice_that_cannot_be_deleted_is_told(pod):
    code, printed, calls = pod(delete='exit 1')
    assert code == 0
    assert steps(calls).count('delete') == 3
    assert DELETION in printed


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason='nohup')
def test_ctrl_c_leaves_the_slice_and_says_so(pod):
    """gcloud gets Ctrl-C too, and fails."""
    code, printed, calls = pod(watch='trap "exit 1" INT; kill -INT 0')
    assert code == 130
    assert steps(calls) == [*MADE_READY, 'watch']
    assert DELETION in printed


def test_a_slice_of_that_name_is_left_alone(pod):
    pod.there.touch()
    code, printed, calls = pod()
    assert (code, steps(calls)) == (1, [])
    assert 'the slice hmr is ACTIVE' in printed
    assert pod.there.exists()


def test_a_dry_run_does_nothing(pod):
    code, printed, calls = pod('--on-demand', '--setup=mount', '--dry-run')
    assert (code, calls) == (0, [])
    lines = [line for line in printed.splitlines() if line.startswith('gcloud')]
    done = ['create', 'ssh', 'scp', 'ssh', 'ssh', 'ssh', 'delete']
    assert [line.split()[4] for line in lines] == done
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
