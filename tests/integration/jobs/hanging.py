"""A process that takes a job and never ends it: ``python -m integration.jobs.hanging DATABASE_URL DATA_DIRECTORY``. It says when it has one."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from integration.jobs.conftest import serving

from malha.runtime.settings import RuntimeSettings
from malha.store.database import Database
from malha.store.settings import StoreSettings
from malha.transcribe.engine import Hypothesis, RecognitionConfig
from malha.transcribe.engines.null import NullEngine
from malha.transcribe.settings import TranscribeSettings


class Hanging(NullEngine):
    """Never recognises anything."""

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        print("begun", flush=True)
        await asyncio.Event().wait()
        yield Hypothesis("", final=True, confidence=None, language="")


async def main() -> None:
    store = StoreSettings(_env_file=None, database_url=sys.argv[1])
    settings = RuntimeSettings(_env_file=None, data_dir=Path(sys.argv[2]), grpc_port=0, admin_port=0, api_tokens=("default:test-token",))
    async with (
        await Database.connect(store) as database,
        serving(settings, database, store, engine=Hanging(TranscribeSettings(_env_file=None))),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
