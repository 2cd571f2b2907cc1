"""A reference of two people is refused where Diarize can hear that, and taken unheard where it cannot. Diarize and the database are real."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import av
import grpc
import numpy as np
import pytest
import soxr
from conftest import AUTHORIZED, TOKEN, voice

from fakes.cloning import ParrotEngine, cloned, clones
from fakes.diarize_engine import NullDiarizeEngine
from fakes.serving import served
from fakes.talkers import RATE, Talkers, spoken, wav
from malha.api.synthesize.v1.synthesize_pb2_grpc import SynthesizeServiceStub
from malha.diarize.engine import DiarizeEngine
from malha.diarize.engines.missing import MissingEngine
from malha.diarize.engines.resemblyzer import ResemblyzerEngine
from malha.diarize.engines.resemblyzer_weights import COMMAND, find
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.runtime.mesh import OPTIONS
from malha.runtime.rpc import Service
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.tokens import Tokens
from malha.synthesize import voices as reference_voices
from malha.synthesize.service import SynthesizeService
from malha.synthesize.settings import SynthesizeSettings

READ_SPEECH = ("speech/fleurs-pt-003.ogg", "speech/fleurs-es-000.ogg", "speech/azure-pt-BR-train-1.flac")
"""Each of somebody else."""

Channel = Callable[[], grpc.aio.Channel]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may be busy."""
    monkeypatch.setattr(reference_voices, "ANSWER_SECONDS", 300.0)


@asynccontextmanager
async def serving(folder: Path, database: Database, diarizer: DiarizeEngine | None) -> AsyncIterator[SynthesizeServiceStub]:
    """Synthesize, and Diarize in the same process, where there is one."""
    runtime = RuntimeSettings(_env_file=None, data_dir=folder, grpc_port=0, admin_port=0, api_tokens=(f"default:{TOKEN}",), drain_seconds=1)
    servers: list[Server] = []
    channel: Channel | None = (lambda: servers[0].in_process) if diarizer is not None else None
    services: list[Service] = [_synthesize(database, channel)]
    if diarizer is not None:
        services.append(DiarizeService(diarizer, DiarizeSettings(_env_file=None), None))
    async with served(services, runtime, Tokens(database)) as server, grpc.aio.insecure_channel(server.target) as own:
        servers.append(server.server)
        yield SynthesizeServiceStub(own)


def _synthesize(database: Database, diarize: Channel | None) -> SynthesizeService:
    return SynthesizeService(ParrotEngine(), SynthesizeSettings(_env_file=None), database, diarize)


def diarizer() -> ResemblyzerEngine:
    if find() is None:
        pytest.skip(f"the diarizer's weights are not installed: {COMMAND}")
    return ResemblyzerEngine(DiarizeSettings(_env_file=None))


async def judged(database: Database) -> list[bool]:
    """Of each clone the audit tells of, whether its reference was listened to."""
    tenants = await Tokens(database).ensure_tenants({"default"})
    return [details["one_voice_checked"] for *_, details in await clones(database, tenants["default"])]


async def verdicts(stub: SynthesizeServiceStub, references: Sequence[np.ndarray]) -> list[str]:
    """The reason why each is refused; empty: it is taken."""
    reasons = []
    for samples in references:
        try:
            await cloned(stub, AUTHORIZED, reference_audio=wav(samples), consent_id="c")
        except InvalidArgument as error:
            reasons.append(error.reason)
        else:
            reasons.append("")
    return reasons


@pytest.mark.engine("resemblyzer")
async def test_a_reference_of_two_people_is_refused(tmp_path: Path, database: Database) -> None:
    talkers: Talkers = await spoken()
    dialogue, _ = talkers.dialogue()
    async with serving(tmp_path, database, diarizer()) as stub:
        alone = [talkers.alone(talkers.ana)[: 29 * RATE], talkers.alone(talkers.rui)[: 29 * RATE]]
        assert await verdicts(stub, [*alone, dialogue[: 29 * RATE]]) == ["", "", "SEVERAL_VOICES"]
        with pytest.raises(InvalidArgument, match="2 voices: send one speaker alone") as refused:
            await cloned(stub, AUTHORIZED, reference_audio=wav(dialogue[: 29 * RATE]), consent_id="c")
        assert list(refused.value.violations) == ["open.reference_audio"]
    assert await judged(database) == [True, True], "what is refused is no clone"


@pytest.mark.engine("resemblyzer")
async def test_so_are_two_real_people(tmp_path: Path, database: Database, shared_data: Path) -> None:
    people = [speech(shared_data / name) for name in READ_SPEECH]
    pairs = [np.concatenate([people[0], people[1]]), np.concatenate([people[1], people[2][: 4 * RATE]])]
    async with serving(tmp_path, database, diarizer()) as stub:
        assert await verdicts(stub, [*people, *pairs]) == ["", "", "", "SEVERAL_VOICES", "SEVERAL_VOICES"]


async def test_without_a_diarize_it_is_taken_unheard_and_that_is_told(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    missing = MissingEngine("resemblyzer", FailedPrecondition("engine 'resemblyzer' needs: a command", reason="MISSING_EXTRA"))
    for engine in (None, missing):
        async with serving(tmp_path, database, engine) as stub:
            assert await verdicts(stub, [voice(8.0)]) == [""]
    assert await judged(database) == [False, False]
    assert reasons(caplog) == ["NO_DIARIZE", "MISSING_EXTRA"]


async def test_nor_does_one_that_is_away_or_silent_refuse_anything(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_voices, "ANSWER_SECONDS", 0.5)
    runtime = RuntimeSettings(_env_file=None, data_dir=tmp_path, grpc_port=0, admin_port=0, api_tokens=(f"default:{TOKEN}",))
    silent = DiarizeService(_Silent(), DiarizeSettings(_env_file=None), None)
    async with (
        served([silent], runtime) as server,
        grpc.aio.insecure_channel(server.target, options=OPTIONS) as channel,
        apart(database, runtime, lambda: channel) as stub,
    ):
        assert await verdicts(stub, [voice(8.0)]) == [""]
        await server.server.stop()
        assert await verdicts(stub, [voice(8.0)]) == [""]
    assert await judged(database) == [False, False]
    told = reasons(caplog)
    assert told[0] == "DEADLINE_EXCEEDED"
    assert len(told) == 2


@asynccontextmanager
async def apart(database: Database, runtime: RuntimeSettings, diarize: Channel) -> AsyncIterator[SynthesizeServiceStub]:
    """Synthesize on a server of its own."""
    service = _synthesize(database, diarize)
    async with served([service], runtime, Tokens(database)) as server, grpc.aio.insecure_channel(server.target) as channel:
        yield SynthesizeServiceStub(channel)


class _Silent(NullDiarizeEngine):
    """Never says a word."""

    async def diarize(self, config: object, audio: AsyncIterator[bytes]) -> AsyncIterator[object]:
        del config, audio
        await asyncio.Event().wait()
        yield None


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why references were not listened to, as the log has it."""
    fields = [getattr(record, "malha_fields", {}) for record in caplog.records if record.name == "malha.synthesize.voices"]
    assert all(record.levelno == logging.WARNING for record in caplog.records if record.name == "malha.synthesize.voices")
    return [str(each["reason"]) for each in fields]


def speech(path: Path, most: float = 12.0) -> np.ndarray:
    """16 kHz int16 of a recording, from where it becomes loud, all equally loud."""
    with av.open(str(path)) as file:
        parts = [frame.to_ndarray() for frame in file.decode(audio=0)]
        rate = file.streams.audio[0].rate
    samples = np.concatenate(parts, axis=1)[0].astype(np.float64)
    samples = soxr.resample(samples / np.abs(samples).max(), rate, RATE)
    samples = samples[np.flatnonzero(np.abs(samples) > 0.1)[0] :][: int(most * RATE)]
    return np.round(np.clip(samples / samples.std() * 0.06, -1, 1) * 32_767).astype(np.int16)
