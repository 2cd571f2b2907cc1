"""JobService: jobs and webhooks over the contract, and this process's share of the work."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from malha.jobs import store, webhook_store
from malha.jobs.chatting import Chatting
from malha.jobs.delivering import Delivering
from malha.jobs.jobs import Jobs
from malha.jobs.messages import CHAT, TRANSCRIBE
from malha.jobs.recording import AudioChannel
from malha.jobs.settings import JobSettings
from malha.jobs.transcribing import Transcribing
from malha.jobs.webhooks import Webhooks
from malha.jobs.worker import Worker
from malha.runtime.job_files import JobFiles, JobFilesSettings
from malha.runtime.outbound import Outbound, OutboundSettings
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.store.tenants import Tenants


class JobService:
    """Serves one database, which whoever made it closes. ``local`` gives the channel to this process: Audio, and Chat where it is served."""

    name = "malha.api.jobs.v1.JobService"
    engine = "pgqueuer"

    def __init__(
        self,
        database: Database,
        stored: StoreSettings,
        data_directory: Path,
        local: AudioChannel,
        settings: JobSettings,
        files: JobFilesSettings,
        outbound: OutboundSettings,
    ) -> None:
        self._database = database
        self._settings = settings
        self._files = JobFiles(data_directory, files.job_files_bytes)
        self._outbound = Outbound(outbound)
        self._parts = (Jobs(database, self._files), Webhooks(database, settings, self._outbound))
        runners = {
            TRANSCRIBE: Transcribing(database, self._files, local, settings).run,
            CHAT: Chatting(database, local, settings).run,
            "webhook": Delivering(database, settings, self._outbound).run,
        }
        self._worker = Worker(stored, settings, runners, self._maintain)

    async def start(self) -> None:
        """Begin to work."""
        self._worker.start()

    async def close(self) -> None:
        """Stop working; what runs goes back into the queue."""
        await self._worker.close()
        self._outbound.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {name: method for part in self._parts for name, method in part.methods().items()}

    async def _maintain(self) -> None:
        """Forget what is long over; delete files whose job is over or gone."""
        for tenant in (await Tenants(self._database).list()).values():
            async with self._database.tenant_tx(tenant) as connection:
                await store.forget(connection, self._settings.job_retention_days)
                await webhook_store.forget(connection, self._settings.job_retention_days)
        lying = defaultdict[uuid.UUID, set[uuid.UUID]](set)
        for tenant, job in await asyncio.to_thread(self._files.sweep):
            lying[tenant].add(job)
        for tenant, jobs in lying.items():
            async with self._database.tenant_tx(tenant) as connection:
                unwanted = jobs - await store.unfinished(connection, jobs)
            for job in unwanted:
                await asyncio.to_thread(self._files.discard, tenant, job)
