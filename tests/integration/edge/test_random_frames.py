"""One session of random frames leaves the others' transcripts unchanged."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from conftest import silence, voice
from integration.edge.conftest import RunningEdge, talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAMES = 10_000


async def transcript(edge: RunningEdge, samples: np.ndarray) -> list[tuple[Any, ...]]:
    async with talk(edge) as call:
        await call.start()
        for start in range(0, len(samples), 1600):
            await call.socket.send(samples[start : start + 1600].tobytes())
            await asyncio.sleep(0.02)
        await call.say(event="stop")
        events, code = await call.rest()
    assert code == 1000
    segments = [segment for event in events if event["event"] == "batch_processed" for segment in event["segments"]]
    return [(segment["text"], segment["start_sec"], segment["end_sec"]) for segment in segments]


async def noise(edge: RunningEdge) -> int:
    """A session of nothing but random frames; how it closed."""
    source = random.Random(7)
    async with talk(edge) as call:
        await call.start()
        reading = asyncio.create_task(call.rest())
        for _ in range(FRAMES):
            await call.socket.send(source.randbytes(2 * source.choice((1, 3, 80, 160, 320, 1600, 2000))))
        await call.say(event="stop")
        _, code = await reading
    return code


async def garbage(edge: RunningEdge) -> None:
    """Bytes that are no WebSocket frames, on sockets of their own."""
    source = random.Random(11)
    for _ in range(20):
        async with talk(edge) as call:
            await call.start()
            call.socket.transport.write(source.randbytes(source.randrange(1, 5000)))
            call.socket.transport.write_eof()
            await call.rest()


async def test_random_frames_disturb_nobody(edge: RunningEdge) -> None:
    samples = np.concatenate([silence(0.5), voice(1.2), silence(0.8), voice(1.0, seed=3), silence(0.8)])
    alone = await transcript(edge, samples)
    assert len(alone) == 2
    code, beside, _ = await asyncio.gather(noise(edge), transcript(edge, samples), garbage(edge))
    assert code == 1000
    assert beside == alone
