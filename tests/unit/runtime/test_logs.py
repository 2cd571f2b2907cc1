"""Logs: JSON, events from the fixed list, no text of errors."""

import ast
import io
import json
import logging
from pathlib import Path

import pytest

from malha.runtime import logs
from malha.runtime.errors import NotFound
from malha.runtime.logs import Event

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def written() -> io.StringIO:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    out = io.StringIO()
    logs.configure("INFO", out)
    yield out
    root.handlers[:], root.level = before[0], before[1]


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(written: io.StringIO) -> None:
    logs.get("audio").info(Event.CALL_OPENED, session="abc", channels=2)
    [line] = lines(written)
    assert line["event"] == "call_opened"
    assert (line["area"], line["level"], line["session"], line["channels"]) == ("audio", "info", "abc", 2)


def test_an_error_tells_where_and_never_what(written: io.StringIO) -> None:
    try:
        raise NotFound("the customer said 4929 1111", reason="GONE")
    except NotFound as error:
        logs.get("audio").error(Event.RPC_DEFECT, cause=error)
    [line] = lines(written)
    assert (line["error"], line["reason"]) == ("NotFound", "GONE")
    assert str(line["at"]).startswith("test_logs.py:")
    assert "4929" not in written.getvalue()


def test_other_libraries_are_told_by_place_only(written: io.StringIO) -> None:
    logging.getLogger("somelibrary").warning("caller %s said something", "Maria")
    [line] = lines(written)
    assert (line["event"], line["area"]) == ("library", "somelibrary")
    assert "Maria" not in written.getvalue()


def test_every_logged_event_is_on_the_list() -> None:
    """Each call of a logger in the source names a member of Event, and each member is logged somewhere."""
    used, wrong = set(), []
    for path in [path for root in ("services", "edge") for path in (REPOSITORY / root / "malha").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Event":
                used.add(node.attr)
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in {"log.info", "log.warning", "log.error"}
                and isinstance(node.args[0], ast.Constant)
            ):
                wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []
    assert used == {event.name for event in Event}
