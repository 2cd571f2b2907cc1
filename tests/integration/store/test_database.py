"""Transactions: who they act as, what they leave behind, and what is told where the database is away or set up wrongly."""

import asyncio
import uuid

import asyncpg
import pytest
from integration.store.rows import fill

from fakes.postgres import Postgres, make_tenant
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from malha.store.database import Database
from malha.store.settings import StoreSettings


async def test_a_migrated_database_passes_the_check(database: Database) -> None:
    await database.check()


async def test_a_transaction_ends_with_all_it_was(database: Database) -> None:
    tenant = await make_tenant(database)
    with pytest.raises(ZeroDivisionError):
        async with database.tenant_tx(tenant) as connection:
            await connection.execute("INSERT INTO customer (tenant_id) VALUES ($1)", tenant)
            raise ZeroDivisionError
    async with database.tenant_tx(tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM customer") == 0
        raw = connection
    async with database._transaction("none", "") as connection:
        assert await connection.fetchval("SELECT current_user = session_user")
        assert not await connection.fetchval("SELECT current_setting('malha.tenant', true)")
    assert raw is not connection


async def test_part_of_a_transaction_may_fail(database: Database) -> None:
    tenant = await make_tenant(database)
    async with database.tenant_tx(tenant) as connection:
        await connection.execute("INSERT INTO customer (tenant_id, external_id) VALUES ($1, 'a')", tenant)
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO customer (tenant_id, external_id) VALUES ($1, 'a')", tenant)
    async with database.tenant_tx(tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM customer") == 1


async def test_json_comes_back_as_it_was_without_what_cannot_be_kept(database: Database) -> None:
    tenant = await make_tenant(database)
    value = {"a": [1, 2.5, None, "não"], "nul\x00": "a\x00b", "lone": "x\ud800y"}
    async with database.tenant_tx(tenant) as connection:
        kept = await connection.fetchval("UPDATE tenant SET settings = $1 RETURNING settings", value)
    assert kept == {"a": [1, 2.5, None, "não"], "nul": "ab", "lone": "xy"}


async def test_a_value_that_cannot_be_kept_is_the_callers_mistake(database: Database) -> None:
    tenant = await make_tenant(database)
    for bad in ("a\x00b", 7):
        with pytest.raises(InvalidArgument) as caught:
            async with database.tenant_tx(tenant) as connection:
                await connection.execute("INSERT INTO customer (tenant_id, name) VALUES ($1, $2)", tenant, bad)
        assert caught.value.reason == "UNSTORABLE"


async def test_behind_a_pooler_nothing_is_left_in_a_session(postgres: Postgres, store: StoreSettings) -> None:
    """A pooler in transaction mode gives each transaction any connection: here two share one."""
    settings = store.model_copy(update={"database_pooler": True, "database_pool_size": 1})
    async with await Database.connect(settings) as database:
        one, other = await fill(database), await fill(database)
        async with database.tenant_tx(one.tenant) as connection:
            assert await connection.fetchval("SELECT id FROM customer WHERE external_id = $1", "c") == one.item
        async with database.tenant_tx(other.tenant) as connection:
            assert await connection.fetchval("SELECT id FROM customer WHERE external_id = $1", "c") == other.item
            assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql") == 0
        async with database.ingest_tx() as connection:
            assert await connection.fetchval("SELECT current_setting('malha.tenant')") == ""


async def test_a_slow_statement_is_ended(store: StoreSettings) -> None:
    async with await Database.connect(store.model_copy(update={"database_statement_seconds": 0.2})) as database:
        with pytest.raises(DeadlineExceeded):
            async with database.app_tx() as connection:
                await connection.execute("SELECT pg_sleep(30)")
        await database.check()


async def test_more_transactions_than_connections_wait_for_one(store: StoreSettings) -> None:
    async with await Database.connect(store.model_copy(update={"database_pool_size": 2})) as database:

        async def use() -> int:
            async with database.app_tx() as connection:
                return await connection.fetchval("SELECT 1 FROM pg_sleep(0.01)")

        assert await asyncio.gather(*(use() for _ in range(20))) == [1] * 20


async def test_without_a_database_it_is_unavailable_soon() -> None:
    settings = StoreSettings(_env_file=None, database_url="postgresql://x:y@127.0.0.1:1/z", database_acquire_seconds=0.2)
    async with await Database.connect(settings) as database:
        with pytest.raises(Unavailable) as caught:
            await database.check()
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert caught.value.retry_seconds


async def test_without_a_url_it_says_what_to_do() -> None:
    with pytest.raises(FailedPrecondition, match="MALHA_DATABASE_URL"):
        await Database.connect(StoreSettings(_env_file=None))


async def test_a_lost_connection_is_replaced(database: Database, store: StoreSettings) -> None:
    tenant = await make_tenant(database)
    owner = await asyncpg.connect(store.owner_url)
    try:
        killed = await owner.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert killed
        async with database.tenant_tx(tenant) as connection:
            assert await connection.fetchval("SELECT count(*) FROM tenant") == 1
        with pytest.raises(Unavailable):
            async with database.tenant_tx(tenant) as connection:
                await owner.execute("SELECT pg_terminate_backend($1)", await connection.fetchval("SELECT pg_backend_pid()"))
                await connection.execute("SELECT pg_sleep(5)")
        await database.check()
    finally:
        await owner.close()


async def test_a_role_that_bypasses_row_level_security_is_refused(store: StoreSettings, postgres: Postgres) -> None:
    async with await Database.connect(store.model_copy(update={"database_url": store.owner_url})) as database:
        with pytest.raises(FailedPrecondition, match="superuser") as caught:
            await database.check()
        assert caught.value.reason == "STORE_ROLE_BYPASSES"


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        ("ALTER ROLE malha_app BYPASSRLS", "ALTER ROLE malha_app NOBYPASSRLS"),
        ("GRANT malha_owner TO {login}", "REVOKE malha_owner FROM {login}"),
        ("GRANT malha_ingest TO {login} WITH INHERIT TRUE", "GRANT malha_ingest TO {login} WITH INHERIT FALSE"),
    ],
)
async def test_roles_that_undo_row_level_security_are_refused(database: Database, postgres: Postgres, spoil: str, mend: str) -> None:
    login = postgres.service_login.partition(":")[0]
    await postgres.administer(spoil.format(login=login))
    try:
        with pytest.raises(FailedPrecondition) as caught:
            await database.check()
        assert caught.value.reason == "STORE_ROLE_BYPASSES"
    finally:
        await postgres.administer(mend.format(login=login))
    await database.check()


async def test_another_schema_is_refused(database: Database, store: StoreSettings, postgres: Postgres) -> None:
    owner = await asyncpg.connect(store.owner_url)
    await owner.execute("UPDATE schema_revision SET version_num = '0000'")
    await owner.close()
    with pytest.raises(FailedPrecondition, match="malha db upgrade"):
        await database.check()
    async with postgres.fresh("template0") as empty, await Database.connect(empty) as unprepared:
        with pytest.raises(FailedPrecondition):
            await unprepared.check()


def test_a_tenant_is_a_uuid_and_nothing_else(postgres: Postgres) -> None:
    database = Database(None, StoreSettings(_env_file=None))
    with pytest.raises(ValueError):
        database.tenant_tx("x', true), set_config('role', 'none")
    assert database.tenant_tx(uuid.uuid4()) is not None
