"""The espeak-ng engine from its public face: the real library in real worker processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import espeakng_loader
import numpy as np
import psutil
import pytest
import pytest_asyncio

from malha.runtime.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable, UnsupportedLanguage
from malha.synthesize.engine import Mark, SpeechChunk, SpeechConfig
from malha.synthesize.engines.espeak import CHUNKS_AHEAD, EspeakEngine
from malha.synthesize.engines.espeak_library import EspeakError, EspeakLibrary
from malha.synthesize.settings import SynthesizeSettings

pytestmark = [pytest.mark.engine("espeak"), pytest.mark.asyncio(loop_scope="module")]

PORTUGUESE = "Olá, não recebi a fatura 😀 do cartão: R$ 1.234,56 às 10.30h; você pode me ajudar?"
SPANISH = "¿Cuándo llegó el paquete? Mañana vendrá el señor Núñez, quizás."
ENGLISH = "Good morning, I'd like to cancel my naïve 🙂 subscription for $12.50, e.g. today."
MINUTES = "⣿" * 100
"""Each of these characters is `braille dots 1 2 3 4 5 6 7 8`: minutes of speech, which takes the worker half a second."""


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[EspeakEngine]:
    engine = EspeakEngine(SynthesizeSettings(_env_file=None, **settings))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[EspeakEngine]:
    async with running() as shared:
        yield shared


def config(voice: str = "", language: str = "", speed: float = 1.0) -> SpeechConfig:
    return SpeechConfig("tenant", voice, language, speed)


async def spoken(engine: EspeakEngine, config: SpeechConfig, text: str) -> tuple[np.ndarray, list[Mark]]:
    chunks = [chunk async for chunk in engine.speak(config, text)]
    return samples(chunks), [mark for chunk in chunks for mark in chunk.marks]


def samples(chunks: list[SpeechChunk]) -> np.ndarray:
    return np.frombuffer(b"".join(chunk.pcm for chunk in chunks), np.int16)


def busy(worker: psutil.Process) -> float:
    """Seconds of CPU it has taken: a machine that is busy elsewhere adds none."""
    times = worker.cpu_times()
    return times.user + times.system


def words(text: str, marks: list[Mark]) -> list[str]:
    return [text[mark.text_start : mark.text_end] for mark in marks]


# Voices


async def test_what_is_spoken_is_the_same_after_every_start() -> None:
    starts = []
    for _ in range(2):
        async with running() as fresh:
            starts.append(await spoken(fresh, config("en-us+f2", "en"), "A voice with breath in it."))
        await asyncio.sleep(1.1)  # the library would seed its noise by the second
    assert np.array_equal(starts[0][0], starts[1][0])


async def test_it_tells_what_it_can(engine: EspeakEngine) -> None:
    can = engine.capabilities
    assert (can.name, can.sample_rate_hertz, can.cloning) == ("espeak", 22_050, False)
    assert can.version.startswith("espeak-ng 1.")
    names = {voice.name for voice in can.voices}
    assert {"pt-br", "pt", "es", "es-419", "en-us", "en-gb", "pt-br+f2", "es+m3", "en-us+f3"} <= names
    assert {voice.gender for voice in can.voices} == {"female", "male"}


@pytest.mark.parametrize(
    ("language", "voice"),
    {
        "pt": "pt-br",
        "pt-BR": "pt-br",
        "pt-PT": "pt",
        "pt-AO": "pt",
        "es": "es",
        "es-ES": "es",
        "es-MX": "es-419",
        "es-419": "es-419",
        "en": "en-us",
        "en-US": "en-us",
        "en-GB": "en-gb",
        "en_AU": "en-gb",
        "EN-ca": "en-us",
        "en-Latn-GB": "en-gb",
    }.items(),
)
async def test_the_voice_is_the_one_of_the_nearest_region(engine: EspeakEngine, language: str, voice: str) -> None:
    assert engine.choose_voice("", language).name == voice


async def test_a_voice_is_found_by_name(engine: EspeakEngine) -> None:
    assert engine.choose_voice("PT-BR+F2", "").name == "pt-br+f2"
    assert engine.choose_voice("pt-br", "pt-PT").name == "pt-br"


@pytest.mark.parametrize(
    ("voice", "language", "error", "told"),
    [
        ("hal", "", NotFound, "en-us+f2"),
        ("", "fr", UnsupportedLanguage, "pt-BR"),
        ("", "xx-YY", UnsupportedLanguage, "es-419"),
        ("pt-br", "en", UnsupportedLanguage, "pt-BR"),
        ("", "", InvalidArgument, "`voice` or `language`"),
    ],
)
async def test_what_cannot_be_had_says_what_can(engine: EspeakEngine, voice: str, language: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told.replace("+", r"\+")):
        engine.choose_voice(voice, language)


async def test_every_voice_speaks(engine: EspeakEngine) -> None:
    for voice in engine.capabilities.voices:
        sound, _ = await spoken(engine, config(voice.name), "Um, dois.")
        assert np.abs(sound.astype(int)).max() > 3000, voice.name


async def test_before_it_is_started_it_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        EspeakEngine(SynthesizeSettings(_env_file=None)).choose_voice("", "pt")


# Speech


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "pt",
            PORTUGUESE,
            ["Olá", "não", "recebi", "a", "fatura", "😀", "do", "cartão", "R$", "1.234,56", "às", "10.30h", "você", "pode", "me", "ajudar"],
        ),
        ("es", SPANISH, ["Cuándo", "llegó", "el", "paquete", "Mañana", "vendrá", "el", "señor", "Núñez", "quizás"]),
        (
            "en",
            ENGLISH,
            ["Good", "morning", "I'd", "like", "to", "cancel", "my", "naïve", "🙂", "subscription", "for", "$12.50", "e.g", "today"],
        ),
    ],
)
async def test_speech_and_where_its_words_begin(engine: EspeakEngine, language: str, text: str, expected: list[str]) -> None:
    sound, marks = await spoken(engine, config(language=language), text)
    seconds = len(sound) / 22_050
    assert 0.03 * len(text) < seconds < 0.2 * len(text)
    assert np.sqrt((sound.astype(float) ** 2).mean()) > 1000
    assert words(text, marks) == expected
    times = [mark.time for mark in marks]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert times[0] < 0.2
    assert times[-1] < seconds


async def test_a_word_sounds_where_its_mark_says(engine: EspeakEngine) -> None:
    """Between two sentences in one text lies silence; the next word's mark lies at its end."""
    sound, marks = await spoken(engine, config("en-us"), "Stop. Go.")
    start = int(marks[1].time * 22_050)
    loudness = np.abs(sound.astype(int))
    assert loudness[start - 2000 : start - 200].max() < 300
    assert loudness[start : start + 6000].max() > 3000


async def test_marks_come_with_the_chunk_their_word_begins_in(engine: EspeakEngine) -> None:
    begin = 0.0
    async for chunk in engine.speak(config(language="pt", speed=2.0), "eu já vi o sol e a lua no céu da rua e fui a pé ao mar " * 7):
        end = begin + len(chunk.pcm) / 2 / 22_050
        assert all(begin <= mark.time < end for mark in chunk.marks)
        begin = end


async def test_speed(engine: EspeakEngine) -> None:
    lengths = {speed: len((await spoken(engine, config("pt-br", speed=speed), PORTUGUESE))[0]) for speed in (0.5, 1.0, 2.0)}
    assert 1.7 < lengths[0.5] / lengths[1.0] < 2.4
    assert 0.4 < lengths[2.0] / lengths[1.0] < 0.6


async def test_the_pace_is_a_setting() -> None:
    async with running(synthesize_words_per_minute=120) as slow, running() as usual:
        assert len((await spoken(slow, config("es"), SPANISH))[0]) > 1.25 * len((await spoken(usual, config("es"), SPANISH))[0])


async def test_a_female_variant_speaks_higher(engine: EspeakEngine) -> None:
    def pitch(sound: np.ndarray) -> float:
        voiced = sound[4000:20_000].astype(float)
        spectrum = np.fft.rfft(voiced * np.hanning(len(voiced)), 1 << 16)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)[55:400]
        return 22_050 / (55 + int(correlation.argmax()))

    text = "aaaaa, uma casa amarela"
    male, female = [pitch((await spoken(engine, config(voice), text))[0]) for voice in ("pt-br", "pt-br+f2")]
    assert female > 1.2 * male


@pytest.mark.parametrize("text", ["", "   ", "—", "...", "\x00\x01\x02"])
async def test_text_without_words_is_a_short_pause(engine: EspeakEngine, text: str) -> None:
    sound, marks = await spoken(engine, config(language="pt"), text)
    assert len(sound) < 22_050
    assert [mark for mark in marks if text[mark.text_start : mark.text_end].strip()] == []


async def test_markup_is_read_aloud_and_not_obeyed(engine: EspeakEngine) -> None:
    text = '<speak><break time="20s"/>hello</speak>'
    sound, marks = await spoken(engine, config("en-us"), text)
    assert len(sound) / 22_050 < 20
    assert len(marks) > 1


@pytest.mark.parametrize(
    "text", ["1.234.567 " * 40, "⣿, " * 60, "😀 ok " * 40, "palavra " * 50], ids=["numbers", "symbols", "emoji", "words"]
)
async def test_no_word_is_lost_in_a_text_that_takes_long_to_say(engine: EspeakEngine, text: str) -> None:
    _, marks = await spoken(engine, config("pt-br"), text)
    assert len(marks) == len(text.split())


# Streaming


async def test_the_first_chunk_leaves_long_before_the_sentence_is_done(engine: EspeakEngine) -> None:
    worker, arrived, length = psutil.Process(engine.worker_pids[0]), [], 0
    began = busy(worker)
    async for chunk in engine.speak(config("en-us"), MINUTES):
        arrived.append(busy(worker) - began)
        length += len(chunk.pcm)
    assert length / 2 / 22_050 > 60
    assert arrived[0] < arrived[-1] / 2


async def test_a_closed_sentence_stops_the_work_within_200_ms() -> None:
    async with running() as engine:
        worker = psutil.Process(engine.worker_pids[0])
        started = busy(worker)
        await spoken(engine, config("en-us"), MINUTES)
        whole = busy(worker) - started
        async with aclosing(engine.speak(config("en-us"), MINUTES)) as chunks:
            await anext(chunks)
        closed = busy(worker)
        await asyncio.sleep(2 * whole)
        assert busy(worker) - closed < min(0.2, whole / 2)


async def test_a_slow_listener_does_not_hold_up_the_others(engine: EspeakEngine) -> None:
    async with aclosing(engine.speak(config("en-us"), MINUTES)) as slow:
        await anext(slow)
        for _ in range(3):
            sound, _ = await asyncio.wait_for(spoken(engine, config("pt-br"), "Bom dia."), 10)
            assert len(sound) > 8000
        chunks = [chunk async for chunk in slow]
    assert len(samples(chunks)) / 22_050 > 60


async def test_sentences_spoken_at_once_do_not_mix(engine: EspeakEngine) -> None:
    calls = [("pt-br", PORTUGUESE), ("es-419+f2", SPANISH), ("en-gb", ENGLISH), ("en-us+m3", ENGLISH)]
    alone = [await spoken(engine, config(voice), text) for voice, text in calls]
    together = await asyncio.gather(*(spoken(engine, config(voice), text) for voice, text in calls * 3))
    for index, (sound, marks) in enumerate(together):
        expected_sound, expected_marks = alone[index % len(calls)]
        assert len(sound) == pytest.approx(len(expected_sound), rel=0.01)  # espeak-ng's flutter goes on from sentence to sentence
        assert [(mark.text_start, mark.text_end) for mark in marks] == [(mark.text_start, mark.text_end) for mark in expected_marks]


async def test_a_sentence_of_too_much_speech_is_refused_and_the_next_one_spoken(engine: EspeakEngine) -> None:
    with pytest.raises(ResourceExhausted) as refused:
        await spoken(engine, config("pt-br", speed=0.5), "⣿ " * 150)
    assert refused.value.reason == "SENTENCE_TOO_LONG"
    assert len((await spoken(engine, config("pt-br"), "Bom dia."))[0]) > 8000


# Crashes


@pytest.mark.parametrize("taken", [1, 4])
async def test_a_sentence_survives_its_worker_without_repeating_itself(taken: int) -> None:
    """The first sentence of a worker is the same in every worker to the last bit, so a repeated or lost sample would show."""
    text = " ".join([PORTUGUESE] * 3)
    async with running() as engine:
        expected, expected_marks = await spoken(engine, config("pt-br"), text)
    async with running() as engine:
        (doomed,) = engine.worker_pids
        chunks = []
        async for chunk in engine.speak(config("pt-br"), text):
            chunks.append(chunk)
            if len(chunks) == taken:
                os.kill(doomed, signal.SIGKILL)
        assert engine.worker_pids != (doomed,)
    assert len(chunks) > taken + CHUNKS_AHEAD  # else all of it lay here before the crash
    assert np.array_equal(samples(chunks), expected)
    assert [mark for chunk in chunks for mark in chunk.marks] == expected_marks


async def test_sentences_that_wait_survive_too() -> None:
    async with running() as engine:
        calls = [asyncio.create_task(spoken(engine, config("es"), SPANISH)) for _ in range(6)]
        await asyncio.sleep(0.01)
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        lengths = [len(sound) for sound, _ in await asyncio.wait_for(asyncio.gather(*calls), 20)]
    assert max(lengths) - min(lengths) < 100


# The library


async def test_data_that_lie_deep_are_found(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 60)
    deep.parent.mkdir()
    deep.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    library = EspeakLibrary(str(deep))
    library.select("pt-br", "", 175)
    heard: list[int] = []
    library.speak("Bom dia.", lambda pcm, _: not heard.append(len(pcm)))
    assert sum(heard) > 8000


async def test_what_the_listener_raises_comes_out_and_the_library_goes_on() -> None:
    library = EspeakLibrary()

    def listen(_: bytes, __: object) -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        library.speak("Bom dia.", listen)
    with pytest.raises(EspeakError):
        library.select("nobody", "", 175)
    heard: list[bytes] = []
    library.select("en-us", "f2", 175)
    library.speak("Fine.", lambda pcm, _: not heard.append(pcm))
    assert len(b"".join(heard)) > 8000


@pytest.mark.parametrize("missing", ["data", "library"])
async def test_a_broken_wheel_says_what_to_do(tmp_path: Path, missing: str) -> None:
    """In a process of its own: a library that was loaded before keeps what it has."""
    program = (
        f"import sys, espeakng_loader; espeakng_loader.get_{missing}_path = lambda: sys.argv[1]\n"
        "from malha.synthesize.engines.espeak_worker import load; load(None)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"FailedPrecondition" in errors
    assert b"pip install --force-reinstall espeakng-loader" in errors
