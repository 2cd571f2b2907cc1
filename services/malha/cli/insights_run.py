"""Runs ``malha insights``: at a server that runs, else at one started for it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.console import Console

from malha.api.insight.v1 import insight_pb2 as api
from malha.api.insight.v1 import rules_pb2
from malha.bench.insight_replay import Asked, connect, replay
from malha.bench.private_server import private_server
from malha.bench.transcripts import Turn, read_transcript, scrubbed
from malha.chat.language import language_of
from malha.cli.client import START_ONE
from malha.cli.insight_view import Advice, Ground, rendered
from malha.cli.local_token import local_token
from malha.cli.output import counted, note, print_json_line, status
from malha.cli.screen import printable
from malha.runtime.errors import Unavailable
from malha.runtime.ids import uuid7
from malha.runtime.settings import RuntimeSettings

PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class InsightsOptions:
    """What the command line says."""

    file: Path
    language: str
    policy: str
    types: tuple[str, ...]
    model: str
    rate: float
    why: bool
    target: str | None


def run_insights(options: InsightsOptions, *, json: bool) -> None:
    """Read, send, show. Raises InvalidArgument for the file, and what the server answers."""
    turns = read_transcript(options.file)
    language = options.language or language_of("", " ".join(turn.text for turn in turns))
    if not options.language:
        note(f"taken for {language}: --language says otherwise")
    if all(turn.role == "unknown" for turn in turns):
        note("nobody is named agent or customer: what is said counts as a customer's")
    asked = Asked(
        conversation_id=f"insights-{uuid7()}",
        language=language,
        policy=options.policy,
        types=[rules_pb2.InsightType.Value(f"INSIGHT_TYPE_{name.upper()}") for name in options.types],
        alias=options.model,
        rate=options.rate,
    )
    told = JsonTold(options.why) if json else Shown(Console(highlight=False), why=options.why)
    with _server(options.target) as (target, token):
        asyncio.run(_replay(target, token, scrubbed(turns, language), asked, told))
    if isinstance(told, Shown):
        note(f"{counted(told.insights, 'insight')} on {counted(len(turns), 'turn')}, by {told.engine}")


async def _replay(target: str, token: str, turns: list[Turn], asked: Asked, told: "Shown | JsonTold") -> None:
    async with connect(target) as channel:
        try:
            await replay(channel, token, turns, asked, told)
        except Unavailable as error:
            if error.reason != "SERVICE_AWAY":
                raise
            raise Unavailable(f"no server answers at {target}: {START_ONE}, or name another with --target", reason="NO_SERVER") from error


class Shown:
    """Prints a replay: what is said, and under it what is advised."""

    def __init__(self, console: Console, *, why: bool = False) -> None:
        self.insights = 0
        self.engine = ""
        """Who advises."""
        self.latencies_ms: list[float] = []
        self.types: set[str] = set()
        self._console = console
        self._why = why
        self._turns: dict[str, Turn] = {}
        """By segment."""

    def said(self, number: int, turn: Turn) -> None:
        self._turns[str(number)] = turn
        self._console.print(f"{turn.start:6.1f} s  {turn.role:<9} {printable(turn.text)}", markup=False, soft_wrap=True)

    def told(self, response: api.AnalyzeResponse) -> None:
        if response.HasField("opened"):
            self.engine = response.opened.engine
        elif response.HasField("insight"):
            self._advise(response.insight)
        elif response.HasField("decision") and self._why and not response.decision.fired:
            kind = f" {_name(response.decision.type)}" if response.decision.type else ""
            self._console.print(f"{'':10}no{kind or ' insight'}: {response.decision.reason}", markup=False, style="dim", soft_wrap=True)

    def _advise(self, insight: api.Insight) -> None:
        self.insights += 1
        latency = insight.latency.ToNanoseconds() / 1e6
        self.latencies_ms.append(latency)
        self.types.add(_name(insight.type))
        why = api.Trigger.Name(insight.trigger).removeprefix("TRIGGER_").lower()
        advice = Advice(
            _name(insight.type),
            insight.message,
            insight.confidence,
            [self._ground(evidence) for evidence in insight.evidence],
            latency,
            insight.degraded,
            f"{insight.rule or why} by {insight.engine}" if insight.engine != "rules" else insight.rule or why,
        )
        self._console.print(rendered(advice), soft_wrap=True)

    def _ground(self, evidence: api.Evidence) -> Ground:
        turn = self._turns.get(evidence.segment_id)
        return Ground(turn.role if turn else "?", turn.start if turn else 0.0, evidence.quote)


class JsonTold:
    """Prints a replay as JSON, one event a line."""

    def __init__(self, why: bool) -> None:
        self._why = why

    def said(self, number: int, turn: Turn) -> None:
        fields = {"role": turn.role, "text": turn.text, "start_seconds": round(turn.start, 3), "end_seconds": round(turn.end, 3)}
        print_json_line({"event": "segment", "segment_id": str(number), **fields})

    def told(self, response: api.AnalyzeResponse) -> None:
        kind = response.WhichOneof("event")
        if kind == "insight":
            print_json_line({"event": "insight", **_insight_fields(response.insight)})
        elif kind == "decision" and self._why:
            print_json_line({"event": "decision", **_decision_fields(response.decision)})
        elif kind in ("opened", "closed"):
            fields: dict[str, Any] = MessageToDict(getattr(response, kind), preserving_proto_field_name=True)
            print_json_line({"event": kind, **fields})


def _insight_fields(insight: api.Insight) -> dict[str, Any]:
    return {
        "id": insight.id,
        "type": _name(insight.type),
        "message": insight.message,
        "confidence": round(insight.confidence, 4),
        "evidence": [{"segment_id": evidence.segment_id, "quote": evidence.quote} for evidence in insight.evidence],
        "degraded": insight.degraded,
        "latency_ms": round(insight.latency.ToNanoseconds() / 1e6, 3),
        "trigger": api.Trigger.Name(insight.trigger).removeprefix("TRIGGER_").lower(),
        "rule": insight.rule,
        "engine": insight.engine,
        "stages_ms": {stage.name: round(stage.time.ToNanoseconds() / 1e6, 3) for stage in insight.stages},
    }


def _decision_fields(decision: api.Decision) -> dict[str, Any]:
    return {
        "fired": decision.fired,
        "reason": decision.reason,
        "type": _name(decision.type) if decision.type else None,
        "segment_id": str(decision.seq),
    }


def _name(kind: rules_pb2.InsightType.ValueType) -> str:
    return rules_pb2.InsightType.Name(kind).removeprefix("INSIGHT_TYPE_").lower()


@contextmanager
def _server(target: str | None) -> Iterator[tuple[str, str]]:
    """Address and token: of the server that is named, of the one that runs here, else of one that is started and stopped."""
    settings = RuntimeSettings()
    here = f"127.0.0.1:{settings.grpc_port}" if settings.grpc_port else ""
    if target or (here and _listens(settings.grpc_port)):
        yield target or here, local_token()
        return
    with ExitStack() as stack:
        with status("no server runs here: starting one"):
            server = stack.enter_context(private_server({"MALHA_TRANSCRIBE_ENGINE": "null"}))
        note(f"no server runs here: started one in {server.start_seconds:.1f} s")
        yield server.grpc, server.token


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), PROBE_SECONDS):
            return True
    except OSError:
        return False
