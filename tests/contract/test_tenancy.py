"""Every method of every contract, tried by those who may not: without a token, with a wrong one, with one of another scope or tenant."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from conftest import voice
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from fakes.diarize_engine import PRINT, NullDiarizeEngine
from fakes.talkers import wav
from malha.audio.call_store import CallStore
from malha.audio.service import AudioStreamService
from malha.audio.settings import AudioSettings
from malha.chat.service import ChatService
from malha.chat.settings import ChatSettings
from malha.conversation.service import ConversationService
from malha.conversation.settings import ConversationSettings
from malha.diarize.service import DiarizeService
from malha.diarize.settings import DiarizeSettings
from malha.insight.service import InsightService
from malha.insight.settings import InsightSettings
from malha.jobs.service import JobService
from malha.jobs.settings import JobSettings
from malha.runtime.auth import Authenticator
from malha.runtime.contracts import SERVICES, load_contracts
from malha.runtime.errors import MalhaError
from malha.runtime.job_files import JobFilesSettings
from malha.runtime.mesh import Mesh
from malha.runtime.outbound import OutboundSettings
from malha.runtime.quotas import Quotas, QuotaSettings
from malha.runtime.rpc import Service
from malha.runtime.scopes import ALL_SCOPES, METHOD_SCOPES
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.runtime.status import from_rpc_error
from malha.sdk._rpc import CallOver, Rpc
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants
from malha.store.tokens import Tokens
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

load_contracts()

MARKER = "zanzibar"
"""In every text the attacked tenant has."""
ID = "call-of-acme"
AUDIO = "malha.api.audio.v1.AudioStreamService"
CONVERSATION = "malha.api.conversation.v1.ConversationService"
BUILT = (
    AUDIO,
    CONVERSATION,
    ChatService.name,
    DiarizeService.name,
    InsightService.name,
    "malha.api.jobs.v1.JobService",
    "malha.api.transcribe.v1.TranscribeService",
)
RULE = {"id": "rule-of-acme", "type": 3, "message": "stolen", "condition": {"any_of": ["stolen"]}}
DOCUMENT = {"id": "document-of-acme", "knowledge_base": "base-of-acme", "text": "stolen"}
LOOPBACK = OutboundSettings(_env_file=None, outbound_networks=("127.0.0.1/32",))
UNREADABLE = {"DeleteConversation", "DeleteState", "ListModels"}
"""Methods whose answer holds nothing of a tenant's."""


def methods() -> Iterator[MethodDescriptor]:
    pool = descriptor_pool.Default()
    for service in sorted(SERVICES):
        yield from pool.FindServiceByName(service).methods


METHODS = {method.full_name.rpartition(".")[0] + "/" + method.name: method for method in methods()}


@dataclass
class Place:
    """A real server with a real store."""

    channel: grpc.aio.Channel
    tokens: Tokens
    database: Database

    async def token(self, tenant: str, *scopes: str) -> str:
        """A token's secret; with all scopes unless some are named."""
        return (await self.tokens.create(tenant, actor="test", scopes=scopes or ALL_SCOPES))[0]

    async def ask(self, name: str, request: Message | None, authorization: str | None, *extra: tuple[str, str]) -> Message:
        """The answer, or a stream's first. Raises a MalhaError."""
        method = METHODS[name]
        request_class, response_class = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
        metadata = (*extra, *(() if authorization is None else (("authorization", authorization),)))
        make = self.channel.stream_stream if method.client_streaming else self.channel.unary_unary
        call: Any = make(f"/{name}", request_serializer=request_class.SerializeToString, response_deserializer=response_class.FromString)
        request = request_class() if request is None else request
        if method.client_streaming:
            return await first(Rpc(call(metadata=metadata)), request)
        try:
            return await call(request, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def refusal(self, name: str, request: Message | None, authorization: str | None, *extra: tuple[str, str]) -> MalhaError | None:
        """The error; None: it was answered."""
        answer = await self.answer(name, request, authorization, *extra)
        return answer if isinstance(answer, MalhaError) else None

    async def answer(self, name: str, request: Message | None, authorization: str | None, *extra: tuple[str, str]) -> Message | MalhaError:
        """The answer or the error."""
        try:
            return await self.ask(name, request, authorization, *extra)
        except MalhaError as error:
            return error


async def first(call: Rpc, request: Any) -> Any:
    """A stream's first answer. Raises a MalhaError."""
    with contextlib.suppress(CallOver):
        await call.write(request)
    try:
        return await asyncio.wait_for(anext(call.responses()), 30)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


@pytest.fixture
async def place(settings: RuntimeSettings, store: StoreSettings, database: Database) -> AsyncIterator[Place]:
    async with serving(settings, store, database) as running:
        yield running


@asynccontextmanager
async def serving(settings: RuntimeSettings, store: StoreSettings, database: Database) -> AsyncIterator[Place]:
    tokens, bound = Tokens(database), [0]
    mesh = Mesh(settings, lambda: f"127.0.0.1:{bound[0]}")
    servers: list[Server] = []
    services: list[Service] = [
        AudioStreamService(AudioSettings(_env_file=None), lambda: mesh.channel("transcribe"), CallStore(database, store)),
        ConversationService(database, ConversationSettings(_env_file=None)),
        TranscribeService(NullEngine(TranscribeSettings(_env_file=None))),
        ChatService(ChatSettings(_env_file=None), settings.data_dir, database),
        InsightService(database, lambda: mesh.channel("chat"), InsightSettings(_env_file=None)),
        DiarizeService(NullDiarizeEngine(), DiarizeSettings(_env_file=None), database),
        JobService(
            database,
            store,
            settings.data_dir,
            lambda: servers[0].in_process,
            JobSettings(_env_file=None),
            JobFilesSettings(_env_file=None),
            LOOPBACK,
        ),
    ]
    absent = [name for name in SERVICES if name not in BUILT]
    authenticator = Authenticator.from_settings(settings.api_tokens, settings.data_dir, tokens)
    server = Server(services, absent, settings, authenticator, quotas=Quotas(QuotaSettings(_env_file=None), Tenants(database)))
    servers.append(server)
    for name in ("transcribe", "chat"):
        mesh.serve(name, server.in_process)
    bound[0] = await server.start()
    try:
        await server.wait_serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound[0]}") as channel:
            yield Place(channel, tokens, database)
    finally:
        await server.stop()
        await mesh.close()


def test_the_table_of_scopes_names_every_method_and_nothing_else() -> None:
    assert set(METHOD_SCOPES) == set(METHODS)
    assert set(METHOD_SCOPES.values()) <= ALL_SCOPES


def test_what_changes_is_no_reader_s() -> None:
    changing = ("Create", "Update", "Upsert", "Delete", "Save", "Enroll")
    reading = {name for name, scope in METHOD_SCOPES.items() if scope == "read"}
    assert not [name for name in reading if name.rpartition("/")[2].startswith(changing)]


async def test_without_a_token_there_is_nothing(place: Place) -> None:
    for name in METHODS:
        for authorization in (None, "", "Bearer ", "Basic Zm9vOmJhcg=="):
            error = await place.refusal(name, None, authorization)
            assert error is not None, name
            assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"), name


async def test_a_token_nobody_made_opens_nothing(place: Place) -> None:
    secret = await place.token("acme")
    for number, name in enumerate(METHODS):
        for wrong in (f"malha_{number}", secret[:-1], secret + "A", secret.upper()):
            error = await place.refusal(name, None, f"Bearer {wrong}")
            assert error is not None, name
            assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN"), name


async def test_a_revoked_token_opens_nothing(place: Place) -> None:
    secret, token = await place.tokens.create("acme", actor="test", scopes=ALL_SCOPES)
    await place.tokens.revoke(token.id, actor="test")
    for name in METHODS:
        error = await place.refusal(name, None, f"Bearer {secret}")
        assert error is not None, name
        assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED"), name


async def test_a_token_does_what_its_scopes_say(place: Place) -> None:
    secrets = {scope: await place.token("acme", scope) for scope in sorted(ALL_SCOPES)}
    for name, needed in METHOD_SCOPES.items():
        for scope, secret in secrets.items():
            error = await place.refusal(name, None, f"Bearer {secret}")
            refused = error is not None and error.reason == "SCOPE_MISSING"
            assert refused == (scope != needed), (name, scope)
            if refused:
                assert error is not None
                assert (error.code, error.metadata) == (grpc.StatusCode.PERMISSION_DENIED, {"scope": needed})


async def test_no_method_shows_or_changes_what_another_tenant_has(place: Place) -> None:
    """The same requests: answered to the tenant whose conversation it is, and to another as if there were none."""
    owner, stranger = await place.token("acme"), await place.token("globex")
    acme = (await Tenants(place.database).list())["acme"]
    objects = await plant(place.database, acme)
    before = await kept(place.database, acme)
    unary = [name for name in METHODS if name.startswith(BUILT) and not METHODS[name].client_streaming]
    for name in unary:
        for ids in objects:
            request = asking(METHODS[name], ids)
            answer = await place.answer(name, request, f"Bearer {stranger}")
            if isinstance(answer, MalhaError):
                unknown = answer.code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}
                assert unknown or answer.reason in {"EMBEDDINGS_NOT_CONFIGURED", "NO_ALIGNER"}, (name, answer.reason, answer.message)
            else:
                assert MARKER not in str(answer), name
    assert await kept(place.database, acme) == before
    for name in unary:
        if not METHODS[name].name.startswith(("Get", "List", "Search")) or METHODS[name].name in UNREADABLE:
            continue
        for ids in objects:
            answer = await place.ask(name, asking(METHODS[name], ids), f"Bearer {owner}")
            assert MARKER in str(answer), f"{name}: asked like this its owner sees nothing either"


async def test_no_stream_goes_on_with_another_tenant_s_call(place: Place) -> None:
    owner, stranger = await place.token("acme"), await place.token("globex")
    acme = (await Tenants(place.database).list())["acme"]
    stream = message_factory.GetMessageClass(METHODS[f"{AUDIO}/Stream"].input_type)
    opening = {"conversation_id": ID, "format": {"encoding": 1}, "languages": ["en"]}
    session = uuid7()
    make: Any = place.channel.stream_stream(
        f"/{AUDIO}/Stream",
        request_serializer=stream.SerializeToString,
        response_deserializer=message_factory.GetMessageClass(METHODS[f"{AUDIO}/Stream"].output_type).FromString,
    )
    call = Rpc(make(metadata=(("authorization", f"Bearer {owner}"), ("malha-session", session))))
    opened = (await first(call, stream(open=opening))).opened
    assert opened.resume_token
    for request, extra in (
        (stream(resume={"token": opened.resume_token}), ()),
        (stream(open=opening), (("malha-session", session),)),
        (stream(open={**opening, "tenant_id": "acme"}), ()),
        (stream(open={**opening, "tenant_id": str(acme)}), ()),
    ):
        error = await place.refusal(f"{AUDIO}/Stream", request, f"Bearer {stranger}", *extra)
        assert error is not None, request
        assert error.reason in {"SESSION_UNKNOWN", "SESSION_EXISTS", "FOREIGN_TENANT"}, error.message
    await call.write(stream(finish={}))
    async with asyncio.timeout(30):
        events = [event async for event in call.responses()]
    assert events[-1].HasField("closed"), "it went on undisturbed"


async def plant(database: Database, tenant: uuid.UUID) -> tuple[dict[str, str], dict[str, str]]:
    """A conversation with all that can belong to one; what it and its parts are called, by the client's names and by the store's ids."""
    async with database.tenant_tx(tenant) as connection:

        async def insert(table: str, returning: str = "id", **columns: Any) -> Any:
            names = ["tenant_id", *columns]
            values = ", ".join(f"${number}" for number in range(1, len(names) + 1))
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) RETURNING {returning}"
            return await connection.fetchval(statement, tenant, *columns.values())

        customer = await insert("customer", external_id="c1", name=MARKER, email="ana@example.org", phone="+5511999990000")
        conversation = await insert("conversation", external_id=ID, customer_id=customer, subject=MARKER)
        session = uuid.UUID(uuid7())
        await insert(
            "live_session", "session_id", session_id=session, conversation_id=conversation, principal_digest=b"", resume_digest=b"",
            config=b"", state="closed",
        )  # fmt: skip
        await insert("event", "seq", session_id=session, seq=1, kind="final", body={"text": MARKER})
        await insert(
            "segment", "segment_id", session_id=session, segment_id="s1", revision=1, channel=0, start_seconds=0.0, end_seconds=1.0, text=MARKER
        )  # fmt: skip
        await insert("message", conversation_id=conversation, sender_type="customer", text=MARKER)
        await insert("state", "key", conversation_id=conversation, key=MARKER, value={"note": MARKER})
        insight = await insert(
            "insight", conversation_id=conversation, session_id=session, type="risk_alert", trigger_seq=1, rule_version="1", status="shown",
            body={"message": MARKER},
        )  # fmt: skip
        await insert("feedback", conversation_id=conversation, insight_id=insight, stars=5, comment=MARKER)
        await insert("interaction", conversation_id=conversation, kind="note", body={"text": MARKER})
        await insert("interaction", conversation_id=conversation, session_id=session, kind="utterance", seq=1, transcript=MARKER)
        rule = {name: value for name, value in RULE.items() if name != "id"}
        await insert("insight_rule", id=RULE["id"], version=1, body={**rule, "message": MARKER})
        await insert("insight_configuration", "revision", revision=1, body={"keywords": [MARKER]})
        base, document = DOCUMENT["knowledge_base"], DOCUMENT["id"]
        await insert("knowledge_document", knowledge_base=base, id=document, title=MARKER, text=f"{MARKER} é o plano mais caro")
        await insert("ai_call", conversation_id=conversation, session_id=session, purpose="chat", model=MARKER, status="ok")
        await insert("ai_spend", "calls", day=datetime.now(UTC).date(), deployment=MARKER, calls=1)
        over = {"status": "failed", "ended_at": datetime.now(UTC)}
        job = await insert(
            "job", conversation_id=conversation, kind="transcribe", input={"text": MARKER}, result={"message": MARKER}, **over
        )
        await insert(
            "speaker", external_id="speaker-of-acme", customer_id=customer, consent={"id": MARKER}, model="null", embedding=PRINT.tolist()
        )
        webhook = await insert("webhook", url=f"https://{MARKER}.example", events=["job.done"], secret=MARKER)
        await insert("webhook_delivery", webhook_id=webhook, event="job.done", object_id=job, data={"job_id": str(job)}, **over)
    common = {
        "job_id": str(job),
        "webhook_id": str(webhook),
        "insight_id": str(insight),
        "session_id": str(session),
        "key": MARKER,
        "query": MARKER,
        "rule_id": RULE["id"],
        "knowledge_base": base,
        "document_id": document,
        "speaker_id": "speaker-of-acme",
    }
    named = {**common, "conversation_id": ID, "customer_id": "c1"}
    return named, {**common, "conversation_id": str(conversation), "customer_id": str(customer)}


async def kept(database: Database, tenant: uuid.UUID) -> dict[str, list[str]]:
    """Every row a tenant has, of every table but its tokens' and what is done with them."""
    found = {}
    async with database.tenant_tx(tenant) as connection:
        tables = await connection.fetch(
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE column_name = 'tenant_id' AND table_schema = 'public'"
        )
        for table in sorted(row["table_name"] for row in tables):
            if table.startswith("event_") and table != "event_default":
                continue  # days of `event`, which nobody may read by themselves
            if await connection.fetchval("SELECT has_table_privilege($1, 'SELECT')", table):
                rows = await connection.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t")
                found[table] = sorted(row["row"] for row in rows)
    assert MARKER in str(found["segment"])
    assert len(found) >= 15
    return found


def asking(method: MethodDescriptor, ids: dict[str, str]) -> Message:
    """A request that names the attacked tenant's objects wherever it can, and is valid."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    for part in method.input_type.fields:
        if part.name in ids:
            setattr(request, part.name, ids[part.name])
        elif part.name == "sender_type":
            request.sender_type = 1
        elif part.name == "transcribe":
            request.transcribe.content, request.transcribe.conversation_id = b"no audio", ids["conversation_id"]
        elif part.name == "format":
            request.format.encoding = 1
        elif part.name in {"rule", "document"}:
            getattr(request, part.name).CopyFrom(type(getattr(request, part.name))(**(RULE if part.name == "rule" else DOCUMENT)))
        elif part.name == "configuration":
            request.configuration.keywords.append("stolen")
        elif part.name == "texts":
            request.texts.append("stolen")
        elif part.name == "url":
            request.url = "http://127.0.0.1:9/"
            request.events.append("job.done")
        elif part.name == "consent_id":
            request.consent_id = "consent-of-globex"
        elif part.name == "audio" and part.type == FieldDescriptor.TYPE_BYTES:
            request.audio = wav(voice(7.0))
        elif part.name == "value":
            request.value.update({"stolen": True})
        elif part.name in {"text", "subject", "name", "comment"} and part.type == FieldDescriptor.TYPE_STRING:
            setattr(request, part.name, "stolen")
    return request


def uuid7() -> str:
    milliseconds = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (uuid.uuid4().int & ((0xFFF << 64) | (1 << 62) - 1)) | (0b10 << 62)))
