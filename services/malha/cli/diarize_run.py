"""What ``malha diarize`` and ``malha speakers`` do, by the SDK."""

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from malha.cli.client import connected, sdk
from malha.cli.option_names import told_by_options
from malha.cli.output import EXIT_FAILURE, note, print_json, print_json_line, print_table, status
from malha.cli.screen import printable
from malha.runtime.errors import InvalidArgument

_OPTIONS: Final = {"speaker_id": "SPEAKER", "consent_id": "--consent", "customer_id": "--customer"}


def run_diarize(files: Sequence[Path], max_speakers: int | None, target: str | None, *, identify: bool, json: bool) -> int:
    """Label and print one file after the other; the exit status: 1 where one was refused. Raises what the SDK raises."""
    return asyncio.run(_diarize_all(files, max_speakers, target, identify=identify, json=json))


def run_enroll(speaker: str, file: Path, consent: str, customer: str, target: str | None, *, json: bool) -> None:
    """Enrol. Raises InvalidArgument for a file that is no audio, and what the SDK raises."""
    kept = asyncio.run(_enroll(speaker, file, consent, customer, target))
    if json:
        print_json(_speaker(kept))
    else:
        note(f"{printable(kept.speaker_id)}: enrolled by {kept.speech_seconds:.1f} s of speech")


def run_list(target: str | None, *, json: bool) -> None:
    """Print who is enrolled. Raises what the SDK raises."""
    kept = asyncio.run(_list(target))
    if json:
        print_json([_speaker(speaker) for speaker in kept])
        return
    rows = [(each.speaker_id, each.consent_id, each.customer_id or "-", f"{each.speech_seconds:.1f} s", each.model) for each in kept]
    print_table(("SPEAKER", "CONSENT", "CUSTOMER", "SPEECH", "MODEL"), rows)


def run_delete(speaker: str, target: str | None, *, json: bool) -> None:
    """Forget. Raises what the SDK raises."""
    asyncio.run(_delete(speaker, target))
    if json:
        print_json({"speaker_id": speaker, "deleted": True})
    else:
        note(f"{printable(speaker)}: forgotten")


async def _diarize_all(files: Sequence[Path], max_speakers: int | None, target: str | None, *, identify: bool, json: bool) -> int:
    code = 0
    async with connected(target) as malha:
        for file in files:
            try:
                result = await _diarize(malha, file, max_speakers, identify=identify)
            except (InvalidArgument, sdk.InvalidRequest) as error:  # this recording; the next one may be fine
                note(f"malha: {file}: {error}" if len(files) > 1 and isinstance(error, sdk.InvalidRequest) else f"malha: {error}")
                code = EXIT_FAILURE
                continue
            if json:
                print_json_line(_as_json(file, result))
            else:
                _print(file, result, name_it=len(files) > 1)
    return code


async def _diarize(malha: sdk.Malha, file: Path, max_speakers: int | None, *, identify: bool) -> sdk.Diarization:
    from malha.bench.playback import read_recording  # noqa: PLC0415 - PyAV takes a while to load

    with status(f"listening to {printable(file.name)}"):
        recording = read_recording(file)
        return await malha.diarize(
            recording.pcm(), sample_rate=recording.rate, channels=recording.channels, max_speakers=max_speakers, identify=identify
        )


def _print(file: Path, result: sdk.Diarization, *, name_it: bool) -> None:
    """A line for each turn; a speaker who is recognised by that name."""
    if name_it:
        print(f"{file}:")
    for turn in result.turns:
        match = result.matches.get(turn.speaker)
        name = f"{turn.speaker} {match.top} ({match.score:.2f})" if match is not None and match.top else turn.speaker
        print(f"[{turn.start_seconds:.2f}-{turn.end_seconds:.2f}] {printable(name)}")
    if not result.turns:
        note(f"malha: nobody speaks in {file}")


def _as_json(file: Path, result: sdk.Diarization) -> dict[str, Any]:
    return {
        "file": str(file),
        "speakers": list(result.speakers),
        "turns": [dataclasses.asdict(turn) for turn in result.turns],
        "matches": {name: dataclasses.asdict(match) for name, match in result.matches.items()},
        "engine": result.engine.name,
        "duration_seconds": result.duration_seconds,
        "speech_seconds": result.speech_seconds,
    }


def _speaker(kept: sdk.EnrolledSpeaker) -> dict[str, Any]:
    return {**dataclasses.asdict(kept), "created": kept.created.isoformat() if kept.created else None}


async def _enroll(speaker: str, file: Path, consent: str, customer: str, target: str | None) -> sdk.EnrolledSpeaker:
    from malha.bench.speech import RATE, decode  # noqa: PLC0415 - PyAV takes a while to load

    async with connected(target) as malha:
        with told_by_options(_OPTIONS):
            return await malha.enroll(speaker, decode(file).tobytes(), consent_id=consent, customer_id=customer, sample_rate=RATE)


async def _list(target: str | None) -> tuple[sdk.EnrolledSpeaker, ...]:
    async with connected(target) as malha:
        return await malha.speakers()


async def _delete(speaker: str, target: str | None) -> None:
    async with connected(target) as malha:
        await malha.delete_speaker(speaker)
