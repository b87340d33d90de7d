"""The look of all plots."""

import itertools

import numpy as np
import pytest

plot_theme = pytest.importorskip('tokenhmr_jax.drawing.plot_theme', exc_type=ImportError)

# Deuteranopia and protanopia in linear RGB (Machado et al., "A Physiologically-based Model for
# Simulation of Color Vision Deficiency", 2009, severity 1).
BLIND = {
    'deuteranopia': [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    'protanopia': [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}


@pytest.mark.parametrize('kind', BLIND)
def test_the_colour_blind_tell_the_colours_apart(kind):
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plot_theme.COLORS])
    seen = np.clip(rgb**2.2 @ np.transpose(BLIND[kind]), 0, 1) ** (1 / 2.2)
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - other) > 0.15


def test_rows_differ_without_colours_and_with_them():
    styles = plot_theme.row_styles(56)
    assert len({style[:2] for style in styles}) == 56
    assert len({style.marker for style in styles[:8]}) == 8
    assert len({style.color for style in styles[:7]}) == 7


@pytest.mark.parametrize(
    ('metric', 'label'),
    [
        ('mpjpe_mm', 'MPJPE, mm'),
        ('pa_mpjpe_mm', 'PA-MPJPE, mm'),
        ('mixture_mpjpe_mm', 'mixture MPJPE, mm'),
        ('keypoints2d_px', '2D error, px'),
        ('code_usage', 'code usage'),
        ('global_orient_deg', 'global orient, degrees'),
        ('pck_150mm', 'PCK at 150 mm'),
    ],
)
def test_metrics_are_named_with_their_units(metric, label):
    assert plot_theme.metric_label(metric) == label
