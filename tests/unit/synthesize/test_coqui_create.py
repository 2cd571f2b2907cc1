"""What is said where the coqui engine cannot be had."""

import importlib.util

import pytest

from malha.runtime import engines
from malha.runtime.errors import FailedPrecondition
from malha.synthesize.settings import SynthesizeSettings


@pytest.mark.skipif(importlib.util.find_spec("TTS") is not None, reason="coqui-tts is installed here")
def test_without_its_packages_it_names_the_command() -> None:
    create = engines.load("synthesize", "coqui")
    with pytest.raises(FailedPrecondition, match="make engine-coqui") as refused:
        create(SynthesizeSettings(_env_file=None, synthesize_engine="coqui"))
    assert refused.value.reason == "MISSING_EXTRA"
    assert "pip install 'malha-services[coqui]'" in refused.value.message


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
def test_a_device_that_cannot_be(device: str) -> None:
    with pytest.raises(ValueError, match="coqui_device"):
        SynthesizeSettings(_env_file=None, coqui_device=device)
