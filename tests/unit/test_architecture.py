"""Who may import whom (ARCHITECTURE.md), read off the source."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = ("services", "edge", "sdk")
CAPABILITIES = {
    "audio",
    "chat",
    "conversation",
    "insight",
    "jobs",
    "ocr",
    "privacy",
    "recording",
    "transcribe",
    "synthesize",
    "models",
    "diarize",
}
ALLOWED = {
    "runtime": {"api", "runtime"},
    "store": {"api", "runtime", "store"},
    "text": {"runtime", "text"},
    **{capability: {"api", "runtime", "store", "text", capability} for capability in CAPABILITIES},
    "transcribe": {"api", "runtime", "store", "transcribe", "models"},
    "synthesize": {"api", "runtime", "store", "synthesize", "models"},
    "diarize": {"api", "runtime", "store", "text", "diarize", "models"},
    "privacy": {"api", "runtime", "store", "privacy", "recording"},
    "edge": {"api", "runtime", "edge"},
    "sdk": {"sdk"},
    "cli": {"api", "runtime", "store", "text", "cli", "bench", "sdk", "edge", *CAPABILITIES},
    "bench": {"api", "runtime", "store", "text", "bench", "sdk", *CAPABILITIES},
}


def imported(path: Path) -> set[str]:
    """Packages under ``malha`` that a file imports absolutely."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
        found |= {name.split(".")[1] for name in names if name.startswith("malha.")}
    return found


FILES = sorted(path for root in ROOTS for path in (REPOSITORY / root / "malha").rglob("*.py") if "_gen" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_follow_the_rules(path: Path) -> None:
    package = path.relative_to(REPOSITORY).parts[2]
    assert imported(path) <= ALLOWED[package]


def test_namespace_folders_have_no_init() -> None:
    for root in (*ROOTS, "gen"):
        assert not (REPOSITORY / root / "malha" / "__init__.py").exists()


def test_only_the_stream_runtime_and_the_relay_read_and_write_a_servicer_context() -> None:
    touching = {
        path.name
        for path in (REPOSITORY / "services").rglob("*.py")
        if "context.read()" in path.read_text() or "context.write(" in path.read_text()
    }
    assert touching == {"stream.py", "relay.py"}
