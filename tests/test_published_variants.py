"""The published variants of the regressor against their sources."""

import ast
import re
import runpy

import pytest
from conftest import ROOT
from flax import traverse_util

from tokenhmr_jax.tasks import make_task

FILE = runpy.run_path(str(ROOT / 'configs/regressor.py'))
PAGE = (ROOT / 'docs/published_variants.md').read_text()
VARIANTS = ('paper', 'paper_config', 'release', 'demo', 'bedlam')


def config_of(variant):
    return FILE['get_config'](f'variant={variant}')


def settings(variant):
    """All settings by dotted name; the mixture is one."""
    tree = config_of(variant).to_dict()
    mixture = tree['data'].pop('mixture')
    return traverse_util.flatten_dict(tree, sep='.') | {'data.mixture': mixture}


def table(heading, columns):
    """Rows of the page's table with a first heading and so many columns, without backquotes."""
    rows = [line.strip('| ').split(' | ') for line in PAGE.splitlines() if line.startswith('|')]
    rows = [[cell.strip('`') for cell in row] for row in rows]
    start = next(i for i, row in enumerate(rows) if row[0] == heading and len(row) == columns)
    rows = rows[start + 2 :]
    return rows[: next((i for i, row in enumerate(rows) if len(row) != columns), len(rows))]


# The original's own files: keys of tokenhmr_paper.yaml and tokenhmr_release.yaml with default.yaml.
IN_BOTH_CONFIGS = {
    'batch_size': 4 * 48,
    'reference_batch': 48,
    'optimizer.weight_decay': 1e-4,
    'eval.every': 2000,
    'checkpoint_every': 2000,
    'tals.enabled': True,
    'tals.loose_weight': 0.05,
    'betas_reg': True,
    'loss_weights.keypoints3d': 0.05,
    'loss_weights.keypoints2d': 0.01,
    'loss_weights.global_orient': 0.001,
    'loss_weights.body_pose': 0.001,
    'loss_weights.betas': 0.0005,
    'tokenizer.model.code_dim': 256,
    'tokenizer.num_codes': 2048,
    'model.decoder.depth': 6,
    'model.decoder.heads': 8,
    'model.decoder.head_dim': 64,
    'model.decoder.mlp_dim': 1024,
    'data.crop_size': 256,
    'data.augment.scale': 0.3,
    'data.augment.rotation_degrees': 30,
    'data.augment.translation': 0.02,
    'data.augment.color': 0.2,
    'data.augment.rotation': 0.6,
    'data.augment.flip': 0.5,
    'data.augment.extreme_crop': 0.1,
}


@pytest.mark.parametrize(
    ('variant', 'steps', 'rate'),
    [('paper_config', 100_000, 5e-6), ('release', 200_000, 5e-7), ('demo', 350_000, 5e-7)],
)
def test_variants_of_the_code_follow_its_configs(variant, steps, rate):
    expected = IN_BOTH_CONFIGS | {'num_steps': steps, 'optimizer.learning_rate': rate}
    found = settings(variant)
    assert {name: found[name] for name in expected} == expected
    assert found['tals.distance'] == 'squared' and found['tals.thresholds'] == 'release'


def test_paper_is_the_authors_config_but_for_what_the_text_says():
    text, config = settings('paper'), settings('paper_config')
    differ = {name for name in text if text[name] != config[name]}
    assert differ == set(FILE['PAPER_TEXT']) == set(FILE['PAPER_CONFIG'])
    assert {name: text[name] for name in differ} == {
        'batch_size': 256,
        'optimizer.learning_rate': 1e-5,
        'tals.loose_weight': 0.01,
        'tals.distance': 'l1',
        'tals.thresholds': 'table1',
        'betas_reg': False,
    }


def test_release_and_demo_differ_from_the_authors_config_in_length_and_rate_alone():
    paper, release, demo = map(settings, ('paper_config', 'release', 'demo'))
    differ = {name for name in paper if paper[name] != release[name]}
    assert differ == {'num_steps', 'optimizer.learning_rate'}
    assert {name for name in demo if demo[name] != release[name]} == {'num_steps'}


def test_bedlam_alone_has_no_thresholds():
    paper, bedlam = settings('paper'), settings('bedlam')
    changed = {name: bedlam[name] for name in paper if paper[name] != bedlam[name]}
    assert changed == {
        'tals.enabled': False,
        'data.mixture': {'bedlam/train': 1.0},
        'data.ground_truth': ('bedlam/train',),
    }


def test_the_page_has_every_setting_with_its_value():
    found = {variant: settings(variant) for variant in VARIANTS}
    named = {'data.mixture'}
    for name, *values, source in table('setting', len(VARIANTS) + 2):
        assert source
        for variant, value in zip(VARIANTS, values, strict=True):
            assert found[variant][name] == ast.literal_eval(value), (name, variant)
        named.add(name)
    for name, value, source in table('setting', 3):
        assert source and name not in named
        for variant in VARIANTS:
            assert found[variant][name] == ast.literal_eval(value), (name, variant)
        named.add(name)
    rest = set(re.findall(r'`([^`]*)`', PAGE.split('All other settings')[1].split('\n## ')[0]))
    groups = tuple(name[:-1] for name in rest if name.endswith('.*'))
    left = {name for name in found['paper'].keys() - named if not name.startswith(groups)}
    assert left == {name for name in rest if not name.endswith('.*')}


def test_the_page_has_what_sets_the_variants_with_the_true_camera_apart():
    rows = table('setting', 4)
    for variant, base, column in (('camera', 'paper', 1), ('camera_bedlam', 'bedlam', 2)):
        found, before = settings(variant), settings(base)
        page = {row[0]: ast.literal_eval(row[column]) for row in rows}
        assert {name: found[name] for name in page} == page
        assert {name for name in found if found[name] != before[name]} <= page.keys()
        assert make_task(config_of(variant)).model.prompts.reads_keypoints is False
    assert all(row[3] for row in rows)


def test_the_page_has_the_mixture():
    rows = table('data.mixture', 4)
    weights = {name: float(weight) for name, weight, _, _ in rows}
    assert sum(weights.values()) == pytest.approx(1)
    for variant in ('paper', 'paper_config', 'release', 'demo'):
        assert config_of(variant).data.mixture.to_dict() == weights
    assert {name for name, _, bedlam, _ in rows if float(bedlam)} == {'bedlam/train'}


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_values_go_together(variant):
    task = make_task(config_of(variant))
    assert task.model.backbone is not None and task.model.prompts is None
    assert task.model.tokenizer is not None  # the head is of tokens


def test_small_variants_crop_people_seen_in_part_if_at_all():
    for variant in ('quickstart', 'bundled', 'miniature'):
        assert config_of(variant).data.augment.extreme_crop_needs == 'part'
