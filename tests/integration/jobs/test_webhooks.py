"""Webhooks told over real sockets: signed, repeated, given up, never sent where they must not."""

import asyncio
import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator

import grpc
import orjson
import pytest
from conftest import OTHER_TOKEN
from integration.jobs.conftest import QUICK, Jobs, serving
from integration.jobs.receiver import Receiver

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.jobs.delivering import Delivering
from malha.runtime.outbound import Outbound, OutboundSettings
from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants

LOOPBACK = OutboundSettings(_env_file=None, outbound_networks=("127.0.0.1/32",), outbound_seconds=5)
EVENTS = ["job.done", "call.ended"]


@pytest.fixture
async def jobs(settings: RuntimeSettings, database: Database, store: StoreSettings) -> AsyncIterator[Jobs]:
    """May post to this machine."""
    async with serving(settings, database, store, outbound=LOOPBACK) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().running() as running:
        yield running


async def subscribe(jobs: Jobs, receiver: Receiver, events: list[str]) -> str:
    """A new webhook's secret."""
    made = await jobs.ask("CreateWebhook", api.CreateWebhookRequest(url=f"http://127.0.0.1:{receiver.port}/hook?a=1", events=events))
    return str(made.secret)


async def posted(receiver: Receiver) -> tuple[dict[str, str], bytes]:
    return await asyncio.wait_for(receiver.posted.get(), 60)


async def status(jobs: Jobs) -> str:
    """Of the only delivery, once it is over."""
    async with asyncio.timeout(60):
        while (found := await jobs.value("SELECT status FROM webhook_delivery")) == "pending":
            await asyncio.sleep(0.05)
    return str(found)


async def test_what_happens_is_told_with_ids_and_a_signature(jobs: Jobs, receiver: Receiver) -> None:
    secret = await subscribe(jobs, receiver, ["job.done"])
    job = await jobs.until(await jobs.transcribe(conversation_id="private-name"))
    headers, body = await posted(receiver)
    told = orjson.loads(body)
    assert told["type"] == "job.done"
    assert told["data"] == {
        "job_id": job.id,
        "status": "done",
        "conversation_id": job.conversation_id,
        "session_id": job.session_id,
    }
    assert headers["malha-delivery"] == told["id"]
    time, _, signed = headers["malha-signature"].partition(",v1=")
    expected = hmac.new(secret.encode(), time.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hexdigest()
    assert signed == expected
    assert b"private-name" not in body
    assert await status(jobs) == "delivered"


async def test_the_end_of_a_call_is_told_once(jobs: Jobs, receiver: Receiver) -> None:
    await subscribe(jobs, receiver, ["call.ended"])
    tenant, call, session = await jobs.tenant(), uuid.uuid4(), uuid.uuid4()
    async with jobs.database.tenant_tx(tenant) as connection:
        await connection.execute("INSERT INTO conversation (tenant_id, id, session_id) VALUES ($1, $2, $3)", tenant, call, session)
    for _ in range(2):
        async with jobs.database.tenant_tx(tenant) as connection:
            await connection.execute("UPDATE conversation SET status = 'open' WHERE id = $1", call)
            await connection.execute("UPDATE conversation SET status = 'closed' WHERE id = $1", call)
    _, body = await posted(receiver)
    assert orjson.loads(body)["data"] == {"conversation_id": str(call), "session_id": str(session), "status": "closed"}
    assert await status(jobs) == "delivered"
    assert receiver.posted.empty()


async def test_a_rolled_back_event_is_not_told(jobs: Jobs, receiver: Receiver) -> None:
    await subscribe(jobs, receiver, EVENTS)
    tenant = await jobs.tenant()
    with pytest.raises(ZeroDivisionError):
        async with jobs.database.tenant_tx(tenant) as connection:
            await connection.execute("INSERT INTO conversation (tenant_id, session_id) VALUES ($1, gen_random_uuid())", tenant)
            await connection.execute("UPDATE conversation SET status = 'closed'")
            raise ZeroDivisionError
    assert await jobs.value("SELECT count(*) FROM webhook_delivery") == 0


async def test_a_refused_delivery_is_repeated_with_its_own_id(jobs: Jobs, receiver: Receiver) -> None:
    receiver.status = 503
    await subscribe(jobs, receiver, ["job.done"])
    await jobs.until(await jobs.transcribe(b"no audio"))
    (first, once), (second, again) = await posted(receiver), await posted(receiver)
    assert first["malha-delivery"] == second["malha-delivery"]
    assert once == again
    assert (await jobs.ask("ListWebhooks", api.ListWebhooksRequest())).webhooks[0].HasField("failing_since")
    receiver.status = 204
    receiver.body = b""
    assert await status(jobs) == "delivered"
    assert not (await jobs.ask("ListWebhooks", api.ListWebhooksRequest())).webhooks[0].HasField("failing_since")


async def test_a_redirect_is_not_followed(jobs: Jobs, receiver: Receiver) -> None:
    async with Receiver().running() as elsewhere:
        receiver.status, receiver.extra = 307, f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"
        await subscribe(jobs, receiver, ["job.done"])
        await jobs.until(await jobs.transcribe(b"no audio"))
        await posted(receiver)
        await posted(receiver)
        assert elsewhere.connections == 0
    assert await jobs.value("SELECT reason FROM webhook_delivery") == "HTTP_307"


async def test_one_that_fails_for_too_long_is_disabled(
    settings: RuntimeSettings, database: Database, store: StoreSettings, receiver: Receiver
) -> None:
    receiver.status = 500
    short = QUICK.model_copy(update={"webhook_disable_seconds": 0.01})
    async with serving(settings, database, store, outbound=LOOPBACK, jobs=short) as jobs:
        await subscribe(jobs, receiver, ["job.done"])
        await jobs.until(await jobs.transcribe(b"no audio"))
        assert await status(jobs) == "failed"
        assert (await jobs.ask("ListWebhooks", api.ListWebhooksRequest())).webhooks[0].HasField("disable_time")
        await jobs.until(await jobs.transcribe(b"no audio"))
        assert await jobs.value("SELECT count(*) FROM webhook_delivery") == 1


async def test_one_that_is_gone_is_disabled_at_once(jobs: Jobs, receiver: Receiver) -> None:
    receiver.status = 410
    await subscribe(jobs, receiver, ["job.done"])
    await jobs.until(await jobs.transcribe(b"no audio"))
    assert await status(jobs) == "failed"
    assert receiver.connections == 1


async def test_a_delivery_is_given_up_after_its_time(
    settings: RuntimeSettings, database: Database, store: StoreSettings, receiver: Receiver
) -> None:
    receiver.status = 500
    short = QUICK.model_copy(update={"webhook_give_up_seconds": 0.01})
    async with serving(settings, database, store, outbound=LOOPBACK, jobs=short) as jobs:
        await subscribe(jobs, receiver, ["job.done"])
        await jobs.until(await jobs.transcribe(b"no audio"))
        assert await status(jobs) == "failed"
        assert not (await jobs.ask("ListWebhooks", api.ListWebhooksRequest())).webhooks[0].HasField("disable_time")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2/", "https://169.254.169.254/latest", "ftp://example.com/", "https://a:b@127.0.0.1/", "x"]
)
async def test_a_hostile_url_is_refused_when_it_is_given(jobs: Jobs, url: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ask("CreateWebhook", api.CreateWebhookRequest(url=url, events=EVENTS))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert url not in (refused.value.details() or "") or len(url) == 1


async def test_a_url_that_turned_hostile_is_refused_when_it_is_told(
    settings: RuntimeSettings, database: Database, store: StoreSettings, receiver: Receiver
) -> None:
    """As when a name was rebound since: what was allowed at creation leads inside now."""
    async with serving(settings, database, store, outbound=LOOPBACK) as jobs:
        await subscribe(jobs, receiver, ["job.done"])
    async with serving(settings, database, store) as jobs:
        await jobs.until(await jobs.transcribe(b"no audio"))
        async with asyncio.timeout(60):
            while not (reason := await jobs.value("SELECT reason FROM webhook_delivery")):
                await asyncio.sleep(0.05)
        assert reason == "URL_REFUSED"
    assert receiver.connections == 0


async def test_webhooks_belong_to_their_tenant_and_can_be_deleted(jobs: Jobs, receiver: Receiver) -> None:
    await subscribe(jobs, receiver, ["job.done"])
    (webhook,) = (await jobs.ask("ListWebhooks", api.ListWebhooksRequest())).webhooks
    assert (await jobs.ask("ListWebhooks", api.ListWebhooksRequest(), OTHER_TOKEN)).webhooks == []
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ask("DeleteWebhook", api.DeleteWebhookRequest(webhook_id=webhook.id), OTHER_TOKEN)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    await jobs.ask("DeleteWebhook", api.DeleteWebhookRequest(webhook_id=webhook.id))
    await jobs.until(await jobs.transcribe(b"no audio"))
    assert await jobs.value("SELECT count(*) FROM webhook_delivery") == 0
    for events in ([], ["insight"], ["job.done", "job.done"]):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs.ask("CreateWebhook", api.CreateWebhookRequest(url="https://example.com", events=events))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_happens_as_its_webhook_is_disabled_is_given_up_and_not_looked_at_for_ever(database: Database) -> None:
    tenant = (await Tenants(database).ensure(["default"]))["default"]
    async with database.tenant_tx(tenant) as connection:
        webhook = await connection.fetchval(
            "INSERT INTO webhook (tenant_id, url, events, secret, disabled_at)"
            " VALUES (malha_tenant(), 'https://example.com', '{job.done}', 's', now()) RETURNING id"
        )
        delivery = await connection.fetchval(
            "INSERT INTO webhook_delivery (tenant_id, webhook_id, event, object_id, data)"
            " VALUES (malha_tenant(), $1, 'job.done', $1, '{}') RETURNING id",
            webhook,
        )
    out = Outbound(LOOPBACK)
    assert await Delivering(database, QUICK, out).run(tenant, delivery) is None
    out.close()
    async with database.tenant_tx(tenant) as connection:
        row = await connection.fetchrow("SELECT status, reason, ended_at IS NOT NULL FROM webhook_delivery")
    assert tuple(row) == ("failed", "WEBHOOK_DISABLED", True)
