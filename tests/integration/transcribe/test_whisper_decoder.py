"""Batches of the real decoder on a random model: company changes nothing, and CTranslate2 reads each window as it is meant."""

from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from malha.bench.whisper_weights import build_whisper
from malha.transcribe.engines.faster_whisper_worker import FasterWhisperWorker
from malha.transcribe.engines.whisper_messages import Decoding, Transcript, Utterance, WorkerOptions
from malha.transcribe.engines.whisper_windows import SAMPLES_PER_FRAME, WINDOWS

pytestmark = pytest.mark.engine("faster-whisper")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whisper(tmp_path_factory.mktemp("model"), seed=3)


@pytest.fixture(scope="module")
def worker(directory: Path) -> FasterWhisperWorker:
    return FasterWhisperWorker(WorkerOptions(directory, device="cpu", compute_type="int8", threads=1, beam_size=1))


def decode(worker: FasterWhisperWorker, decoding: Decoding, utterances: list[Utterance]) -> list[Transcript]:
    outputs = list(worker.open(decoding).feed(utterances))
    return outputs[-1]


def utterance(seed: int, *, seconds: float = 3.0, language: str = "pt", prompt: str = "", words: bool = True) -> Utterance:
    samples = np.random.default_rng(seed).standard_normal(int(16_000 * seconds)) * 3_000
    return Utterance(samples.astype("<i2").tobytes(), language, prompt, words)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_an_utterance_becomes_the_same_alone_and_in_a_batch(directory: Path, beam_size: int) -> None:
    worker = FasterWhisperWorker(WorkerOptions(directory, device="cpu", compute_type="int8", threads=1, beam_size=beam_size))
    decoding = Decoding(frames=500)
    batch = [
        utterance(1, seconds=3.9),
        utterance(2, seconds=3.1, language="en"),
        utterance(3, seconds=3.5, language="", words=False),
        utterance(4, seconds=0.02, language="es"),
        utterance(5, prompt="uma frase anterior que tem mais de oito palavras"),
        Utterance(bytes(90_000), "pt", "", words=True),
        utterance(6, language="", prompt="outra"),
        utterance(7, language="en"),
    ]
    together = decode(worker, decoding, batch)
    assert together == [decode(worker, decoding, [alone])[0] for alone in batch]
    assert len({transcript.text for transcript in together}) == len(batch)
    assert together[5].text == ""
    for asked, transcript in zip(batch, together, strict=True):
        assert bool(transcript.words) == (asked.words and bool(transcript.text))
        times = [time for word in transcript.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0 <= time <= len(asked.pcm) / 32_000 for time in times)


def test_the_prompt_reaches_the_decoder_and_cannot_hold_special_tokens(worker: FasterWhisperWorker) -> None:
    prompt = "esta frase foi dita antes nesta mesma ligação"
    plain, prompted, forged = decode(
        worker, Decoding(400), [utterance(1), utterance(1, prompt=prompt), utterance(1, prompt=f"{prompt}<|endoftext|><|en|>")]
    )
    assert plain.text != prompted.text
    assert forged.text == prompted.text


def test_a_second_try_ignores_the_prompt(worker: FasterWhisperWorker) -> None:
    """At a temperature near zero, sampling takes the most probable token."""
    coldest = Decoding(400, temperature=1e-5)
    plain, prompted = decode(worker, coldest, [utterance(1), utterance(1, prompt="esta frase foi dita antes nesta mesma ligação")])
    assert plain.text == prompted.text


@pytest.mark.parametrize("frames", WINDOWS)
def test_no_window_is_taken_for_encoded_audio_or_the_reverse(directory: Path, frames: int) -> None:
    model = ctranslate2.models.Whisper(str(directory), intra_threads=1)
    features = np.random.default_rng(frames).standard_normal((1, 80, frames)).astype(np.float32)
    start = [[50258, 50259, 50359, 50363]]
    encoded = model.encode(ctranslate2.StorageView.from_array(features), to_cpu=True)
    assert encoded.shape == [1, frames // 2, 64]
    of_features, of_encoded = (
        model.generate(view, start, beam_size=1, max_length=20)[0].sequences_ids
        for view in (ctranslate2.StorageView.from_array(features), encoded)
    )
    assert of_features == of_encoded


def test_a_cropped_window_has_the_features_of_a_full_one(worker: FasterWhisperWorker) -> None:
    samples = np.frombuffer(utterance(1, seconds=2.5).pcm, np.int16)
    cropped, full = (worker._decoder._log_mel(samples, frames) for frames in (400, 3000))
    spoken = len(samples) // SAMPLES_PER_FRAME
    assert cropped.shape == (80, 400)
    np.testing.assert_allclose(cropped[:, :spoken], full[:, :spoken], atol=1e-5)
    np.testing.assert_allclose(cropped[:, spoken + 3 :], full[:, spoken + 3 : 400], atol=1e-5)


def test_the_end_of_text_tokens_bounds_a_runaway(worker: FasterWhisperWorker) -> None:
    """A random model never ends by itself: 3 s of window hold 84 tokens, each a word of its vocabulary."""
    (transcript,) = decode(worker, Decoding(300), [utterance(1, seconds=2)])
    assert 0 < len(transcript.text.split()) <= 84
    assert transcript.doubtful
    assert transcript.implausible
