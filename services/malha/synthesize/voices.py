"""How many people speak in reference audio: a voice cloned from two is nobody's, and one of them may not have consented.

Diarize knows, where it can be asked. Where it cannot, or does not answer in time, this check is left out: that is logged, and the audit of
the clone says so.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import grpc

from malha.api.common.v1 import media_pb2
from malha.api.diarize.v1 import diarize_pb2 as api
from malha.api.diarize.v1 import diarize_pb2_grpc
from malha.runtime import logs
from malha.runtime.durations import seconds
from malha.runtime.errors import InvalidArgument
from malha.runtime.logs import Event
from malha.runtime.mesh import identity
from malha.runtime.status import from_rpc_error
from malha.synthesize.engine import REFERENCE_HERTZ, Reference
from malha.synthesize.reference import wrong

log = logs.get("synthesize.voices")

VOICE_SECONDS: Final = 1.5
"""A voice that speaks for so long, beside another, is a second one. Less may be a cough or a laugh of the first."""
ANSWER_SECONDS: Final = 15.0
"""Half a minute of audio takes a fraction of a second, behind the calls that are labelled meanwhile."""
_PIECE_BYTES: Final = 1 << 19


class ReferenceVoices:
    """Asks Diarize, with the caller's token; ``diarize`` is None where there is none."""

    def __init__(self, diarize: Callable[[], grpc.aio.Channel] | None) -> None:
        self._diarize = diarize

    async def check(self, reference: Reference) -> bool:
        """Whether it could be judged. Raises InvalidArgument where more than one person speaks."""
        if self._diarize is None:
            return _unchecked("NO_DIARIZE")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                spoken = await _spoken(self._diarize(), reference)
        except TimeoutError:
            return _unchecked("DEADLINE_EXCEEDED")
        except asyncio.InvalidStateError:  # a stream that ends while it is written to
            return _unchecked("UNAVAILABLE")
        except grpc.aio.AioRpcError as error:
            return _unchecked(from_rpc_error(error).reason)
        voices = sum(one >= VOICE_SECONDS for one in spoken)
        if voices > 1:
            raise _several(voices)
        return True


async def _spoken(channel: grpc.aio.Channel, reference: Reference) -> list[float]:
    """Seconds of each speaker that Diarize tells apart. Raises AioRpcError, and InvalidStateError."""
    call = diarize_pb2_grpc.DiarizeServiceStub(channel).Diarize(metadata=identity())
    audio = media_pb2.AudioFormat(encoding=media_pb2.ENCODING_PCM16, sample_rate_hertz=REFERENCE_HERTZ, channels=1)
    turns: dict[int, api.Turn] = {}
    try:
        await call.write(api.DiarizeRequest(open=api.Open(format=audio, background=True)))
        while (response := await call.read()) is not grpc.aio.EOF:
            match response.WhichOneof("event"):
                case "opened":
                    for at in range(0, len(reference.pcm), _PIECE_BYTES):
                        await call.write(api.DiarizeRequest(audio=api.Audio(content=reference.pcm[at : at + _PIECE_BYTES])))
                    await call.write(api.DiarizeRequest(finish=api.Finish()))
                case "turn":
                    turns[response.turn.id] = response.turn
    finally:
        call.cancel()
    spoken: defaultdict[str, float] = defaultdict(float)
    for turn in turns.values():
        if turn.speaker:
            spoken[turn.speaker] += seconds(turn.end) - seconds(turn.start)
    return list(spoken.values())


def _unchecked(reason: str) -> bool:
    log.warning(Event.DIARIZE_LOST, reason=reason)
    return False


def _several(voices: int) -> InvalidArgument:
    message = f"the reference audio holds {voices} voices: send one speaker alone, without music or a noisy room, which sound like others"
    return wrong(message, "SEVERAL_VOICES")
