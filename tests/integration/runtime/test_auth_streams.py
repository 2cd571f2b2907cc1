"""Who is let in, kept in and put out, by a real server with tokens in a real database."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from conftest import AUTHORIZED
from google.rpc import error_details_pb2

from fakes.serving import served
from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.api.transcribe.v1 import transcribe_pb2_grpc
from malha.runtime.errors import MalhaError, Unavailable
from malha.runtime.gate import TokenWatch
from malha.runtime.quotas import Quotas, QuotaSettings
from malha.runtime.relay_client import RelayChannel
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.runtime.server import Server
from malha.runtime.settings import RuntimeSettings
from malha.runtime.status import from_rpc_error
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants
from malha.store.tokens import Tokens
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.service import TranscribeService
from malha.transcribe.settings import TranscribeSettings

METHOD = "/malha.api.transcribe.v1.TranscribeService/Transcribe"
OPEN = api.TranscribeRequest(open={"format": {"encoding": 1}})
FLUSH = api.TranscribeRequest(flush={})
FINISH = api.TranscribeRequest(finish={})


class Place:
    """A server, its store and how to call it."""

    def __init__(self, server: Server, quotas: Quotas, tokens: Tokens, channel: grpc.aio.Channel) -> None:
        self.server, self.quotas, self.tokens, self.channel = server, quotas, tokens, channel
        self.stub = transcribe_pb2_grpc.TranscribeServiceStub(channel)

    @property
    def watch(self) -> TokenWatch:
        return self.server._gate._watch

    async def open(self, token: str) -> Any:
        """A stream that was let in. Raises a MalhaError if it is not."""
        call = self.stub.Transcribe(metadata=bearer(token))
        await opened(call)
        return call

    async def ask(self, token: str) -> None:
        """A unary call. Raises a MalhaError."""
        try:
            await self.stub.ListModels(api.ListModelsRequest(), metadata=bearer(token))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def opened(call: Any) -> None:
    try:
        await call.wait_for_connection()
        await call.write(OPEN)
        assert (await call.read()).HasField("opened")
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
        raise await failure(call) from None


async def failure(call: Any) -> MalhaError:
    """What a call ended with."""
    code = await asyncio.wait_for(call.code(), 30)
    return from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), await call.trailing_metadata(), await call.details()))


@asynccontextmanager
async def serving(
    settings: RuntimeSettings, database: Database, service: Any = None, tokens: Any = None, **quotas: Any
) -> AsyncIterator[Place]:
    directory = tokens or Tokens(database)
    limits = Quotas(QuotaSettings(_env_file=None, **quotas), Tenants(database))
    service = service or TranscribeService(NullEngine(TranscribeSettings(_env_file=None)))
    async with served([service], settings, directory, quotas=limits) as running, grpc.aio.insecure_channel(running.target) as channel:
        yield Place(running.server, limits, directory, channel)


@pytest.fixture
async def place(settings: RuntimeSettings, database: Database) -> AsyncIterator[Place]:
    async with serving(settings, database) as place:
        yield place


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_stored_token_is_let_in_and_its_stream_ends_when_it_is_revoked(place: Place) -> None:
    secret, token = await place.tokens.create("acme", actor="test")
    other, _ = await place.tokens.create("acme", actor="test")
    ended, kept, given = await place.open(secret), await place.open(other), await place.open("test-token")
    await place.tokens.revoke(token.id, actor="test")
    await place.watch.look()
    error = await failure(ended)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
    for call in (kept, given):
        await call.write(FINISH)
        assert (await call.read()).HasField("closed")
        assert await call.code() is grpc.StatusCode.OK
    with pytest.raises(MalhaError) as refused:
        await place.ask(secret)
    assert refused.value.reason == "TOKEN_REVOKED", "the look has told the cache"
    await until(lambda: not place.watch._streams)


async def test_an_expired_token_ends_its_stream(place: Place) -> None:
    until_then = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1.5)
    secret, _ = await place.tokens.create("acme", actor="test", expires_at=until_then)
    call = await place.open(secret)
    await place.watch.look()
    await call.write(FLUSH)
    await asyncio.sleep(max(0.0, (until_then - dt.datetime.now(dt.UTC)).total_seconds()) + 0.1)
    await place.watch.look()
    assert (await failure(call)).reason == "TOKEN_EXPIRED"


async def test_a_relayed_stream_ends_with_its_token_too(place: Place) -> None:
    secret, token = await place.tokens.create("acme", actor="test")
    relay = RelayChannel(place.channel)
    try:
        calls = [relay.stream_stream(METHOD)(metadata=bearer(each)) for each in (secret, "test-token")]
        for call in calls:
            await call.write(OPEN.SerializeToString())
            assert api.TranscribeResponse.FromString(await call.read()).HasField("opened")
        await place.tokens.revoke(token.id, actor="test")
        await place.watch.look()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asyncio.wait_for(calls[0].read(), 30)
        assert from_rpc_error(raised.value).reason == "TOKEN_REVOKED"
        await calls[1].write(FINISH.SerializeToString())
        assert api.TranscribeResponse.FromString(await calls[1].read()).HasField("closed")
    finally:
        await relay.close()


async def test_all_open_streams_are_looked_after_in_one_query(settings: RuntimeSettings, database: Database) -> None:
    queries = []

    class Counted(Tokens):
        async def find(self, digests: Any) -> Any:
            queries.append(len(digests))
            return await super().find(digests)

    async with serving(settings, database, tokens=Counted(database)) as place:
        secrets = [(await place.tokens.create("acme", actor="test"))[0] for _ in range(5)]
        calls = [await place.open(secret) for secret in secrets * 2]
        queries.clear()
        await place.watch.look()
        assert queries == [5]
        for call in calls:
            call.cancel()
        await until(lambda: not place.watch._streams)
        await place.watch.look()
        assert queries == [5], "nothing is asked where nobody calls"


async def test_a_store_that_is_away_ends_nobody_and_the_watch_goes_on(settings: RuntimeSettings, store: StoreSettings) -> None:
    away = False

    class Directory(Tokens):
        async def find(self, digests: Any) -> Any:
            if away:
                raise Unavailable("away", reason="STORE_UNAVAILABLE", retry_seconds=1)
            return await super().find(digests)

    async with await Database.connect(store) as database, serving(settings, database, tokens=Directory(database)) as place:
        secret, token = await place.tokens.create("acme", actor="test")
        call = await place.open(secret)
        place.watch._seconds = 0.02
        watching = asyncio.create_task(place.watch.run())
        away = True
        await place.tokens.revoke(token.id, actor="test")
        await asyncio.sleep(0.2)
        await call.write(FLUSH)
        await place.ask(secret)
        with pytest.raises(MalhaError) as refused:
            await place.ask("never seen")
        assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert refused.value.retry_seconds == 1
        assert not call.done()
        away = False
        assert (await failure(call)).reason == "TOKEN_REVOKED"
        watching.cancel()
        await asyncio.wait({watching})


async def test_the_database_really_away(settings: RuntimeSettings, store: StoreSettings) -> None:
    """As the client sees it: UNAVAILABLE with a time to come back, and no verdict on the token."""
    impatient = store.model_copy(update={"database_acquire_seconds": 1.0})
    async with await Database.connect(impatient) as database, serving(settings, database) as place:
        secret, _ = await place.tokens.create("acme", actor="test")
        await place.ask(secret)
        database._pool.terminate()
        await place.ask(secret)
        with pytest.raises(MalhaError) as refused:
            await place.ask("malha_unknown")
        assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert refused.value.retry_seconds


async def test_a_tenant_has_so_many_streams_and_no_other_tenant_s(place: Place, database: Database) -> None:
    first, second = (await place.tokens.create("acme", actor="test"))[0], (await place.tokens.create("acme", actor="test"))[0]
    other, _ = await place.tokens.create("globex", actor="test")
    tenants = Tenants(database)
    acme = await tenants.find("acme")
    await tenants.update(acme, {"quota": {"streams": 2}})
    calls = [await place.open(first), await place.open(second)]
    with pytest.raises(MalhaError) as refused:
        await place.open(first)
    assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert (refused.value.quota, refused.value.retry_seconds) == ("tenant_streams", 1.0)
    await place.open(other)
    await place.ask(first)
    calls[0].cancel()
    await until(lambda: place.quotas.streams(acme) < 2)
    await place.open(second)


async def test_calls_a_minute(settings: RuntimeSettings, database: Database) -> None:
    async with serving(settings, database, quota_calls_per_minute=3) as place:
        secret, _ = await place.tokens.create("acme", actor="test")
        for _ in range(2):
            await place.ask(secret)
        await place.open(secret)
        with pytest.raises(MalhaError) as refused:
            await place.ask(secret)
        assert (refused.value.quota, refused.value.reason) == ("tenant_calls_per_minute", "QUOTA_EXCEEDED")
        assert refused.value.retry_seconds is not None
        assert 0 < refused.value.retry_seconds <= 20
        with pytest.raises(MalhaError, match="in a minute"):
            await place.open(secret)


class Resumable(TranscribeService):
    """Streams that name a session go on with it."""

    def methods(self) -> dict[str, StreamMethod | UnaryMethod]:
        return {"Transcribe": StreamMethod(self.transcribe, exempt=lambda stream: "malha-session" in stream.metadata)}


async def test_what_goes_on_is_never_refused_for_quota(settings: RuntimeSettings, database: Database) -> None:
    service = Resumable(NullEngine(TranscribeSettings(_env_file=None)))
    async with serving(settings, database, service, quota_streams=1, quota_calls_per_minute=1) as place:
        secret, _ = await place.tokens.create("acme", actor="test")
        await place.open(secret)
        with pytest.raises(MalhaError):
            await place.open(secret)
        resumed = place.stub.Transcribe(metadata=(*bearer(secret), ("malha-session", "x")))
        await opened(resumed)


async def test_an_address_is_limited_before_anybody_asks_who_calls(settings: RuntimeSettings, database: Database) -> None:
    async with serving(settings, database, trusted_addresses="", address_calls_per_minute=3) as place:
        for token in ("wrong", "wrong"):
            with pytest.raises(MalhaError, match="not known"):
                await place.ask(token)
        await place.ask("test-token")
        with pytest.raises(MalhaError) as refused:
            await place.ask("test-token")
        assert (refused.value.quota, refused.value.reason) == ("address_calls_per_minute", "TOO_MANY_CALLS")
        assert refused.value.retry_seconds


async def test_a_relay_hides_no_address(settings: RuntimeSettings, database: Database) -> None:
    async with serving(settings, database, trusted_addresses="", address_calls_per_minute=2) as place:
        relay = RelayChannel(place.channel)
        try:
            reasons = []
            for _ in range(4):
                call = relay.stream_stream(METHOD)(metadata=bearer("made up"))
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await asyncio.wait_for(call.read(), 30)
                reasons.append(from_rpc_error(raised.value).reason)
            assert reasons == ["TOKEN_UNKNOWN"] * 2 + ["TOO_MANY_CALLS"] * 2
        finally:
            await relay.close()


async def test_calls_within_the_process_are_not_counted_again(settings: RuntimeSettings, database: Database) -> None:
    quotas = {"quota_streams": 1, "quota_calls_per_minute": 1, "address_calls_per_minute": 1, "trusted_addresses": ""}
    async with serving(settings, database, **quotas) as place:
        await place.open("test-token")
        make = place.server.in_process.stream_stream(METHOD)
        calls = [make(metadata=AUTHORIZED) for _ in range(3)]
        for call in calls:
            await call.write(OPEN)
            assert (await call.read()).HasField("opened")
        stranger = make(metadata=bearer("wrong"))
        assert await stranger.code() is grpc.StatusCode.UNAUTHENTICATED
        assert len(place.watch._streams) == 1
        for call in calls:
            call.cancel()


async def test_unknown_tokens_slow_their_address_and_no_known_one(settings: RuntimeSettings, database: Database) -> None:
    async with serving(settings, database, trusted_addresses="", address_failures_per_minute=3) as place:
        secret, _ = await place.tokens.create("acme", actor="test")
        await place.ask(secret)
        reasons = []
        for number in range(5):
            with pytest.raises(MalhaError) as refused:
                await place.ask(f"guess {number}")
            reasons.append(refused.value.reason)
        assert reasons == ["TOKEN_UNKNOWN"] * 3 + ["TOO_MANY_CALLS"] * 2
        await place.ask(secret)
        await place.ask("test-token")


async def test_the_refusal_says_which_quota(settings: RuntimeSettings, database: Database) -> None:
    """As any client of gRPC finds it: google.rpc.QuotaFailure and RetryInfo."""
    from google.rpc import status_pb2

    async with serving(settings, database, quota_calls_per_minute=1) as place:
        await place.ask("test-token")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await place.stub.ListModels(api.ListModelsRequest(), metadata=AUTHORIZED)
        status = status_pb2.Status.FromString(dict(raised.value.trailing_metadata())["grpc-status-details-bin"])
        failed, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
        assert any(detail.Unpack(failed) for detail in status.details)
        assert any(detail.Unpack(retry) for detail in status.details)
        assert failed.violations[0].subject == "tenant_calls_per_minute"
        assert retry.retry_delay.ToTimedelta().total_seconds() > 0
