"""``malha db`` as a user runs it."""

import asyncio
import json
import uuid
from pathlib import Path

from integration.cli.program import run_malha

from fakes.postgres import Postgres, with_database
from malha.store.revision import HEAD
from malha.store.settings import StoreSettings


def test_the_embedded_database_is_started_for_a_command(tmp_path: Path) -> None:
    done = run_malha(tmp_path, "db", "upgrade", "--json")
    assert json.loads(done.stdout)["after"] == HEAD
    assert done.stderr == ""
    assert json.loads(run_malha(tmp_path, "db", "current", "--json").stdout) == {"revision": HEAD, "needed": HEAD}
    assert "keep tenants apart" in run_malha(tmp_path, "db", "check").stdout


def test_a_database_elsewhere_is_checked(tmp_path: Path, store: StoreSettings) -> None:
    environment = {"MALHA_DATABASE_URL": store.url, "MALHA_DATABASE_OWNER_URL": store.owner_url}
    assert json.loads(run_malha(tmp_path, "db", "check", "--json", **environment).stdout) == {"ok": True}
    assert "nothing to do" in run_malha(tmp_path, "db", "upgrade", **environment).stdout


def test_what_is_wrong_is_one_line_and_an_exit_status(tmp_path: Path, store: StoreSettings) -> None:
    bypassing = run_malha(tmp_path, "db", "check", "--json", MALHA_DATABASE_URL=store.owner_url)
    assert bypassing.returncode == 78
    assert json.loads(bypassing.stdout)["reason"] == "STORE_ROLE_BYPASSES"
    assert bypassing.stderr.count("\n") == 1
    no_url = run_malha(tmp_path, "db", "check", MALHA_DATABASE_URL="mysql://a/b")
    assert no_url.returncode == 78
    assert "MALHA_DATABASE_URL" in no_url.stderr


async def test_a_check_says_what_services_cannot_tell_apart(tmp_path: Path, postgres: Postgres) -> None:
    async def check(url: str, owner_url: str) -> str:
        environment = {"MALHA_DATABASE_URL": url, "MALHA_DATABASE_OWNER_URL": owner_url}
        done = await asyncio.to_thread(run_malha, tmp_path, "db", "check", **environment)
        assert done.returncode == 78
        assert done.stderr.count("\n") == 1
        return done.stderr

    async with postgres.fresh("template0") as empty:
        assert "revision none" in (told := await check(empty.url, empty.owner_url))
        assert told.endswith("malha db upgrade\n")
    async with postgres.fresh() as store:
        assert "user, password and name" in await check(with_database(store.url, "nowhere"), store.owner_url)
        outsider = f"outsider_{uuid.uuid4().hex}"
        await postgres.administer(f"CREATE ROLE {outsider} LOGIN PASSWORD 'secret'")
        try:
            name = store.owner_url.partition("?")[0].rpartition("/")[2]
            assert "may not become" in await check(with_database(store.url, name, f"{outsider}:secret"), store.owner_url)
        finally:
            await postgres.administer(f"DROP ROLE {outsider}")
