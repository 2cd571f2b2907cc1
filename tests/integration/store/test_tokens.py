"""Tokens and tenants in the store, and the program that makes them."""

import datetime as dt
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from malha.chat.accounts import Budget
from malha.cli.tenant import app as tenants_app
from malha.cli.token import app, duration
from malha.runtime.auth import Authenticator, digest_of
from malha.runtime.errors import InvalidArgument, NotFound, Unauthenticated
from malha.runtime.scopes import DEFAULT_SCOPES
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants
from malha.store.tokens import Tokens


async def test_a_token_is_found_by_its_digest_and_kept_in_no_other_form(database: Database) -> None:
    tokens = Tokens(database)
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    secret, token = await tokens.create("acme", actor="test", name="desk", counter="desk-7", expires_at=until)
    grant = (await tokens.find([digest_of(secret), digest_of("other")]))[digest_of(secret)]
    assert (grant.tenant, grant.token_id, grant.scopes, grant.counter) == ("acme", str(token.id), DEFAULT_SCOPES, "desk-7")
    assert (grant.expires_at, grant.revoked_at, grant.ended) == (until, None, None)
    assert secret.startswith("malha_")
    assert len(secret) >= 40
    assert grant.tenant_id is not None
    async with database.tenant_tx(grant.tenant_id) as connection:
        rows = [dict(row) for table in ("token", "audit", "tenant") for row in await connection.fetch(f"SELECT * FROM {table}")]
    assert not any(secret in str(value) or secret.encode() in bytes(str(value), "utf-8") for row in rows for value in row.values())
    assert [(row["action"], row["actor"], row["object_id"]) for row in rows if "action" in row] == [("token.create", "test", str(token.id))]


async def test_one_query_finds_many(database: Database) -> None:
    tokens = Tokens(database)
    made = [await tokens.create(tenant, actor="test") for tenant in ("acme", "globex", "acme")]
    found = await tokens.find([digest_of(secret) for secret, _ in made])
    assert [found[digest_of(secret)].tenant for secret, _ in made] == ["acme", "globex", "acme"]
    assert await tokens.find([]) == {}


async def test_revoking_is_final_and_audited(database: Database) -> None:
    tokens = Tokens(database)
    secret, token = await tokens.create("acme", actor="test")
    revoked = await tokens.revoke(token.id, actor="admin")
    again = await tokens.revoke(token.id, actor="admin")
    assert revoked.revoked_at is not None
    assert again.revoked_at == revoked.revoked_at
    with pytest.raises(Unauthenticated) as refused:
        await Authenticator({}, tokens).authenticate(f"Bearer {secret}")
    assert refused.value.reason == "TOKEN_REVOKED"
    assert [(each.id, each.revoked_at) for each in await tokens.list("acme")] == [(token.id, revoked.revoked_at)]


async def test_lists_are_of_one_tenant_or_of_all(database: Database) -> None:
    tokens = Tokens(database)
    for tenant in ("globex", "acme", "globex"):
        await tokens.create(tenant, actor="test")
    assert [token.tenant for token in await tokens.list()] == ["acme", "globex", "globex"]
    assert [token.tenant for token in await tokens.list("globex")] == ["globex"] * 2
    with pytest.raises(NotFound):
        await tokens.list("nobody")


async def test_what_is_not_there_is_not_revoked(database: Database) -> None:
    tokens = Tokens(database)
    _, token = await tokens.create("acme", actor="test")
    await tokens.create("globex", actor="test")
    with pytest.raises(NotFound):
        await tokens.revoke(uuid.uuid4(), actor="test")
    with pytest.raises(NotFound):
        await tokens.revoke(token.id, actor="test", tenant="globex")
    assert (await tokens.list("acme"))[0].revoked_at is None


@pytest.mark.parametrize(
    "given",
    [
        {"scopes": ["stream", "root"]},
        {"scopes": []},
        {"name": "x" * 201},
        {"name": "nul\0"},
        {"counter": "\ud800"},
        {"tenant": ""},
        {"tenant": "\0"},
    ],
    ids=str,
)
async def test_what_makes_no_token(database: Database, given: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        await Tokens(database).create(**{"tenant": "acme", "actor": "test", **given})
    assert await Tokens(database).list() == []


async def test_a_tenant_is_made_once(database: Database, store: StoreSettings) -> None:
    tenants = Tenants(database)
    ids = await tenants.ensure(["acme", "globex"])
    async with await Database.connect(store) as other:
        assert await Tenants(other).ensure(["globex", "acme"]) == ids
    assert await tenants.list() == ids
    assert await tenants.find("acme") == ids["acme"]
    with pytest.raises(NotFound):
        await tenants.find("nobody")


async def test_settings_of_tenants(database: Database) -> None:
    tenants = Tenants(database)
    ids = await tenants.ensure(["acme", "globex"])
    assert await tenants.update(ids["acme"], {"quota": {"streams": 3}, "language": "pt"}) == {"quota": {"streams": 3}, "language": "pt"}
    assert await tenants.update(ids["acme"], {"language": None}) == {"quota": {"streams": 3}}
    stranger = uuid.uuid4()
    assert await tenants.settings([*ids.values(), stranger]) == {ids["acme"]: {"quota": {"streams": 3}}, ids["globex"]: {}}
    with pytest.raises(NotFound):
        await tenants.update(stranger, {})


async def test_given_tokens_have_tenants_in_the_store(database: Database, tmp_path: Path) -> None:
    authenticator = Authenticator.from_settings(("acme:secret", "plain"), tmp_path, Tokens(database))
    await authenticator.start()
    tenants = await Tenants(database).list()
    assert set(tenants) == {"acme", "default"}
    assert (await authenticator.authenticate("Bearer secret")).tenant_id == tenants["acme"]
    again = Authenticator.from_settings(("acme:secret",), tmp_path, Tokens(database))
    await again.start()
    assert (await again.authenticate("Bearer secret")).tenant_id == tenants["acme"]


@pytest.fixture
def program(store: StoreSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """`malha token` on the test's own database."""
    monkeypatch.setenv("MALHA_DATABASE_URL", store.database_url)
    monkeypatch.setenv("MALHA_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_the_program_makes_lists_and_revokes(program: CliRunner) -> None:
    made = program.invoke(
        app,
        [
            "create",
            "--tenant",
            "acme",
            "--name",
            "[red]desk",
            "--scope",
            "read",
            "--scope",
            "write",
            "--expires",
            "30d",
            "--counter",
            "c7",
            "--json",
        ],
    )
    assert made.exit_code == 0, made.output
    token = json.loads(made.stdout)
    secret = token.pop("token")
    assert token["scopes"] == ["read", "write"]
    assert (token["tenant"], token["name"], token["counter"], token["revoked_at"]) == ("acme", "[red]desk", "c7", None)
    left = dt.datetime.fromisoformat(token["expires_at"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=29) < left <= dt.timedelta(days=30)
    listed = program.invoke(app, ["list", "--json"])
    assert json.loads(listed.stdout) == {"tokens": [token]}
    table = program.invoke(app, ["list"])
    assert token["id"] in table.stdout
    assert secret not in listed.output + table.output
    revoked = program.invoke(app, ["revoke", token["id"], "--json"])
    assert json.loads(revoked.stdout)["revoked_at"]
    assert program.invoke(app, ["revoke", token["id"]]).exit_code == 0


def test_the_program_prints_the_token_alone_on_standard_output(program: CliRunner) -> None:
    made = program.invoke(app, ["create"])
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("malha_")
    assert made.stdout.count("\n") == 1
    assert "tenant default: read, stream, write" in made.stderr


@pytest.mark.parametrize("arguments", [["create", "--expires", "soon"], ["create", "--expires", "0d"], ["revoke", "nonsense"]])
def test_what_the_program_does_not_understand(program: CliRunner, arguments: list[str]) -> None:
    assert program.invoke(app, arguments).exit_code == 2


def test_durations() -> None:
    assert [duration(text) for text in ("90m", "12h", " 30d ", "8w")] == [
        dt.timedelta(minutes=90),
        dt.timedelta(hours=12),
        dt.timedelta(days=30),
        dt.timedelta(weeks=8),
    ]


@pytest.mark.skipif("MALHA_TEST_DATABASE_URL" in os.environ, reason="another PostgreSQL is tested")
def test_without_a_url_it_is_the_embedded_database(tmp_path: Path) -> None:
    """Started for the time of the command, and the token is there the next time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALHA_", "POSTGRES_"))}

    def run(*arguments: str) -> Any:
        program = "from malha.cli.token import app; app()"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
            env={**environment, "MALHA_DATA_DIR": str(tmp_path / "data")},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = run("create", "--name", "first")
    assert [token["id"] for token in run("list")["tokens"]] == [made["id"]]


def test_the_program_shows_and_sets_quotas(program: CliRunner) -> None:
    assert program.invoke(app, ["create", "--tenant", "acme"]).exit_code == 0
    tenant = "acme"
    assert _json(program, "quota", tenant)["quota"] == {}
    assert _json(program, "quota", tenant, "--streams", "5")["quota"] == {"streams": 5}
    assert _json(program, "quota", tenant, "--calls-per-minute", "0")["quota"] == {"streams": 5, "calls_per_minute": 0}
    listed = _json(program, "list")["tenants"]
    assert [(each["name"], each["quota"]) for each in listed] == [("acme", {"streams": 5, "calls_per_minute": 0})]
    assert "streams 5, calls per minute unlimited" in program.invoke(tenants_app, ["list"]).stdout
    assert _json(program, "quota", tenant, "--default", "--streams", "7")["quota"] == {"streams": 7}
    unknown = program.invoke(tenants_app, ["quota", "nobody"])
    assert isinstance(unknown.exception, NotFound)


def test_the_program_shows_and_sets_budgets(program: CliRunner) -> None:
    assert program.invoke(app, ["create", "--tenant", "acme"]).exit_code == 0
    assert program.invoke(tenants_app, ["quota", "acme", "--streams", "5"]).exit_code == 0
    assert _json(program, "budget", "acme")["budget"] == {}
    assert _json(program, "budget", "acme", "--daily", "10", "--currency", "USD")["budget"] == {"daily": 10, "currency": "USD"}
    both = _json(program, "budget", "acme", "--monthly", "0")["budget"]
    assert both == {"daily": 10, "monthly": 0, "currency": "USD"}
    assert Budget.of({"budget": both}) == Budget(10.0, 0.0, "USD"), "as the models' accounts read it"
    assert "10 USD daily, 0 USD monthly" in program.invoke(tenants_app, ["budget", "acme"]).stdout
    assert _json(program, "budget", "acme", "--none")["budget"] == {}
    assert _json(program, "quota", "acme")["quota"] == {"streams": 5}
    assert "no budget" in program.invoke(tenants_app, ["budget", "acme"]).stdout
    for wrong in (["--daily", "-1"], ["--daily", "nan"], ["--monthly", "inf"]):
        assert program.invoke(tenants_app, ["budget", "acme", *wrong]).exit_code == 2
    assert isinstance(program.invoke(tenants_app, ["budget", "acme", "--currency", "EUR"]).exception, InvalidArgument)
    assert isinstance(program.invoke(tenants_app, ["budget", "nobody"]).exception, NotFound)


def _json(program: CliRunner, *arguments: str) -> Any:
    done = program.invoke(tenants_app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)
