import pytest

from malha.sdk import InvalidRequest, Malha, TokenMissing
from malha.sdk._settings import Settings, resolve


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """A machine on which nothing is set."""
    for name in ("MALHA_TARGET", "MALHA_TOKEN", "MALHA_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def found(target=None, token=None, **given) -> Settings:
    return resolve(target, token, **({"tls": False, "ca": None, "timeout_seconds": 1.0} | given))


def write_token(folder, token):
    folder.mkdir(parents=True)
    (folder / "token").write_text(token)


def test_target(monkeypatch):
    assert found(token="t").target == "127.0.0.1:50051"
    monkeypatch.setenv("MALHA_TARGET", "dns:///there:1")
    assert found(token="t").target == "dns:///there:1"
    assert found("here:2", "t").target == "here:2"


def test_the_token_is_looked_for_in_order(monkeypatch, tmp_path):
    write_token(tmp_path / "home/.local/share/malha", "from-home\n")
    assert found().token == "from-home"
    write_token(tmp_path / "xdg/malha", "from-xdg")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert found().token == "from-xdg"
    write_token(tmp_path / "own", "from-own")
    monkeypatch.setenv("MALHA_DATA_DIR", str(tmp_path / "own"))
    assert found().token == "from-own"
    monkeypatch.setenv("MALHA_TOKEN", "from-environment")
    assert found().token == "from-environment"
    assert found(token="given").token == "given"


def test_no_token_says_where_it_looked_and_what_makes_one(monkeypatch, tmp_path):
    monkeypatch.setenv("MALHA_DATA_DIR", str(tmp_path / "nothing"))
    with pytest.raises(TokenMissing) as caught:
        Malha()
    assert str(tmp_path / "nothing" / "token") in str(caught.value)
    assert "MALHA_TOKEN" in str(caught.value)
    assert "malha up" in str(caught.value)


def test_a_token_that_is_a_folder_is_a_clear_error(monkeypatch, tmp_path):
    (tmp_path / "token").mkdir()
    monkeypatch.setenv("MALHA_DATA_DIR", str(tmp_path))
    with pytest.raises(TokenMissing, match="cannot be read"):
        found()


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "chave-é", "\x00"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token):
    with pytest.raises(InvalidRequest) as caught:
        found(token=token)
    assert token not in str(caught.value)


def test_a_token_is_never_shown():
    settings = found(token="very-secret")
    assert "very-secret" not in repr(settings)
    assert "very-secret" not in repr(Malha(token="very-secret"))


@pytest.mark.parametrize(
    ("target", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("ipv4:127.0.0.1:1", False),
        ("unix:/tmp/s", True),
        ("dns:///localhost:1", True),
        ("10.0.0.1:1", False),
        ("malha.example:443", False),
    ],
)
def test_loopback(target, loopback):
    assert found(target, "t").loopback is loopback


def test_a_ca_means_tls_and_must_be_there(tmp_path):
    (tmp_path / "ca.pem").write_bytes(b"pem")
    settings = found(token="t", ca=tmp_path / "ca.pem")
    assert settings.tls
    assert settings.root_certificates == b"pem"
    with pytest.raises(FileNotFoundError):
        found(token="t", ca=tmp_path / "none.pem")
