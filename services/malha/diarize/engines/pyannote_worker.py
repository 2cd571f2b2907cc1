"""pyannote.audio in a worker process, in an environment of its own: nothing of Malha's other packages is there."""

import sys
import traceback
from typing import Any, Final, cast

from malha.diarize.engines.pyannote_messages import Loaded, Opening, WorkerOptions
from malha.runtime.errors import FailedPrecondition
from malha.runtime.worker import WorkerStream

COMMAND: Final = "make engine-pyannote"


class PyannoteWorker:
    """A loaded pipeline, which opens streams to itself."""

    def __init__(self, options: WorkerOptions) -> None:
        """Raises FailedPrecondition for an environment or a pipeline that is of no use."""
        try:
            from malha.diarize.engines import pyannote_hearing, pyannote_pipeline  # noqa: PLC0415 - what it brings may be missing or broken
        except (ImportError, OSError, RuntimeError) as error:  # so say torch and torchaudio that were built for another than each other
            traceback.print_exc()
            message = f"pyannote.audio does not load in {sys.prefix} ({type(error).__name__}): {COMMAND}"
            raise FailedPrecondition(message, reason="MISSING_EXTRA") from None
        try:
            self._pipeline = pyannote_pipeline.LoadedPipeline(options)
        except pyannote_pipeline.UnusablePipeline as error:
            traceback.print_exc()
            raise FailedPrecondition(f"the pipeline in {options.directory} cannot be used: {error}", reason="MODEL_UNUSABLE") from None
        self._hearing: Any = pyannote_hearing.Hearing
        self.info = Loaded(self._pipeline.version, self._pipeline.print_model)

    def open(self, arguments: object) -> WorkerStream:
        return cast("WorkerStream", self._hearing(self._pipeline, cast("Opening", arguments)))
