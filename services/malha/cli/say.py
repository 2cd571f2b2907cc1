"""``malha say``: text to a WAV file."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from malha.cli.client import connected, sdk
from malha.cli.output import note, print_json
from malha.runtime.errors import InvalidArgument

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, slots=True)
class SayOptions:
    """What the command line says."""

    output: Path
    language: str
    voice: str
    speed: float
    target: str | None


def run_say(text: str, options: SayOptions, *, json: bool) -> None:
    """Speak, write, tell. Raises InvalidArgument without a text or a language, OSError, and what the SDK raises."""
    if not text.strip():
        raise InvalidArgument("there is nothing to say", reason="NO_TEXT")
    if not (options.language or options.voice):
        raise InvalidArgument("say in what: --language pt-BR, or --voice NAME", reason="NO_LANGUAGE")
    speech = asyncio.run(_speak(text, options))
    if options.output == STANDARD_OUTPUT:
        sys.stdout.buffer.write(speech.wav())
        return
    options.output.write_bytes(speech.wav())
    if json:
        figures = {"file": str(options.output), "seconds": round(speech.duration_seconds, 3), "sample_rate": speech.sample_rate}
        print_json({**figures, "voice": speech.voice, "engine": speech.engine.name})
    else:
        note(f"{options.output}: {speech.duration_seconds:.1f} s, voice {speech.voice}")


async def _speak(text: str, options: SayOptions) -> sdk.Speech:
    async with connected(options.target) as malha:
        return await malha.synthesize(text, language=options.language, voice=options.voice, speed=options.speed)
