"""Voices are cloned with consent, and the audit tells of it. The engine is a stand-in that clones at once; the database is real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import AUTHORIZED, OTHER_TOKEN, TOKEN, voice

from fakes.cloning import ParrotEngine, cloned, clones
from fakes.serving import served
from fakes.wav import wav
from malha.api.synthesize.v1.synthesize_pb2_grpc import SynthesizeServiceStub
from malha.runtime.errors import MalhaError
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.tokens import Tokens
from malha.synthesize.service import SynthesizeService
from malha.synthesize.settings import SynthesizeSettings

DEADLINE = 30.0
SPEECH = voice(8.0)


@asynccontextmanager
async def serving(folder: Path, database: Database | None) -> AsyncIterator[SynthesizeServiceStub]:
    tokens = (f"default:{TOKEN}", f"other:{OTHER_TOKEN}")
    runtime = RuntimeSettings(_env_file=None, data_dir=folder, grpc_port=0, admin_port=0, api_tokens=tokens, drain_seconds=1)
    service = SynthesizeService(ParrotEngine(), SynthesizeSettings(_env_file=None), database)
    kept = Tokens(database) if database is not None else None
    async with served([service], runtime, kept) as server, grpc.aio.insecure_channel(server.target) as channel:
        yield SynthesizeServiceStub(channel)


async def test_a_clone_leaves_a_line_in_its_tenants_audit(tmp_path: Path, database: Database) -> None:
    async with serving(tmp_path, database) as stub:
        responses = await cloned(stub, AUTHORIZED, reference_audio=wav(SPEECH), consent_id="consent/2026-11/4711")
        opened = responses[0].opened
        assert (opened.voice.name, opened.engine.model, opened.licence) == ("clone", "grey", "none")
        assert len(b"".join(response.audio.content for response in responses)) == 2000
    tenants = await Tokens(database).ensure_tenants({"default", "other"})
    (line,) = await clones(database, tenants["default"])
    assert line[:3] == ("voice.clone", "consent", "consent/2026-11/4711")
    assert line[3]["engine"] == "parrot"
    assert line[3]["seconds"] == 8.0
    assert set(line[3]) == {"engine", "model", "seconds", "sha256", "one_voice_checked"}
    assert await clones(database, tenants["other"]) == []


@pytest.mark.parametrize(
    ("opening", "reason"),
    {
        "no consent": ({"reference_audio": wav(SPEECH)}, "CONSENT_MISSING"),
        "a voice too": ({"reference_audio": wav(SPEECH), "consent_id": "c", "voice": "polly"}, "VOICE_AMBIGUOUS"),
        "too short": ({"reference_audio": wav(SPEECH[:16_000]), "consent_id": "c"}, "REFERENCE_TOO_SHORT"),
        "no audio": ({"reference_audio": b"no audio", "consent_id": "c"}, "REFERENCE_UNREADABLE"),
    }.values(),
)
async def test_what_is_refused_leaves_none(tmp_path: Path, database: Database, opening: dict[str, Any], reason: str) -> None:
    async with serving(tmp_path, database) as stub:
        with pytest.raises(MalhaError) as refused:
            await asyncio.wait_for(cloned(stub, AUTHORIZED, **opening), DEADLINE)
    assert refused.value.reason == reason
    tenants = await Tokens(database).ensure_tenants({"default"})
    assert await clones(database, tenants["default"]) == []


async def test_without_an_audit_no_voice_is_cloned(tmp_path: Path) -> None:
    async with serving(tmp_path, None) as stub:
        with pytest.raises(MalhaError, match="MALHA_DATABASE_URL") as refused:
            await cloned(stub, AUTHORIZED, reference_audio=wav(SPEECH), consent_id="c")
        assert refused.value.reason == "STORE_NOT_CONFIGURED"
        assert len(await cloned(stub, AUTHORIZED)) == 3
