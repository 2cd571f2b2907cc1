"""``malha bench batching`` on the smallest model: what it reports, and that it notices unequal work."""

import pytest

from malha.bench import batching
from malha.bench.batching import Options, run_batching
from malha.runtime.errors import Internal

pytestmark = pytest.mark.engine("faster-whisper")


def test_all_three_are_measured() -> None:
    told: list[str] = []
    report = run_batching(Options(sessions=2, rounds=1, size="mini"), told.append)
    assert {"one_by_one", "batched_pipeline", "ours"} <= report.keys()
    assert all(report[name] > 0 for name in ("one_by_one", "batched_pipeline", "ours"))
    assert report["times_one_by_one"] == pytest.approx(report["ours"] / report["one_by_one"], rel=0.05)
    assert (report["sessions"], report["seconds"], report["tokens_per_item"]) == (2, 4.0, 16)
    assert told


def test_unequal_work_is_noticed() -> None:
    with pytest.raises(Internal, match="decoded something else"):
        batching._check("ours", [batching.SCRIPT, "bom dia"])
