"""The head of pose tokens: its labels, and a run of it from training to prediction."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import REGRESSOR_SIZES, SMALL_REGRESSOR, quickstart_config

import tokenhmr_jax
from tokenhmr_jax import pack
from tokenhmr_jax.body import keypoint_conventions, rotations
from tokenhmr_jax.evaluate import evaluate
from tokenhmr_jax.export import export_run
from tokenhmr_jax.inference.outputs.results import person_arrays
from tokenhmr_jax.mannequin.movement.kinematics import mirror_body
from tokenhmr_jax.models.regressor import Prediction
from tokenhmr_jax.tasks import make_task, pose_tokens, prompting
from tokenhmr_jax.tasks.regressor_targets import true_params
from tokenhmr_jax.train import train
from tokenhmr_jax.types import PoseTokens

HEAD = {'model.head': 'pose_tokens'}


@pytest.fixture(scope='module')
def parts():
    """A task of pose tokens and its random frozen weights, as NumPy arrays."""
    task = make_task(quickstart_config('regressor', SMALL_REGRESSOR | HEAD))
    _, state = jax.eval_shape(task.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    draw = lambda x: rng.normal(0, 0.5, x.shape).astype(x.dtype)  # noqa: E731
    return task, jax.tree.map(draw, state)


def errors(parts, vectors, trusted, logits):
    """Terms and logs of labels, by logits."""
    task, state = parts
    root, hands = np.zeros((len(vectors), 3), np.float32), ((0, 0), (0, 2), (0, 0))
    truth = true_params(root, np.pad(vectors, hands), np.zeros((len(vectors), 10), np.float32))
    prediction = Prediction(truth, root, logits, None)
    return pose_tokens.token_errors(task.config, task.model, state, prediction, truth, trusted)


@pytest.fixture(scope='module')
def labels(parts):
    """Poses as rotation vectors, and their tokens."""
    task, state = parts
    vectors = np.random.default_rng(1).normal(0, 0.4, (4, 21, 3)).astype(np.float32)
    matrices = rotations.axis_angle_to_matrix(vectors)
    return vectors, np.asarray(jax.jit(task.model.pose_tokens)(state, matrices))


def test_labels_are_the_tokens_of_their_poses(parts, labels):
    """Right tokens cost nothing; of a wrong pose they cost what their logits say."""
    vectors, tokens = labels
    logits = 100.0 * jax.nn.one_hot(tokens, 16)
    terms, logs = errors(parts, vectors, jnp.ones(4), logits)
    np.testing.assert_allclose(terms['tokens'], np.zeros((4, 1)), atol=1e-4)
    assert logs['tokens_right'] == 1
    other = np.roll(vectors, 1, axis=0)
    terms, logs = errors(parts, other, jnp.ones(4), logits)
    differ = (np.roll(tokens, 1, axis=0) != tokens).mean(axis=1)
    np.testing.assert_allclose(terms['tokens'][:, 0], 100 * differ, rtol=1e-4)
    np.testing.assert_allclose(logs['tokens_right'], 1 - differ.mean(), rtol=1e-5)
    trusted = jnp.array([1.0, 0, 0, 0])
    _, logs = errors(parts, other, trusted, logits)
    np.testing.assert_allclose(logs['tokens_right'], 1 - differ[0], rtol=1e-5)


def test_a_mirrored_body_has_the_tokens_of_the_mirrored_pose(parts, labels):
    """Augmentation mirrors the labels' rotations before they are encoded."""
    vectors, _ = labels
    task, state = parts
    mirrored = mirror_body(vectors)
    matrices = rotations.axis_angle_to_matrix(mirrored)
    tokens = jax.jit(task.model.pose_tokens)(state, matrices)
    terms, _ = errors(parts, mirrored, jnp.ones(4), 100.0 * jax.nn.one_hot(tokens, 16))
    np.testing.assert_allclose(terms['tokens'], np.zeros((4, 1)), atol=1e-4)


@pytest.mark.parametrize(
    ('settings', 'has_tokens'),
    [
        ({}, False),
        (HEAD, True),
        (HEAD | {'loss_weights.tokens': 0.0}, False),
        ({'model.head': 'direct'}, False),
    ],
)
def test_other_heads_have_no_loss_of_tokens(settings, has_tokens):
    config = quickstart_config('regressor', settings)
    weights = pose_tokens.loss_weights(config)
    assert ('tokens' in weights) is has_tokens
    assert set(config.loss_weights) - {'tokens'} == set(weights) - {'tokens'}


def test_people_keep_all_their_labels_or_2d_keypoints_alone():
    config = quickstart_config('regressor', {'people.labelled': 0.25})
    batch = make_batch(400)
    found = prompting.keep_labels(jax.random.key(0), batch, config)
    kept = np.asarray(found.has_pose)
    assert 0.15 < kept.mean() < 0.35
    np.testing.assert_array_equal(found.has_betas, kept)
    np.testing.assert_array_equal(found.keypoints3d[..., 3], np.repeat(kept[:, None], 44, 1))
    np.testing.assert_array_equal(found.keypoints2d, batch.keypoints2d)
    config.people.labelled = 1.0
    whole = prompting.keep_labels(jax.random.key(0), batch, config)
    jax.tree.map(np.testing.assert_array_equal, whole, batch)


def make_batch(count):
    from tokenhmr_jax.types import ImageBatch

    ones, zeros = np.ones(count, np.float32), np.zeros((count, 3), np.float32)
    points = np.ones((count, 44, 4), np.float32)
    return ImageBatch(
        image=None, color=zeros, keypoints2d=points[..., :3], keypoints3d=points,
        global_orient=zeros, body_pose=np.zeros((count, 23, 3), np.float32),
        betas=np.zeros((count, 10), np.float32), gender=ones, has_pose=ones, has_betas=ones,
        source=np.zeros(count, np.int32),
    )  # fmt: skip


@pytest.fixture(scope='module')
def run(trained, prepared, tmp_path_factory):
    """The workdir of a tiny run on keypoints, with all that training may do to tokens."""
    config = quickstart_config('regressor', {})
    config.data.mixture = type(config)()
    config.update_from_flattened_dict(
        REGRESSOR_SIZES | HEAD | {
            'batch_size': 0, 'model.inputs': ('prompts',), 'data.ground_truth': (),
            'people.batch_size': 16, 'people.poses': ('amass/procedural',),
            'people.max_poses': 100, 'people.labelled': 0.5, 'eval.limit': 16,
            'data.data_dir': str(prepared), 'tokenizer.checkpoint': str(trained),
            'data.validation': ('amass/procedural_heldout',), 'model.prompts.lifter_width': 16,
            'pose_tokens.straight_through': True, 'pose_tokens.gumbel': 1.0,
            'pose_tokens.label_smoothing': 0.1, 'num_steps': 3, 'eval.every': 3, 'log_every': 1,
        }
    )  # fmt: skip
    folder = tmp_path_factory.mktemp('pose_tokens') / 'run'
    train(config, str(folder))
    return folder


@pytest.mark.slow
def test_a_run_of_pose_tokens_trains_and_is_evaluated(run):
    lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    losses = [line['loss/tokens'] for line in lines if 'loss/tokens' in line]
    assert len(losses) == 3 and np.isfinite(losses).all() and min(losses) > 0
    rows = evaluate(str(run), out=str(run / 'evaluation'))['regressor']
    for name in ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm'):
        assert rows[name] > 0 and rows[f'argmax_{name}'] > 0
    assert rows['mpjpe_mm'] != rows['argmax_mpjpe_mm']
    assert 0 <= rows['bent_wrong'] <= 1 and 0 < rows['angle_deg'] < 180


@pytest.mark.slow
def test_predicted_tokens_are_a_poses_tokens(run, trained, tmp_path):
    """They go through the tokenizer of the run, and through that of stage 1, to the bit."""
    model, stage1 = tokenhmr_jax.load(str(run)), tokenhmr_jax.load_tokenizer(str(trained))
    points = np.random.default_rng(0).uniform(50, 200, (2, 17, 3)).astype(np.float32)
    points[..., 2] = 1
    keypoints2d = keypoint_conventions.to_44(points, 'coco')
    found = model.predict(np.zeros((256, 256, 3), np.uint8), keypoints=keypoints2d)
    assert isinstance(found.tokens, PoseTokens) and found.residual_token_probs is None
    pose = model.tokenizer.decode(found.tokens)
    np.testing.assert_array_equal(pose, stage1.decode(found.tokens))
    assert np.isfinite(stage1.encode(pose).indices).all()
    arrays = person_arrays(found, all_probs=True)
    np.testing.assert_array_equal(arrays['pose_tokens'], found.tokens.indices)
    assert 'residual_tokens' not in arrays and arrays['pose_token_probs'].shape == (2, 20, 32)
    pack.pack(run, tmp_path / 'packed')
    packed = tokenhmr_jax.load(str(tmp_path / 'packed'))
    again = packed.predict(np.zeros((256, 256, 3), np.uint8), keypoints=keypoints2d)
    np.testing.assert_allclose(again.vertices, found.vertices, atol=5e-3)
    with pytest.raises(ValueError, match=r"model.inputs=\('prompts',\)|head='pose_tokens'"):
        export_run(run, str(tmp_path / 'out'))
