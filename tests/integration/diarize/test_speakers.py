"""Enrolled speakers: who may be, who is recognised, and how they are forgotten. A real server, engine and database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from fakes.serving import served
from fakes.talkers import RATE, Talkers, pause, wav
from malha.api.common.v1 import media_pb2
from malha.api.diarize.v1 import diarize_pb2 as api
from malha.api.diarize.v1.diarize_pb2_grpc import DiarizeServiceStub
from malha.diarize.engines.resemblyzer import ResemblyzerEngine
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.runtime.durations import seconds
from malha.runtime.errors import MalhaError
from malha.runtime.scopes import ALL_SCOPES
from malha.runtime.settings import RuntimeSettings
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.tenants import Tenants
from malha.store.tokens import Tokens

pytestmark = pytest.mark.engine("resemblyzer")

DEADLINE = 60.0


@dataclass
class Caller:
    """Somebody with a token."""

    stub: DiarizeServiceStub
    database: Database
    secret: str
    tenant: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.secret}"),)

    async def ask(self, method: str, request: Message) -> Any:
        try:
            return await getattr(self.stub, method)(request, metadata=self.metadata, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def enroll(self, speaker: str, audio: bytes, consent: str = "consent-1", customer: str = "") -> api.Speaker:
        request = api.EnrollSpeakerRequest(speaker_id=speaker, audio=audio, consent_id=consent, customer_id=customer)
        return (await self.ask("EnrollSpeaker", request)).speaker

    async def speakers(self) -> list[str]:
        return [each.speaker_id for each in (await self.ask("ListSpeakers", api.ListSpeakersRequest())).speakers]

    async def matches(self, samples: np.ndarray, truth: Sequence[tuple[float, float, str]]) -> dict[str, api.SpeakerMatch]:
        """Of a recording, by who it really is."""
        call = self.stub.Diarize(metadata=self.metadata, timeout=DEADLINE)
        audio = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16)
        await call.write(api.DiarizeRequest(open=api.Open(format=audio, identify=True)))
        opened = (await call.read()).opened
        assert opened.identify
        for at in range(0, len(samples), RATE):
            await call.write(api.DiarizeRequest(audio=api.Audio(content=samples[at : at + RATE].astype("<i2").tobytes())))
        await call.write(api.DiarizeRequest(finish=api.Finish()))
        found: dict[str, api.SpeakerMatch] = {}
        turns: dict[int, api.Turn] = {}
        while (response := await call.read()) is not grpc.aio.EOF:
            if response.HasField("speaker_match"):
                found[response.speaker_match.speaker] = response.speaker_match
            elif response.HasField("turn"):
                turns[response.turn.id] = response.turn
        assert await call.code() is grpc.StatusCode.OK
        middles = {name: (start + end) / 2 for start, end, name in truth}
        heard = {
            name: turn.speaker
            for name, middle in middles.items()
            for turn in turns.values()
            if turn.speaker and seconds(turn.start) <= middle <= seconds(turn.end)
        }
        return {name: found[label] for name, label in heard.items()}

    async def rows(self, query: str, *values: Any) -> list[Any]:
        tenant = (await Tenants(self.database).list())[self.tenant]
        async with self.database.tenant_tx(tenant) as connection:
            return await connection.fetch(query, *values)


@pytest.fixture
async def callers(settings: RuntimeSettings, database: Database) -> AsyncIterator[tuple[Caller, Caller]]:
    """Of two tenants."""
    diarize = DiarizeSettings(_env_file=None)
    tokens = Tokens(database)
    service = DiarizeService(ResemblyzerEngine(diarize), diarize, database)
    async with served([service], settings, tokens) as server, grpc.aio.insecure_channel(server.target) as channel:
        stub = DiarizeServiceStub(channel)
        made = [(await tokens.create(tenant, actor="test", scopes=ALL_SCOPES))[0] for tenant in ("acme", "globex")]
        yield Caller(stub, database, made[0], "acme"), Caller(stub, database, made[1], "globex")


async def refusal(asked: Any) -> MalhaError:
    with pytest.raises(MalhaError) as refused:
        await asked
    return refused.value


async def test_an_enrolled_speaker_is_recognised_and_nobody_else_is(callers: tuple[Caller, Caller], talkers: Talkers) -> None:
    acme, globex = callers
    speaker = await acme.enroll("ana", wav(talkers.alone(talkers.ana[:3])), consent="c/2026-1")
    assert (speaker.speaker_id, speaker.consent_id, speaker.customer_id) == ("ana", "c/2026-1", "")
    assert speaker.speech.seconds >= 6
    samples, truth = talkers.dialogue()
    found = await acme.matches(samples, truth)
    assert (found["ana"].top, found["rui"].top) == ("ana", "")
    assert found["ana"].score > found["rui"].score
    for name, match in found.items():
        assert seconds(match.speech) == pytest.approx(sum(end - start for start, end, who in truth if who == name), rel=0.3)
    assert [each.speaker_id for each in found["rui"].all] == ["ana"]
    assert all(not match.all for match in (await globex.matches(samples, truth)).values()), "another tenant knows nobody"


async def test_withdrawal_forgets(callers: tuple[Caller, Caller], talkers: Talkers) -> None:
    acme, globex = callers
    voice = wav(talkers.alone(talkers.ana[:3]))
    await acme.enroll("ana", voice)
    await globex.enroll("ana", voice)
    assert (await refusal(globex.ask("DeleteSpeaker", api.DeleteSpeakerRequest(speaker_id="rui")))).reason == "SPEAKER_NOT_FOUND"
    [kept] = await acme.rows("SELECT id FROM speaker")
    await acme.ask("DeleteSpeaker", api.DeleteSpeakerRequest(speaker_id="ana"))
    assert (await acme.speakers(), await globex.speakers()) == ([], ["ana"])
    assert await acme.rows("SELECT 1 FROM speaker") == []
    [buried] = await acme.rows("SELECT object_id FROM tombstone WHERE kind = 'speaker'")
    assert buried["object_id"] == kept["id"]
    actions = [row["action"] for row in await acme.rows("SELECT action FROM audit WHERE object_type = 'speaker' ORDER BY id")]
    assert actions == ["speaker.enroll", "speaker.delete"]
    assert (await refusal(acme.ask("DeleteSpeaker", api.DeleteSpeakerRequest(speaker_id="ana")))).reason == "SPEAKER_NOT_FOUND"


async def test_enrolling_again_takes_the_place_of_what_was(callers: tuple[Caller, Caller], talkers: Talkers) -> None:
    acme, _ = callers
    await acme.enroll("desk-1", wav(talkers.alone(talkers.rui[:3])), consent="old")
    speaker = await acme.enroll("desk-1", wav(talkers.alone(talkers.ana[:3])), consent="new")
    assert speaker.consent_id == "new"
    assert await acme.speakers() == ["desk-1"]
    samples, truth = talkers.dialogue()
    found = await acme.matches(samples, truth)
    assert (found["ana"].top, found["rui"].top) == ("desk-1", "")


async def test_what_cannot_be_enrolled_says_why(callers: tuple[Caller, Caller], talkers: Talkers) -> None:
    acme, _ = callers
    dialogue, _ = talkers.dialogue()
    voice = talkers.alone(talkers.ana)
    cases = {
        "TOO_SHORT": wav(voice[: 5 * RATE]),
        "TOO_LONG": wav(np.tile(voice, 6)[: 62 * RATE]),
        "NO_SPEECH": wav(pause(8.0)),
        "SEVERAL_VOICES": wav(dialogue[: 30 * RATE]),
        "NO_WAV": b"OggS" + bytes(100),
    }
    for reason, audio in cases.items():
        error = await refusal(acme.enroll("ana", audio))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert list(error.violations) == ["audio"]
    hiss = np.random.default_rng(1).normal(0, 2000, 10 * RATE).astype(np.int16)
    tone = (9000 * np.sin(np.arange(10 * RATE) * 0.1)).astype(np.int16)
    for even in (hiss, tone):
        assert (await refusal(acme.enroll("ana", wav(even)))).reason == "NO_SPEECH"
    quiet = np.concatenate([voice[: 2 * RATE], pause(10.0)])
    assert (await refusal(acme.enroll("ana", wav(quiet)))).reason == "NO_SPEECH"
    without = await refusal(acme.enroll("ana", wav(voice), consent=""))
    assert (without.code, list(without.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["consent_id"])
    unknown = await refusal(acme.enroll("ana", wav(talkers.alone(talkers.ana[:3])), customer="nobody"))
    assert unknown.reason == "CUSTOMER_NOT_FOUND"
    assert await acme.speakers() == []


async def test_a_customer_s_voice_goes_with_the_customer(callers: tuple[Caller, Caller], talkers: Talkers) -> None:
    acme, _ = callers
    await acme.rows("INSERT INTO customer (tenant_id, external_id) VALUES (malha_tenant(), 'c1') RETURNING id")
    speaker = await acme.enroll("caller", wav(talkers.alone(talkers.rui[:3])), customer="c1")
    assert speaker.customer_id
    await acme.rows("DELETE FROM customer RETURNING id")
    assert await acme.speakers() == []


async def test_pages(callers: tuple[Caller, Caller], talkers: Talkers) -> None:
    acme, globex = callers
    voice = wav(talkers.alone(talkers.ana[:2]))
    await asyncio.gather(*(acme.enroll(f"s{number}", voice) for number in range(3)))
    first = await acme.ask("ListSpeakers", api.ListSpeakersRequest(page_size=2))
    assert [each.speaker_id for each in first.speakers] == ["s0", "s1"]
    rest = await acme.ask("ListSpeakers", api.ListSpeakersRequest(page_size=2, page_token=first.next_page_token))
    assert ([each.speaker_id for each in rest.speakers], rest.next_page_token) == (["s2"], "")
    foreign = api.ListSpeakersRequest(page_token=first.next_page_token)
    assert (await refusal(globex.ask("ListSpeakers", foreign))).reason == "INVALID_PAGE_TOKEN"
