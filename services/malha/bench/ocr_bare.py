"""rapidocr as anybody would use it, in a process of its own: what Ocr's speed is held against."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from malha.runtime.worker import Worker, WorkerStream


def load(threads: int) -> Worker:
    """The engine host's factory."""
    return _Bare(threads)


class _Bare:
    info: object = None

    def __init__(self, threads: int) -> None:
        rapidocr: Any = import_module("rapidocr")
        params = {"EngineConfig.onnxruntime.intra_op_num_threads": threads, "EngineConfig.onnxruntime.inter_op_num_threads": 1}
        self._engine: Any = rapidocr.RapidOCR(params={**params, "Global.log_level": "error"})

    def open(self, arguments: object) -> WorkerStream:
        del arguments
        return _Stream(self._engine)


class _Stream:
    """Each input is a path, each output its text."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def feed(self, item: object) -> Iterator[object]:
        yield "\n".join(self._engine(str(item)).txts or ())

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        pass
