"""``malha transcribe``: recordings to text."""

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from malha.cli.client import connected, sdk
from malha.cli.output import EXIT_FAILURE, note, print_json_line
from malha.cli.screen import printable


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """What the command line says."""

    language: str
    model: str
    words: bool
    target: str | None


def run_transcribe(files: Sequence[Path], options: TranscribeOptions, *, json: bool) -> int:
    """Transcribe and print one file after the other; the exit status: 1 where one was refused or all of it lost. Raises what the SDK raises."""
    return asyncio.run(_transcribe_all(files, options, json=json))


async def _transcribe_all(files: Sequence[Path], options: TranscribeOptions, *, json: bool) -> int:
    code = 0
    async with connected(options.target) as malha:
        for file in files:
            try:
                result = await _transcribe(malha, file, options)
            except sdk.InvalidRequest as error:  # this recording; the next one may be fine
                note(f"malha: {file}: {error}" if len(files) > 1 else f"malha: {error}")
                code = EXIT_FAILURE
                continue
            if _is_lost(result):
                code = EXIT_FAILURE
            if json:
                print_json_line(_as_json(file, result))
            else:
                _print(file, result, name_it=len(files) > 1, words=options.words)
    return code


async def _transcribe(malha: sdk.Malha, file: Path, options: TranscribeOptions) -> sdk.Transcription:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(printable(file.name), total=None)

        def advance(received: int, size: int | None) -> None:
            progress.update(task, completed=received, total=size)

        return await malha.transcribe(file, language=options.language or None, model=options.model, words=options.words, progress=advance)


def _print(file: Path, result: sdk.Transcription, *, name_it: bool, words: bool) -> None:
    """A line for each segment; who speaks only where there are two channels."""
    if name_it:
        print(f"{file}:")
    for segment in result.segments:
        speaker = f"{segment.role or segment.channel}: " if len(result.channels) > 1 else ""
        print(f"[{segment.start_seconds:.2f}-{segment.end_seconds:.2f}] {speaker}{printable(segment.text)}")
        if words:
            print("    " + "  ".join(f"{printable(word.text)} {word.start_seconds:.2f}" for word in segment.words))
    for warning in result.warnings:
        note(f"malha: {warning.reason}: {warning.message}")
    if _is_lost(result):
        note(f"malha: nothing of {file} could be recognised")
    elif not result.segments:
        note(f"malha: nothing is said in {file}")


def _is_lost(result: sdk.Transcription) -> bool:
    """Whether something is said, and none of it could be recognised."""
    return not result.segments and any(warning.segment_id for warning in result.warnings)


def _as_json(file: Path, result: sdk.Transcription) -> dict[str, Any]:
    return {"file": str(file), **dataclasses.asdict(result)}
