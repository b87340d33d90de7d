"""The cache of BlazePose's networks; nothing is downloaded."""

import subprocess
import zipfile

import pytest

from tokenhmr_jax.inference.people.detectors import blazepose_files


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache/tokenhmr_jax/blazepose'


def test_the_folder(cache):
    assert blazepose_files.cache_folder() == cache


def test_a_file_of_something_else(cache):
    cache.mkdir(parents=True)
    for name in ('pose_detection.tflite', 'pose_landmark_full.tflite'):
        (cache / name).write_text('no network')
    with pytest.raises(ValueError, match=r'pose_detection\.tflite: not the network of mediapipe'):
        blazepose_files.network_files()


def test_without_pip(cache, monkeypatch, capsys):
    """The message names the files and their place."""
    failed = subprocess.CompletedProcess([], 1, '', 'No module named pip\n')
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: failed)
    with pytest.raises(ConnectionError, match=r'No module named pip\).*pose_landmark_full\.tflite'):
        blazepose_files.network_files()
    assert '9 MB' in capsys.readouterr().out
    assert not cache.exists()


def test_a_package_of_something_else(cache, tmp_path):
    files = [cache / 'a.tflite', cache / 'b.tflite']
    (tmp_path / 'a.whl').write_text('no archive')
    with pytest.raises(ValueError, match='not the package mediapipe'):
        blazepose_files.take_from_package(tmp_path / 'a.whl', files)
    with zipfile.ZipFile(tmp_path / 'b.whl', 'w') as archive:
        for name in ('pose_detection/pose_detection', 'pose_landmark/pose_landmark_full'):
            archive.writestr(f'mediapipe/modules/{name}.tflite', 'other')
    with pytest.raises(ValueError, match='its networks are not those of mediapipe'):
        blazepose_files.take_from_package(tmp_path / 'b.whl', files)
    assert not cache.exists()
