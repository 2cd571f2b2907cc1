"""The embedded recogniser on synthetic speech: words, not exact texts, through the real engine and its workers."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import soxr

from malha.runtime.errors import FailedPrecondition, NotFound, UnsupportedLanguage
from malha.synthesize.engine import SpeechConfig
from malha.synthesize.engines.espeak import EspeakEngine
from malha.synthesize.settings import SynthesizeSettings
from malha.transcribe import language_model
from malha.transcribe.engine import Hypothesis, RecognitionConfig
from malha.transcribe.engines.pocketsphinx import PocketSphinxEngine
from malha.transcribe.engines.pocketsphinx_messages import Words, WorkerOptions
from malha.transcribe.engines.pocketsphinx_worker import PocketSphinxWorker
from malha.transcribe.settings import TranscribeSettings

pytestmark = pytest.mark.engine("pocketsphinx")
CONFIG = RecognitionConfig("default", "en", words=True, interim=True)
SENTENCE = "I want to cancel my subscription because the price is too high."


@pytest.fixture
async def engine() -> AsyncIterator[PocketSphinxEngine]:
    engine = PocketSphinxEngine(TranscribeSettings(_env_file=None, transcribe_workers=1))
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def spoken() -> bytes:
    return await speak(SENTENCE)


async def speak(text: str, voice: str = "en-us") -> bytes:
    """16 kHz PCM."""
    engine = EspeakEngine(SynthesizeSettings(_env_file=None))
    await engine.start()
    try:
        pcm = b"".join([chunk.pcm async for chunk in engine.speak(SpeechConfig("default", voice, "en", speed=0.9), text)])
        rate = engine.capabilities.sample_rate_hertz
    finally:
        await engine.close()
    return soxr.resample(np.frombuffer(pcm, np.int16), rate, 16_000).astype(np.int16).tobytes()


async def hear(
    engine: PocketSphinxEngine, pcm: bytes, pause: float = 0.0, *, piece: int = 3200, background: bool = False
) -> list[Hypothesis]:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(pcm), piece):
            yield pcm[at : at + piece]
            await asyncio.sleep(pause)

    return [hypothesis async for hypothesis in engine.recognise(replace(CONFIG, background=background), pieces())]


async def test_confidence_falls_where_words_drown_in_noise(engine: PocketSphinxEngine, spoken: bytes) -> None:
    samples = np.frombuffer(spoken, np.int16).astype(np.float64)
    drowned = (samples + np.random.default_rng(3).standard_normal(samples.size) * 2000).clip(-32768, 32767).astype(np.int16)
    clear, noisy = (await hear(engine, spoken))[-1], (await hear(engine, drowned.tobytes()))[-1]
    assert all(0 <= word.confidence <= 1 for word in (*clear.words, *noisy.words) if word.confidence is not None)
    assert (noisy.confidence or 0) < 0.8 < (clear.confidence or 0)


async def test_a_call_s_sentence_is_understood(engine: PocketSphinxEngine, spoken: bytes) -> None:
    final = (await hear(engine, spoken))[-1]
    assert final.final
    assert sum(word in final.text.split() for word in ("cancel", "subscription", "price", "high")) >= 3, final.text
    seconds = len(spoken) / 32_000
    times = [time for word in final.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= seconds + 0.1
    assert final.words[0].text == final.text.split()[0]


async def test_partials_come_while_speech_goes_on(engine: PocketSphinxEngine, spoken: bytes) -> None:
    began = time.monotonic()
    hypotheses = await hear(engine, spoken, pause=0.1)
    partials = [hypothesis for hypothesis in hypotheses if not hypothesis.final]
    assert partials
    assert len(partials) <= time.monotonic() - began, "at most one a second"
    assert [hypothesis.final for hypothesis in hypotheses].count(True) == 1


async def test_what_was_heard_before_changes_nothing(engine: PocketSphinxEngine, spoken: bytes) -> None:
    first = (await hear(engine, spoken))[-1].text
    await hear(engine, await speak("Please wait a moment while I check the information in our system.", "en-us+f3"))
    await hear(engine, (np.random.default_rng(1).standard_normal(32_000) * 6000).astype(np.int16).tobytes())
    assert (await hear(engine, spoken))[-1].text == first


async def test_one_decoder_tells_the_same_words_times_and_confidences_of_the_same_audio(spoken: bytes) -> None:
    means, model, dictionary = language_model.MEANS, language_model.MODEL, language_model.DICTIONARY
    worker = PocketSphinxWorker(WorkerOptions(str(model), str(dictionary), str(means), 1.0))
    noise = (np.random.default_rng(2).standard_normal(32_000) * 6000).astype(np.int16).tobytes()
    first, between, again = (decode(worker, pcm) for pcm in (spoken, noise + spoken, spoken))
    assert len(first.words) > 5
    assert between.words != first.words
    assert again == first, "nothing of what was between is left in the decoder"


@pytest.mark.parametrize("seconds", [0.05, 0.7, 1.02, 10.0])
async def test_the_sizes_of_the_pieces_change_no_word(spoken: bytes, seconds: float) -> None:
    means, model, dictionary = language_model.MEANS, language_model.MODEL, language_model.DICTIONARY
    worker = PocketSphinxWorker(WorkerOptions(str(model), str(dictionary), str(means), 1.0))
    quieter = (np.frombuffer(spoken, np.int16) // 4).astype(np.int16).tobytes()
    pcm = (quieter + spoken * 2)[: int(seconds * 16_000) * 2]
    expected = decode(worker, pcm)
    for pieces in ((640,), (5_000,), (48_000,), (1 << 20,), (320, 30_000, 1_998)):
        assert decode(worker, pcm, pieces) == expected


def decode(worker: PocketSphinxWorker, pcm: bytes, pieces: Sequence[int] = (3200,)) -> Words:
    """On the decoder that the worker has: one, as no two utterances are open together. ``pieces``: of how many bytes, over and over."""
    stream, sizes, at = worker.open(False), cycle(pieces), 0
    while at < len(pcm):
        size = next(sizes)
        for _ in stream.feed(pcm[at : at + size]):
            pass
        at += size
    *_, final = stream.finish()
    stream.close()
    assert isinstance(final, Words)
    return final


async def test_a_live_utterance_goes_before_background_ones_that_came_first(engine: PocketSphinxEngine, spoken: bytes) -> None:
    ended: list[str] = []

    async def timed(name: str, *, piece: int, background: bool) -> str:
        hypotheses = await hear(engine, spoken * (1 + background), piece=piece, background=background)
        ended.append(name)
        return hypotheses[-1].text

    recordings = [asyncio.create_task(timed(f"recording {n}", piece=1 << 20, background=True)) for n in range(6)]
    await asyncio.sleep(0.1)
    live = await timed("live", piece=3200, background=False)
    assert ended.index("live") <= 1, "it waits for a slice of the recording under way"
    texts = await asyncio.gather(*recordings)
    assert set(texts) == {texts[0]}
    assert sum(word in live.split() for word in ("cancel", "subscription", "price", "high")) >= 3, live


async def test_an_utterance_sent_whole_is_the_same_whatever_comes_between(engine: PocketSphinxEngine, spoken: bytes) -> None:
    alone = (await hear(engine, spoken, piece=1 << 20, background=True))[-1].text
    [[*_, beside], *_] = await asyncio.gather(
        hear(engine, spoken, piece=1 << 20, background=True), hear(engine, spoken), hear(engine, spoken)
    )
    assert beside.text == alone


async def test_silence_and_a_moment_are_no_words(engine: PocketSphinxEngine) -> None:
    assert (await hear(engine, bytes(64_000)))[-1].text == ""
    assert (await hear(engine, bytes(640)))[-1].text == ""


async def test_a_worker_that_dies_costs_time_and_no_words(engine: PocketSphinxEngine, spoken: bytes) -> None:
    expected = (await hear(engine, spoken))[-1].text
    hearing = asyncio.create_task(hear(engine, spoken, pause=0.05))
    await asyncio.sleep(0.5)
    os.kill(engine._host.worker_pids[0], signal.SIGKILL)
    assert (await hearing)[-1].text == expected


def test_other_languages_name_what_would_serve_them() -> None:
    engine = PocketSphinxEngine(TranscribeSettings(_env_file=None))
    engine.check("en-GB", "")
    engine.check("", "")
    for language in ("pt-BR", "es"):
        with pytest.raises(FailedPrecondition, match=r"malha-services\[faster-whisper\].*malha models pull whisper/small"):
            engine.check(language, "")
    with pytest.raises(UnsupportedLanguage, match="en is embedded"):
        engine.check("xx", "")
    with pytest.raises(NotFound, match="en-us-calls"):
        engine.check("en", "whisper/small")
