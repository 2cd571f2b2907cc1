"""pyannote.audio 4 in an environment of its own: the real library, on tiny pipelines that were taught to tell hums apart."""

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from fakes.pyannote_environment import PYTHON, environment, tiny_pipelines
from fakes.tiny_pyannote import conversation
from malha.bench.der import Talk, errors
from malha.diarize.choose import make_engine
from malha.diarize.engine import DiarizationConfig, Turn, VoicePrint
from malha.diarize.engines.pyannote import PyannoteEngine, PyannoteSettings
from malha.diarize.engines.pyannote_messages import WorkerOptions
from malha.diarize.settings import DiarizeSettings
from malha.runtime.errors import FailedPrecondition

pytestmark = [pytest.mark.engine("pyannote"), pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

TURNS = [(0, 0.5, 4.0), (2, 4.6, 8.0), (0, 8.4, 11.0), (2, 10.5, 14.0), (0, 15.0, 19.0)]
"""Voice, start, end; two of them overlap."""
SECONDS = 20.0
TRUTH = [Talk(start, end, str(voice)) for voice, start, end in TURNS]
STEREO = DiarizationConfig("tenant", max_speakers=1)


def engine(pipeline: Path | str, python: Path | None = PYTHON) -> PyannoteEngine:
    settings = DiarizeSettings(
        _env_file=None, diarize_engine="pyannote", pyannote_python=python, pyannote_pipeline=str(pipeline), pyannote_threads=1
    )
    made = make_engine(settings, optional=False)
    assert isinstance(made, PyannoteEngine)
    return made


@pytest.fixture(scope="module")
def pipelines() -> Path:
    return tiny_pipelines()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pyannote(pipelines: Path) -> AsyncIterator[PyannoteEngine]:
    """On pyannote 4's form of a pipeline."""
    made = engine(pipelines / "community")
    await made.start()
    yield made
    await made.close()


def recording(turns: list[tuple[int, float, float]] = TURNS, seconds: float = SECONDS) -> bytes:
    return (conversation(turns, seconds, seed=1) * 32_767).astype("<i2").tobytes()


async def pieces(pcm: bytes, seconds: float = 0.5) -> AsyncIterator[bytes]:
    size = int(seconds * 16_000) * 2
    for at in range(0, len(pcm), size):
        yield pcm[at : at + size]


async def labelled(diarizer: PyannoteEngine, config: DiarizationConfig, pcm: bytes) -> tuple[list[Turn], list[Turn], list[VoicePrint]]:
    """The turns that hold in the end, everything that was told of turns, and the prints."""
    told = [result async for result in diarizer.diarize(config, pieces(pcm))]
    turns = [result for result in told if isinstance(result, Turn)]
    newest = {turn.id: turn for turn in turns}
    prints = [result for result in told if isinstance(result, VoicePrint)]
    return sorted((turn for turn in newest.values() if turn.speaker), key=lambda turn: turn.start), turns, prints


def rate(turns: list[Turn], truth: list[Talk] = TRUTH) -> float:
    return errors(truth, [Talk(turn.start, turn.end, str(turn.speaker)) for turn in turns]).rate


async def test_a_recording_is_labelled_whole(pyannote: PyannoteEngine) -> None:
    turns, told, prints = await labelled(pyannote, DiarizationConfig("tenant", online=False, prints=True), recording())
    assert rate(turns) < 0.1
    assert len(told) == len(turns)
    assert {turn.speaker for turn in turns} == {1, 2}
    assert sorted(found.speaker for found in prints) == [1, 2]
    for found in prints:
        assert np.linalg.norm(found.embedding) == pytest.approx(1.0, abs=1e-4)
        assert found.seconds > 5
    assert pyannote.capabilities.online
    assert pyannote.capabilities.version.startswith("pyannote.audio 4.")
    assert pyannote.capabilities.print_model.startswith("pyannote-")


async def test_a_live_stream_is_told_meanwhile_and_ends_as_the_recording(pyannote: PyannoteEngine) -> None:
    pcm = recording()
    whole, _, _ = await labelled(pyannote, DiarizationConfig("tenant", online=False), pcm)
    told_at: list[tuple[float, Turn]] = []
    heard = 0.0

    async def live() -> AsyncIterator[bytes]:
        nonlocal heard
        async for piece in pieces(pcm, 0.25):
            yield piece
            heard += len(piece) / 32_000

    newest: dict[int, Turn] = {}
    async for result in pyannote.diarize(DiarizationConfig("tenant"), live()):
        assert isinstance(result, Turn)
        newest[result.id] = result
        told_at.append((heard, result))
    final = sorted((turn for turn in newest.values() if turn.speaker), key=lambda turn: turn.start)
    names = {one.speaker: other.speaker for one, other in zip(final, whole, strict=True)}
    assert len(set(names.values())) == len(names)
    assert [(turn.start, turn.end, names[turn.speaker]) for turn in final] == [(turn.start, turn.end, turn.speaker) for turn in whole]
    first = min(heard for heard, turn in told_at if turn.speaker)
    assert first < 10, "told before a whole chunk was heard"
    revisions = [turn.revision for _, turn in told_at if turn.id == final[0].id]
    assert revisions == sorted(set(revisions))


async def test_of_more_voices_than_fit_some_are_clustered_and_all_are_labelled(pipelines: Path) -> None:
    """Voices of 20 s: of one alone no two can be told apart, of a dozen all can, also those that took no part."""
    speakers = {}
    for voices in (1, 12):
        worker = WorkerOptions(str(pipelines / "community"), {}, "cpu", 1, clustering_bytes=8 * voices**2)
        made = PyannoteEngine(PyannoteSettings(worker, PYTHON, 1, 1, 1))
        await made.start()
        try:
            turns, _, _ = await labelled(made, DiarizationConfig("tenant", online=False), recording())
        finally:
            await made.close()
        speakers[voices] = len({turn.speaker for turn in turns})
    assert speakers == {1: 1, 12: 2}
    assert rate(turns) < 0.1


async def test_of_a_channel_of_its_own_every_turn_is_one_speaker_s(pyannote: PyannoteEngine) -> None:
    turns, _, prints = await labelled(pyannote, STEREO, recording())
    assert {turn.speaker for turn in turns} == {1}
    spoken = [Talk(start, end, "1") for start, end in ((0.5, 4.0), (4.6, 8.0), (8.4, 14.0), (15.0, 19.0))]
    assert rate(turns, spoken) < 0.1
    assert prints == []


@pytest.mark.parametrize("pcm", [b"", bytes(2), recording([], 12.0)], ids=["nothing", "a sample", "a quiet line"])
async def test_nobody_speaks(pyannote: PyannoteEngine, pcm: bytes) -> None:
    for online in (True, False):
        turns, _, prints = await labelled(pyannote, DiarizationConfig("tenant", online=online, prints=True), pcm)
        assert turns == prints == []


async def test_a_voice_is_enrolled_and_known_again(pyannote: PyannoteEngine) -> None:
    one = await pyannote.listen(recording([(0, 0.5, 4.0), (0, 5.0, 9.0)], 10.0))
    same = await pyannote.listen(recording([(0, 1.0, 5.0), (0, 6.0, 9.5)], 10.0))
    other = await pyannote.listen(recording([(2, 0.5, 4.0), (2, 5.0, 9.0)], 10.0))
    two = await pyannote.listen(recording())
    assert (one.speakers, other.speakers, two.speakers) == (1, 1, 2)
    assert 4 < one.speech_seconds < 8.5
    assert one.embedding is not None
    assert same.embedding is not None
    assert other.embedding is not None
    assert one.embedding @ same.embedding > one.embedding @ other.embedding + 0.05
    nobody = await pyannote.listen(recording([], 12.0))
    assert (nobody.speakers, nobody.embedding, nobody.speech_seconds) == (0, None, 0)


async def test_a_worker_that_dies_costs_time_and_no_turn(pyannote: PyannoteEngine) -> None:
    pcm = recording()
    whole, _, _ = await labelled(pyannote, DiarizationConfig("tenant", online=False), pcm)
    (victim,) = pyannote.worker_pids
    killed = False
    newest: dict[int, Turn] = {}
    async for result in pyannote.diarize(DiarizationConfig("tenant"), pieces(pcm)):
        assert isinstance(result, Turn)
        newest[result.id] = result
        if not killed and result.end > 5:
            os.kill(victim, signal.SIGKILL)
            killed = True
    assert killed
    assert pyannote.worker_pids != (victim,)
    final = sorted((turn for turn in newest.values() if turn.speaker), key=lambda turn: turn.start)
    assert [(turn.start, turn.end) for turn in final] == [(turn.start, turn.end) for turn in whole]


async def test_a_client_that_leaves_takes_its_work_along(pyannote: PyannoteEngine) -> None:
    found = pyannote.diarize(DiarizationConfig("tenant"), pieces(recording()))
    async for _ in found:
        break
    await found.aclose()  # type: ignore[attr-defined]  # it is a generator
    turns, _, _ = await labelled(pyannote, DiarizationConfig("tenant", online=False), recording())
    assert rate(turns) < 0.1


async def test_a_pipeline_of_3_1_finds_its_models_where_malha_models_has_them(pipelines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALHA_MODELS_DIR", str(pipelines / "models"))
    older = engine("pyannote/speaker-diarization-3.1")
    await older.start()
    try:
        turns, _, _ = await labelled(older, DiarizationConfig("tenant", online=False), recording())
        assert rate(turns) < 0.1
    finally:
        await older.close()


async def refusal(pipeline: Path | str, python: Path | None = PYTHON) -> FailedPrecondition:
    with pytest.raises(FailedPrecondition) as raised:
        await engine(pipeline, python).start()
    return raised.value


async def test_a_model_that_is_not_here_names_the_command(pipelines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALHA_MODELS_DIR", str(tmp_path))
    error = await refusal("pyannote/speaker-diarization-3.1")
    assert (error.reason, "malha models pull pyannote/" in error.message) == ("MODEL_NOT_LOCAL", True)
    shutil.copytree(pipelines / "models" / "pyannote" / "speaker-diarization-3.1", tmp_path / "pyannote" / "speaker-diarization-3.1")
    error = await refusal("pyannote/speaker-diarization-3.1")
    assert (error.reason, "malha models pull pyannote/segmentation-3.0" in error.message) == ("MODEL_UNUSABLE", True)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("pipeline: [", "config.yaml is not a pipeline's"),
        ("pipeline: {name: pyannote.audio.pipelines.VoiceActivityDetection, params: {}}", "VoiceActivityDetection"),
        ("pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {segmentation: $model/none}}", "no such file"),
        (
            "pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {segmentation: $model/s, embedding: $model/s, plda: $model}}",
            "does not load",
        ),
    ],
)
async def test_a_directory_that_holds_no_pipeline(tmp_path: Path, config: str, why: str) -> None:
    environment()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "pytorch_model.bin").write_bytes(b"no weights")
    (tmp_path / "config.yaml").write_text(config)
    error = await refusal(tmp_path)
    assert error.reason == "MODEL_UNUSABLE"
    assert why in error.message


async def test_a_directory_without_a_configuration(tmp_path: Path) -> None:
    environment()
    assert (await refusal(tmp_path)).reason == "MODEL_INCOMPLETE"


async def test_without_its_environment_the_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pipeline: {}")
    for python in (None, tmp_path / "python", Path(sys.executable)):
        error = await refusal(tmp_path, python)
        assert error.reason == "MISSING_EXTRA"
        assert "make engine-pyannote" in error.message
