"""Several answers for one person."""

import shutil

import numpy as np
import pytest
from page_results import add_samples
from PIL import Image
from small_model import picture

from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.body.joint_spread import joint_spread
from tokenhmr_jax.inference import samples, video
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.inference.overlay_video import draw_frame
from tokenhmr_jax.inference.prediction import PredictSettings, predict
from tokenhmr_jax.inference.samples import Sampler, SampleSettings, draw_tokens
from tokenhmr_jax.models.regressor import Regressor
from tokenhmr_jax.models.token_head import DirectHead, QueryDecoder
from tokenhmr_jax.models.vit import ViT
from tokenhmr_jax.types import SmplParams

BOXES = np.float32([[4, 4, 40, 60], [20, 2, 70, 60]])
PROBS = np.float32([[[0.7, 0.2, 0.1], [0, 0.5, 0.5]], [[0, 0, 1], [0.25, 0.25, 0.5]]])


@pytest.fixture(scope='module')
def bodies(small_model):
    return small_model.predict(picture(64, 96), BOXES, 200.0, samples=SampleSettings(4, seed=3))


def test_tokens_are_drawn_as_often_as_they_are_probable():
    found = draw_tokens(PROBS, SampleSettings(4000, temperature=1.0))
    shares = (found[..., None] == np.arange(3)).mean(axis=1)
    np.testing.assert_allclose(shares, PROBS, atol=0.03)
    wider = draw_tokens(PROBS, SampleSettings(4000, temperature=2.0))[0, :, 0]
    root = np.sqrt(PROBS[0, 0])
    np.testing.assert_allclose(
        (wider[:, None] == np.arange(3)).mean(axis=0), root / root.sum(), atol=0.03
    )
    surest = draw_tokens(PROBS[:, :1], SampleSettings(50, temperature=0.01))
    np.testing.assert_array_equal(surest[..., 0], np.repeat([[0], [2]], 50, axis=1))


def test_a_seed_draws_the_same_whoever_else_is_there():
    settings = SampleSettings(9, seed=5, temperature=1.0)
    both = draw_tokens(PROBS, settings)
    np.testing.assert_array_equal(draw_tokens(PROBS[1:], settings)[0], both[1])
    assert (draw_tokens(PROBS, settings._replace(seed=6)) != both).any()


def test_spread_holds_four_in_five_by_hand():
    """Eleven samples on a line, at -5 to 5 metres."""
    joints = np.zeros((11, 2, 3), np.float32)
    joints[:, 1, 0] = np.arange(-5, 6)
    np.testing.assert_allclose(joint_spread(joints), [0, 4], atol=1e-6)


def test_samples_are_bodies_with_the_persons_orientation_and_shape(small_model, bodies):
    drawn = bodies.samples
    assert drawn.body_pose.shape == (2, 4, 23, 3, 3) and drawn.joints.shape == (2, 4, 24, 3)
    hands = np.repeat(bodies.params.body_pose[:, None, 21:], 4, axis=1)
    np.testing.assert_allclose(drawn.body_pose[:, :, 21:], hands, atol=1e-6)
    params = SmplParams(
        bodies.params.global_orient[1:], drawn.body_pose[1:, 2], bodies.params.betas[1:]
    )
    expected = smpl.forward(small_model.body, params).joints[0]
    np.testing.assert_allclose(drawn.joints[1, 2], expected, atol=1e-5)
    assert (drawn.spread_mm[:, 0] < 0.01).all() and (drawn.spread_mm[:, 20] > 0.1).all()
    again = small_model.predict(picture(64, 96), BOXES[1:], 200.0, samples=SampleSettings(4, 3))
    np.testing.assert_allclose(again.samples.joints[0], drawn.joints[1], atol=1e-4)


def test_samples_of_sure_tokens_are_the_answer_and_move_with_it(small_model, bodies):
    probs = np.eye(16, dtype=np.float32)[np.argmax(bodies.residual_token_probs, axis=-1)]
    network, state = small_model._task.model, small_model.state
    pose = np.array(bodies.params.body_pose)
    pose[:, :21] = network.decode_codes(state, network.mix_codes(state, probs))
    turn = np.asarray(rotations.axis_angle_to_matrix(np.float32([0, 0, 0.5])))
    pose[:, 3] = turn @ pose[:, 3]
    sure = bodies.replace(params=bodies.params.replace(body_pose=pose), residual_token_probs=probs)
    found = small_model.with_samples(sure, 4).samples
    np.testing.assert_allclose(found.body_pose, np.repeat(pose[:, None], 4, axis=1), atol=1e-4)
    assert found.spread_mm.max() < 0.1


def test_files_hold_samples_and_overlays_show_them(small_model, bodies, tmp_path):
    stored = results.read_arrays(bodies.save(tmp_path / 'out') / 'bodies.npz')
    np.testing.assert_allclose(stored['sample_joints'], bodies.samples.joints, atol=1e-3)
    turns = rotations.axis_angle_to_matrix(stored['sample_body_pose'].astype(np.float32))
    np.testing.assert_allclose(turns, bodies.samples.body_pose[:, :, :21], atol=0.01)
    np.testing.assert_array_equal(stored['joint_spread_mm'], bodies.samples.spread_mm)
    plain = bodies.replace(samples=None).overlay()
    assert (bodies.overlay()[:, :96] != plain[:, :96]).any()
    assert (bodies.overlay()[:, 96:] != plain[:, 96:]).any()
    nobody = small_model.predict(picture(64, 96), [], samples=4)
    assert nobody.samples.joints.shape == (0, 4, 24, 3)
    assert 'sample_joints' not in results.person_arrays(nobody)


def test_the_commands_result_has_those_of_the_function(small_model, tmp_path):
    """And one without samples goes on from results that knew no samples."""
    Image.fromarray(picture(64, 96)).save(tmp_path / 'a.png')
    settings = PredictSettings(boxes='image', samples=4, seed=3, meshes=())
    found = predict(small_model, str(tmp_path / 'a.png'), tmp_path / 'r', settings)
    assert found['request']['samples'] == 4
    stored = results.read_arrays(tmp_path / 'r/frames/a.npz')
    box = np.float32([[0, 0, 96, 64]])
    one = small_model.predict(str(tmp_path / 'a.png'), box, samples=SampleSettings(4, 3))
    np.testing.assert_allclose(stored['sample_joints'], one.samples.joints, atol=2e-3)
    plain = settings._replace(samples=0, seed=0)
    found = predict(small_model, str(tmp_path / 'a.png'), tmp_path / 'plain', plain)
    assert not {'samples', 'seed', 'temperature'} & found['request'].keys()


def test_samples_turn_with_the_body_that_smoothing_turns():
    """A quarter turn about z, around the root: what was to the right of it is below."""
    joints = np.zeros((2, 1, 24, 3), np.float16)
    joints[..., :] = (1, 2, 3)
    joints[:, :, 1, 0] += 0.5
    quarter = np.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    new = np.stack([np.eye(3, dtype=np.float32), quarter]) @ quarter
    found = video.turned_samples(joints, np.stack([quarter, quarter]), new)
    np.testing.assert_allclose(found[0, 0, 1], [1.5, 2, 3], atol=1e-3)
    np.testing.assert_allclose(found[1, 0, 1], [1, 2.5, 3], atol=1e-3)
    np.testing.assert_allclose(found[:, 0, 0], [[1, 2, 3]] * 2, atol=1e-3)


def test_tracks_and_frames_of_videos_have_samples(film_result, mannequin, tmp_path):
    frames = shutil.copytree(film_result / 'frames', tmp_path / 'frames')
    for path in frames.iterdir():
        add_samples(tmp_path, f'frames/{path.name}')
    tracks = results.read_tracks(tmp_path)
    assert tracks[2]['sample_joints'].shape == (7, 3, 24, 3)
    model = object.__new__(Model)  # its body alone is used
    model.body = mannequin
    frame = sources.Frame('000005', 5, picture(120, 160), time=0.5)
    people = [(number, tracks[number], 5 - first) for number, first in ((0, 0), (2, 4))]
    drawn = draw_frame(frame, people, model, [0, 2])
    for _, track, _ in people:
        del track['sample_joints']
    plain = draw_frame(frame, people, model, [0, 2])
    assert (drawn[:, :160] != plain[:, :160]).any() and (drawn[:, 160:] != plain[:, 160:]).any()


def test_what_cannot_be_drawn_is_told_before_anything_is_computed(small_model):
    head = DirectHead(QueryDecoder(8, 1, 2, 4, 8))
    direct = Regressor(ViT(width=8, depth=1, heads=2, patch_size=8), head, None, 'rows')
    with pytest.raises(ValueError, match='net regresses poses directly, expected a network with'):
        Sampler(direct, None, None).check(SampleSettings(4), 'net')
    for wrong in (-1, 1):
        with pytest.raises(ValueError, match=f'samples={wrong}: expected at least 2, or 0'):
            small_model.predict('no such file', samples=wrong)
    with pytest.raises(ValueError, match='temperature=0: expected a number above 0'):
        PredictSettings(boxes='image', samples=4, temperature=0).check()
    assert set(samples.TEMPERATURES) == {'residual', 'pose'}
