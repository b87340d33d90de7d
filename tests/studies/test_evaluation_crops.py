"""The study of crops: our evaluation's are the original's, training's are smoother."""

import cv2
import numpy as np

from tokenhmr_jax.studies import evaluation_crops


def test_the_table_and_the_picture(tmp_path, capsys):
    out = tmp_path / 'crops.png'
    evaluation_crops.main([f'--out={out}', '--crop_size=64'])
    printed = capsys.readouterr().out
    lines = [line.strip('| ').split(' | ') for line in printed.splitlines()[2:8]]
    assert [line[:2] for line in lines] == [
        [str(shrink), name] for shrink in (1, 2, 4) for name in ('evaluation', 'training')
    ]
    for ours, smooth in zip(lines[::2], lines[1::2], strict=True):
        # Mean difference, and contrast in shares of the original's.
        assert float(ours[2]) < 0.1 and ours[5] == '100%'
        if ours[0] != '1':
            assert float(smooth[2]) > 2 and float(smooth[5].strip('%')) < 95
    # Three rows of five tiles with captions.
    assert cv2.imread(str(out)).shape == (3 * (24 + 64), 5 * 64, 3)


def test_contrast_by_hand():
    stripes = np.zeros((4, 4, 3), np.uint8)
    stripes[:, ::2] = 100  # steps of 100 along x, none along y
    assert evaluation_crops.contrast(stripes) == 50
