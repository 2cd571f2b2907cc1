"""What noise reduction is worth: word error rate and CPU with and without, on recordings as they are and with noise added.

``python -m malha.bench.denoise RECORDING ... --snr 20 10 5 --save FILE``. A ``.txt`` beside each recording is its true text. The noise is pink: equally
strong in each octave, as a room full of people and machines is.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from malha.bench.live import about_run
from malha.bench.playback import Recording, read_recording
from malha.bench.private_server import Running, private_server
from malha.bench.usage import sample
from malha.bench.wer import word_error_rate
from malha.runtime.errors import InvalidArgument
from malha.sdk import Final as FinalEvent
from malha.sdk import Malha

SEED: Final = 1
LOWEST_HERTZ: Final = 50.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    files: Sequence[Path]
    snrs: Sequence[float] = (20.0, 10.0, 5.0)
    """Decibels of speech over noise, besides the recordings as they are."""
    engine: str = "pocketsphinx"
    language: str = "en"


def run_denoise(options: Options) -> dict[str, Any]:
    """Measure and report. Raises InvalidArgument for a file that is no audio or has no text, and what the server and the SDK raise."""
    untold = [file.name for file in options.files if not file.with_suffix(".txt").is_file()]
    if untold:
        raise InvalidArgument(f"no .txt with the true text beside {', '.join(untold)}", reason="NO_REFERENCE")
    recordings = [read_recording(file) for file in options.files]
    references = [file.with_suffix(".txt").read_text().strip() for file in options.files]
    with private_server({"MALHA_TRANSCRIBE_ENGINE": options.engine}) as server:
        rows = asyncio.run(_measure(options, recordings, references, server))
    return {
        "engine": options.engine,
        "files": [file.name for file in options.files],
        "rows": rows,
        **about_run(),
        "command": " ".join(["python", "-m", "malha.bench.denoise", *sys.argv[1:]]),
    }


async def _measure(options: Options, recordings: Sequence[Recording], references: Sequence[str], server: Running) -> list[dict[str, Any]]:
    rows = []
    async with Malha(server.grpc, server.token) as malha:
        for snr in (None, *options.snrs):
            heard = recordings if snr is None else [noisy(recording, snr) for recording in recordings]
            for denoise in (False, True):
                before = sample(server.pids).cpu_seconds
                texts = [await _text(malha, recording, options.language, denoise=denoise) for recording in heard]
                after = sample(server.pids).cpu_seconds
                seconds = sum(recording.seconds * recording.channels for recording in heard)
                rows.append(
                    {
                        "snr_db": snr,
                        "denoise": denoise,
                        "wer": round(word_error_rate(references, texts), 4),
                        "cpu_ms_per_audio_s": {
                            name: round((after[name] - before.get(name, 0.0)) * 1e3 / seconds, 2)
                            for name in ("live", "engines")
                            if name in after
                        },
                    }
                )
    return rows


async def _text(malha: Malha, recording: Recording, language: str, *, denoise: bool) -> str:
    call = malha.live(
        recording.pcm(),
        encoding="pcm16",
        sample_rate=recording.rate,
        channels=recording.channels,
        language=language,
        pace="batch",
        denoise=denoise,
    )
    said = [(event.segment.start_seconds, event.text) async for event in call if isinstance(event, FinalEvent)]
    return " ".join(text for _, text in sorted(said))


def noisy(recording: Recording, snr_db: float) -> Recording:
    """With pink noise of so many decibels below the recording's mean power."""
    samples = recording.samples.astype(np.float64)
    frames = samples.shape[0]
    frequencies = np.fft.rfftfreq(frames, 1 / recording.rate)
    spectrum = np.fft.rfft(np.random.default_rng(SEED).standard_normal(frames)) / np.sqrt(np.maximum(frequencies, LOWEST_HERTZ))
    noise = np.fft.irfft(spectrum, frames)
    level = np.sqrt((samples**2).mean() / (noise**2).mean()) * 10 ** (-snr_db / 20)
    mixed = np.clip(samples + level * noise[:, None], -32768, 32767)
    return Recording(mixed.astype(np.int16), recording.rate)


def main() -> None:
    """Measure what the command line says, print it as JSON and save it."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m malha.bench.denoise")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--snr", nargs="+", type=float, default=[20.0, 10.0, 5.0])
    parser.add_argument("--engine", default="pocketsphinx")
    parser.add_argument("--language", default="en")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    report = run_denoise(Options(arguments.files, arguments.snr, arguments.engine, arguments.language))
    text = orjson.dumps(report, option=orjson.OPT_INDENT_2)
    if arguments.save is not None:
        arguments.save.write_bytes(text + b"\n")
    sys.stdout.write(text.decode() + "\n")


if __name__ == "__main__":
    main()
