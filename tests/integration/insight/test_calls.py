"""Live calls with insights: what is said reaches Insight scrubbed, and advice comes numbered, kept and once."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import AUTHORIZED, silence, voice
from integration.insight.analysing import THREAT, answer_of, kind_of
from integration.insight.conftest import Serving

from fakes.openai_server import FakeOpenAI
from malha.api.audio.v1 import audio_pb2 as api
from malha.api.audio.v1 import audio_pb2_grpc
from malha.api.common.v1 import transcript_pb2
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engine import Hypothesis, RecognitionConfig, Word
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings

UTTERANCE = np.concatenate((silence(0.5), voice(1.2), silence(0.5)))
PIECE = 3_200
CPF = "529.982.247-25"
SPOKEN_CPF = ("cinco dois nove nove oito dois", "dois quatro sete dois cinco")


class Scripted(NullEngine):
    """Hears in each utterance the next of the lines it was given."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(TranscribeSettings(_env_file=None))
        self._lines: Iterator[str] = iter(lines)

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        async for _ in audio:
            pass
        text = next(self._lines, "")
        words = tuple(Word(word, 0.1 * at, 0.1 * at + 0.09, 0.9) for at, word in enumerate(text.split()))
        yield Hypothesis(text, final=True, confidence=0.9, language=config.language, words=words)


class Caller:
    """A call of one channel, spoken by the customer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call: Any = audio_pb2_grpc.AudioStreamServiceStub(channel).Stream(metadata=AUTHORIZED)
        self.events: list[api.StreamResponse] = []

    async def open(self, **fields: Any) -> api.Opened:
        given = {"format": {"encoding": "ENCODING_PCM16"}, "languages": ["pt-BR"], "channels": [{"role": "ROLE_CUSTOMER"}], "words": True}
        await self._call.write(api.StreamRequest(open=api.Open(**(given | fields))))
        return (await self.read()).opened

    async def speak(self, utterances: int) -> None:
        for _ in range(utterances):
            for at in range(0, len(UTTERANCE), PIECE):
                await self._call.write(api.StreamRequest(audio=api.Audio(content=UTTERANCE[at : at + PIECE].tobytes())))

    async def read(self) -> api.StreamResponse:
        event = await asyncio.wait_for(self._call.read(), 20)
        assert event is not grpc.aio.EOF, "it ended"
        self.events.append(event)
        return event

    async def until(self, kind: str, count: int = 1) -> list[Any]:
        while len(self.of(kind)) < count:
            await self.read()
        return self.of(kind)

    async def send(self, **fields: Any) -> None:
        await self._call.write(api.StreamRequest(**fields))

    async def finish(self) -> None:
        await self.send(finish=api.Finish())
        while (event := await asyncio.wait_for(self._call.read(), 20)) is not grpc.aio.EOF:
            self.events.append(event)

    def of(self, kind: str) -> list[Any]:
        return [getattr(event, kind) for event in self.events if event.WhichOneof("event") == kind]

    @property
    def texts(self) -> list[str]:
        """Of the segments, as they are in the end."""
        newest = {each.segment.id: each.segment.text for each in self.of("transcript")}
        return list(newest.values())


async def test_a_threat_in_a_call_is_an_event_of_the_call(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store), Scripted(["bom dia", THREAT])) as place:
        caller = Caller(place.channel)
        await caller.open(insights=True)
        await caller.speak(2)
        [insight] = await caller.until("insight")
        assert kind_of(insight) == "risk_alert"
        await caller.send(feedback=api.Feedback(insight_id=insight.id, action=api.FEEDBACK_ACTION_USED))
        await caller.finish()
    numbered = [event.seq for event in caller.events if event.seq]
    assert numbered == list(range(1, len(numbered) + 1))
    said = {each.segment.id: each.segment.text for each in caller.of("transcript")}
    assert insight.evidence[0].quote in said[insight.evidence[0].segment_id]
    kept = await everything(database)
    assert insight.id in json.dumps(kept["event"], default=str)
    assert [row["action"] for row in kept["feedback"]] == ["used"]


async def test_without_insights_asked_for_there_are_none_and_steering_them_is_a_warning(serving: Serving) -> None:
    async with serving(None, None, Scripted([THREAT])) as place:
        caller = Caller(place.channel)
        await caller.open()
        await caller.speak(1)
        await caller.send(control=api.Control(insights=api.InsightControl(trigger=True)))
        await caller.finish()
    assert not caller.of("insight")
    assert [warning.reason for warning in caller.of("warning")] == ["INSIGHTS_OFF"]


async def test_an_identity_number_is_seen_by_nobody(
    serving: Serving, model: FakeOpenAI, database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """In the stream, the database, the prompts and the logs: written, and spoken over two utterances."""
    caplog.set_level("DEBUG", "malha")
    model.reply = lambda _: answer_of("partial_summary", "O cliente fala do plano.", "cancelar")
    lines = [f"meu cpf é {CPF}", f"o número é {SPOKEN_CPF[0]}", SPOKEN_CPF[1], THREAT]
    async with serving(model, (database, store), Scripted(lines)) as place:
        caller = Caller(place.channel)
        await caller.open(insights=True)
        await caller.speak(4)
        await caller.until("insight")
        await caller.send(control=api.Control(insights=api.InsightControl(trigger=True)))
        await caller.until("insight", 2)
        await caller.finish()
    assert "[CPF]" in caller.texts[0]
    kept = json.dumps(await everything(database), default=str, ensure_ascii=False)
    seen = " ".join(
        [
            *(str(event) for event in caller.events),
            kept,
            *(str(request.body) for request in model.requests),
            *(str(vars(record)) for record in caplog.records),
        ]
    )
    assert "cancelar" in seen
    assert model.requests
    for part in (CPF, "529.982", "247-25", "52998", "529982", SPOKEN_CPF[0], SPOKEN_CPF[1], "nove nove oito", "sete dois"):
        assert part not in seen, part


async def test_a_number_that_was_none_of_those_is_shown_in_the_end(serving: Serving) -> None:
    async with serving(None, None, Scripted(["eu pago em doze", "vezes sem juros"])) as place:
        caller = Caller(place.channel)
        await caller.open()
        await caller.speak(2)
        await caller.finish()
    first = [each.segment for each in caller.of("transcript") if each.segment.id == caller.of("transcript")[0].segment.id]
    assert [segment.state for segment in first] == [transcript_pb2.SEGMENT_STATE_FINAL, transcript_pb2.SEGMENT_STATE_AMENDED]
    assert "[...]" in first[0].text
    assert first[1].text == "eu pago em 12"
    assert first[1].revision > first[0].revision
    assert (first[1].start, first[1].end) == (first[0].start, first[0].end)


async def test_a_verbatim_call_keeps_its_words_and_its_secrets(serving: Serving) -> None:
    async with serving(None, None, Scripted(["hã eu pago doze reais", f"meu cpf é {CPF}"])) as place:
        caller = Caller(place.channel)
        await caller.open(verbatim=True)
        await caller.speak(2)
        await caller.finish()
    assert caller.texts[0] == "hã eu pago doze reais"
    assert "[CPF]" in caller.texts[1]


async def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All that is kept of the tenant."""
    tables = ("event", "segment", "insight", "interaction", "feedback", "ai_call", "ai_cache", "message", "live_session", "conversation")
    async with database.app_tx() as connection:
        tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
    async with database.tenant_tx(tenant) as connection:
        return {table: [dict(row) for row in await connection.fetch(f"SELECT * FROM {table}")] for table in tables}
