"""A draft rule, replayed over stored calls: where it would have matched, how often, and how that compares with what operators said."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from google.protobuf.message import DecodeError

from malha.api.audio.v1 import audio_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.insight.domain import Draft, InsightType, Utterance
from malha.insight.messages import TYPE_OF, rule_spec
from malha.insight.rules import Rules, RuleWatch
from malha.insight.store import MOST_CHARACTERS
from malha.insight.words import words
from malha.runtime.durations import duration
from malha.runtime.errors import InvalidArgument
from malha.store.database import Database

MOST_CONVERSATIONS: Final = 1_000
MOST_EXAMPLES: Final = 20
BATCH: Final = 50
NEAR_SECONDS: Final = 60.0
"""An alert and an operator's word on an insight of the same type that are so close are taken to be about the same thing."""
DAYS: Final = 30

_CALLS: Final = """
    SELECT conversation.id, coalesce(conversation.external_id, conversation.id::text) AS name, live_session.session_id,
        coalesce(conversation.duration_seconds, 0) AS seconds, live_session.config
    FROM conversation JOIN live_session ON live_session.conversation_id = conversation.id AND live_session.tenant_id = conversation.tenant_id
    WHERE conversation.started_at >= $1 AND conversation.started_at < $2 ORDER BY conversation.started_at DESC, live_session.session_id LIMIT $3
"""
_SEGMENTS: Final = """
    SELECT session_id, segment_id, role, left(text, $2) AS text, start_seconds, end_seconds FROM segment WHERE session_id = ANY($1) AND text <> ''
    ORDER BY session_id, start_seconds, segment_id
"""
_LANGUAGES: Final = """
    SELECT DISTINCT ON (session_id, segment_id) session_id, segment_id, body ->> 'language' AS language FROM event
    WHERE session_id = ANY($1) AND segment_id IS NOT NULL ORDER BY session_id, segment_id, seq DESC
"""
"""Of segments, as long as the events of their call are kept."""
_SAID: Final = """
    SELECT insight.session_id, insight.media_seconds, bool_or(feedback.action IN ('used', 'edited')) AS used
    FROM insight JOIN feedback ON feedback.tenant_id = insight.tenant_id AND feedback.insight_id = insight.id
    WHERE insight.session_id = ANY($1) AND insight.type = $2 AND feedback.action IN ('used', 'edited', 'ignored')
    GROUP BY insight.id, insight.session_id, insight.media_seconds
"""


@dataclass(slots=True)
class _Tally:
    conversations: set[uuid.UUID] = field(default_factory=set)
    seconds: float = 0.0
    alerts: int = 0
    judged: int = 0
    right: int = 0
    used: int = 0
    found: int = 0
    examples: list[api.BacktestMatch] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Call:
    conversation_id: uuid.UUID
    name: str
    session_id: uuid.UUID
    seconds: float
    language: str
    """It was opened with; empty: none is known."""


async def backtest(database: Database, tenant_id: uuid.UUID, request: api.BacktestRuleRequest) -> api.BacktestRuleResponse:
    """Replay ``request.rule``, which was checked. Raises InvalidArgument for times that make no sense."""
    until = _moment(request, "until") or datetime.now(UTC)
    since = _moment(request, "since") or until - min(timedelta(days=DAYS), until - datetime.min.replace(tzinfo=UTC))
    if since >= until:
        raise InvalidArgument("until must be after since", reason="INVALID_TIME", violations={"until": "not after since"})
    rules, kind, tally = Rules.compile([rule_spec(request.rule)]), TYPE_OF[request.rule.type], _Tally()
    async with database.tenant_tx(tenant_id) as connection:
        rows = await connection.fetch(_CALLS, since, until, request.max_conversations or MOST_CONVERSATIONS)
    calls = [_Call(row["id"], row["name"], row["session_id"], row["seconds"], _language(row["config"])) for row in rows]
    for at in range(0, len(calls), BATCH):
        await _replay(database, tenant_id, calls[at : at + BATCH], rules, kind, tally)
    hours = tally.seconds / 3600
    return api.BacktestRuleResponse(
        conversations=len(tally.conversations),
        matches=tally.alerts,
        alerts_per_hour=tally.alerts / hours if hours else 0.0,
        precision=tally.right / tally.judged if tally.judged else None,
        recall=tally.found / tally.used if tally.used else None,
        examples=tally.examples,
    )


async def _replay(database: Database, tenant_id: uuid.UUID, calls: Sequence[_Call], rules: Rules, kind: InsightType, tally: _Tally) -> None:
    """Some calls at a time, each in a transaction: a long backtest holds no connection."""
    ids = [call.session_id for call in calls]
    async with database.tenant_tx(tenant_id) as connection:
        segments = await connection.fetch(_SEGMENTS, ids, MOST_CHARACTERS)
        told = {(row["session_id"], row["segment_id"]): row["language"] or "" for row in await connection.fetch(_LANGUAGES, ids)}
        judged = await connection.fetch(_SAID, ids, kind.value)
    said: dict[uuid.UUID, list[Utterance]] = {}
    for row in segments:
        spoken = said.setdefault(row["session_id"], [])
        tongue = told.get((row["session_id"], row["segment_id"]), "")
        place = row["start_seconds"], row["end_seconds"]
        spoken.append(Utterance(row["segment_id"], len(spoken) + 1, row["role"], row["text"], *place, tongue))
    for call in calls:
        spoken = said.get(call.session_id, [])
        alerts = alerts_of(rules, spoken, call.language)
        tally.conversations.add(call.conversation_id)
        tally.seconds += call.seconds or (spoken[-1].end if spoken else 0.0)
        tally.alerts += len(alerts)
        _compare(
            [time for time, _ in alerts], [(r["media_seconds"], r["used"]) for r in judged if r["session_id"] == call.session_id], tally
        )
        for time, draft in alerts[: MOST_EXAMPLES - len(tally.examples)]:
            evidence = [api.Evidence(segment_id=each.segment_id, quote=each.quote) for each in draft.evidence]
            tally.examples.append(api.BacktestMatch(conversation_id=call.name, evidence=evidence, time=duration(time)))


def _moment(request: api.BacktestRuleRequest, name: Literal["since", "until"]) -> datetime | None:
    """Raises InvalidArgument for a time that no calendar has."""
    if not request.HasField(name):
        return None
    try:
        return getattr(request, name).ToDatetime(tzinfo=UTC)  # type: ignore[no-any-return]  # one of two timestamps
    except (ValueError, OverflowError):
        wrong = "must be from the year 1 to the year 9999"
        raise InvalidArgument(f"{name} {wrong}", reason="INVALID_TIME", violations={name: wrong}) from None


def _language(config: bytes) -> str:
    """The first language that a call was opened with."""
    try:
        return next(iter(audio_pb2.Open.FromString(config).languages), "")
    except DecodeError:
        return ""


def alerts_of(rules: Rules, spoken: Sequence[Utterance], language: str = "") -> list[tuple[float, Draft]]:
    """What rules would have said in a call, and when."""
    watch = RuleWatch(rules)
    found = []
    for utterance in spoken:
        tongue = utterance.language or language
        found += [(utterance.end, draft) for draft in watch.say(utterance, words(utterance.text, tongue), tongue)]
    return found


def _compare(alerts: Sequence[float], judged: Sequence[tuple[float, bool]], tally: _Tally) -> None:
    for alert in alerts:
        near = [used for time, used in judged if abs(time - alert) <= NEAR_SECONDS]
        if near:
            tally.judged += 1
            tally.right += any(near)
    for time, used in judged:
        if used:
            tally.used += 1
            tally.found += any(abs(time - alert) <= NEAR_SECONDS for alert in alerts)
