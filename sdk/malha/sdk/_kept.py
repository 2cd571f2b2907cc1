"""What a call keeps to send again: its audio and controls, in the order they were said, and that it was finished."""

import heapq
from collections.abc import Iterator

from malha.sdk import events
from malha.sdk._controls import Controls
from malha.sdk._format import Format
from malha.sdk._gen.malha.api.audio import v1 as audio
from malha.sdk._unsaved import UnsavedAudio, UnsavedBuffer
from malha.sdk._wire import audio_request, serialised

_FINISH = bytes(audio.StreamRequest(finish=audio.Finish()))


class Kept:
    """Whoever sends adds here first, then writes what ``add`` returns. ``finished`` is set once nothing follows."""

    def __init__(self, call_format: Format, *, fresh: bool) -> None:
        """``fresh``: the call begins here. Else it is one that another process had."""
        self._most_bytes = call_format.most_bytes
        self._controls = Controls(fresh=fresh)
        self._keeps = fresh
        self.audio = UnsavedBuffer(frame_bytes=call_format.frame_bytes, limit_bytes=call_format.kept_bytes, container=call_format.container)
        self.finished = False

    def restore(self, unsaved: UnsavedAudio) -> None:
        """Begin with what the other process had."""
        self.audio.restore(unsaved, self._most_bytes)
        self._keeps = True

    def begin_at(self, position: int) -> None:
        """Where the server takes the first audio of this process."""
        self.audio.begin_at(position)
        self._keeps = True

    def add_audio(self, position: int, piece: bytes) -> bytes:
        self.audio.add(position, piece)
        return audio_request(position, piece)

    def add_control(self, position: int, request: audio.StreamRequest) -> bytes:
        """A control or feedback, said after the audio before ``position``."""
        content = serialised(request)
        self._controls.add(position, request)
        return content

    def finish(self) -> bytes:
        self.finished = True
        return _FINISH

    def forget(self, ack: events.Ack) -> None:
        """Let go of what the server will not ask for again."""
        self.audio.forget(ack.keep_from, ack.keep_from_frame)
        self._controls.forget(ack.received_through, ack.keep_from)

    def since(self, position: int) -> Iterator[bytes]:
        """All requests from ``position`` on, each control before the audio it was said before. Acks that come meanwhile change nothing here."""
        said = [(at, False, bytes(request)) for at, request in self._controls.since(position)]
        pieces = [(at, True, piece) for at, piece in self.audio.since(position)]
        for at, is_audio, content in heapq.merge(said, pieces, key=lambda entry: entry[:2]):
            yield audio_request(at, content) if is_audio else content
        if self.finished:
            yield _FINISH

    def resume_request(self, token: str, after_seq: int) -> bytes:
        """Asks the server to take the call up."""
        where = self.audio.needed_from if self._keeps else None
        frame = self.audio.needed_from_frame if self._keeps else 0
        resume = audio.Resume(token=token, after_seq=after_seq, have_from=where, have_from_frame=frame)
        return serialised(audio.StreamRequest(resume=resume))
