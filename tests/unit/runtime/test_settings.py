"""Settings and their aliases."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from malha.audio.settings import AudioSettings
from malha.cli.output import explain
from malha.diarize.settings import DiarizeSettings
from malha.edge.settings import EdgeSettings
from malha.ocr.settings import OcrSettings
from malha.recording.settings import RecordingSettings
from malha.runtime.outbound import OutboundSettings
from malha.runtime.settings import RuntimeSettings, is_loopback
from malha.sdk._settings import data_directory


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


def test_an_empty_setting_is_as_one_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As whoever takes all the marks of comments out of `.env.example` has it."""
    monkeypatch.chdir(tmp_path)
    example = (Path(__file__).parents[3] / ".env.example").read_text()
    (tmp_path / ".env").write_text("\n".join(re.findall(r"^#([A-Z0-9_]+=.*)", example, re.MULTILINE)))
    for settings in (RuntimeSettings, EdgeSettings, OcrSettings, DiarizeSettings, RecordingSettings, OutboundSettings):
        assert settings() == settings(_env_file=None)


def test_the_data_directory_may_lie_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")
    monkeypatch.setenv("MALHA_DATA_DIR", "~/malha")
    assert RuntimeSettings(_env_file=None).data_dir == data_directory() == Path("/home/ana/malha")


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_time_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MALHA_FINAL_SECONDS", value)
    with pytest.raises(ValidationError, match="finite number"):
        AudioSettings(_env_file=None)


@pytest.mark.parametrize("value", ["{", "[1]"])
def test_a_setting_that_is_json_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MALHA_PADDLEOCR_ENGINE_CONFIG", value)
    with pytest.raises(ValidationError) as raised:
        OcrSettings(_env_file=None)
    assert explain(raised.value)[1].startswith("MALHA_PADDLEOCR_ENGINE_CONFIG: ")
    monkeypatch.setenv("MALHA_PADDLEOCR_ENGINE_CONFIG", '{"enable_cinn": true}')
    assert OcrSettings(_env_file=None).paddleocr_engine_config == {"enable_cinn": True}
