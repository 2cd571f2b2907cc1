"""Settings, their aliases, and tokens."""

import stat
from pathlib import Path

import pytest

from malha.audio.settings import AudioSettings
from malha.runtime.auth import Authenticator, ensure_token
from malha.runtime.errors import FailedPrecondition, PermissionDenied, Unauthenticated
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


def test_the_token_is_made_once_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    file = ensure_token(tmp_path / "data")
    token = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ensure_token(tmp_path / "data").read_text() == token
    principal = Authenticator.from_settings((), tmp_path / "data").authenticate(f"Bearer {token.strip()}")
    assert principal.tenant == "default"


def test_the_tenant_comes_from_the_token_alone(tmp_path: Path) -> None:
    principal = Authenticator.from_settings(("acme:secret",), tmp_path).authenticate("bearer secret")
    assert principal.tenant == "acme"
    principal.check_tenant("")
    principal.check_tenant("acme")
    with pytest.raises(PermissionDenied):
        principal.check_tenant("default")


@pytest.mark.parametrize("header", ["", "Bearer", "Basic secret", "Bearer wrong", "secret"])
def test_who_is_not_known_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(Unauthenticated):
        Authenticator.from_settings(("secret",), tmp_path).authenticate(header)


def test_no_token_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="malha up"):
        Authenticator.from_settings((), tmp_path)


def test_a_data_directory_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPrecondition, match="MALHA_DATA_DIR"):
        ensure_token(tmp_path / "file" / "data")


def test_an_empty_token_file_is_replaced(tmp_path: Path) -> None:
    """A full disk could leave one."""
    (tmp_path / "token").touch()
    file = ensure_token(tmp_path)
    assert len(file.read_text().strip()) > 20
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
