"""An edge that decides by counting chunks, and can be told to misbehave: what the load generator must notice.

It speaks the WebSocket protocol of ``/api/v1/asr/stream`` through the `websockets` library, an implementation of RFC 6455 that is not ours.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

from websockets.asyncio.server import ServerConnection, serve

CHUNKS_PER_FINAL = 4


@dataclass
class FakeEdge:
    """Tells ``speech_started`` and a final every fourth chunk, of the 0.4 s before it."""

    fault: str = ""
    """lose, repeat, skip (a sequence number), miscount, vanish, shift (boundaries of the second and later sessions), gap, no_position, refuse."""
    delay_seconds: float = 0.0
    """Between deciding and telling."""
    url: str = ""
    starts: list[dict[str, object]] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    """All audio of the first session after the references."""
    sessions: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FakeEdge"]:
        async with serve(self._call, "127.0.0.1", 0, compression=None, ping_interval=0.2) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1/asr/stream"
            yield self

    async def _call(self, socket: ServerConnection) -> None:
        self.starts.append(json.loads(await socket.recv()))
        self.sessions += 1
        number, frames, finals = self.sessions, 0, 0
        seqs = count(1)

        async def tell(event: str, **fields: object) -> None:
            await socket.send(json.dumps({"event": event, **fields}, separators=(",", ":")))

        if self.fault == "refuse":
            await tell("error", code="RESOURCE_EXHAUSTED", reason="TOO_MANY_STREAMS", message="", retryable=True)
            await socket.close(1013)
            return
        await tell("session_started", session_id=str(number), engine="fake", resume_token="")
        async for message in socket:
            if isinstance(message, str):
                break
            self.received.append(message)
            frames += len(message) // 2
            await tell("ack", received_through=frames, keep_from=frames)
            if frames % (CHUNKS_PER_FINAL * 1600) == 0:
                await asyncio.sleep(self.delay_seconds)
                position = {} if self.fault == "no_position" else {"position": frames}
                await tell("speech_started", channel=0, time_sec=0.0, **position)
                finals += 1
                seq = next(seqs)
                faulty = finals == 2
                if faulty and self.fault == "skip":
                    seq = next(seqs)
                end = frames / 16_000 + (0.3 if self.fault == "shift" and number > 4 else 0.0)
                segment = {"id": f"s{finals}", "revision": 1, "text": "x", "start_sec": (frames - 6400) / 16_000, "end_sec": end}
                final = {"seq": seq, "channel": 0, "segments": [segment], **position}
                if not (faulty and self.fault == "lose"):
                    await tell("batch_processed", **final)
                if faulty and self.fault == "repeat":
                    await tell("batch_processed", **final)
                if faulty and self.fault == "gap":
                    await tell("gap", seq=next(seqs), **{"from": 1, "to": 2})
                if faulty and self.fault == "vanish":
                    socket.transport.abort()
                    return
        await tell("final_summary", seq=next(seqs), segments=finals + (self.fault == "miscount"), duration_sec=frames / 16_000)
        await tell("session_ended", seq=next(seqs), reason="finished")
