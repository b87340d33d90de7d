"""Reports of hand-made runs, complete and incomplete."""

import csv
import json

import numpy as np
import pytest

from tokenhmr_jax import report
from tokenhmr_jax.drawing import report_plots
from tokenhmr_jax.studies import comparison, extras
from tokenhmr_jax.training import history


@pytest.fixture
def make_run(tmp_path):
    """Writes the folder of a run: its scores by step, two numbers each; `done` saves the last."""

    def make(name, scores, done=True, evaluation=None, below=None, **settings):
        folder = tmp_path / 'sweep' / name
        folder.mkdir(parents=True)
        config = {'num_steps': 20, 'seed': 0, 'tals': {'enabled': False}, 'task': 'regressor'}
        (folder / 'config.json').write_text(json.dumps(config | settings))
        lines = []
        for step, (mpjpe, pixels) in scores.items():
            lines.append({'step': step, 'loss': 1.0} | (below or {}))
            joints = {'eval/joint_mm/knee': 1.0}
            lines.append(
                {'step': step, 'eval/mpjpe_mm': mpjpe, 'eval/keypoints2d_px': pixels} | joints
            )
        (folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
        if done:
            (folder / 'checkpoints' / '20').mkdir(parents=True)
        if evaluation:
            (folder / 'evaluation').mkdir()
            about = {'step': 20, 'splits': ['a', 'b'], 'convention': 'lsp14'}
            text = json.dumps(about | evaluation)
            (folder / 'evaluation' / 'evaluation.json').write_text(text)
        return folder

    make.folder = tmp_path / 'sweep'
    return make


ON = {'tals': {'enabled': True}}


@pytest.fixture
def sweep(make_run):
    """Two rows of three seeds, without and with TALS; one run of the second is under way."""
    for seed, error in enumerate((99.0, 100.0, 104.0)):
        make_run(f'none/seed={seed}', {10: (120.0, 9.0), 20: (error, 5.0)}, seed=seed)
    make_run('tals/seed=0', {10: (110.0, 9.0), 20: (95.0, 7.0)}, **ON)
    below = {'below/angles/a': 0.25}
    make_run('tals/seed=1', {10: (97.0, 8.0), 20: (97.0, 8.0)}, below=below, seed=1, **ON)
    make_run('tals/seed=2', {10: (300.0, 80.0)}, done=False, seed=2, **ON)
    return make_run.folder


def test_rows_are_means_over_seeds_with_their_difference_to_the_baseline(sweep, tmp_path):
    none, tals = comparison.report_runs([sweep], tmp_path / 'out', baseline='none')
    assert (none.name, len(none.runs), none.settings) == ('none', 3, {'tals.enabled': False})
    assert (tals.name, len(tals.runs), tals.settings) == ('tals', 3, {'tals.enabled': True})
    with open(tmp_path / 'out/report.csv') as file:
        lines = list(csv.DictReader(file))
    assert [(line['run'], line['runs'], line['step']) for line in lines] == [
        ('none', '3', '20'), ('tals', '2/3', '20'),
    ]  # fmt: skip
    # 99, 100, 104: mean 101, sum of squares 4 + 1 + 9 = 14 over two. 95, 97: 96, 2 over one. The
    # run that is not finished does not count.
    assert float(lines[0]['mpjpe_mm']) == pytest.approx(101)
    assert float(lines[0]['mpjpe_mm std']) == pytest.approx(7**0.5)
    assert float(lines[1]['mpjpe_mm std']) == pytest.approx(2**0.5)
    assert float(lines[1]['mpjpe_mm difference']) == pytest.approx(-5)
    assert float(lines[1]['keypoints2d_px difference']) == pytest.approx(2.5)
    text = (tmp_path / 'out/report.md').read_text()
    assert '5 of 6 runs are finished' in text
    assert '| none | False | 3 | 20 | 101 ± 2.6 | 5 ± 0 |' in text
    assert '| tals | True | 2/3 | 20 | 96 ± 1.4 (-5) | 7.5 ± 0.71 (+2.5) |' in text
    assert 'knee' not in text
    assert '| run | angles/a |' in text
    assert '| tals | 0.25 |' in text


def test_the_plots_show_the_runs(sweep, tmp_path):
    cv2 = pytest.importorskip('cv2')
    comparison.report_runs([sweep], tmp_path / 'out')
    for name in ('curves.png', 'errors.png'):
        assert cv2.imread(str(tmp_path / 'out' / name)) is not None, name

    rows = comparison.group_runs(
        [history.read_run(folder) for folder in history.find_runs([sweep])]
    )
    names, curves = [row.name for row in rows], comparison.training_curves(rows)
    axis = report_plots.plot_curves(names, curves).axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ('training step', 'MPJPE, mm')
    assert len(axis.lines) == 3 + 1 + 3 + 1
    np.testing.assert_allclose(axis.lines[3].get_xydata(), [[10, 120], [20, 101]])
    values = comparison.collect(rows, comparison.newest_scores)
    axis = report_plots.plot_errors(names, values, curves).axes[0]
    dots = np.concatenate(
        [group.get_offsets() for group in axis.collections if len(group.get_offsets())]
    )
    assert {(5.0, 99.0), (7.0, 95.0), (8.0, 97.0)} <= set(map(tuple, dots.tolist()))


def test_a_run_that_diverged_is_left_out_of_the_picture(make_run, tmp_path):
    make_run('good', {20: (99.0, 5.0)})
    make_run('diverged', {20: (float('nan'), 5.0)}, **ON)
    comparison.report_runs([make_run.folder], tmp_path / 'out', baseline='good')
    assert '| diverged | True | 1 | 20 | nan (+nan) |' in (tmp_path / 'out/report.md').read_text()
    assert (tmp_path / 'out/errors.png').exists()
    make_run('diverged_later', {20: (98.0, 5.0)}, seed=1, **ON)
    comparison.report_runs(
        [make_run.folder], tmp_path / 'out', baseline=f'{make_run.folder}/diverged'
    )
    assert '| good | False | 1 | 20 | 99 (+nan) |' in (tmp_path / 'out/report.md').read_text()
    comparison.report_runs([make_run.folder / 'diverged'], tmp_path / 'alone')


def lines_of(values, row):
    """Run, metric and value of each line of a row."""
    chosen = values[values['row'] == row.name]
    return list(chosen[['run', 'metric', 'value']].itertuples(index=False, name=None))


def test_scores_of_whole_splits_count_where_all_runs_have_them(make_run):
    scores = {'regressor': {'mpjpe_mm': 90.0, 'joint_mm/knee': 3.0}, 'mean body': {'mpjpe_mm': 1.0}}
    whole = {'evaluation': {'rows': scores}}
    both = [
        history.read_run(make_run(f'{i}', {20: (99.0, 5.0)}, seed=i, **whole)) for i in range(2)
    ]
    (row,) = comparison.group_runs(both)
    values, source = comparison.main_scores([row])
    assert lines_of(values, row) == [(0, 'mpjpe_mm', 90.0), (1, 'mpjpe_mm', 90.0)]
    assert source == 'a, b (lsp14, truth: body), `evaluation.json`, steps 20'
    other = {'rows': scores, 'splits': ['a']}
    for name, evaluation in (('without', None), ('of_other_splits', other)):
        third = history.read_run(make_run(name, {20: (99.0, 5.0)}, evaluation=evaluation, **ON))
        values, source = comparison.main_scores([row, *comparison.group_runs([third])])
        assert lines_of(values, row) == [
            (run, *score)
            for run in (0, 1)
            for score in (('mpjpe_mm', 99.0), ('keypoints2d_px', 5.0))
        ]
        assert 'in training' in source
    old = make_run('old', {}, evaluation=None)
    (old / 'evaluation').mkdir()
    (old / 'evaluation/evaluation.json').write_text(json.dumps(scores))
    with pytest.raises(ValueError, match='expected step, splits, convention and rows'):
        history.read_run(old)


def test_runs_under_way_are_compared_at_the_step_that_they_share(make_run):
    first = make_run('one', {5: (90.0, 9.0), 10: (80.0, 8.0)}, done=False)
    second = make_run('two', {5: (70.0, 7.0)}, done=False, seed=1)
    third = make_run('three', {}, done=False, seed=2)
    (row,) = comparison.group_runs([history.read_run(folder) for folder in (first, second, third)])
    assert [scores['mpjpe_mm'] for scores in comparison.newest_scores(row)] == [90.0, 70.0]


def test_how_a_run_was_computed_makes_no_row_of_its_own(make_run):
    threads = [make_run(f'{i}', {}, seed=i, data={'num_threads': i, 'x': 1}) for i in range(2)]
    (row,) = comparison.group_runs([history.read_run(folder) for folder in threads])
    assert row.settings == {}


def test_an_empty_group_of_settings_is_a_setting(make_run):
    folders = [make_run(f'{i}', {}, mixture=mixture) for i, mixture in enumerate(({}, 1))]
    rows = comparison.group_runs([history.read_run(folder) for folder in folders])
    assert [row.settings for row in rows] == [{'mixture': {}}, {'mixture': 1}]


def test_runs_of_both_stages_differ_in_settings_that_both_have(make_run):
    tokenizer = make_run('a', {}, task='tokenizer', width=3, tals=None)
    regressor = make_run('b', {}, width=4, heads=2)
    rows = comparison.group_runs([history.read_run(folder) for folder in (tokenizer, regressor)])
    assert [row.settings for row in rows] == [
        {'task': 'tokenizer', 'width': 3}, {'task': 'regressor', 'width': 4},
    ]  # fmt: skip


def test_rows_are_named_after_folders_of_their_own(make_run):
    flat = [make_run(f'run{i}', {}, seed=i % 2, tals={'enabled': i > 1}) for i in range(4)]
    assert [row.name for row in comparison.group_runs(list(map(history.read_run, flat)))] == [
        'run0, run1', 'run2, run3',
    ]  # fmt: skip
    assert [row.name for row in comparison.group_runs(list(map(history.read_run, flat[:2])))] == [
        'sweep'
    ]
    assert [row.name for row in comparison.group_runs([history.read_run(flat[0])])] == ['run0']
    nested = history.read_run(make_run('on/seed=0', {}, **ON))
    (row,) = comparison.group_runs([nested], str(make_run.folder))
    assert row.name == 'on'  # as it will be when others of its seeds have begun


def test_a_run_that_is_being_written_is_read(make_run):
    folder = make_run('one', {10: (99.0, 5.0), 20: (98.0, 5.0)}, done=False)
    assert not history.read_run(folder).finished  # evaluated, but its last step is not saved
    with open(folder / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 30, "lo')
    assert history.read_run(folder).step == 20
    with open(folder / 'metrics.jsonl', 'a') as file:
        file.write('\n')
    with pytest.raises(ValueError, match=r'metrics.jsonl, line 5: not readable'):
        history.read_run(folder)


def test_a_run_without_any_evaluation_has_a_row(make_run, tmp_path):
    make_run('old', {20: (99.0, 5.0)})
    make_run('new', {}, done=False, **ON)
    comparison.report_runs([make_run.folder], tmp_path / 'out', baseline='old')
    assert '| new | True | 0/1 | 0 | - | - |' in (tmp_path / 'out/report.md').read_text()


def test_what_is_not_there_is_named(sweep, tmp_path):
    comparison.report_runs([sweep], tmp_path / 'a', baseline=f'{sweep}/none/seed=0/')
    with pytest.raises(ValueError, match=r"baseline='x': expected one of \['none', 'tals'\]"):
        comparison.report_runs([sweep], tmp_path, baseline='x')
    with pytest.raises(FileNotFoundError, match='no run has begun here'):
        comparison.report_runs([tmp_path / 'nothing'], tmp_path)


def test_a_report_without_its_packages_says_what_to_install(sweep, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        SystemExit, match=r'pandas, .*not installed; pip install "tokenhmr_jax\[report\]"'
    ):
        report.main([str(sweep)])
    assert not (sweep / 'report').exists()


def test_seeds_of_two_configs_in_one_folder_are_two_rows(make_run):
    runs = [make_run('a/seed=0', {20: (99.0, 5.0)}), make_run('a/seed=1', {}, seed=1, **ON)]
    rows = comparison.group_runs([history.read_run(folder) for folder in runs])
    assert [row.name for row in rows] == ['a/seed=0', 'a/seed=1']
