"""A trained pose tokenizer: encodes poses, edits their tokens, decodes them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.models import quantizer
from tokenhmr_jax.models.tokenizer import Tokenizer, num_tokens
from tokenhmr_jax.types import Array, BodyOutput, PoseTokens


class PoseTokenizer:
    """The tokenizer of stage 1, its weights and codebook, and a body model to show poses.

    Poses are rotations of joints 1 to 21 relative to their parents.
    """

    def __init__(
        self, model: Tokenizer, params: dict, codes: Float[Array, 'K C'], body: smpl.BodyModel
    ):
        self.model, self.params, self.codes, self.body = model, params, codes, body

        # Accelerators would round products of float32.
        @jax.default_matmul_precision('highest')
        def encode(params, codes, body_pose):
            latents = model.apply({'params': params}, body_pose, method='encode')
            return quantizer.nearest_codes(codes, latents)

        @jax.default_matmul_precision('highest')
        def decode(params, latents):
            pose = model.apply({'params': params}, latents, method='decode')
            return rotations.rotation_6d_to_matrix(pose)

        self._encode, self._decode = jax.jit(encode), jax.jit(decode)
        self._pose_body = jax.jit(smpl.pose_body)

    def encode(self, body_pose: ArrayLike) -> PoseTokens:
        """The tokens of rotation matrices (N, 21, 3, 3). Raises ValueError for another shape."""
        shape = (skeleton.NUM_BODY_JOINTS, 3, 3)
        if np.ndim(body_pose) != 4 or np.shape(body_pose)[1:] != shape:
            raise ValueError(
                f'body_pose of shape {np.shape(body_pose)}: expected rotation matrices (N, 21, 3, '
                '3): of predictions body_pose[:, :21]; of angles those of axis_angle_to_matrix in '
                'body/rotations.py'
            )
        return PoseTokens(np.asarray(self._encode(self.params, self.codes, jnp.asarray(body_pose))))

    def decode(self, tokens: Any) -> Float[np.ndarray, 'N 21 3 3']:
        """The poses of tokens. Raises ValueError for any but `PoseTokens` of this codebook."""
        return np.asarray(self._decode(self.params, self._codes_of(tokens)))

    def swap(self, tokens: PoseTokens, position: int, code: int) -> PoseTokens:
        """The tokens with `code` at `position` of each pose.

        Raises ValueError as in `decode`, and for a position or code out of range.
        """
        indices = np.array(self._check(tokens))
        ranges = {'position': (position, indices.shape[1]), 'code': (code, len(self.codes))}
        for name, (value, size) in ranges.items():
            if not 0 <= value < size:
                raise ValueError(f'{name}={value}: expected 0 to {size - 1}')
        indices[:, position] = code
        return PoseTokens(indices)

    def interpolate(
        self, start: PoseTokens, end: PoseTokens, steps: int
    ) -> Float[np.ndarray, '{steps} N 21 3 3']:
        """Poses decoded along the straight line between the codes of two.

        Raises ValueError as in `decode`, and for different numbers of poses.
        """
        first, last = self._codes_of(start), self._codes_of(end)
        if first.shape != last.shape:
            raise ValueError(f'{len(first)} and {len(last)} poses: expected as many')
        way = jnp.linspace(0, 1, steps)[:, None, None, None]
        codes = (1 - way) * first + way * last
        decoded = self._decode(self.params, codes.reshape(-1, *first.shape[1:]))
        return np.asarray(decoded).reshape(steps, len(first), *decoded.shape[1:])

    def nearest_codes(
        self, code: int, count: int = 5
    ) -> tuple[Int[np.ndarray, ' M'], Float[np.ndarray, ' M']]:
        """Indices of the `count` codes nearest to one, and their distances to it.

        Raises ValueError for a code out of range, or a count of more codes than there are.
        """
        total = len(self.codes)
        if not 0 <= code < total or not 0 < count < total:
            raise ValueError(
                f'code={code}, count={count}: expected 0 to {total - 1}, and 1 to {total - 1}'
            )
        codes = np.asarray(self.codes)
        distance = np.linalg.norm(codes - codes[code], axis=1)
        distance[code] = np.inf
        order = np.argsort(distance, kind='stable')[:count]
        return order, distance[order]

    def bodies(self, body_pose: Float[Array, 'N 21 3 3']) -> BodyOutput:
        """Bodies of mean shape in poses, root at rest: SMPL's axes, y up."""
        return jax.device_get(self._pose_body(self.body, jnp.asarray(body_pose)))

    def _codes_of(self, tokens: Any) -> Float[Array, 'N T C']:
        return self.codes[self._check(tokens)]

    def _check(self, tokens: Any) -> Int[np.ndarray, 'N T']:
        if not isinstance(tokens, PoseTokens):
            raise ValueError(
                f'a {type(tokens).__name__} is not pose tokens: expected PoseTokens, as encode '
                "gives them; the regressor's residual tokens are offsets, not poses"
            )
        indices = np.asarray(tokens.indices)
        width, total = num_tokens(self.model.size_mul), len(self.codes)
        if indices.ndim != 2 or indices.shape[1] != width:
            raise ValueError(f'tokens of shape {indices.shape}: expected (N, {width})')
        if indices.size and (indices.min() < 0 or indices.max() >= total):
            found = f'{indices.min()} to {indices.max()}'
            raise ValueError(f'tokens {found}: expected 0 to {total - 1}')
        return indices
