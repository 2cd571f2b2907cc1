"""Who calls: bearer tokens to tenants. The tenant comes from the token alone."""

import contextlib
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from malha.runtime.errors import FailedPrecondition, PermissionDenied, Unauthenticated

DEFAULT_TENANT = "default"
TOKEN_FILE = "token"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``token`` goes along to other services of the mesh and is never logged."""

    tenant: str
    token: str

    def check_tenant(self, tenant: str) -> None:
        """Raise PermissionDenied if a request names another tenant than the token's."""
        if tenant and tenant != self.tenant:
            raise PermissionDenied(
                "the token belongs to another tenant: leave tenant_id out, or use that tenant's token", reason="FOREIGN_TENANT"
            )


current_principal: ContextVar[Principal | None] = ContextVar("malha_principal", default=None)


class Authenticator:
    """Knows the tokens of this server by their SHA-256, so that a memory dump or a comparison's timing gives none away."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tenants = {_digest(token): tenant for token, tenant in tokens.items()}

    @classmethod
    def from_settings(cls, api_tokens: Iterable[str], data_directory: Path) -> "Authenticator":
        """Tokens given by setting (``token`` or ``tenant:token``) and the one ``malha up`` made in the data directory."""
        tokens = {}
        for entry in api_tokens:
            tenant, _, token = entry.rpartition(":")
            tokens[token] = tenant or DEFAULT_TENANT
        file = data_directory / TOKEN_FILE
        if file.is_file():
            tokens[file.read_text().strip()] = DEFAULT_TENANT
        if not tokens:
            raise FailedPrecondition(f"no token: run `malha up` once, which makes {file}, or set MALHA_API_TOKENS", reason="NO_TOKEN")
        return cls(tokens)

    def authenticate(self, authorization: str) -> Principal:
        """The caller behind ``Bearer TOKEN``. Raises Unauthenticated."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(
                "a token is needed: send `authorization: Bearer TOKEN`; `malha up` says where it lies", reason="TOKEN_MISSING"
            )
        tenant = self._tenants.get(_digest(token.strip()))
        if tenant is None:
            raise Unauthenticated("this token is not known here", reason="TOKEN_UNKNOWN")
        return Principal(tenant, token.strip())


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


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
