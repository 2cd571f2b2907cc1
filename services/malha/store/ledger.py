"""What a session tells for good, in order, each only once it is stored.

Events that are decided while others are being stored go together with the next commit. What the session's owner must know to go on is
stored in the same transaction, as it stood when the batch was made: so it covers exactly the events that are stored.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from malha.runtime import logs
from malha.runtime.errors import Internal, MalhaError
from malha.runtime.logs import Event
from malha.store.group_commit import GroupCommit, Pending
from malha.store.session_updates import Rows, SessionMoved, SessionUpdate, StoredEvent, StoredSegment, rows_of
from malha.store.sessions import Held

log = logs.get("store.ledger")

COMMIT_SECONDS: Final = 120.0
"""How long PostgreSQL may be away before calls end, to be resumed."""


class Columns(Protocol):
    """How far a session has come, as the store keeps it."""

    def columns(self) -> Mapping[str, Mapping[str, Any]]: ...


ProgressT = TypeVar("ProgressT", bound=Columns)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, and how it is told once it is stored."""

    event: StoredEvent
    tell: Callable[[], None]
    segment: StoredSegment | None = None
    last: bool = False
    """It closes the session."""


class Ledger(Generic[ProgressT]):
    """The durable events of one session. ``progress`` takes the session's state; ``fail`` is told why no more can be stored."""

    def __init__(
        self,
        writer: GroupCommit,
        held: Held,
        progress: Callable[[], ProgressT],
        fail: Callable[[MalhaError], None],
        stored: ProgressT | None = None,
    ) -> None:
        self.seq = held.last_seq
        self.stored = stored
        """As of the last event that was stored, or where an earlier owner was."""
        self._writer = writer
        self._held = held
        self._progress = progress
        self._fail = fail
        self._waiting: deque[Entry] = deque()
        self._stored_seq = held.last_seq
        self._save = False
        self._pending: Pending | None = None
        self._sent: tuple[list[Entry], ProgressT] | None = None
        """What is being stored."""
        self._settled = asyncio.Event()
        self._settled.set()
        self._failure: MalhaError | None = None

    @property
    def idle(self) -> bool:
        """Whether everything decided is stored."""
        return self._settled.is_set()

    @property
    def moved(self) -> bool:
        """Whether another process owns the session now, as far as is known here."""
        return isinstance(self._failure, SessionMoved)

    def next_seq(self) -> int:
        """The number of the event to be appended next."""
        self.seq += 1
        return self.seq

    def append(self, entry: Entry) -> None:
        """Store an event, then tell it."""
        self._waiting.append(entry)
        self._begin()

    def save(self) -> None:
        """Store how far the session has come, without an event."""
        self._save = True
        self._begin()

    def _begin(self) -> None:
        if self._settled.is_set() and self._failure is None:  # after what could not be stored nothing else may be: it would leave a hole
            self._settled.clear()
            self._submit()

    def _submit(self) -> None:
        self._pending = self._writer.submit(self._take, self._on_stored, deadline_seconds=COMMIT_SECONDS)

    async def settled(self) -> None:
        """Wait until everything decided is stored and told. Raises why it cannot be."""
        while not self._settled.is_set():
            await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Store nothing more."""
        if self._pending is not None:
            self._pending.withdraw()
        self._settled.set()

    def _take(self) -> Rows:
        """Everything decided until now."""
        batch = list(self._waiting)
        self._waiting.clear()
        self._save = False
        progress = self._progress()
        self._sent = batch, progress
        return rows_of(self._update(batch, progress))

    def _on_stored(self, error: MalhaError | None) -> None:
        sent, self._sent, self._pending = self._sent, None, None
        if error is not None:
            self._end(error)
            return
        assert sent is not None, "it was taken before it was stored"
        batch, self.stored = sent
        self._stored_seq = batch[-1].event.seq if batch else self._stored_seq
        try:
            for entry in batch:
                entry.tell()
        except Exception as defect:
            log.error(Event.RPC_DEFECT, cause=defect)
            self._end(Internal("a defect of Malha; its log has the place"))
            return
        if self._waiting or self._save:
            self._submit()
        else:
            self._settled.set()

    def _end(self, error: MalhaError) -> None:
        self._failure = error
        self._settled.set()
        self._fail(error)

    def _update(self, batch: list[Entry], progress: ProgressT) -> SessionUpdate:
        return SessionUpdate(
            self._held.session_id,
            self._held.epoch,
            batch[-1].event.seq if batch else self._stored_seq,
            **progress.columns(),
            state="closed" if batch and batch[-1].last else "open",
            events=[entry.event for entry in batch],
            segments=[entry.segment for entry in batch if entry.segment is not None],
        )
