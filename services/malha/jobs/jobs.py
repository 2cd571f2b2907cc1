"""Jobs: the contract's methods."""

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, Final

from malha.api.jobs.v1 import jobs_pb2 as api
from malha.jobs import store
from malha.jobs.chatting import input_of
from malha.jobs.messages import CHAT, STATUSES, TRANSCRIBE, job_message, tenant_of
from malha.runtime.auth import Principal
from malha.runtime.errors import InvalidArgument, NotFound, Unavailable
from malha.runtime.ids import uuid7
from malha.runtime.job_files import JobFiles
from malha.runtime.rpc import UnaryMethod
from malha.store.configuration import Configurations
from malha.store.database import Database

_PAGE: Final = 100


class Jobs:
    """Answers what is asked of jobs."""

    def __init__(self, database: Database, files: JobFiles) -> None:
        self._database = database
        self._configurations = Configurations(database)
        self._files = files

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "CreateJob": UnaryMethod(self.create),
            "GetJob": UnaryMethod(self.get),
            "ListJobs": UnaryMethod(self.list),
            "CancelJob": UnaryMethod(self.cancel),
        }

    async def create(self, request: api.CreateJobRequest, principal: Principal) -> api.CreateJobResponse:
        """Make a job: first its file is there, then its row and its place in the queue, both or neither."""
        tenant, job = tenant_of(principal), uuid7()
        if request.HasField("chat"):
            return await self._create_chat(request.chat, tenant, job)
        wanted = request.transcribe
        await asyncio.to_thread(self._take_file, wanted, tenant, job)
        try:
            async with self._database.tenant_tx(tenant) as connection:
                kept = await store.create(connection, job, TRANSCRIBE, _input(wanted))
        except BaseException:
            self._files.discard(tenant, job)
            raise
        return api.CreateJobResponse(job=job_message(kept))

    async def get(self, request: api.GetJobRequest, principal: Principal) -> api.GetJobResponse:
        """A job."""
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            return api.GetJobResponse(job=job_message(await store.get(connection, uuid.UUID(request.job_id))))

    async def list(self, request: api.ListJobsRequest, principal: Principal) -> api.ListJobsResponse:
        """A page of jobs. The token of a page is the last job before it."""
        most = request.page_size or _PAGE
        status = next((name for name, value in STATUSES.items() if value == request.status), None)
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            kept = await store.newest(connection, most + 1, status, _place(request.page_token))
        token = str(kept[most - 1].id) if len(kept) > most else ""
        return api.ListJobsResponse(jobs=map(job_message, kept[:most]), next_page_token=token)

    async def cancel(self, request: api.CancelJobRequest, principal: Principal) -> api.CancelJobResponse:
        """End a job. Whoever runs it notices, and deletes its file."""
        tenant, job = tenant_of(principal), uuid.UUID(request.job_id)
        async with self._database.tenant_tx(tenant) as connection:
            kept = await store.cancel(connection, job)
        return api.CancelJobResponse(job=job_message(kept))

    async def _create_chat(self, wanted: api.ChatJob, tenant: uuid.UUID, job: uuid.UUID) -> api.CreateJobResponse:
        configuration = await self._configurations.of(tenant)
        given = await asyncio.to_thread(input_of, wanted, configuration)
        async with self._database.tenant_tx(tenant) as connection:
            kept = await store.create(connection, job, CHAT, given)
            if kept.conversation_id is None:
                raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
        return api.CreateJobResponse(job=job_message(kept))

    def _take_file(self, wanted: api.TranscribeJob, tenant: uuid.UUID, job: uuid.UUID) -> None:
        upload = wanted.upload_id
        if not upload:
            self._files.check_room(len(wanted.content))
            try:
                upload, file = self._files.create()
                with file:
                    file.write(wanted.content)
                self._files.complete(upload)
            except OSError as error:
                raise Unavailable(f"the recording cannot be kept: {error.strerror}", reason="DISK_FULL", retry_seconds=30.0) from error
        self._files.claim(upload, tenant, job)


def _input(wanted: api.TranscribeJob) -> dict[str, Any]:
    return {
        "conversation_id": wanted.conversation_id,
        "languages": list(wanted.languages),
        "model": wanted.model,
        "roles": list(wanted.roles),
        "diarize": wanted.diarize,
        "words": wanted.words,
        "analyse": wanted.analyse,
    }


def _place(token: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(token) if token else None
    except ValueError:
        wrong = "is not of this list"
        raise InvalidArgument(f"page_token {wrong}", reason="INVALID_PAGE_TOKEN", violations={"page_token": wrong}) from None
