"""Our migration makes what PgQueuer makes itself: a newer PgQueuer with other tables is noticed here."""

import asyncpg
from pgqueuer import AsyncpgDriver, Queries

from fakes.postgres import Postgres
from malha.store.settings import StoreSettings

COLUMNS = """
    SELECT table_name::text, column_name::text, udt_name::text, is_nullable::text, coalesce(column_default, identity_generation, '')
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name LIKE 'pgqueuer%' ORDER BY 1, 2
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename LIKE 'pgqueuer%' ORDER BY 1"
LABELS = (
    "SELECT enumlabel::text FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid WHERE typname = 'pgqueuer_status' ORDER BY enumsortorder"
)


async def shape(connection: asyncpg.Connection) -> list[list[tuple[str, ...]]]:
    return [[tuple(row) for row in await connection.fetch(query)] for query in (COLUMNS, INDEXES, LABELS)]


async def test_the_queue_is_as_pgqueuer_makes_it(postgres: Postgres, store: StoreSettings) -> None:
    async with postgres.fresh("template0") as empty:
        theirs, ours = await asyncpg.connect(empty.owner_url), await asyncpg.connect(store.owner_url)
        try:
            await Queries(AsyncpgDriver(theirs)).install()
            assert await shape(ours) == await shape(theirs)
        finally:
            await theirs.close()
            await ours.close()
