"""Settings and their aliases."""

from pathlib import Path

import pytest

from malha.audio.settings import AudioSettings
from malha.runtime.settings import RuntimeSettings, is_loopback


def test_the_field_s_own_names_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAD_THRESHOLD_MULTIPLIER", "2.5")
    monkeypatch.setenv("VAD_MIN_ENERGY_THRESHOLD", "80")
    monkeypatch.setenv("API_TOKENS", "one, acme:two")
    audio, runtime = AudioSettings(_env_file=None), RuntimeSettings(_env_file=None)
    assert (audio.vad_threshold_multiplier, audio.vad_min_energy) == (2.5, 80)
    assert runtime.api_tokens == ("one", "acme:two")


def test_a_dotenv_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MALHA_GRPC_PORT=6001\n")
    monkeypatch.chdir(tmp_path)
    assert RuntimeSettings().grpc_port == 6001


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("0.0.0.0", False), ("10.0.0.1", False), ("example.org", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
