"""JSON logs, one object a line. An event's name comes from a fixed list and its fields are numbers, ids and codes: never user content."""

import logging
import sys
from enum import StrEnum
from typing import Any, TextIO

import orjson

from malha.runtime.errors import MalhaError


class Event(StrEnum):
    """Every event Malha logs."""

    PROCESS_STARTED = "process_started"
    PROCESS_STOPPED = "process_stopped"
    SERVER_LISTENING = "server_listening"
    SERVICE_SERVING = "service_serving"
    SERVICE_FAILED = "service_failed"
    DRAIN_STARTED = "drain_started"
    DRAIN_ENDED = "drain_ended"
    RPC_FAILED = "rpc_failed"
    RPC_DEFECT = "rpc_defect"
    STREAM_LOST = "stream_lost"
    STREAM_SLOW_READER = "stream_slow_reader"
    CALL_OPENED = "call_opened"
    CALL_CLOSED = "call_closed"
    RECOGNISER_LOST = "recogniser_lost"
    RECOGNISER_BACK = "recogniser_back"
    INSIGHT_LOST = "insight_lost"
    DIARIZE_LOST = "diarize_lost"
    INSIGHT_SHOWN = "insight_shown"
    CHAT_UNKEPT = "chat_unkept"
    MODELS_RELOADED = "models_reloaded"
    MODELS_REFUSED = "models_refused"
    ENGINE_STARTED = "engine_started"
    ENGINE_WORKER_LOST = "engine_worker_lost"
    ENGINE_WORKER_STARTED = "engine_worker_started"
    ENGINE_ITEM_FAILED = "engine_item_failed"
    ENGINE_MISSING = "engine_missing"
    CHILD_STARTED = "child_started"
    CHILD_READY = "child_ready"
    CHILD_LOST = "child_lost"
    CHILD_STOPPED = "child_stopped"
    SOCKET_OPENED = "socket_opened"
    SOCKET_CLOSED = "socket_closed"
    REQUEST_REFUSED = "request_refused"
    MODEL_FILE_PULLED = "model_file_pulled"
    STORE_AWAY = "store_away"
    STORE_BACK = "store_back"
    STORE_PARTITIONS_FAILED = "store_partitions_failed"
    SESSION_ABANDONED = "session_abandoned"
    CALL_RESUMED = "call_resumed"
    TOKEN_ENDED = "token_ended"  # noqa: S105 - an event's name
    TOKENS_UNCHECKED = "tokens_unchecked"
    JOBS_STOPPED = "jobs_stopped"
    JOBS_UNSWEPT = "jobs_unswept"
    JOB_ENDED = "job_ended"
    JOB_FAILED = "job_failed"
    WEBHOOK_DISABLED = "webhook_disabled"
    BACKGROUND_DEFECT = "background_defect"
    LIBRARY = "library"


Field = str | int | float | bool | None


class Logger:
    """Logs events of one area, such as ``runtime.stream``."""

    def __init__(self, area: str) -> None:
        self._logger = logging.getLogger(f"malha.{area}")

    def info(self, event: Event, **fields: Field) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: Event, **fields: Field) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: Event, *, cause: BaseException | None = None, **fields: Field) -> None:
        """``cause`` adds where it was raised: type, file and line, but not its text, which may quote a user."""
        self._log(logging.ERROR, event, fields, cause)

    def _log(self, level: int, event: Event, fields: dict[str, Field], cause: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event.value, extra={"malha_fields": {**fields, **_where(cause)}})


def get(area: str) -> Logger:
    """The logger of an area."""
    return Logger(area)


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs of this process to ``stream`` (default: standard error) as JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpx2", "httpcore", "uvicorn.access", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "area", "event", ...fields}``. Records of other libraries become event ``library`` with logger and place only."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
        }
        fields = getattr(record, "malha_fields", None)
        if fields is None:
            line |= {"event": Event.LIBRARY.value, "area": record.name, "at": f"{record.module}:{record.lineno}"}
            if record.exc_info and record.exc_info[1] is not None:
                line |= _where(record.exc_info[1])
        else:
            line |= {"event": record.msg, "area": record.name.removeprefix("malha."), **fields}
        return orjson.dumps(line).decode()


def _where(cause: BaseException | None) -> dict[str, Field]:
    if cause is None:
        return {}
    place = cause.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    fields: dict[str, Field] = {"error": type(cause).__name__}
    if isinstance(cause, MalhaError):
        fields["reason"] = cause.reason
    if place is not None:
        fields["at"] = f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}"
    return fields
