"""The schema, from nothing and from each earlier revision; roles and the services' login, made and mended."""

import asyncio
import uuid
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from fakes.postgres import Postgres, with_database
from malha.runtime.errors import FailedPrecondition, Unavailable
from malha.store import migrate
from malha.store.database import Database
from malha.store.revision import HEAD
from malha.store.settings import StoreSettings

EARLIER = (None, *migrate.revisions()[:-1])

SHAPE = """
    SELECT table_name::text, column_name::text, data_type::text, is_nullable::text, column_default FROM information_schema.columns
    WHERE table_schema = 'public'
    UNION ALL SELECT tablename::text, indexname::text, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT tablename::text, policyname::text, roles::text, qual, with_check FROM pg_policies WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), '', '' FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT proname::text, pg_get_functiondef(oid), proacl::text, '', '' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT relname::text, relacl::text, relowner::regrole::text, '', '' FROM pg_class WHERE relnamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3
"""


async def shape(settings: StoreSettings) -> list[tuple[str, ...]]:
    """All that makes up the schema."""
    connection = await asyncpg.connect(settings.owner_url)
    try:
        return [tuple(row) for row in await connection.fetch(SHAPE)]
    finally:
        await connection.close()


@pytest.mark.parametrize("earlier", EARLIER)
async def test_from_any_revision_it_becomes_the_same_schema(postgres: Postgres, store: StoreSettings, earlier: str | None) -> None:
    async with postgres.fresh("template0") as settings:
        if earlier is not None:
            await migrate.upgrade(settings, earlier)
        assert await migrate.current(settings) == earlier
        assert await migrate.upgrade(settings) == migrate.Upgrade(earlier, HEAD)
        assert await migrate.current(settings) == HEAD
        assert await shape(settings) == await shape(store)
        async with await Database.connect(settings) as database:
            await database.check()


async def test_a_second_upgrade_does_nothing(store: StoreSettings) -> None:
    before = await shape(store)
    assert await migrate.upgrade(store) == migrate.Upgrade(HEAD, HEAD)
    assert await shape(store) == before


async def test_two_upgrades_at_once_make_one_schema(postgres: Postgres) -> None:
    async with postgres.fresh("template0") as settings:
        done = await asyncio.gather(*(migrate.upgrade(settings) for _ in range(3)))
        assert sorted(str(one.before) for one in done) == [HEAD, HEAD, "None"]


async def test_a_failed_upgrade_leaves_nothing(postgres: Postgres) -> None:
    async with postgres.fresh("template0") as settings:
        connection = await asyncpg.connect(settings.owner_url)
        await connection.execute("CREATE TABLE tombstone (a int)")
        with pytest.raises(Exception, match="tombstone"):
            await migrate.upgrade(settings)
        assert await migrate.current(settings) is None
        await connection.execute("DROP TABLE tombstone")
        await connection.close()
        assert (await migrate.upgrade(settings)).after == HEAD


async def test_a_missing_login_is_made_with_its_password(postgres: Postgres) -> None:
    login = f"new_{uuid.uuid4().hex[:8]}"
    async with postgres.fresh() as settings:
        name = urlsplit(settings.owner_url).path.removeprefix("/")
        new = settings.model_copy(update={"database_url": with_database(settings.owner_url, name, f"{login}:p%40ss'word")})
        try:
            await migrate.upgrade(new)
            async with await Database.connect(new) as database:
                await database.check()
        finally:
            await postgres.administer(f"DROP ROLE IF EXISTS {login}")


async def test_a_login_without_the_right_is_told_what_it_needs(postgres: Postgres) -> None:
    login = f"weak_{uuid.uuid4().hex[:8]}"
    await postgres.administer(f"CREATE ROLE {login} LOGIN PASSWORD 'x'")
    try:
        async with postgres.fresh("template0") as settings:
            weak = settings.model_copy(update={"database_owner_url": _as(settings.owner_url, f"{login}:x")})
            with pytest.raises(FailedPrecondition, match="MALHA_DATABASE_OWNER_URL"):
                await migrate.upgrade(weak)
    finally:
        await postgres.administer(f"DROP ROLE {login}")


async def test_the_owner_of_a_database_with_createrole_can_migrate(postgres: Postgres) -> None:
    """What managed PostgreSQL gives instead of a superuser."""
    login = f"admin_{uuid.uuid4().hex[:8]}"
    await postgres.administer(f"CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'x'")
    for role in ("malha_owner", "malha_app", "malha_ingest", "malha_queue"):
        await postgres.administer(f"GRANT {role} TO {login} WITH ADMIN OPTION")
    try:
        async with postgres.fresh("template0") as settings:
            name = urlsplit(settings.owner_url).path.removeprefix("/")
            await postgres.administer(f"ALTER DATABASE {name} OWNER TO {login}")
            assert (
                await migrate.upgrade(settings.model_copy(update={"database_owner_url": _as(settings.owner_url, f"{login}:x")}))
            ).after == HEAD
            async with await Database.connect(settings) as database:
                await database.check()
    finally:
        await postgres.administer(f"DROP OWNED BY {login} CASCADE; DROP ROLE {login}")


async def test_without_a_database_it_is_unavailable() -> None:
    absent = StoreSettings(_env_file=None, database_url="postgresql://x:y@127.0.0.1:1/z")
    for ask in (migrate.upgrade, migrate.current):
        with pytest.raises(Unavailable):
            await ask(absent)


async def test_partitions_are_made_once_and_rows_go_to_their_day(store: StoreSettings, database: Database) -> None:
    async with database.ingest_tx() as connection:
        assert await connection.fetchval("SELECT ensure_event_partitions(7)") == 0
        assert await connection.fetchval("SELECT ensure_event_partitions(9)") == 2
        today = await connection.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
        await connection.execute(
            "INSERT INTO event (session_id, seq, tenant_id, kind, body) SELECT id, 1, gen_random_uuid(), 'k', '{}'"
            " FROM (VALUES (malha_uuid7()), (malha_uuid7_floor('2020-01-01'))) AS given (id)"
        )
        placed = await connection.fetch("SELECT tableoid::regclass::text AS place FROM event ORDER BY session_id")
    assert [row["place"] for row in placed] == ["event_default", f"event_{today}"]


def _as(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, f"{login}@{parts.netloc.rpartition('@')[2]}", parts.path, parts.query, ""))
