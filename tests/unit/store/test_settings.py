import pytest
from pydantic import ValidationError

from malha.store.roles import login_of
from malha.store.settings import StoreSettings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALHA_DATABASE_URL", "MALHA_DATABASE_DIRECT_URL", "MALHA_DATABASE_OWNER_URL", "POSTGRES_HOST", "POSTGRES_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def test_without_any_setting_it_is_the_embedded_one() -> None:
    assert StoreSettings(_env_file=None).url == ""


def test_the_usual_variables_make_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOST": "db", "PORT": "5433", "USER": "an@", "PASSWORD": "p/w:d", "DB": "calls"}.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    settings = StoreSettings(_env_file=None)
    assert settings.url == "postgresql://an%40:p%2Fw%3Ad@db:5433/calls"
    assert login_of(settings.url) == ("an@", "p/w:d")


def test_the_url_comes_first_and_others_fall_back_to_it() -> None:
    settings = StoreSettings(_env_file=None, database_url="postgresql://a@h/d", postgres_host="other")
    assert (settings.url, settings.direct_url, settings.owner_url) == ("postgresql://a@h/d",) * 3
    direct = settings.model_copy(update={"database_direct_url": "postgresql://b@h/d"})
    assert (direct.url, direct.direct_url, direct.owner_url) == ("postgresql://a@h/d", "postgresql://b@h/d", "postgresql://b@h/d")


@pytest.mark.parametrize("url", ["mysql://a/b", "db", "postgresql://h:port/d"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        StoreSettings(_env_file=None, database_url=url)


def test_no_password_is_shown() -> None:
    shown = repr(StoreSettings(_env_file=None, database_url="postgresql://a:secret@h/d", postgres_password="secret"))
    assert "secret" not in shown
