"""``POST /api/v1/jobs`` and its kin over HTTP, through a real edge."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from conftest import TOKEN
from integration.jobs.conftest import Jobs, recording

from malha.edge.openapi import document
from malha.edge.server import EdgeServer
from malha.edge.settings import EdgeSettings
from malha.runtime.settings import RuntimeSettings
from malha.store.tokens import Tokens

ADDRESS = "/api/v1/jobs"


@dataclass
class Edge:
    """An edge before the server, and a client of it."""

    jobs: Jobs
    http: httpx.AsyncClient

    async def until_over(self, job: str) -> dict[str, Any]:
        async with asyncio.timeout(90):
            while True:
                found = (await self.http.get(f"{ADDRESS}/{job}")).json()["job"]
                if found["status"] not in ("JOB_STATUS_QUEUED", "JOB_STATUS_RUNNING"):
                    return found
                await asyncio.sleep(0.05)


@pytest.fixture
async def edge(jobs: Jobs) -> AsyncIterator[Edge]:
    runtime = RuntimeSettings(_env_file=None, data_dir=jobs.directory, grpc_port=jobs.port)
    server = EdgeServer(EdgeSettings(_env_file=None, port=0, max_upload_bytes=500_000), runtime)
    port = await server.start()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False
    ) as http:
        yield Edge(jobs, http)
    await server.stop()


@pytest.mark.parametrize("first", ["file", "fields"])
async def test_an_upload_becomes_a_job_and_a_conversation(edge: Edge, first: str) -> None:
    fields = {"language": "auto", "conversation_id": "upload-1", "analyse": "true"}
    if first == "fields":
        answer = await edge.http.post(ADDRESS, data=fields, files={"file": ("call.wav", recording(), "audio/wav")})
    else:
        parts = [("file", ("call.wav", recording(), "audio/wav")), *((name, (None, value)) for name, value in fields.items())]
        answer = await edge.http.post(ADDRESS, files=parts)
    assert answer.status_code == 200, answer.text
    job = await edge.until_over(answer.json()["job"]["id"])
    assert job["status"] == "JOB_STATUS_DONE", job
    assert job["warnings"][0]["reason"] == "NOT_IN_THIS_VERSION"
    assert await edge.jobs.value("SELECT count(*) FROM segment") > 0
    assert edge.jobs.files() == []


async def test_who_may_write_may_upload_and_who_may_read_may_not(edge: Edge) -> None:
    tokens = Tokens(edge.jobs.database)
    answers = {}
    for scope in ("write", "read"):
        secret, _ = await tokens.create("default", actor="test", scopes={scope})
        headers = {"Authorization": f"Bearer {secret}"}
        answers[scope] = await edge.http.post(ADDRESS, headers=headers, files={"file": ("call.wav", recording(), "audio/wav")})
    assert answers["write"].status_code == 200, answers["write"].text
    assert (answers["read"].status_code, answers["read"].json()["error"]["code"]) == (403, "PERMISSION_DENIED")


async def test_a_small_recording_goes_as_json(edge: Edge) -> None:
    content = base64.b64encode(recording(0.5)).decode()
    answer = await edge.http.post(ADDRESS, json={"transcribe": {"content": content}})
    assert answer.status_code == 200, answer.text
    assert (await edge.until_over(answer.json()["job"]["id"]))["status"] == "JOB_STATUS_DONE"
    listed = (await edge.http.get(ADDRESS)).json()["jobs"]
    assert [job["id"] for job in listed] == [answer.json()["job"]["id"]]
    late = await edge.http.post(f"{ADDRESS}/{listed[0]['id']}:cancel", json={})
    assert late.json()["error"]["reason"] == "JOB_OVER"


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"data": {"language": "en"}, "files": {"other": b"x"}}, None),
        ({"files": {"file": b""}}, "EMPTY_FILE"),
        ({"files": {"file": b"x"}, "data": {"colour": "red"}}, "INVALID_FIELD"),
        ({"files": {"file": b"x"}, "data": {"roles": "king"}}, "INVALID_FIELD"),
        ({"files": {"file": b"x" * 600_000}}, None),
        ({"files": {"file": b"x"}, "headers": {"Authorization": "Bearer wrong"}}, "TOKEN_UNKNOWN"),
    ],
)
async def test_a_wrong_form_is_refused_and_leaves_nothing_behind(edge: Edge, form: dict[str, Any], reason: str | None) -> None:
    answer = await edge.http.post(ADDRESS, **form)
    assert 400 <= answer.status_code < 500, answer.text
    assert reason in (None, answer.json()["error"]["reason"])
    assert edge.jobs.files() == []
    assert await edge.jobs.value("SELECT count(*) FROM job") == 0


async def test_a_form_s_field_is_named_as_it_was_sent(edge: Edge) -> None:
    answer = await edge.http.post(ADDRESS, files={"file": b"x"}, data={"conversation_id": "c" * 129})
    assert (answer.status_code, list(answer.json()["error"]["violations"])) == (400, ["conversation_id"])


async def test_a_client_that_leaves_amid_its_upload_leaves_nothing_behind(edge: Edge) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(100_000)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await edge.http.post(ADDRESS, content=half(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    async with asyncio.timeout(30):
        while edge.jobs.files():
            await asyncio.sleep(0.05)


async def test_webhooks_over_rest(edge: Edge) -> None:
    refused = await edge.http.post("/api/v1/webhooks", json={"url": "https://127.0.0.1/", "events": ["job.done"]})
    assert (refused.status_code, refused.json()["error"]["reason"]) == (400, "URL_REFUSED")
    assert (await edge.http.get("/api/v1/webhooks")).json() == {"webhooks": []}


def test_the_form_is_documented() -> None:
    content = document()["paths"][ADDRESS]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert "conversation_id" in content["multipart/form-data"]["schema"]["properties"]
