"""InsightService: the contract's messages to sessions."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal
from weakref import WeakValueDictionary

import grpc

from malha.api.common.v1 import transcript_pb2
from malha.api.insight.v1 import insight_pb2 as api
from malha.insight.administration import Administration
from malha.insight.analysis import Analysis
from malha.insight.asking import Answer, Ask, ask
from malha.insight.domain import InsightType, Request, Utterance
from malha.insight.interaction_store import Interaction, InteractionStore, Place, interaction_id
from malha.insight.interactions import Interactions
from malha.insight.messages import TYPE_OF, few_shots_of, utterance_of
from malha.insight.model import Models
from malha.insight.persisting import persist
from malha.insight.session import Session, speaker_of
from malha.insight.settings import InsightSettings
from malha.insight.store import InsightStore
from malha.insight.surroundings import Surroundings
from malha.insight.tenancy import TenantSetup, TenantSetups
from malha.runtime.auth import Principal
from malha.runtime.durations import seconds
from malha.runtime.errors import InvalidArgument
from malha.runtime.ids import uuid7
from malha.runtime.mesh import identity
from malha.runtime.metrics import INSIGHT_FEEDBACK
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.stream import Stream
from malha.store.database import Database
from malha.text.scrub import Pipeline

InsightStream = Stream[api.AnalyzeRequest, api.AnalyzeResponse]

MOST_SAID: Final = 400
"""Segments a call that goes on elsewhere is known by."""
MOST_TOLD: Final = 50
MOST_SEQ: Final = 2**63 - 1
"""The database's largest number."""


class InsightService:
    """Serves insights. Without a database nothing is kept, and tenants have Malha's own rules."""

    name = "malha.api.insight.v1.InsightService"
    engine = "rules"

    def __init__(self, database: Database | None, chat: Callable[[], grpc.aio.Channel], settings: InsightSettings) -> None:
        self._database = database
        self._chat = chat
        self._settings = settings
        self._setups = TenantSetups(database, settings.insight_min_confidence)
        self._administration = Administration(database, self._setups)
        self._models = Models(chat, settings.insight_alias)
        self._interactions = Interactions(database) if database is not None else None
        self._slots: WeakValueDictionary[uuid.UUID | str, asyncio.Semaphore] = WeakValueDictionary()

    async def start(self) -> None:
        """Begin to keep interactions."""
        if self._interactions is not None:
            self._interactions.start()

    async def close(self) -> None:
        """Keep what is left."""
        if self._interactions is not None:
            await self._interactions.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {
            "Analyze": StreamMethod(self.analyze),
            **self._administration.methods(),
        }

    async def analyze(self, stream: InsightStream) -> None:
        """One connection of an analysis."""
        opening, principal = stream.opening.open, stream.principal
        session_id = _session_id(opening.session_id)
        setup = await self._setups.of(principal.tenant_id)
        policy = setup.policy(opening.policy)
        types = tuple(TYPE_OF[each] for each in opening.types if each in TYPE_OF) or tuple(InsightType)
        analysis = Analysis(policy, setup.rules, setup.keywords, setup.offers, types, opening.language)
        around = await self._surroundings(stream, session_id, setup)
        session = Session(analysis, self._asks(opening, setup, session_id), stream.emit, around)
        stream.emit(api.AnalyzeResponse(opened=await self._opened(opening, session_id, setup, around)))
        async with _closing(session):
            session.enable(not opening.disabled)
            await self._resume(session, analysis, around, session_id)
            await self._listen(stream, session, around, setup)
            await session.finish()
        await stream.send(api.AnalyzeResponse(closed=api.Closed(insights=session.insights)))

    async def _surroundings(self, stream: InsightStream, session_id: uuid.UUID, setup: TenantSetup) -> Surroundings:
        opening, principal = stream.opening.open, stream.principal
        store, place, tenant_id = None, None, principal.tenant_id
        if self._database is not None and tenant_id is not None:
            store = InsightStore(self._database, tenant_id)
            conversation_id = await store.conversation(opening.conversation_id, session_id)
            place = Place(tenant_id, conversation_id, session_id, principal.token_id, principal.counter)
        slots = self._slots.get(principal.tenant_key)
        if slots is None:
            slots = self._slots[principal.tenant_key] = asyncio.Semaphore(self._settings.insight_tenant_requests)
        metadata = identity()

        async def ask_model(asked: Ask) -> Answer:
            return await ask(self._chat(), metadata, asked)

        model = await self._models.serving(opening.alias, metadata)
        return Surroundings(
            store,
            self._interactions,
            place,
            ask_model if model else None,
            principal.tenant,
            slots,
            self._settings.insight_ladder_seconds,
            setup.thresholds,
        )

    def _asks(self, opening: api.Open, setup: TenantSetup, session_id: uuid.UUID) -> Callable[[InsightType, Request], Ask]:
        examples = few_shots_of(setup.configuration)

        def make(kind: InsightType, request: Request) -> Ask:
            return Ask(
                type=kind,
                request=request,
                language=opening.language,
                offers=setup.offers,
                few_shots=examples,
                knowledge_base=setup.configuration.knowledge_base,
                alias=opening.alias or self._settings.insight_alias,
                session_id=str(session_id),
                timeout_seconds=self._settings.insight_model_seconds,
            )

        return make

    async def _opened(self, opening: api.Open, session_id: uuid.UUID, setup: TenantSetup, around: Surroundings) -> api.Opened:
        engine = "rules" if around.ask is None else opening.alias or self._settings.insight_alias or "model"
        return api.Opened(policy=opening.policy or "call_center", session_id=str(session_id), engine=engine, version=setup.version)

    async def _resume(self, session: Session, analysis: Analysis, around: Surroundings, session_id: uuid.UUID) -> None:
        """What an earlier owner of the call has heard and left."""
        store, place = around.store, around.place
        if store is None or place is None or self._database is None:
            return
        said = await store.said(session_id, MOST_SAID)
        if not said:
            return
        kept = InteractionStore(self._database, place.tenant_id)
        processed, pending = await kept.processed(place), await store.pending(session_id)
        told, untold = await store.told(session_id, MOST_TOLD), await store.untold(session_id)
        open_ones = {each.interaction_id for each in (*pending, *untold) if each.interaction_id is not None}
        interactions = await kept.find(place, open_ones)
        interactions += _unwritten(session_id, open_ones - {each.id for each in interactions}, [utterance for utterance, _ in said])
        analysis.prime(utterance for utterance, _ in said if utterance.seq <= processed)
        session.resume(untold, told, interactions)
        for utterance, first in said:
            if utterance.seq > processed:
                session.say(utterance, amended=0 < first <= processed, received_at=None, told_at=None)
        session.ask_again(pending)

    async def _listen(self, stream: InsightStream, session: Session, around: Surroundings, setup: TenantSetup) -> None:
        """Audio has scrubbed what it sends; what others send is scrubbed here, which leaves masks as they are."""
        names, scrub, language = tuple(setup.configuration.names), not setup.configuration.keep_personal_data, stream.opening.open.language
        seq = 0
        async for request in stream:
            kind = request.WhichOneof("request")
            if kind == "segment":
                said = request.segment
                seq = said.seq or seq + 1
                if seq > MOST_SEQ:
                    raise InvalidArgument(
                        "segment.seq is no number of an event", reason="INVALID_FIELD", violations={"segment.seq": "too large"}
                    )
                if said.segment.state == transcript_pb2.SEGMENT_STATE_PARTIAL:
                    continue
                amended = said.segment.state == transcript_pb2.SEGMENT_STATE_AMENDED
                utterance = utterance_of(said.segment, seq)
                pipeline = Pipeline(utterance.language or language, None, names, scrub=scrub, normalise=False)
                session.say(
                    replace(utterance, text=pipeline.alone(utterance.text).text),
                    amended=amended,
                    received_at=_time(said, "audio_time"),
                    told_at=_time(said, "told_time"),
                )
            elif kind == "tick":
                tick = request.tick
                if tick.HasField("enabled"):
                    session.enable(tick.enabled)
                session.tick(seconds(tick.time))
                if tick.trigger:
                    session.trigger(partial(_done, stream, request.request_id) if request.request_id else None)
                else:
                    _done(stream, request.request_id)
            elif kind == "feedback":
                await self._feedback(request, stream.principal, around)
                _done(stream, request.request_id)

    async def _feedback(self, request: api.AnalyzeRequest, principal: Principal, around: Surroundings) -> None:
        feedback, insight_id = request.feedback, _uuid(request.feedback.insight_id)
        if around.store is None or around.place is None or insight_id is None:
            return
        numbered = f"{insight_id} {feedback.action} {request.request_id}"
        store, known = around.store, uuid.uuid5(around.place.session_id, numbered) if request.request_id else uuid7()
        kind = await persist(lambda: store.feedback(known, insight_id, feedback.action, principal.token_id))
        if kind is not None:
            INSIGHT_FEEDBACK.labels(kind.value, feedback.action).inc()


def _done(stream: InsightStream, request_id: int) -> None:
    if request_id:
        stream.emit(api.AnalyzeResponse(done=api.Done(request_id=request_id)))


def _unwritten(session_id: uuid.UUID, wanted: Collection[uuid.UUID], said: Iterable[Utterance]) -> Iterator[Interaction]:
    """Interactions that were lost with their owner, of what was said."""
    for utterance in said:
        known = interaction_id(session_id, utterance.seq)
        if known in wanted:
            yield Interaction(known, utterance.seq, utterance.text, speaker_of(utterance))


@asynccontextmanager
async def _closing(session: Session) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await session.close()


def _session_id(given: str) -> uuid.UUID:
    if not given:
        return uuid7()
    found = _uuid(given)
    if found is None:
        raise InvalidArgument("open.session_id is no UUID", reason="INVALID_SESSION_ID", violations={"open.session_id": "no UUID"})
    return found


def _uuid(given: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(given)
    except ValueError:
        return None


def _time(said: api.Said, name: Literal["audio_time", "told_time"]) -> datetime | None:
    """Raises InvalidArgument for a time that no calendar has."""
    if not said.HasField(name):
        return None
    try:
        return getattr(said, name).ToDatetime(tzinfo=UTC)  # type: ignore[no-any-return]  # one of two timestamps
    except (ValueError, OverflowError):
        wrong = "must be from the year 1 to the year 9999"
        raise InvalidArgument(f"segment.{name} {wrong}", reason="INVALID_TIME", violations={f"segment.{name}": wrong}) from None
