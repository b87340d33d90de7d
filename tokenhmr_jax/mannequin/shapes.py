"""Shapes of people: adults, and children down to five years.

A child is the mannequin moved along `CHILD_BETAS`, the shape of six years: 1.15 m tall, the head a
sixth of it, legs and arms shorter and shoulders narrower for the height than an adult's. A share of
0.54 is ten years (1.40 m, the head 1/6.7 of it), 1.1 is five years (1.09 m). Statures are near the
medians of the WHO's growth reference, 2007.
"""

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from tokenhmr_jax.mannequin import scenes

# Size, leg length, arm length, shoulder width, girth, hip width, belly, muscle, chest, head size.
CHILD_BETAS = (-10.4, -2.1, -1.3, -0.4, 0.0, -0.5, 0.1, -1.2, 0.0, 4.0)
YOUNGEST = 1.1  # multiple of `CHILD_BETAS`: five years
ADULT_STD, CHILD_STD = 1.0, 0.7  # of betas: at a child's size, the full spread leaves human shapes


def sample_betas(rng: Generator, children: float = 0.15) -> Float[np.ndarray, '10']:
    """Random shape coefficients, float32: of an adult or, at a share `children`, of a child.

    A child's youth is uniform between an adult and five years. ValueError for no share.
    """
    if not 0 <= children <= 1:
        raise ValueError(f'children={children}: expected a share from 0 to 1')
    betas = scenes.sample_betas(rng)
    if rng.random() >= children:
        return betas
    youth = rng.uniform(0, YOUNGEST)
    spread = ADULT_STD + (CHILD_STD - ADULT_STD) * youth / YOUNGEST
    return (spread * betas + youth * np.array(CHILD_BETAS)).astype(np.float32)
