"""Settings as operators write them."""

import pytest

from malha.transcribe.settings import TranscribeSettings


def test_routing_is_read_by_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMART_ROUTING_ENABLED", "true")
    monkeypatch.setenv("MALHA_SMART_ROUTING_MAX_COST_PER_MINUTE", "0.01")
    settings = TranscribeSettings(_env_file=None)
    assert settings.smart_routing_enabled
    assert settings.smart_routing_max_cost_per_minute == 0.01


def test_what_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("PLACEMENT_FILE", "ALIGN_PYTHON", "REMOTE_TRANSCRIBE_KEY_FILE", "SMART_ROUTING_MAX_COST_PER_MINUTE")
    for name in names:
        monkeypatch.setenv(f"MALHA_{name}", "")
    settings = TranscribeSettings(_env_file=None)
    assert [getattr(settings, name.lower()) for name in names] == [None] * 4


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0"])
def test_a_device_that_is_none(device: str) -> None:
    with pytest.raises(ValueError, match="whisper_device"):
        TranscribeSettings(_env_file=None, whisper_device=device)
