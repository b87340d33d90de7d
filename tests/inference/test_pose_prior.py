"""A prior from its run: `tokenhmr_jax.load_prior`, and what it is asked."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import made_once, quickstart_config

import tokenhmr_jax
from tokenhmr_jax import evaluate, train
from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.inference.pose_prior import evidence_of_latents
from tokenhmr_jax.inference.samples import Sampler, SampleSettings
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor, upright_mean
from tokenhmr_jax.models.token_head import PoseTokenHead, QueryDecoder
from tokenhmr_jax.models.vit import ViT
from tokenhmr_jax.studies import completion
from tokenhmr_jax.tasks import pose_tokens
from tokenhmr_jax.training.trained_run import open_prior
from tokenhmr_jax.types import PoseTokens, SmplParams

ARM = ('left_shoulder', 'left_elbow', 'left_wrist')
SETTINGS = {
    'num_steps': 6,
    'batch_size': 16,
    'tokenizer.step': 'last',
    'tokenizer.num_codes': 32,
    'tokenizer.model.width': 16,
    'tokenizer.model.size_mul': 1,
    'tokenizer.model.size_div': 2,
    'model.width': 16,
    'model.depth': 1,
    'model.heads': 2,
    'tied_share': 0.6,
    'eval.every': 6,
    'eval.limit': 32,
    'eval.batch_size': 32,
    'eval.baseline_poses': 256,
    'log_every': 2,
    'checkpoint_every': 6,
    'data.num_workers': 0,
}


@pytest.fixture(scope='module')
def workdir(trained, prepared, tmp_path_factory):
    paths = {'tokenizer.checkpoint': str(trained), 'data.data_dir': str(prepared)}
    config = quickstart_config('prior', SETTINGS | paths)
    return made_once(tmp_path_factory, 'prior', lambda folder: train.train(config, str(folder)))


@pytest.fixture(scope='module')
def prior(workdir):
    return tokenhmr_jax.load_prior(str(workdir))


@pytest.fixture(scope='module')
def poses():
    vectors = np.random.default_rng(0).normal(0, 0.4, (5, 21, 3)).astype(np.float32)
    return np.asarray(rotations.axis_angle_to_matrix(vectors))


@pytest.mark.slow
def test_a_run_learns_logs_and_brings_its_tokenizer(workdir, prior, trained, poses):
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert losses[-1] < losses[0]
    scores = next(line for line in lines if 'eval/bits' in line)
    assert 0 < scores['eval/mpjpe_mm'] < scores['eval/limb_mm']
    assert list((workdir / 'examples').glob('*.png'))
    tokenizer = tokenhmr_jax.load_tokenizer(str(trained), 'last')
    np.testing.assert_array_equal(prior.encode(poses).indices, tokenizer.encode(poses).indices)
    with pytest.raises(ValueError, match=r'is a prior, not a tokenizer: use .*load_prior'):
        tokenhmr_jax.load_tokenizer(str(workdir))


@pytest.mark.slow
def test_completion_keeps_known_tokens_and_is_the_same_again(prior, poses):
    tokens = prior.encode(poses)
    mask = np.arange(20) < 6
    found = prior.complete(tokens, mask, steps=3)
    np.testing.assert_array_equal(found.indices[:, 6:], tokens.indices[:, 6:])
    np.testing.assert_array_equal(prior.complete(tokens, mask, steps=3).indices, found.indices)
    drawn = [prior.complete(tokens, mask, steps=3, seed=seed).indices for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    other = PoseTokens(np.where(mask, 3, tokens.indices))
    np.testing.assert_array_equal(prior.complete(other, mask, steps=3).indices, found.indices)
    with pytest.raises(ValueError, match=r'a mask of int64 \(20,\): expected bool, \(5, 20\) or'):
        prior.complete(tokens, np.arange(20))
    with pytest.raises(ValueError, match=r'steps=21: expected 1 to 20'):
        prior.complete(tokens, mask, steps=21)


@pytest.mark.slow
def test_a_hidden_limb_is_not_read_and_the_rest_stays(prior, poses):
    arm = np.isin(skeleton.BODY_JOINTS, ARM)
    other = poses.copy()
    other[:, arm] = poses[::-1][:, arm]
    found, same = prior.complete_limbs(poses, ARM), prior.complete_limbs(other, ARM)
    np.testing.assert_array_equal(found, same)
    np.testing.assert_array_equal(found[:, ~arm], poses[:, ~arm])
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=1e-4)
    assert np.abs(prior.complete_limbs(poses, ARM, seed=0) - found)[:, arm].max() > 1e-3
    assert 0 < prior.tied_tokens(ARM).sum() < 20
    with pytest.raises(ValueError, match=r"joints \['hand'\]: expected some of \('left_hip'"):
        prior.complete_limbs(poses, ['hand'])


@pytest.mark.slow
def test_likelihoods_are_of_the_poses_tokens(prior, poses):
    found = prior.log_likelihood(poses, steps=20)
    assert found.shape == (5,) and (found < 0).all()
    decoded = prior.decode(prior.encode(poses))
    again = prior.encode(decoded).indices == prior.encode(poses).indices
    same = again.all(axis=1)
    np.testing.assert_allclose(
        prior.log_likelihood(decoded, steps=20)[same], found[same], rtol=1e-4
    )


@pytest.mark.slow
def test_samples_and_recovered_poses_are_poses(prior, poses):
    drawn = prior.sample(3, seed=1, steps=4)
    assert prior.decode(drawn).shape == (3, 21, 3, 3)
    assert (prior.sample(3, seed=1, steps=4).indices == drawn.indices).all()
    little, much = prior.recover(poses, 0.01), prior.recover(poses, 90.0)
    np.testing.assert_allclose(np.linalg.det(little), 1, atol=1e-4)
    assert np.abs(much - little).max() > 0.05


@pytest.fixture(scope='module')
def network(prior):
    """A regressor of the prior's tokens, and its frozen weights; with the prior and without."""
    decoder = QueryDecoder(8, 1, 2, 4, 8, num_queries=21)
    backbone = ViT(width=8, depth=1, heads=2, patch_size=8)
    plain = Regressor(backbone, PoseTokenHead(decoder, 32), prior.model, 'rows')
    frozen = FrozenWeights(**upright_mean(), tokenizer=prior.params, codes=prior.codes)
    return plain, jax.tree.map(jnp.asarray, frozen)


def attached(network, prior, steps=1):
    task, (params, weights) = prior._task, prior._weights
    return pose_tokens.attach_prior(*network, task.model, params, weights, steps)


@pytest.mark.slow
def test_bodies_are_drawn_with_the_prior_of_the_same_tokenizer(prior, network):
    """Tokens that the network is sure of stay, others follow the prior."""
    sampler = Sampler(*attached(network, prior), prior.body)
    params = SmplParams(np.eye(3)[None], np.tile(np.eye(3), (1, 23, 1, 1)), np.zeros((1, 10)))
    sure = np.eye(32, dtype=np.float32)[3 + np.arange(20)][None]
    found = sampler(params, sure, SampleSettings(4, temperature=1.0))
    assert found.spread_mm.max() < 0.1
    unsure = np.full((1, 20, 32), 1 / 32, np.float32)
    drawn = sampler(params, unsure, SampleSettings(4, temperature=1.0))
    alone = Sampler(*network, prior.body)(params, unsure, SampleSettings(4, temperature=1.0))
    assert drawn.spread_mm.max() > 0.5 and np.abs(drawn.joints - alone.joints).max() > 1e-3
    other = network[0], network[1].replace(codes=prior.codes + 1)
    with pytest.raises(ValueError, match='a prior of the tokens of another tokenizer: expected'):
        attached(other, prior)
    with pytest.raises(ValueError, match='prior_steps=21: expected 1 to 20, the number of tokens'):
        attached(network, prior, steps=21)
    with pytest.raises(ValueError, match='prior_steps=4 without a prior: expected one, or 1 step'):
        open_prior(None, 4)


@pytest.mark.slow
def test_the_head_is_refined_in_more_than_one_step(prior, network):
    plain, frozen = network
    image = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    params = plain.init(jax.random.key(0), image)
    params['head']['logits']['kernel'] *= 30
    own = plain.apply(params, frozen, image)
    one, with_one = attached(network, prior)
    same = one.apply(params, with_one, image)
    np.testing.assert_array_equal(same.token_probs, own.token_probs)
    assert same.own_token_probs is None
    four, with_four = attached(network, prior, steps=4)
    refined = four.apply(params, with_four, image)
    np.testing.assert_array_equal(refined.own_token_probs, own.token_probs)
    np.testing.assert_allclose(refined.token_probs.sum(axis=-1), 1, atol=1e-4)
    surest = own.token_probs.max(axis=-1).argmax(axis=-1)  # is taken before anything is known
    rows = np.arange(2)
    np.testing.assert_allclose(
        refined.token_probs[rows, surest], own.token_probs[rows, surest], atol=1e-5
    )
    assert np.abs(refined.token_probs - own.token_probs).max() > 1e-3
    trained = four.apply(params, with_four, image, jax.random.key(0))
    np.testing.assert_allclose(trained.token_probs, own.token_probs, atol=1e-6)


def test_evidence_of_noisy_latents_by_hand():
    """On a grid, little noise leaves the nearest code, whichever number of it is noisier."""
    codes, latents = np.float32([[0, 0], [1, 0], [0, 1]]), np.float32([[[0.9, 0.2]]])
    found = evidence_of_latents(codes, latents, np.float32([[0.04, 0.25]]))
    each = [0.81 / 0.04 + 0.04 / 0.25, 0.01 / 0.04 + 0.04 / 0.25, 0.81 / 0.04 + 0.64 / 0.25]
    np.testing.assert_allclose(found[0, 0], -0.5 * np.array(each), rtol=1e-5)
    assert np.isfinite(evidence_of_latents(codes, latents, np.zeros((1, 2), np.float32))).all()


@pytest.mark.slow
def test_a_run_is_evaluated_and_studied(workdir, tmp_path, capsys):
    rows = evaluate.evaluate(str(workdir), out=str(tmp_path))
    assert list(rows) == ['completion'] and (tmp_path / 'poses.png').exists()
    completion.main([f'--checkpoint={workdir}', '--limit=24', f'--out={tmp_path}/study'])
    lines = [x.strip('| ').split(' | ') for x in capsys.readouterr().out.splitlines() if '|' in x]
    table = {line[0]: line[1:] for line in lines}
    assert table['hidden'][1:] == ['mean limb', 'nearest neighbour', 'completion', 'nothing hidden']
    both = [float(value) for value in table['both legs']]
    assert both[0] >= float(table['left leg'][0]) and all(value > 0 for value in both[1:])
    assert float(table['noisy'][0]) < float(table['noisy'][-1])
    assert (tmp_path / 'study/recovered.png').exists()


def test_limbs_of_the_study_by_hand():
    assert completion.joints_of('left arm') == ARM
    assert len(completion.joints_of('both legs')) == 8
    moved = np.array(skeleton.BODY_JOINTS)[completion.moved_joints('right leg')]
    assert moved.tolist() == ['right_knee', 'right_ankle', 'right_foot']
