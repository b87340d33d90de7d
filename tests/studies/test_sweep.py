"""Sweeps: expansion, checks before the start, stops and restarts."""

import importlib.util
import json
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, TINY, command, train_arguments

from tokenhmr_jax.config import config_to_json
from tokenhmr_jax.studies import extras, sweeps
from tokenhmr_jax.tasks import make_task

# Of ml_collections, where a config file is loaded in this process.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module')

TOKENIZER = ['--config=configs/tokenizer.py:variant=quickstart']
REGRESSOR = ['--config=configs/regressor.py:variant=quickstart']


def load_command():
    spec = importlib.util.spec_from_file_location('launch_sweep', ROOT / 'launch/sweep.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planned(*named, arguments=TOKENIZER, workdir='/nowhere', seeds=1):
    return sweeps.plan_sweep(arguments, lambda config: iter(named), workdir, seeds)


def test_grids_seeds_and_products_expand():
    grid = list(sweeps.grid({'a.b': [1, 2], 'c': ['x']}))
    assert grid == [('b=1/c=x', {'a.b': 1, 'c': 'x'}), ('b=2/c=x', {'a.b': 2, 'c': 'x'})]
    assert list(sweeps.seeds([('one', {'a': 1}), ('two', {})], 2)) == [
        ('one/seed=0', {'a': 1, 'seed': 0}),
        ('one/seed=1', {'a': 1, 'seed': 1}),
        ('two/seed=0', {'seed': 0}),
        ('two/seed=1', {'seed': 1}),
    ]
    with pytest.raises(ValueError, match=r"\['a'\] is set twice"):
        list(sweeps.product([('one', {'a': 1})], [('two', {'a': 2})]))


def test_a_plan_is_what_the_training_will_parse():
    values = {
        'num_steps': 7,
        'optimizer.learning_rate': 1e-5,
        'data.mixture': {'amass/a': 0.5, 'amass/b': 0.5},
        'data.validation': ('amass/c', 'amass/d'),
        'codebook.reset_on_reseed': False,
        'body': '/data/a body.npz',
        'codebook.num_codes': 128,
    }
    arguments = [*TOKENIZER, '--config.num_steps=9', '--config.data.validation=("x",)']
    numpy = {'codebook.num_codes': np.int64(128)}
    one, two = planned(('run', values | numpy), arguments=arguments, seeds=2)
    assert (one.name, two.name, two.workdir) == ('run/seed=0', 'run/seed=1', '/nowhere/run/seed=1')
    expected = sweeps.parse_config(TOKENIZER)
    with expected.unlocked():
        expected.update_from_flattened_dict(
            {k: v for k, v in values.items() if k != 'data.mixture'}
        )
        expected.data.mixture = values['data.mixture']
        expected.seed = 1
    assert config_to_json(two.config) == config_to_json(expected)
    again = sweeps.parse_config(two.arguments[:-1])
    assert again == two.config
    assert two.arguments[-1] == '--workdir=/nowhere/run/seed=1'


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'model.widht': 1}, 'run: no such setting: .*Did you mean "width"'),
        ({'nothing': 1}, 'run: no such setting: .*nothing'),
        ({'num_steps': 0.5}, 'run: .*num_steps'),
        ({'body': 5}, "run: body cannot be 5: on the command line it is '5'"),
        ({'data.mixture': 3}, 'run: .*mixture'),
    ],
)
def test_an_override_that_the_config_does_not_take_is_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        planned(('run', overrides))


def test_all_that_is_wrong_is_said_at_once():
    runs = (
        ('a', {}),
        ('a', {'seed': 1}),
        ('a/b', {'seed': 2}),
        ('../c', {'seed': 3}),
        ('d', {'x': 1}),
        ('e', {'seed': 0}),
    )
    with pytest.raises(ValueError) as error:
        planned(*runs)
    text = str(error.value)
    assert '5 problems' in text
    assert 'a and e: the same config' in text
    assert 'a: 2 runs of this name' in text
    assert "a/b: lies in another run's folder, a" in text
    assert "'../c' is no name" in text
    assert 'd: no such setting' in text
    with pytest.raises(ValueError, match='a and b: the same config'):
        planned(('a', {}), ('b', {'seed': 0}))
    with pytest.raises(ValueError, match='the sweep is empty'):
        planned()
    with pytest.raises(ValueError, match="Unknown command line flag 'learning_rate'"):
        planned(('a', {}), arguments=[*TOKENIZER, '--learning_rate=1'])


def test_a_sweep_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file 'nothing\.py'"):
        sweeps.load_sweep('nothing.py:f')
    with pytest.raises(ValueError, match=r"no function 'codez'.*'codes'"):
        sweeps.load_sweep(f'{ROOT}/configs/tokenizer_sweeps.py:codez')


def test_what_runs_are_to_read_is_looked_for(prepared, trained, tmp_path):
    data = [*REGRESSOR, f'--config.data.data_dir={prepared}']
    mixture = {
        'data.mixture': {'amass/procedural': 1.0},
        'data.ground_truth': ('amass/procedural',),
    }
    there = mixture | {'data.validation': ('amass/procedural_heldout',)}
    small = {f'tokenizer.{name}': TINY[name] for name in TINY if name.startswith('model.')}
    small |= {'tokenizer.num_codes': 32, 'tokenizer.checkpoint': str(trained)}
    runs = planned(
        ('good', there | small),
        ('data', mixture | small),
        ('stage1', there | small | {'tokenizer.checkpoint': str(tmp_path / 'nothing')}),
        ('sizes', there | small | {'tokenizer.num_codes': 64}),
        ('body', there | small | {'body': '/nowhere.pkl'}),
        ('table', there | small | {'tals.thresholds': '/nowhere.csv'}),
        ('scale', there | small | {'tals.scale': -1.0}),
        ('rate', there | small | {'optimizer.schedule': 'steps'}),
        ('measure', there | small | {'eval.convention': 'emdb'}),
        ('detector', there | small | {'prompts.detector.half': 0.7}),
        ('direct', there | {'model.head': 'direct', 'tokenizer.checkpoint': ''}),
        arguments=data,
    )
    with pytest.raises(ValueError) as error:
        sweeps.check_inputs(runs)
    problems = str(error.value).splitlines()
    assert [line.split(':')[0].strip() for line in problems] == [
        '9 problems in the sweep', 'data', 'stage1', 'sizes', 'body', 'table', 'scale', 'rate',
        'measure', 'detector',
    ]  # fmt: skip
    assert 'no checkpoints' in problems[2]
    assert 'a tokenizer with' in problems[3]
    sweeps.check_inputs([runs[0], runs[-1]])


@pytest.mark.parametrize('file', ['regressor', 'tokenizer'])
def test_the_sweeps_of_the_project_fit_their_configs(file):
    path = ROOT / f'configs/{file}_sweeps.py'
    names = [line[4:].split('(')[0] for line in path.read_text().splitlines() if line[:4] == 'def ']
    public = [name for name in names if not name.startswith('_')]
    assert len(public) >= 6
    for name in public:
        sweep = sweeps.load_sweep(f'{path}:{name}')
        planned = sweeps.plan_sweep([f'--config=configs/{file}.py'], sweep, '/nowhere', 1)
        assert len(planned) > 1
        for run in planned:
            make_task(run.config)
        assert sweep.__doc__


def test_some_runs_are_chosen_by_name():
    """All seeds of a name, in the sweep's order."""
    runs = planned(('a/x', {}), ('a/y', {'num_steps': 7}), ('b', {'num_steps': 8}), seeds=2)
    chosen = lambda *patterns: [run.name for run in sweeps.choose(runs, patterns)]  # noqa: E731
    assert chosen('a/x') == ['a/x/seed=0', 'a/x/seed=1']
    assert chosen('b', 'a/*') == [run.name for run in runs]
    assert chosen('*/seed=1') == ['a/x/seed=1', 'a/y/seed=1', 'b/seed=1']
    with pytest.raises(ValueError, match=r"no run 'c': expected of \['a/x/seed=0'"):
        sweeps.choose(runs, ('b', 'c'))


def test_elements_of_pose_tokens_add_up():
    sweep = sweeps.load_sweep(f'{ROOT}/configs/regressor_sweeps.py:token_elements')
    runs = dict(sweep(sweeps.parse_config(REGRESSOR)))
    heads = ('direct', 'published', 'whole_pose', 'queries', 'fsq_transformer', 'cross_entropy')
    heads += ('straight_through', 'gumbel', 'label_smoothing')
    assert [name for name in runs if name.startswith('scarce/')] == [f'scarce/{n}' for n in heads]
    assert 'keypoints2d/cross_entropy' not in runs and len(runs) == 34
    before = runs['hidden/queries']
    for name in heads[4:]:
        assert len(runs[f'hidden/{name}'].items() - before.items()) > 0
        assert before.keys() <= runs[f'hidden/{name}'].keys()
        before = runs[f'hidden/{name}']
    assert runs['plain/queries']['loss_weights.tokens'] == 0
    assert runs['plain/gumbel']['loss_weights.tokens'] == 0.02
    assert runs['plain/gumbel']['tokenizer.model.levels'] == (16,)


def test_filtering_is_compared_with_tals_on_the_same_sources():
    sweep = sweeps.load_sweep(f'{ROOT}/configs/regressor_sweeps.py:filtering')
    runs = {
        run.name: run.config
        for run in sweeps.plan_sweep(['--config=configs/regressor.py'], sweep, '/x', 1)
    }
    assert list(runs) == ['unfiltered/none', 'unfiltered/tals', 'filtered/none', 'filtered/tals']
    data = runs['unfiltered/tals'].data
    assert data.mixture['pseudo_gt/mpii_unfiltered/train'] == 0.1
    assert data.mixture['bedlam/train'] == 0.18
    assert set(data.ground_truth) == {'pseudo_gt/h36m_unfiltered/train', 'bedlam/train'}


def test_a_launcher_gets_one_line_for_each_run_that_is_left():
    launch = load_command()
    runs = planned(('A_b/x=0.1', {'body': "it's here"}), ('c', {}), workdir='/my runs')
    lines = launch.commands(runs, 'launch/tpu_pod.sh --name=hmr-{name} --zone=z')
    words = [shlex.split(line) for line in lines]
    assert words[0][:4] == ['launch/tpu_pod.sh', '--name=hmr-a-b-x-0-1', '--zone=z', '--']
    assert words[0][4:] == runs[0].arguments
    assert words[1][-1] == '--workdir=/my runs/c'
    with pytest.raises(ValueError, match=r'expected no field but \{name\}'):
        launch.commands(runs, 'x --name={nome}')
    clash = planned(('x=1', {}), ('x+1', {'seed': 1}))
    with pytest.raises(ValueError, match=r'x=1 and x\+1: both would be the job x-1'):
        launch.commands(clash, 'x')


SWEEP = """
def good(config):
    for seed in range(2):
        yield f'seed={seed}', {'seed': seed}

def with_a_bad_one(config):
    first, second = good(config)
    yield first
    yield 'bad', {'body': __file__}
    yield second
"""


@pytest.fixture
def sweep(prepared, trained, tmp_path):
    """Command line of a sweep of `SWEEP`, whose first run is done already."""
    (tmp_path / 'tiny.py').write_text(SWEEP)
    options = [a for a in train_arguments(prepared, '') if a.startswith('--config')]

    def arguments(name):
        workdir = tmp_path / name / 'runs'
        if not workdir.exists():
            shutil.copytree(trained, workdir / 'seed=0')
        return [
            'launch/sweep.py',
            f'--sweep={tmp_path}/tiny.py:{name}',
            f'--workdir={workdir}',
            *options,
        ]

    arguments.folder = tmp_path
    return arguments


def started(arguments, log) -> subprocess.Popen:
    """A sweep whose first run has begun to write its log."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not log.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def children(pid: int) -> list[int]:
    return list(map(int, pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()))


@pytest.mark.slow
def test_killed_at_a_random_moment_a_sweep_ends_with_the_same_table(sweep):
    """A run that fails does not stop the others."""
    printed = command(*sweep('with_a_bad_one'), expect=1)
    assert '2 of 3 runs are done' in printed
    assert 'bad: exit code 1: error: ' in printed
    assert 'tiny.py: ' in printed

    log = sweep.folder / 'good/runs/seed=1/train.log'
    process = started(sweep('good'), log)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 75, printed
    assert 'seed=1: stopped' in printed

    log.unlink()
    process = started(sweep('good'), log)
    time.sleep(random.Random(time.time_ns()).uniform(0, 12))
    runs = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while any(pathlib.Path(f'/proc/{pid}/exe').exists() for pid in runs):
        assert time.monotonic() < deadline, 'a run outlived its sweep'
        time.sleep(0.05)

    assert '2 of 2 runs are done' in command(*sweep('good'))
    table = 'runs/report/report.csv'
    unbroken, broken = ((sweep.folder / n / table).read_text() for n in ('with_a_bad_one', 'good'))
    assert broken == unbroken
    lines = log.with_name('metrics.jsonl').read_text().splitlines()
    steps = [json.loads(line)['step'] for line in lines]
    assert steps == sorted(steps)
    assert max(steps) == TINY['num_steps']


def test_another_config_in_a_folder_that_a_run_began_in_is_refused(prepared, trained):
    arguments = [a for a in train_arguments(prepared, '') if a.startswith('--config')]
    name, folder = trained.name, trained.parent
    same = planned((name, {}), arguments=arguments, workdir=folder)
    assert load_command().is_finished(same[0])
    planned((name, {'data.num_threads': 7}), arguments=arguments, workdir=folder)
    with pytest.raises(ValueError, match=r'another optimizer\.learning_rate \(0\.001 -> 0\.5\)'):
        planned((name, {'optimizer.learning_rate': 0.5}), arguments=arguments, workdir=folder)
    with pytest.raises(ValueError, match=f'lies in the folder of a run, {trained}'):
        planned((name, {}), arguments=arguments, workdir=folder, seeds=2)
    with pytest.raises(ValueError, match=f'another run lies in it, {trained}'):
        planned((folder.name, {}), arguments=arguments, workdir=folder.parent)


def test_the_reason_of_a_failure_is_its_error():
    reason = load_command()._reason
    assert reason('step 1\rstep 2\n\nerror: no such file\n') == 'error: no such file'
    traceback = 'Traceback (most recent call last):\n  x()\njax.errors.JaxRuntimeError: RESOURCE\n'
    assert reason(f'{traceback}-----\nFor simplicity, frames are left out') == (
        'jax.errors.JaxRuntimeError: RESOURCE'
    )
    assert reason('Killed\n') == 'Killed'
    assert reason('') == 'no output'


def test_without_the_report_extra_a_sweep_prints_its_summary(
    prepared, trained, monkeypatch, capsys
):
    launch = load_command()
    monkeypatch.setattr(extras.importlib.util, 'find_spec', lambda name: None)
    arguments = [a for a in train_arguments(prepared, '') if a.startswith('--config')]
    runs = planned((trained.name, {}), arguments=arguments, workdir=trained.parent)
    launch._report(runs, runs, {trained.name: launch.DONE}, str(trained.parent))
    no_report, summary = capsys.readouterr().out.splitlines()
    assert no_report.startswith(
        'no report: pandas, matplotlib: not installed; pip install "tokenhmr_jax['
    )
    assert summary == '1 of 1 runs are done'


def test_a_sweep_ends_with_its_report_or_with_what_to_do(tmp_path):
    done, folder = load_command()._done, str(tmp_path)
    assert done({'a': 'done'}, folder).line() == f'wrote {folder}'  # without the extra `report`
    (tmp_path / 'report').mkdir()
    report = tmp_path / 'report/report.md'
    report.touch()
    assert done({'a': 'done'}, folder).line() == f'wrote {folder}; next: look at {report}'
    stopped = done({'a': 'done', 'b': 'stopped'}, folder)
    failed = done({'a': 'exit code 1: no', 'b': 'done'}, folder)
    assert (stopped.code, failed.code) == (75, 1)
    assert stopped.line().endswith('next: the same command goes on')


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason='nohup')
def test_ctrl_c_stops_a_sweep_as_sigterm_does():
    assert {signal.SIGTERM, signal.SIGINT} <= set(load_command()._stop_signals())


def test_runs_share_the_gpus(monkeypatch, tmp_path):
    environments = load_command()._environments
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1,2,3')
    assert [e['CUDA_VISIBLE_DEVICES'] for e in environments(2)] == ['0,2', '1,3']
    with pytest.raises(ValueError, match='parallel=5: expected at most 4'):
        environments(5)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    monkeypatch.setenv('PATH', str(tmp_path))
    assert environments(2) == [{}, {}]
    smi = tmp_path / 'nvidia-smi'
    smi.write_text('#!/bin/sh\necho 0\necho 1\n')
    smi.chmod(0o755)
    assert [e['CUDA_VISIBLE_DEVICES'] for e in environments(2)] == ['0', '1']
    assert environments(1) == [{}]
