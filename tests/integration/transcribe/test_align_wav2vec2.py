"""Alignment by wav2vec 2.0: the real library in an environment of its own, on a tiny model that was taught six letters."""

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from conftest import REPOSITORY

from fakes import tiny_wav2vec2
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.transcribe.aligners import make_aligner
from malha.transcribe.engines.wav2vec2_aligner import Wav2Vec2Aligner
from malha.transcribe.settings import AlignSettings

pytestmark = [pytest.mark.engine("wav2vec2"), pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PYTHON = Path(os.environ.get("MALHA_ALIGN_PYTHON") or REPOSITORY / ".venvs" / "align" / "bin" / "python")
TOLERANCE_SECONDS = 0.06


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.access(PYTHON, os.X_OK):
        pytest.skip("no wav2vec2 here: make engine-align")
    directory = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([PYTHON, tiny_wav2vec2.__file__, directory], check=True, timeout=300)
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aligner(model: Path) -> AsyncIterator[Wav2Vec2Aligner]:
    shared = Wav2Vec2Aligner({"pt": model}, PYTHON)
    yield shared
    await shared.close()


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32_767).astype("<i2").tobytes()


async def test_words_are_found_where_they_are(aligner: Wav2Vec2Aligner) -> None:
    samples, times = tiny_wav2vec2.sing("mesa rosa aereo mar", seed=99)
    words = await aligner.align("Mesa, rosa - aéreo; mar!", pcm(samples), "pt-BR")
    assert [word.text for word in words] == ["Mesa,", "rosa", "aéreo;", "mar!"]
    for word, (begin, end) in zip(words, times, strict=True):
        assert word.start == pytest.approx(begin, abs=TOLERANCE_SECONDS)
        assert word.end == pytest.approx(end, abs=TOLERANCE_SECONDS)
        assert 0.5 < word.confidence <= 1


async def test_audio_longer_than_a_window(aligner: Wav2Vec2Aligner) -> None:
    text = "mesa rosa aereo mar amora some aros remo" * 1 + " esse sera o mesmo mar" * 3
    samples, times = tiny_wav2vec2.sing(text, seed=7, pauses=1.5)
    assert len(samples) / tiny_wav2vec2.RATE > 2 * 20
    words = await aligner.align(text, pcm(samples), "pt")
    assert [word.text for word in words] == text.split()
    errors = [abs(word.start - begin) for word, (begin, _) in zip(words, times, strict=True)]
    assert sorted(errors)[len(errors) // 2] < TOLERANCE_SECONDS
    assert max(errors) < 0.3


async def test_words_without_a_letter_are_named_by_their_place(aligner: Wav2Vec2Aligner) -> None:
    samples, _ = tiny_wav2vec2.sing("mesa")
    with pytest.raises(InvalidArgument, match="counted from 1: 2, 3") as raised:
        await aligner.align("mesa 42 xyz", pcm(samples), "pt")
    assert raised.value.reason == "NOT_ALIGNABLE"
    with pytest.raises(InvalidArgument, match="is not what is said"):
        await aligner.align("mesa " * 100, pcm(samples), "pt")


async def test_too_long_and_other_languages_are_refused(aligner: Wav2Vec2Aligner) -> None:
    with pytest.raises(InvalidArgument, match="at most 120 s"):
        await aligner.align("mesa", bytes(16_000 * 2 * 121), "pt")
    with pytest.raises(FailedPrecondition, match="MALHA_ALIGN_MODELS names pt"):
        aligner.check("es")


async def test_a_model_that_cannot_be_loaded(model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "vocab.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    broken = Wav2Vec2Aligner({"es": tmp_path}, PYTHON)
    with pytest.raises(FailedPrecondition, match="cannot be loaded"):
        await broken.align("mesa", bytes(64_000), "es")
    await broken.close()


async def test_each_language_has_its_own(model: Path) -> None:
    aligner = make_aligner(AlignSettings(_env_file=None, align_models=f"pt={model}", align_python=PYTHON))
    assert [aligner.check(language).name for language in ("pt-BR", "en", "")] == ["wav2vec2", "pocketsphinx", "pocketsphinx"]
    with pytest.raises(FailedPrecondition, match="make engine-align"):
        aligner.check("es")
    await aligner.close()
