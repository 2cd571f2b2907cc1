import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.bench.transcripts import Turn
from malha.cli.insight_view import Advice, Ground, rendered
from malha.cli.insights_run import JsonTold, Shown
from malha.cli.main import app
from malha.runtime.errors import InvalidArgument

TURN = Turn("customer", "eu quero cancelar\x1b[2J o plano", 12.0, 14.0)


def insight(**fields: object) -> api.AnalyzeResponse:
    given = {
        "id": "i",
        "type": rules_pb2.INSIGHT_TYPE_RISK_ALERT,
        "message": "Risco \x1b[31mde cancelamento",
        "confidence": 0.9,
        "evidence": [api.Evidence(segment_id="1", quote="quero cancelar")],
        "trigger": api.TRIGGER_RULE,
        "rule": "malha-cancellation-pt@1",
        "engine": "rules",
        **fields,
    }
    response = api.AnalyzeResponse(insight=api.Insight(**given))  # type: ignore[arg-type]
    response.insight.latency.FromMilliseconds(7)
    return response


def decision(reason: str) -> api.AnalyzeResponse:
    return api.AnalyzeResponse(decision=api.Decision(fired=False, reason=reason, seq=1))


def shown(*responses: api.AnalyzeResponse, why: bool = False) -> str:
    output = io.StringIO()
    view = Shown(Console(file=output, width=200, highlight=False), why=why)
    view.said(1, TURN)
    for response in responses:
        view.told(response)
    return output.getvalue()


def test_an_insight_is_shown_with_the_words_it_rests_on_its_latency_and_what_led_to_it() -> None:
    text = shown(insight())
    said, advice, ground = text.splitlines()
    assert said.startswith("  12.0 s  customer  eu quero cancelar")
    assert "risk alert Risco" in advice
    assert "90%, malha-cancellation-pt@1" in advice
    assert advice.endswith("7.0 ms")
    assert ground.strip() == 'rests on customer at 12.0 s: "quero cancelar"'
    assert "degraded" not in text


def test_nothing_that_is_said_or_advised_steers_the_terminal() -> None:
    assert "\x1b" not in shown(insight(), decision("RATE"), why=True)


def test_a_stand_in_says_that_it_is_one_and_a_model_is_named() -> None:
    assert "degraded" in shown(insight(degraded=True))
    assert "keyword by tiny" in shown(insight(engine="tiny", rule="", trigger=api.TRIGGER_KEYWORD))


def test_why_nothing_was_advised_is_told_where_it_is_asked_for() -> None:
    assert "TOO_LITTLE" in shown(decision("TOO_LITTLE"), why=True)
    assert "TOO_LITTLE" not in shown(decision("TOO_LITTLE"))


def test_evidence_of_a_segment_nobody_knows_is_shown_all_the_same() -> None:
    assert 'rests on ? at 0.0 s: "x"' in shown(insight(evidence=[api.Evidence(segment_id="9", quote="x")]))


def test_advice_without_a_latency_has_none() -> None:
    text = rendered(Advice("next_step", "Do it.", 0.65, [Ground("agent", 1.0, "so")], None, False)).plain
    assert "next step Do it.  65%" in text
    assert " ms" not in text


def test_json_is_one_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = JsonTold(why=True)
    told.said(1, TURN)
    for response in (
        api.AnalyzeResponse(opened=api.Opened(engine="rules")),
        insight(),
        decision("RATE"),
        api.AnalyzeResponse(closed=api.Closed(insights=1)),
    ):
        told.told(response)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["segment", "opened", "insight", "decision", "closed"]
    assert events[0] == {
        "event": "segment",
        "segment_id": "1",
        "role": "customer",
        "text": TURN.text,
        "start_seconds": 12.0,
        "end_seconds": 14.0,
    }
    assert (events[2]["type"], events[2]["latency_ms"], events[2]["trigger"]) == ("risk_alert", 7.0, "rule")
    assert events[2]["evidence"] == [{"segment_id": "1", "quote": "quero cancelar"}]
    assert (events[3]["reason"], events[3]["type"], events[3]["segment_id"]) == ("RATE", None, "1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--language", "klingon"), "there are pt, es, en"),
        (("--types", "risk_alert,horoscope"), "horoscope"),
        (("--rate", "0"), "0.1"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    file = tmp_path / "call.txt"
    file.write_text("Cliente: oi")
    done = CliRunner().invoke(app, ["insights", str(file), *arguments])
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())


def test_a_file_is_read_before_any_server_is_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "call.txt"
    file.write_text("")
    done = CliRunner().invoke(app, ["insights", str(file), "--language", "pt", "--target", "127.0.0.1:1"])
    assert isinstance(done.exception, InvalidArgument)
    assert "it is empty" in done.exception.message
    assert CliRunner().invoke(app, ["insights", str(tmp_path / "absent.txt")]).exit_code == 2
