"""``malha bench synthesize``: how soon speech begins at a REST client, and how much longer than its making it lasts."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import httpx

from malha.bench import usage
from malha.bench.live import about_run
from malha.bench.private_server import Running, private_server
from malha.bench.statistics import summary
from malha.runtime.errors import Unavailable

WARM_REQUESTS: Final = 10
"""Not counted."""
ANSWER_SECONDS: Final = 120.0
SHARES: Final = (50, 95, 99)
PCM_HERTZ: Final = 22_050
"""espeak-ng's own, so that PCM is not resampled; the other formats are."""
FORMATS: Final[Mapping[str, int]] = {"pcm": PCM_HERTZ, "wav": 16_000, "mulaw": 8000, "ogg": 24_000, "mp3": 24_000}
"""With the rates they are asked at."""
SENTENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        "Bom dia, em que posso ajudar?",
        "Vou verificar o seu pedido, um momento, por favor.",
        "O reembolso de R$ 125,90 sai em até 5 dias úteis.",
    ),
    "es": (
        "Buenos días, ¿en qué puedo ayudarle?",
        "Voy a revisar su pedido, un momento, por favor.",
        "El reembolso de 125,90 euros llega en 5 días hábiles.",
    ),
    "en": (
        "Good morning, how can I help you?",
        "Let me look up your order, one moment, please.",
        "The refund of $125.90 takes up to 5 working days.",
    ),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    requests: int = 150
    """For the first chunk, one after the other."""
    seconds: float = 60.0
    """About how much speech each format is asked for."""
    engine: str = "espeak"


@dataclass(frozen=True, slots=True)
class _Answer:
    """One text spoken. Times in seconds from the request."""

    first: float
    """To the first byte of audio behind a header."""
    whole: float
    size: int


def run_synthesize(options: Options, on_phase: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure on a server of its own. Raises Unavailable if it does not start or does not speak."""
    on_phase("starting the server")
    with private_server({"MALHA_SYNTHESIZE_ENGINE": options.engine, "MALHA_TRANSCRIBE_ENGINE": "null"}) as server:
        report = asyncio.run(_measure(server, options, on_phase))
    return {"engine": options.engine, "requests": options.requests} | report | about_run()


async def _measure(server: Running, options: Options, on_phase: Callable[[str], None]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
        on_phase("first chunks")
        first: dict[str, list[float]] = {"pcm": [], "wav": []}
        texts = [(language, text) for language, sentences in SENTENCES.items() for text in sentences]
        for number in range(WARM_REQUESTS + options.requests):
            kind = "wav" if number % 2 else "pcm"
            language, text = texts[number % len(texts)]
            answer = await _speak(client, kind, language, text)
            if number >= WARM_REQUESTS:
                first[kind].append(answer.first * 1e3)
        on_phase("real-time factor")
        formats = await _paces(server, client, options.seconds)
    everything = [took for kind in first.values() for took in kind]
    return {
        "first_chunk_ms": summary(everything, SHARES),
        "first_chunk_ms_by_format": {kind: summary(took, SHARES) for kind, took in first.items()},
        "rtf": formats["pcm"]["rtf"],
        "formats": formats,
    }


async def _paces(server: Running, client: httpx.AsyncClient, seconds: float) -> dict[str, dict[str, float]]:
    """For each format: seconds of work, on the clock and of CPU in all processes, for each second of speech."""
    language = "pt"
    line = " ".join(SENTENCES[language])
    once = (await _speak(client, "pcm", language, line)).size / 2 / PCM_HERTZ
    text = " ".join([line] * max(1, round(seconds / once)))
    spoken = 0.0
    paces = {}
    for kind in FORMATS:
        before = sum(usage.sample(server.pids).cpu_seconds.values())
        answer = await _speak(client, kind, language, text)
        cpu = sum(usage.sample(server.pids).cpu_seconds.values()) - before
        spoken = spoken or answer.size / 2 / PCM_HERTZ  # PCM comes first and tells it for all
        paces[kind] = {
            "rtf": round(answer.whole / spoken, 5),
            "cpu_per_second": round(cpu / spoken, 5),
            "seconds": round(spoken, 1),
            "kilobits_per_second": round(answer.size * 8 / spoken / 1e3, 1),
        }
    return paces


async def _speak(client: httpx.AsyncClient, kind: str, language: str, text: str) -> _Answer:
    body = {"text": text, "language": language, "format": kind, "sample_rate": FORMATS[kind]}
    header = 44 if kind == "wav" else 0
    begin = perf_counter()
    first = 0.0
    size = 0
    try:
        async with client.stream("POST", "/api/v1/tts", json=body) as answer:
            answer.raise_for_status()
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                if not first and size > header:
                    first = perf_counter() - begin
    except httpx.HTTPError as error:
        raise Unavailable(f"the server does not speak: {type(error).__name__}", reason="SPEECH_FAILED") from error
    return _Answer(first, perf_counter() - begin, size - header)
