"""Who calls: bearer tokens to tenants. The tenant comes from the token alone."""

import contextlib
import hashlib
import secrets
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from malha.runtime.errors import FailedPrecondition, MalhaError, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from malha.runtime.lookup import Lookup
from malha.runtime.scopes import ADMIN, ALL_SCOPES

DEFAULT_TENANT = "default"
TOKEN_FILE = "token"  # noqa: S105 - a file's name

YES_SECONDS: Final = 10.0
"""How long a token that is good is not looked for again; revoking one keeps new calls out after as long."""
NO_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 300.0
"""How long a token that was good stays so while the store is away."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``token`` goes along to other services of the mesh and is never logged."""

    tenant: str
    token: str = field(repr=False)
    tenant_id: uuid.UUID | None = None
    """None only without a store."""
    token_id: str = ""
    """What audits name."""
    scopes: frozenset[str] = frozenset()
    counter: str | None = None
    """The service counter (desk, shop, queue) that the token was made for."""

    @property
    def tenant_key(self) -> uuid.UUID | str:
        """What tells tenants apart, with a store and without."""
        return self.tenant_id or self.tenant

    def check_tenant(self, tenant: str) -> None:
        """Raise PermissionDenied if a request names another tenant, by name or id, than the token's."""
        if tenant and tenant != self.tenant and (self.tenant_id is None or tenant != str(self.tenant_id)):
            raise PermissionDenied(
                "the token belongs to another tenant: leave tenant_id out, or use that tenant's token", reason="FOREIGN_TENANT"
            )

    def check_scope(self, scope: str) -> None:
        """Raise PermissionDenied if the token was not made for this."""
        if scope not in self.scopes:
            raise PermissionDenied(
                f"the token lacks scope `{scope}`: make one with `malha token create --scope {scope}`",
                reason="SCOPE_MISSING",
                metadata={"scope": scope},
            )


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows."""

    tenant: str
    tenant_id: uuid.UUID | None
    token_id: str
    scopes: frozenset[str]
    counter: str | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def ended(self) -> Unauthenticated | None:
        """Why it allows nothing any more, if so."""
        if self.revoked_at is not None:
            return Unauthenticated("this token was revoked", reason="TOKEN_REVOKED")
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            return Unauthenticated("this token has expired: `malha token create` makes another", reason="TOKEN_EXPIRED")
        return None


class TokenDirectory(Protocol):
    """The tokens of a store."""

    async def find(self, digests: Collection[bytes]) -> Mapping[bytes, Grant]:
        """By SHA-256; those it does not know are left out. Raises Unavailable."""

    async def ensure_tenants(self, names: Collection[str]) -> Mapping[str, uuid.UUID]:
        """The ids of tenants, made where there are none of these names. Raises Unavailable."""


current_principal: ContextVar[Principal | None] = ContextVar("malha_principal", default=None)


class Authenticator:
    """Knows tokens by their SHA-256, so that a memory dump or a comparison's timing gives none away.

    First those given by setting or file, then those of a store. Tokens of a store are remembered: see `YES_SECONDS` and those after it.
    """

    def __init__(
        self, given: Mapping[bytes, Grant], directory: TokenDirectory | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._given = dict(given)
        self._directory = directory
        self._lookup = None if directory is None else Lookup(directory.find, _fresh_seconds, _stale_seconds, clock=clock)

    @classmethod
    def from_settings(cls, api_tokens: Iterable[str], data_directory: Path, directory: TokenDirectory | None = None) -> "Authenticator":
        """Tokens given by setting (``token`` or ``tenant:token``), the one ``malha up`` made in the data directory, and a store's."""
        given = {}
        for entry in api_tokens:
            tenant, _, token = entry.rpartition(":")
            given[digest_of(token)] = _given("setting", tenant or DEFAULT_TENANT, token, ALL_SCOPES - {ADMIN})
        file = data_directory / TOKEN_FILE
        if file.is_file():
            token = file.read_text().strip()
            given[digest_of(token)] = _given("file", DEFAULT_TENANT, token, ALL_SCOPES)
        if not given and directory is None:
            raise FailedPrecondition(f"no token: run `malha up` once, which makes {file}, or set MALHA_API_TOKENS", reason="NO_TOKEN")
        return cls(given, directory)

    async def start(self) -> None:
        """Make sure the store has the tenants of given tokens. Raises Unavailable while it is away."""
        if self._directory is not None:
            ids = await self._directory.ensure_tenants({grant.tenant for grant in self._given.values()})
            self._given = {digest: replace(grant, tenant_id=ids[grant.tenant]) for digest, grant in self._given.items()}

    async def close(self) -> None:
        """Ask the store no more."""
        if self._lookup is not None:
            await self._lookup.close()

    async def authenticate(self, authorization: str, before_asking: Callable[[], None] = lambda: None) -> Principal:
        """The caller behind ``Bearer TOKEN``. ``before_asking`` is called for a token that is not remembered as good, and may raise.

        Raises Unauthenticated (TOKEN_MISSING, TOKEN_UNKNOWN, TOKEN_REVOKED, TOKEN_EXPIRED); Unavailable (STORE_UNAVAILABLE) where a token is
        neither given nor remembered and the store is away.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(
                "a token is needed: send `authorization: Bearer TOKEN`; `malha up` says where it lies", reason="TOKEN_MISSING"
            )
        digest = digest_of(token)
        grant = self._given.get(digest) or await self._stored(digest, before_asking)
        if grant is None:
            raise _unknown()
        if (ended := grant.ended) is not None:
            raise ended
        return Principal(grant.tenant, token, grant.tenant_id, grant.token_id, grant.scopes, grant.counter)

    async def ended(self, digests: Collection[bytes]) -> Mapping[bytes, Unauthenticated]:
        """Which of these tokens are good no more, and why: one query. Raises Unavailable."""
        asked: Sequence[bytes] = [digest for digest in digests if digest not in self._given]
        if self._directory is None or self._lookup is None or not asked:
            return {}
        found = await self._directory.find(asked)
        self._lookup.learn(asked, found)
        reasons = {digest: found[digest].ended if digest in found else _unknown() for digest in asked}
        return {digest: reason for digest, reason in reasons.items() if reason is not None}

    async def _stored(self, digest: bytes, before_asking: Callable[[], None]) -> Grant | None:
        known = None if self._lookup is None else self._lookup.remembered(digest)
        if known is None or known.ended is not None:
            before_asking()
        if self._lookup is None:
            return None
        try:
            return await self._lookup.get(digest)
        except ResourceExhausted:
            raise
        except MalhaError as error:
            raise Unavailable(
                "tokens cannot be checked, the database is away: try again",
                reason="STORE_UNAVAILABLE",
                retry_seconds=error.retry_seconds or 1.0,
            ) from error


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def ensure_token(data_directory: Path) -> Path:
    """Make the default tenant's token if there is none, readable by its owner alone; the file it lies in."""
    file = data_directory / TOKEN_FILE
    try:
        data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (file.is_file() and file.stat().st_size):
            _write_token(file)
    except OSError as error:
        raise FailedPrecondition(
            f"cannot write {file}: {error.strerror}; free space or set MALHA_DATA_DIR to a writable directory",
            reason="DATA_DIRECTORY_UNWRITABLE",
        ) from error
    return file


def _write_token(file: Path) -> None:
    """Whole or not at all: an empty file, left by a full disk, would lock everybody out."""
    draft = file.with_name(f"{TOKEN_FILE}.{secrets.token_hex(4)}")
    try:
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(32) + "\n")
        if file.is_file() and not file.stat().st_size:
            file.unlink()
        with contextlib.suppress(FileExistsError):  # another process was first: its token holds
            file.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _given(source: str, tenant: str, token: str, scopes: frozenset[str]) -> Grant:
    return Grant(tenant, None, f"{source}-{digest_of(token).hex()[:8]}", scopes)


def _unknown() -> Unauthenticated:
    return Unauthenticated("this token is not known here", reason="TOKEN_UNKNOWN")


def _fresh_seconds(grant: Grant | None) -> float:
    return YES_SECONDS if grant is not None and grant.ended is None else NO_SECONDS


def _stale_seconds(grant: Grant | None) -> float:
    return AWAY_SECONDS if grant is not None else 0.0
