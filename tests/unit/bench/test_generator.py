from pathlib import Path
from typing import Any

import pytest

from fakes.edge import FakeEdge
from malha.bench import generator
from malha.bench.generator import Load, generate

CHUNK_BYTES = 3200
PACE = 4.0


@pytest.fixture
def loop_file(tmp_path: Path) -> Path:
    file = tmp_path / "loop.pcm"
    file.write_bytes(b"".join(bytes([number]) * CHUNK_BYTES for number in range(40)))
    return file


async def _run(edge: FakeEdge, loop_file: Path, sessions: int = 6, chunks: int = 12) -> tuple[dict[str, Any], list[str]]:
    phases: list[str] = []
    async with edge.running():
        result = await generate(
            Load(edge.url, "t", sessions, chunks * 0.1 / PACE, str(loop_file), pace=PACE), lambda line: phases.append(line["phase"])
        )
    return result, phases


async def test_a_faultless_server_loses_nothing(loop_file: Path) -> None:
    edge = FakeEdge()
    result, phases = await _run(edge, loop_file)
    assert phases == ["idle", "opened", "steady", "stopping"]
    assert (result["lost"], result["duplicated"], result["errors"], result["unplaced"]) == (0, 0, {}, 0)
    assert result["events"]["batch_processed"] == result["finals"] == 6 * 3
    assert result["references"] == {"compared": 6, "segments": 18}
    assert result["engine"] == "fake"
    assert result["added_ms_by_event"].keys() == {"batch_processed", "speech_started"}
    assert 0 < result["added_ms"]["p50"] <= result["added_ms"]["p99"]
    assert result["audio_seconds"] == pytest.approx(6 * 1.2)
    assert edge.starts[0] == {
        "event": "start",
        "conversation_id": "bench",
        "language": "en",
        "encoding": "pcm16",
        "sample_rate": 16_000,
        "channels": 1,
        "roles": [],
        "enable_insights": False,
    }


async def test_sessions_send_whole_chunks_of_the_loop_from_their_own_place(loop_file: Path) -> None:
    edge = FakeEdge()
    await _run(edge, loop_file, sessions=1, chunks=5)
    assert edge.received == [bytes([number]) * CHUNK_BYTES for number in range(5)] * 2  # the reference, then the session


async def test_added_latency_is_that_of_the_server(loop_file: Path) -> None:
    result, _ = await _run(FakeEdge(delay_seconds=0.03), loop_file)
    assert result["added_ms"]["p50"] >= 30


@pytest.mark.parametrize(
    ("fault", "lost", "duplicated"),
    [
        ("lose", 6, 0),
        ("repeat", 0, 6),
        ("skip", 6, 0),
        ("miscount", 6, 0),
        ("gap", 6, 0),
    ],
)
async def test_faults_are_counted(loop_file: Path, fault: str, lost: int, duplicated: int) -> None:
    result, _ = await _run(FakeEdge(fault), loop_file)
    assert (result["lost"], result["duplicated"]) == (lost, duplicated)


async def test_boundaries_that_differ_under_load_are_lost_and_duplicated(loop_file: Path) -> None:
    result, _ = await _run(FakeEdge("shift"), loop_file, sessions=4)
    assert (result["lost"], result["duplicated"]) == (12, 12)


async def test_a_long_run_is_compared_as_far_as_its_references_went(loop_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "REFERENCE_SECONDS", 1.0)
    monkeypatch.setattr(generator, "UNDECIDED_SECONDS", 0.15)
    result, _ = await _run(FakeEdge(), loop_file, sessions=4)
    assert result["references"] == {"compared": 4, "segments": 8}  # those ending at 0.4 s and 0.8 s
    assert (result["lost"], result["duplicated"], result["finals"]) == (0, 0, 12)


async def test_a_session_that_vanishes_is_lost(loop_file: Path) -> None:
    result, _ = await _run(FakeEdge("vanish"), loop_file)
    assert result["lost"] >= 6
    assert sum(result["errors"].values()) == 6


async def test_events_without_a_position_are_not_timed(loop_file: Path) -> None:
    result, _ = await _run(FakeEdge("no_position"), loop_file)
    assert result["unplaced"] > 0
    assert result["added_ms"] == {"p50": None, "p95": None, "p99": None}


async def test_a_server_that_refuses_is_an_error(loop_file: Path) -> None:
    with pytest.raises(ConnectionError, match="TOO_MANY_STREAMS"):
        await _run(FakeEdge("refuse"), loop_file)
