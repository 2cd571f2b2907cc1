"""Jobs that transcribe: a recording in, the segments of a conversation out."""

import dataclasses
import uuid
from pathlib import Path
from typing import Final

from malha.jobs import store
from malha.jobs.attempts import Attempt, Attempting
from malha.jobs.recording import AudioChannel, Recording
from malha.jobs.settings import JobSettings
from malha.runtime.errors import FailedPrecondition
from malha.runtime.job_files import JobFiles
from malha.store.database import Database
from malha.store.roles import Connection

_NOT_IN_THIS_VERSION: Final = {
    "reason": "NOT_IN_THIS_VERSION",
    "message": "analysis: not in this version of Malha; the transcript is there to be analysed later",
}


class Transcribing(Attempting[store.Transcribed]):
    """Runs them. ``audio`` gives the channel to Audio in this process."""

    def __init__(self, database: Database, files: JobFiles, audio: AudioChannel, settings: JobSettings) -> None:
        super().__init__(database, settings)
        self._files = files
        self._audio = audio

    def _work(self, attempt: Attempt) -> "_Hearing":
        recording = Recording(self._audio(), attempt.tenant, attempt.job.id, attempt.job.input)
        return _Hearing(recording, self._files.path(attempt.tenant, attempt.job.id))

    async def _keep(self, connection: Connection, attempt: Attempt, done: store.Transcribed) -> bool:
        if attempt.job.input.get("analyse"):
            done = dataclasses.replace(done, warnings=[*done.warnings, _NOT_IN_THIS_VERSION])
        return await store.finish(connection, attempt.job, attempt.session, done)

    def _discard(self, tenant: uuid.UUID, job: uuid.UUID) -> None:
        self._files.discard(tenant, job)


class _Hearing:
    """A recording that lies on disk."""

    def __init__(self, recording: Recording, path: Path) -> None:
        self._recording = recording
        self._path = path

    @property
    def progress(self) -> float:
        return self._recording.progress

    async def run(self) -> store.Transcribed:
        try:
            return await self._recording.transcribe(self._path)
        except OSError as error:
            raise FailedPrecondition(f"the recording cannot be read ({type(error).__name__})", reason="RECORDING_LOST") from error
