"""Choice among installed detectors."""

import sys

import pytest

from tokenhmr_jax.inference.people.detectors import choice


@pytest.fixture
def installed(monkeypatch):
    """Makes some libraries look installed, and no other."""

    def set_installed(*modules):
        for detector in choice.DETECTORS.values():
            known = sys if detector.module in modules else None
            monkeypatch.setitem(sys.modules, detector.module, known)

    return set_installed


def test_the_best_that_is_installed(installed):
    installed('rtmlib', 'torchvision', 'ai_edge_litert')
    assert choice.check_detector('detect') == 'rtmlib'
    assert choice.check_detector('blazepose') == 'blazepose'
    installed('ai_edge_litert')
    assert choice.check_detector('detect') == 'blazepose'
    installed('torchvision', 'ai_edge_litert')
    assert choice.check_detector('detect') == 'torchvision'


def test_what_to_install(installed):
    installed()
    with pytest.raises(ImportError, match=r'--boxes=detect: no detector .*\[photos\]') as error:
        choice.check_detector('detect')
    assert '\n' not in str(error.value)
    with pytest.raises(ImportError, match=r'--boxes=torchvision: not installed: .*\[predict\]'):
        choice.check_detector('torchvision')


def test_weights_are_torchvisions(installed):
    installed('ai_edge_litert')
    with pytest.raises(ValueError, match=r'--detector_weights=a\.pth: of torchvision only'):
        choice.make_detector('detect', 'a.pth')
