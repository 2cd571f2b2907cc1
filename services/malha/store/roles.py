"""The roles: ``malha_owner`` owns the schema, ``malha_app`` sees one tenant at a time, ``malha_ingest`` sees the tables of live calls,
``malha_queue`` the queue of jobs, which holds ids alone.

None can log in. The services' login is a member of the latter three and inherits nothing: it may only become one of them for a transaction.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg

from malha.runtime.errors import FailedPrecondition

OWNER: Final = "malha_owner"
APP: Final = "malha_app"
INGEST: Final = "malha_ingest"
QUEUE: Final = "malha_queue"
_SCRAM_ITERATIONS: Final = 4096
"""PostgreSQL's own."""

Connection: TypeAlias = asyncpg.Connection


async def ensure_roles(connection: Connection, service_url: str) -> None:
    """Make the roles that are missing, and the login named in ``service_url`` a member. Raises FailedPrecondition if this login may not."""
    user, password = login_of(service_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('malha.roles'))")
            for role in (OWNER, APP, INGEST, QUEUE):
                if not await _exists(connection, role):
                    await connection.execute(f"CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION")
            await _become_owner(connection)
            if user and user != await connection.fetchval("SELECT current_user"):
                await _ensure_login(connection, user, password)
    except asyncpg.InsufficientPrivilegeError as error:
        raise FailedPrecondition(
            f"this login may not set up the roles {OWNER}, {APP}, {INGEST} and {QUEUE}: set MALHA_DATABASE_OWNER_URL to one that is"
            " a superuser, or has CREATEROLE and owns the database",
            reason="STORE_ROLES_REFUSED",
        ) from error


def login_of(url: str) -> tuple[str, str]:
    """User and password of a URL."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), so that no statement, and no log of one, holds the password itself."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    keys = ":".join(base64.b64encode(part).decode() for part in (stored, hmac.digest(salted, b"Server Key", "sha256")))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{base64.b64encode(salt).decode()}${keys}"


async def _exists(connection: Connection, role: str) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role))


async def _become_owner(connection: Connection) -> None:
    """Let this login migrate as malha_owner, and malha_owner make tables here."""
    if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
    if not await connection.fetchval(f"SELECT has_schema_privilege('{OWNER}', 'public', 'CREATE')"):
        await connection.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}")
        if not await connection.fetchval(f"SELECT has_schema_privilege('{OWNER}', 'public', 'CREATE')"):
            raise asyncpg.InsufficientPrivilegeError("not the owner of schema public")  # PostgreSQL only warns


async def _ensure_login(connection: Connection, user: str, password: str) -> None:
    name = await connection.fetchval("SELECT quote_ident($1)", user)
    if not await _exists(connection, user):
        await connection.execute(f"CREATE ROLE {name} LOGIN NOSUPERUSER NOBYPASSRLS NOINHERIT PASSWORD '{scram_verifier(password)}'")
    options = ""
    if connection.get_server_version() >= (16,):
        options = " WITH INHERIT FALSE, SET TRUE"
    elif await connection.fetchval("SELECT rolinherit FROM pg_roles WHERE rolname = $1", user):
        await connection.execute(f"ALTER ROLE {name} NOINHERIT")
    await connection.execute(f"GRANT {APP}, {INGEST}, {QUEUE} TO {name}{options}")
