"""What batches across sessions and windows cut to the utterance save: items that each CPU second recognises, beside faster-whisper as it comes.

All three decode the same utterances with the same model, at the width and depth of a real Whisper; its decoder says one known sentence,
so that each of them decodes the same number of tokens. Weights change nothing about what a multiplication costs.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from malha.bench.batching_rivals import COMPUTE_TYPE, WORKER, RivalOptions
from malha.bench.usage import machine, sample
from malha.bench.whisper_weights import SizeName, build_whisper
from malha.runtime.errors import Internal
from malha.runtime.host import EngineHost, HostOptions
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, RecognitionConfig
from malha.transcribe.engines.faster_whisper import Device, FasterWhisperEngine, FasterWhisperSettings

SCRIPT: Final = "bom dia quero cancelar minha assinatura porque o preço subiu muito este mês sem aviso nenhum"
"""What is said in four seconds: a token a word."""
LOUDNESS: Final = 3_000.0
ITEM_SECONDS: Final = 600.0
"""A machine that is busy with other things is slow, not stuck."""
ONE_BY_ONE, BATCHED_PIPELINE, OURS = "one_by_one", "batched_pipeline", "ours"

Recognise = Callable[[Sequence[bytes]], Awaitable[Sequence[str]]]
"""All sessions' utterances, that come at the same moment, to their texts."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured."""

    sessions: int = 8
    seconds: float = 4.0
    """Of an utterance."""
    rounds: int = 5
    """In each, every contender recognises one utterance of each session."""
    size: SizeName = "tiny"
    threads: int = 1


def run_batching(options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    """The report. Raises Internal if the contenders did not decode the same."""
    return asyncio.run(_measure(options, progress))


async def _measure(options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    utterances = [_utterance(options.seconds, seed) for seed in range(options.sessions)]
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="malha-bench-")))
        progress("making a model")
        await asyncio.to_thread(build_whisper, directory, size=options.size, script=SCRIPT)
        contenders: dict[str, Recognise] = {
            ONE_BY_ONE: await _rival(stack, ONE_BY_ONE, RivalOptions(directory, options.threads, batched=False)),
            BATCHED_PIPELINE: await _rival(stack, BATCHED_PIPELINE, RivalOptions(directory, options.threads, batched=True)),
            OURS: await _ours(stack, directory, options),
        }
        used = dict.fromkeys(contenders, 0.0)
        for contender in contenders.values():  # the first batch pays for what is loaded late
            await contender(utterances)
        for number in range(options.rounds):
            for name, contender in contenders.items():
                progress(f"round {number + 1} of {options.rounds}: {name}")
                before = _cpu_seconds()
                _check(name, await contender(utterances))
                used[name] += _cpu_seconds() - before
    return _report(options, used)


async def _rival(stack: AsyncExitStack, name: str, options: RivalOptions) -> Recognise:
    host = EngineHost(name, WORKER, options, host=HostOptions(item_seconds=ITEM_SECONDS, start_seconds=ITEM_SECONDS))
    await host.start()
    stack.push_async_callback(host.close)

    async def recognise(utterances: Sequence[bytes]) -> Sequence[str]:
        return cast("Sequence[str]", await host.call(None, utterances, timeout_seconds=ITEM_SECONDS))

    return recognise


async def _ours(stack: AsyncExitStack, directory: Path, options: Options) -> Recognise:
    settings = FasterWhisperSettings(
        directory,
        devices=(Device("cpu", compute_type=COMPUTE_TYPE, threads=options.threads),),
        max_batch=options.sessions,
        timeout_seconds=ITEM_SECONDS,
    )
    engine = FasterWhisperEngine(settings)
    await engine.start()
    stack.push_async_callback(engine.close)

    async def session(number: int, pcm: bytes) -> str:
        hypotheses = engine.recognise(RecognitionConfig(f"tenant-{number}", "pt"), _pieces(pcm))
        async with aclosing(hypotheses):  # type: ignore[type-var]  # an engine's iterator is an async generator
            return [hypothesis.text async for hypothesis in hypotheses][-1]

    async def recognise(utterances: Sequence[bytes]) -> Sequence[str]:
        return await asyncio.gather(*(session(number, pcm) for number, pcm in enumerate(utterances)))

    return recognise


async def _pieces(pcm: bytes) -> AsyncIterator[bytes]:
    yield pcm


def _utterance(seconds: float, seed: int) -> bytes:
    noise = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE_HERTZ)) * LOUDNESS
    return noise.astype("<i2").tobytes()


def _check(name: str, texts: Sequence[str]) -> None:
    """Equal work is what makes figures comparable."""
    if any(text != SCRIPT for text in texts):
        raise Internal(f"{name} decoded something else than the others")


def _cpu_seconds() -> float:
    """Of this process and its workers, none of which ends while it is measured."""
    return sum(sample({"bench": os.getpid()}).cpu_seconds.values())


def _report(options: Options, used: dict[str, float]) -> dict[str, Any]:
    items = options.sessions * options.rounds
    rates = {name: items / max(seconds, 1e-3) for name, seconds in used.items()}
    return {
        "machine": machine(),
        "model": f"whisper/{options.size}, made-up weights, {COMPUTE_TYPE}",
        "sessions": options.sessions,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "threads": options.threads,
        "tokens_per_item": len(SCRIPT.split()),
        **{name: round(rate, 2) for name, rate in rates.items()},
        "cpu_ms_per_item": {name: round(1e3 / rate, 1) for name, rate in rates.items()},
        "times_one_by_one": round(rates[OURS] / rates[ONE_BY_ONE], 2),
        "times_batched_pipeline": round(rates[OURS] / rates[BATCHED_PIPELINE], 2),
    }
