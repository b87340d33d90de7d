"""Agreement with numbers that the original PyTorch implementation computed.

The numbers of stage 1 ship with the project; where the full set lies beside the checkout, the same
checks run on it too. Tolerances are those stated with the numbers: 1e-4 relative, 1e-5 absolute for
rotations, indices equal.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import DATA, assert_close, fixture, read_torch
from random_body import random_smpl

from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.models import quantizer, tokenizer
from tokenhmr_jax.objectives import losses
from tokenhmr_jax.released.names import tokenizer_params
from tokenhmr_jax.types import SmplParams

golden = fixture('golden_stage1.npz', 'golden.npz', 'golden_more.npz')
# The sizes are those of the weights; compiled once for all sets of numbers.
MODEL = tokenizer.Tokenizer(width=32, code_dim=16, size_mul=1, size_div=2, depth=2, dilation_rate=3)
encode, decode = (
    jax.jit(functools.partial(MODEL.apply, method=name)) for name in ('encode', 'decode')
)
forward = jax.jit(smpl.forward)
quantize, perplexity = jax.jit(quantizer.quantize), jax.jit(quantizer.perplexity)
pick_seeds = jax.jit(quantizer.pick_seeds, static_argnums=(1, 3))
update = jax.jit(quantizer.update_codebook, static_argnames='reset_on_reseed')


@pytest.fixture(scope='module', params=['shipped', 'shared'])
def weights(request):
    """The original's stage 1 state dict."""
    if request.param == 'shipped':
        shipped = np.load(DATA / 'golden_stage1.npz')
        return {k.removeprefix('net.'): shipped[k] for k in shipped if k.startswith('net.')}
    return read_torch(request.getfixturevalue('shared') / 'golden/tokenizer.pth', 'net')


@pytest.fixture(scope='module')
def params_and_codes(weights):
    return tokenizer_params(weights, size_mul=1, size_div=2, depth=2)


def test_smpl_vertices_and_keypoints(golden, random_body):
    rotation = np.asarray(jax.jit(rotations.axis_angle_to_matrix)(golden['smpl_axis_angle']))
    np.testing.assert_allclose(rotation, golden['smpl_rotmat'], atol=1e-5)
    params = SmplParams(rotation[:, 0], rotation[:, 1:], golden['smpl_betas'])
    output = forward(random_body, params)
    assert_close(output.vertices[:, ::100], golden['smpl_vertices_every_100'])
    assert_close(jax.jit(smpl.keypoints)(random_body, output), golden['smpl_joints44'])


def test_rotation_conventions(golden):
    found = jax.jit(rotations.rotation_6d_to_matrix)(golden['rot6d'])
    np.testing.assert_allclose(found, golden['rot6d_rotmat'], atol=1e-5)
    matrices = golden['smpl_rotmat'][0]
    found = rotations.matrix_to_rotation_6d(matrices)
    np.testing.assert_allclose(found, golden['rotmat_to_6d'], atol=1e-5)


def test_axis_angle_up_to_full_turns(golden):
    """The original may answer with an angle above pi, of the same rotation; ours never is."""
    expected = golden['rotmat_to_aa'].astype(np.float64)
    angle = np.linalg.norm(expected, axis=-1, keepdims=True)
    expected = np.where(angle > np.pi, expected * (angle - 2 * np.pi) / angle, expected)
    found = jax.jit(rotations.matrix_to_axis_angle)(golden['smpl_rotmat'][0])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_tokenizer_forward(golden, params_and_codes):
    params, codes = params_and_codes
    latents = encode({'params': params}, golden['tok_pose_rotmat'])
    assert_close(latents, golden['tok_latents'])
    quantized, tokens, commitment = quantize(codes, latents)
    np.testing.assert_array_equal(tokens, golden['tok_indices'])
    assert_close(commitment, golden['tok_commit'])
    usage = quantizer.code_counts(tokens, len(codes))
    assert_close(perplexity(usage), golden['tok_perplexity'])
    decoded = decode({'params': params}, quantized)
    assert_close(decoded, golden['tok_recon_6d'])
    rotation = rotations.rotation_6d_to_matrix(decoded)
    np.testing.assert_allclose(rotation, golden['tok_recon_rotmat'], atol=1e-5)


def test_codebook_initialisation(golden):
    latents = golden['tok_latents'].reshape(-1, 16)
    seeds = pick_seeds(latents, 64, jax.random.key(0), 'first')
    codebook = quantizer.initialize_codebook(quantizer.empty_codebook(64, 16), seeds)
    assert_close(codebook.codes, golden['vq_init_codebook'])


def test_codebook_update(golden):
    before = quantizer.Codebook(
        golden['vq_codebook'], golden['vq_code_sum'], golden['vq_code_count'], jnp.array(True)
    )
    latents = golden['vq_in']
    output, tokens, commitment = quantize(before.codes, latents)
    assert_close(output, golden['vq_out'])
    assert_close(commitment, golden['vq_commit'])
    usage = quantizer.code_counts(tokens, 64)
    assert_close(perplexity(usage), golden['vq_perplexity'])
    seeds = pick_seeds(latents, 64, jax.random.key(0), 'first')
    after = update(before, latents, tokens, seeds, decay=0.99, reset_on_reseed=False)
    assert (np.asarray(after.ema_count) < 1).any(), 'the numbers must exercise re-seeding'
    assert_close(after.codes, golden['vq_codebook_after'])
    assert_close(after.ema_sum, golden['vq_code_sum_after'])
    assert_close(after.ema_count, golden['vq_code_count_after'])


def test_nearest_resizing(golden):
    sizes = [(21, 40), (40, 80), (160, 125), (125, 90), (90, 55), (55, 21)]
    for source, target in sizes:
        expected = golden[f'nearest_{source}_to_{target}']
        np.testing.assert_array_equal(tokenizer.nearest_indices(source, target), expected)


def test_stage1_losses(golden):
    arrays = random_smpl(1)
    weights = jax.jit(losses.vertex_weights)(
        arrays['v_template'].astype(np.float32), arrays['f'].astype(int)
    )
    assert_close(
        weights[golden['stage1_vertex_weight_indices']], golden['stage1_vertex_weights_nonzero']
    )
    vertices = np.stack([arrays['v_template']] * 2).astype(np.float32)
    terms = jax.jit(losses.tokenizer_terms, static_argnames='distance')(
        rotation=golden['tok_recon_rotmat'],
        rotation_gt=golden['tok_pose_rotmat'],
        joints=golden['stage1_joints_pred'][:, 1:22],
        joints_gt=golden['stage1_joints_gt'][:, 1:22],
        vertices=vertices + golden['stage1_vertex_offset'],
        vertices_gt=vertices,
        weights=weights,
        commitment=0.0,
        distance='squared',
    )
    assert_close(terms['rotation'], golden['stage1_loss_pose'])
    assert_close(terms['joints'], golden['stage1_loss_joints'])
    assert_close(terms['vertices'], golden['stage1_loss_mesh'])


def test_weights_that_do_not_fit_are_named(weights):
    with pytest.raises(
        ValueError, match=r'missing.*encoder\.encoder\.9\.weight.*unknown.*\.5\.0\.weight'
    ):
        tokenizer_params(weights, size_mul=2, size_div=2, depth=2)
    extra = weights | {'encoder.surprise': np.zeros(1)}
    with pytest.raises(ValueError, match='surprise'):
        tokenizer_params(extra, size_mul=1, size_div=2, depth=2)
