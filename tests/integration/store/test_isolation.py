"""Tenants kept apart, on every table and view the catalogue names: what is added later is tested too."""

import contextlib
import uuid

import asyncpg
import pytest
from integration.store.rows import fill

from fakes.postgres import Postgres
from malha.runtime.errors import FailedPrecondition
from malha.store.database import Database
from malha.store.settings import StoreSettings

RELATIONS = """
    SELECT c.relname, c.relkind::text AS kind, c.relrowsecurity AND c.relforcerowsecurity AS forced,
        coalesce(c.reloptions::text LIKE '%security_invoker=true%', false) AS invoker,
        has_table_privilege('malha_app', c.oid, 'SELECT') AS readable,
        (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('tenant_id', 'id') ORDER BY a.attname = 'id' LIMIT 1)
            AS tenant_column
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND c.relname <> 'schema_revision' ORDER BY 1
"""
"""`schema_revision` holds the schema's revision alone."""


async def relations(store: StoreSettings) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(store.owner_url)
    try:
        return await connection.fetch(RELATIONS)
    finally:
        await connection.close()


async def test_row_level_security_is_forced_everywhere(store: StoreSettings) -> None:
    known = await relations(store)
    assert len(known) > 17
    assert [r["relname"] for r in known if r["kind"] in "rp" and not r["forced"]] == []
    assert [r["relname"] for r in known if r["kind"] == "v" and not r["invoker"]] == []
    assert [r["relname"] for r in known if r["kind"] in "mf"] == []


async def test_no_row_of_another_tenant_is_seen_changed_or_removed(store: StoreSettings, database: Database) -> None:
    mine, other = await fill(database), await fill(database)
    readable = [r for r in await relations(store) if r["readable"]]
    assert len(readable) >= 17
    for relation in readable:
        name, column = relation["relname"], relation["tenant_column"]
        async with database.tenant_tx(mine.tenant) as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {name}") > 0, f"rows.py leaves {name} empty"
            assert await connection.fetchval(f"SELECT count(*) FROM {name} WHERE {column} <> $1", mine.tenant) == 0, name
            assert await connection.fetchval(f"SELECT count(*) FROM {name} WHERE {column} = $1", other.tenant) == 0, name
        for statement in (f"DELETE FROM {name}", f"UPDATE {name} SET {column} = {column}"):
            with contextlib.suppress(FailedPrecondition):  # no privilege at all
                async with database.tenant_tx(uuid.uuid4()) as connection:
                    assert (await connection.execute(statement)).endswith(" 0"), statement
        async with database.app_tx() as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {name}") == 0, name


async def test_no_row_is_written_for_another_tenant(store: StoreSettings, database: Database) -> None:
    mine, other = await fill(database), await fill(database)
    async with database.tenant_tx(mine.tenant) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with connection.transaction():
                await connection.execute("INSERT INTO customer (tenant_id) VALUES ($1)", other.tenant)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with connection.transaction():
                await connection.execute("UPDATE customer SET tenant_id = $1", other.tenant)
        with pytest.raises(asyncpg.ForeignKeyViolationError):  # keys name the tenant: a foreign key reaches no other's rows
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO message (tenant_id, conversation_id, sender_type, text) VALUES ($1, $2, 'bot', '')",
                    mine.tenant,
                    other.item,
                )


async def test_search_finds_what_the_tenant_said_alone(database: Database) -> None:
    mine, _ = await fill(database), await fill(database)
    search = "SELECT * FROM malha_search(websearch_to_tsquery('simple', 'SEGREDO'), 10)"
    async with database.tenant_tx(mine.tenant) as connection:
        found = await connection.fetch(search)
    assert [hit["conversation_id"] for hit in found] == [mine.item, mine.item]
    async with database.app_tx() as connection:
        assert await connection.fetch(search) == []


async def test_a_token_is_found_before_its_tenant_is_known(database: Database) -> None:
    mine = await fill(database)
    async with database.tenant_tx(mine.tenant) as connection:
        digest = await connection.fetchval("SELECT digest FROM token")
    async with database.app_tx() as connection:
        assert await connection.fetch("SELECT digest FROM token") == []
        found = await connection.fetch("SELECT * FROM malha_find_token($1)", digest)
        assert [row["tenant_id"] for row in found] == [mine.tenant]
        assert await connection.fetch("SELECT * FROM malha_find_token($1)", bytes(32)) == []


async def test_ingest_sees_the_tables_of_live_calls_alone(store: StoreSettings, database: Database) -> None:
    mine = await fill(database)
    visible = set()
    for relation in await relations(store):
        with contextlib.suppress(FailedPrecondition):
            async with database.ingest_tx() as connection:
                if await connection.fetchval(f"SELECT count(*) FROM {relation['relname']}"):
                    visible.add(relation["relname"])
    assert visible == {"live_session", "event", "segment"}
    async with database.ingest_tx() as connection:
        assert await connection.fetchval("SELECT tenant_id FROM live_session WHERE session_id = $1", mine.item) == mine.tenant
        for function in ("malha_find_token('')", "malha_tenants()", "malha_find_tenant('x')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(f"SELECT {function}")


async def test_events_cannot_be_changed_nor_audit_and_tombstones_removed(database: Database) -> None:
    mine = await fill(database)
    for statement in ("UPDATE event SET kind = 'x'", "DELETE FROM audit", "UPDATE audit SET actor = 'x'", "DELETE FROM tombstone"):
        async with database.tenant_tx(mine.tenant) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(statement)


async def test_the_services_login_may_do_nothing_by_itself(store: StoreSettings, database: Database) -> None:
    await fill(database)
    connection = await asyncpg.connect(store.url)
    try:
        for relation in await relations(store):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT FROM {relation['relname']}")
        for statement in (
            "SET ROLE malha_owner",
            "SET row_security = off",
            "CREATE TABLE mine (a int)",
            "ALTER ROLE CURRENT_USER SUPERUSER",
        ):
            if statement.startswith("SET row"):
                await connection.execute(f"SET ROLE malha_app; {statement}")
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                    await connection.fetch("SELECT FROM customer")
                await connection.execute("RESET ROLE; RESET row_security")
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
    finally:
        await connection.close()


async def test_definer_functions_are_for_the_services_alone(store: StoreSettings, postgres: Postgres) -> None:
    connection = await asyncpg.connect(store.owner_url)
    try:
        open_to_all = await connection.fetch("""
            SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
                AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))
        """)
        unpinned = await connection.fetch("""
            SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
                AND NOT coalesce(p.proconfig::text LIKE '%search_path=pg_catalog%', false)
        """)
    finally:
        await connection.close()
    assert open_to_all == []
    assert unpinned == []
