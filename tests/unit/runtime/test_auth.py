"""Tokens: which are known, to whom they belong, what is remembered of them and for how long."""

import asyncio
import stat
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from malha.runtime import auth
from malha.runtime.auth import AWAY_SECONDS, NO_SECONDS, YES_SECONDS, Authenticator, Grant, Principal, digest_of, ensure_token
from malha.runtime.errors import FailedPrecondition, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from malha.runtime.scopes import ADMIN, ALL_SCOPES, DEFAULT_SCOPES, READ, STREAM

GRANT = Grant("acme", uuid.UUID(int=7), "t1", DEFAULT_SCOPES, counter="desk-7")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Directory:
    """A store's tokens, which can be away."""

    def __init__(self, **grants: Grant) -> None:
        self.grants = {digest_of(token): grant for token, grant in grants.items()}
        self.queries: list[list[bytes]] = []
        self.away = False
        self.hold: asyncio.Event | None = None

    async def find(self, digests: Collection[bytes]) -> Mapping[bytes, Grant]:
        self.queries.append(list(digests))
        if self.hold is not None:
            await self.hold.wait()
        if self.away:
            raise Unavailable("away", reason="STORE_UNAVAILABLE", retry_seconds=3.0)
        return {digest: self.grants[digest] for digest in digests if digest in self.grants}

    async def ensure_tenants(self, names: Collection[str]) -> Mapping[str, uuid.UUID]:
        return {name: uuid.uuid5(uuid.NAMESPACE_DNS, name) for name in names}


def bearer(token: str) -> str:
    return f"Bearer {token}"


async def reason_of(authenticator: Authenticator, token: str) -> str:
    try:
        await authenticator.authenticate(bearer(token))
    except (Unauthenticated, Unavailable) as error:
        return error.reason
    return "OK"


async def test_the_token_is_made_once_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    file = ensure_token(tmp_path / "data")
    token = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ensure_token(tmp_path / "data").read_text() == token
    principal = await Authenticator.from_settings((), tmp_path / "data").authenticate(f"Bearer {token.strip()}")
    assert principal.tenant == "default"
    assert principal.scopes == ALL_SCOPES, "it is the machine's owner's"


async def test_the_tenant_comes_from_the_token_alone(tmp_path: Path) -> None:
    principal = await Authenticator.from_settings(("acme:secret",), tmp_path).authenticate("bearer secret")
    assert principal.tenant == "acme"
    assert principal.scopes == ALL_SCOPES - {ADMIN}
    assert principal.tenant_id is None, "without a store"
    principal.check_tenant("")
    principal.check_tenant("acme")
    for foreign in ("default", "None"):
        with pytest.raises(PermissionDenied):
            principal.check_tenant(foreign)


async def test_given_tokens_belong_to_tenants_of_the_store(tmp_path: Path) -> None:
    authenticator = Authenticator.from_settings(("acme:secret",), tmp_path, Directory())
    await authenticator.start()
    principal = await authenticator.authenticate("Bearer secret")
    assert principal.tenant_id == uuid.uuid5(uuid.NAMESPACE_DNS, "acme")
    principal.check_tenant(str(principal.tenant_id))
    assert principal.token_id.startswith("setting-")
    assert "secret" not in repr(principal)


@pytest.mark.parametrize("header", ["", "Bearer", "Basic secret", "Bearer wrong", "secret"])
async def test_who_is_not_known_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(Unauthenticated):
        await Authenticator.from_settings(("secret",), tmp_path).authenticate(header)


def test_no_token_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="malha up"):
        Authenticator.from_settings((), tmp_path)
    Authenticator.from_settings((), tmp_path, Directory())


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


async def test_a_scope_that_is_lacking_is_named() -> None:
    principal = Principal("acme", "t", scopes=frozenset({READ}))
    principal.check_scope(READ)
    with pytest.raises(PermissionDenied, match="`stream`") as refused:
        principal.check_scope(STREAM)
    assert refused.value.reason == "SCOPE_MISSING"
    assert refused.value.metadata == {"scope": "stream"}


async def test_a_stored_token_is_looked_for_once_in_a_while() -> None:
    clock, directory = Clock(), Directory(known=GRANT)
    authenticator = Authenticator({}, directory, clock)
    for _ in range(3):
        principal = await authenticator.authenticate(bearer("known"))
    assert (principal.tenant, principal.tenant_id, principal.token_id, principal.counter) == ("acme", GRANT.tenant_id, "t1", "desk-7")
    assert len(directory.queries) == 1
    clock.now += YES_SECONDS + 1
    await authenticator.authenticate(bearer("known"))
    assert len(directory.queries) == 2


async def test_a_no_is_remembered_briefly() -> None:
    clock, directory = Clock(), Directory()
    authenticator = Authenticator({}, directory, clock)
    assert [await reason_of(authenticator, "new") for _ in range(3)] == ["TOKEN_UNKNOWN"] * 3
    assert len(directory.queries) == 1
    directory.grants[digest_of("new")] = GRANT
    clock.now += NO_SECONDS + 0.1
    assert await reason_of(authenticator, "new") == "OK"


async def test_revoked_and_expired_tokens_say_so() -> None:
    now = datetime.now(UTC)
    directory = Directory(
        revoked=replace(GRANT, revoked_at=now),
        expired=replace(GRANT, expires_at=now - timedelta(seconds=1)),
        good=replace(GRANT, expires_at=now + timedelta(hours=1)),
    )
    authenticator = Authenticator({}, directory)
    assert [await reason_of(authenticator, token) for token in ("revoked", "expired", "good")] == ["TOKEN_REVOKED", "TOKEN_EXPIRED", "OK"]


async def test_a_remembered_token_still_expires_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory(brief=replace(GRANT, expires_at=datetime.now(UTC) + timedelta(hours=1)))
    authenticator = Authenticator({}, directory)
    assert await reason_of(authenticator, "brief") == "OK"

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1)

    monkeypatch.setattr(auth, "datetime", Later)
    assert await reason_of(authenticator, "brief") == "TOKEN_EXPIRED"
    assert len(directory.queries) == 1


async def test_callers_who_come_at_once_share_a_query() -> None:
    directory = Directory(one=GRANT, two=replace(GRANT, token_id="t2"))
    directory.hold = asyncio.Event()
    authenticator = Authenticator({}, directory)
    first = [asyncio.create_task(authenticator.authenticate(bearer("one"))) for _ in range(5)]
    await asyncio.sleep(0)
    later = [asyncio.create_task(authenticator.authenticate(bearer(token))) for token in ("one", "two", "three", "three")]
    await asyncio.sleep(0)
    first[0].cancel()
    await asyncio.sleep(0)
    directory.hold.set()
    ended = await asyncio.gather(*first, *later, return_exceptions=True)
    assert [getattr(each, "token_id", type(each).__name__) for each in ended] == [
        "CancelledError",
        *["t1"] * 4,
        "t1",
        "t2",
        "Unauthenticated",
        "Unauthenticated",
    ]
    assert directory.queries == [[digest_of("one")], [digest_of("two"), digest_of("three")]]


async def test_while_the_store_is_away_a_good_token_stays_good_and_no_other_is_unknown() -> None:
    clock, directory = Clock(), Directory(known=GRANT, gone=replace(GRANT, revoked_at=datetime.now(UTC)))
    authenticator = Authenticator({digest_of("given"): replace(GRANT, token_id="setting")}, directory, clock)
    assert await reason_of(authenticator, "known") == "OK"
    assert await reason_of(authenticator, "gone") == "TOKEN_REVOKED"
    assert await reason_of(authenticator, "stranger") == "TOKEN_UNKNOWN"
    directory.away = True
    clock.now += YES_SECONDS + 1
    assert await reason_of(authenticator, "known") == "OK"
    assert await reason_of(authenticator, "given") == "OK"
    assert await reason_of(authenticator, "gone") == "TOKEN_REVOKED"
    assert await reason_of(authenticator, "stranger") == "STORE_UNAVAILABLE"
    with pytest.raises(Unavailable) as refused:
        await authenticator.authenticate(bearer("another"))
    assert (refused.value.reason, refused.value.retry_seconds) == ("STORE_UNAVAILABLE", 3.0)
    clock.now += AWAY_SECONDS
    assert await reason_of(authenticator, "known") == "STORE_UNAVAILABLE"
    directory.away = False
    assert await reason_of(authenticator, "known") == "OK"


async def test_a_store_that_hangs_does_not_hold_up_a_good_token() -> None:
    clock, directory = Clock(), Directory(known=GRANT)
    authenticator = Authenticator({}, directory, clock)
    await authenticator.authenticate(bearer("known"))
    clock.now += YES_SECONDS + 1
    directory.hold = asyncio.Event()
    assert await asyncio.wait_for(reason_of(authenticator, "known"), 20) == "OK"
    await authenticator.close()


async def test_only_tokens_that_are_not_known_to_be_good_can_be_held_back() -> None:
    def held_back() -> None:
        raise ResourceExhausted("later")

    directory = Directory(known=GRANT)
    authenticator = Authenticator({digest_of("given"): GRANT}, directory)
    await authenticator.authenticate(bearer("known"))
    for token in ("given", "known"):
        await authenticator.authenticate(bearer(token), held_back)
    with pytest.raises(ResourceExhausted):
        await authenticator.authenticate(bearer("stranger"), held_back)
    assert len(directory.queries) == 1, "the store was not asked"


async def test_what_ended_is_found_in_one_query() -> None:
    now = datetime.now(UTC)
    directory = Directory(good=GRANT, revoked=replace(GRANT, revoked_at=now), expired=replace(GRANT, expires_at=now))
    authenticator = Authenticator({digest_of("given"): GRANT}, directory)
    tokens = ("good", "revoked", "expired", "deleted", "given")
    ended = await authenticator.ended([digest_of(token) for token in tokens])
    assert {token: ended[digest_of(token)].reason for token in tokens if digest_of(token) in ended} == {
        "revoked": "TOKEN_REVOKED",
        "expired": "TOKEN_EXPIRED",
        "deleted": "TOKEN_UNKNOWN",
    }
    assert [len(query) for query in directory.queries] == [4], "a given one is not asked for"
    assert await reason_of(authenticator, "revoked") == "TOKEN_REVOKED"
    assert len(directory.queries) == 1, "what was found is remembered"
    directory.away = True
    with pytest.raises(Unavailable):
        await authenticator.ended([digest_of("good")])


async def test_memory_is_bounded() -> None:
    directory = Directory()
    authenticator = Authenticator({}, directory)
    assert authenticator._lookup is not None
    authenticator._lookup._most = 10
    for number in range(50):
        await reason_of(authenticator, str(number))
    assert len(authenticator._lookup) == 10
    assert not any(isinstance(key, str) for key in authenticator._lookup._entries), "digests only"
