from pathlib import Path

from malha.store import migrate
from malha.store.migrations import sql
from malha.store.revision import HEAD

VERSIONS = Path(sql.__file__).parent / "versions"


def test_a_statement_ends_with_a_semicolon_before_an_empty_line() -> None:
    script = "-- about\nSELECT 1;\n\n-- more\n\nDO $$\nBEGIN\n  a;\n  b;\nEND\n$$;\n"
    assert sql.split(script) == ["SELECT 1", "DO $$\nBEGIN\n  a;\n  b;\nEND\n$$"]


def test_the_code_needs_the_newest_revision() -> None:
    assert migrate.revisions()[-1] == HEAD


def test_each_revision_has_its_sql() -> None:
    assert {path.stem for path in VERSIONS.glob("*.py")} == {path.stem for path in VERSIONS.glob("*.sql")}
