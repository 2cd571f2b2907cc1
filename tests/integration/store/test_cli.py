"""``malha db`` as a user runs it."""

import json
from pathlib import Path

from integration.cli.program import run_malha

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
