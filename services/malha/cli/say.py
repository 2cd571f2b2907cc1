"""``malha say``: text to a file, as it is spoken."""

import asyncio
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from malha.cli.client import connected, sdk
from malha.cli.output import note, print_json
from malha.cli.say_errors import read_reference, told_by_options
from malha.runtime.errors import InvalidArgument

STANDARD_OUTPUT: Final = Path("-")
ENCODINGS: Final[dict[str, sdk.SpeechEncoding]] = {"wav": "wav", "ogg": "ogg", "opus": "ogg", "mp3": "mp3", "pcm": "pcm16", "raw": "pcm16"}
"""By a file's suffix, or by name."""


@dataclass(frozen=True, slots=True)
class SayOptions:
    """What the command line says."""

    output: Path
    language: str
    voice: str
    speed: float
    target: str | None
    format: str = ""
    """Empty: as the output's suffix says, else WAV."""
    sample_rate: int | None = None
    reference: Path | None = None
    consent_id: str = ""


def run_say(text: str | Iterable[str], options: SayOptions, *, json: bool) -> None:
    """Speak, write, tell. Raises InvalidArgument without a text or a language, OSError, and what the SDK raises."""
    nothing = InvalidArgument("there is nothing to say", reason="NO_TEXT")
    if isinstance(text, str) and not text.strip():
        raise nothing
    if not (options.language or options.voice):
        raise InvalidArgument("say in what: --language pt-BR, or --voice NAME", reason="NO_LANGUAGE")
    name = options.format or options.output.suffix.lower().lstrip(".") or "wav"
    if name not in ENCODINGS:
        raise InvalidArgument(f"no format {name!r}: there are {', '.join(ENCODINGS)}; --format chooses", reason="UNSUPPORTED_FORMAT")
    encoding = ENCODINGS[name]
    figures = asyncio.run(_speak(text, encoding, options))
    if not figures["seconds"]:
        raise nothing
    if options.output == STANDARD_OUTPUT:
        return
    if json:
        print_json({"file": str(options.output), **figures})
    else:
        licence = f", licence {figures['licence']}" if figures["licence"] else ""
        note(f"{options.output}: {figures['seconds']:.1f} s, voice {figures['voice']}{licence}")


async def _speak(text: str | Iterable[str], encoding: sdk.SpeechEncoding, options: SayOptions) -> dict[str, str | float]:
    """Have it spoken and written; what there is to tell of it."""
    reference = read_reference(options.reference) if options.reference is not None else b""
    async with connected(options.target) as malha:
        with told_by_options():
            stream = malha.speak(
                text,
                language=options.language,
                voice=options.voice,
                encoding="pcm16" if encoding == "wav" else encoding,
                sample_rate=options.sample_rate,
                speed=options.speed,
                reference_audio=reference,
                consent_id=options.consent_id,
            )
            rate = await (_write_wav if encoding == "wav" else _write_chunks)(stream, options.output)
    figures = {"seconds": round(stream.duration_seconds, 3), "sample_rate": rate, "format": encoding}
    return {**figures, "voice": stream.voice, "engine": stream.engine.name, "licence": stream.licence}


async def _write_wav(stream: sdk.SpeechStream, output: Path) -> int:
    """Write a WAV file, whose header tells its length; the sample rate. Without speech there is no file."""
    chunks = [chunk async for chunk in stream]
    if not chunks:
        return 0
    rate = chunks[0].sample_rate
    speech = sdk.Speech(b"".join(chunk.audio for chunk in chunks), rate, (), stream.engine, stream.voice)
    with _opened(output) as file:
        file.write(speech.wav())
    return rate


async def _write_chunks(stream: sdk.SpeechStream, output: Path) -> int:
    """Write the chunks as they come; the sample rate. A refusal, which comes before the first, leaves no file."""
    rate = 0
    with ExitStack() as stack:
        file: BinaryIO | None = None
        async for chunk in stream:
            file = file or stack.enter_context(_opened(output))
            file.write(chunk.audio)
            file.flush()
            rate = chunk.sample_rate
    return rate


def _opened(output: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if output == STANDARD_OUTPUT else output.open("wb")
