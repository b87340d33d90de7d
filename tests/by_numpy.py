"""Layers of the networks a second time, in NumPy and float64, one example at a time."""

import jax
import numpy as np
from scipy.special import erf


def random_like(shapes):
    """Random parameters in the shape of a model's: of deviation 0.3, scales around 1."""
    rng = np.random.default_rng(0)

    def draw(path, shape):
        centre = 1 if path[-1].key == 'scale' else 0
        return (centre + 0.3 * rng.normal(size=shape.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def norm(x, p, epsilon):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * p['scale'] + p['bias']


def linear(x, p):
    return x @ p['kernel'] + p.get('bias', 0)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def attention(q, k, v, heads):
    """Queries (Q, W) on keys and values (N, W), head by head."""
    outs = []
    for columns in np.split(np.arange(q.shape[1]), heads):
        score = np.exp(q[:, columns] @ k[:, columns].T / np.sqrt(len(columns)))
        outs.append(score / score.sum(-1, keepdims=True) @ v[:, columns])
    return np.concatenate(outs, -1)
