"""The error rate of ``malha bench diarize`` is that of pyannote.metrics, the field's own scorer."""

import json
import random
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY

from fakes.pyannote_environment import environment
from malha.bench.der import Talk, errors, read_rttm

pytestmark = pytest.mark.engine("pyannote-metrics")

COLLARS = (0.0, 0.25)


def some_talks(dice: random.Random, speakers: int) -> list[Talk]:
    """Of some minutes; each speaker by themselves, so that they overlap."""
    talks = []
    for number in range(speakers):
        at = dice.uniform(0, 5)
        for _ in range(dice.randint(1, 8)):
            length = dice.uniform(0.2, 6)
            talks.append(Talk(at, at + length, f"speaker{number}"))
            at += length + dice.uniform(0.1, 8)
    return talks


def disturbed(dice: random.Random, talks: list[Talk]) -> list[Talk]:
    """As a diarizer might have it: boundaries moved, some talks lost, some with somebody else, some that nobody said."""
    names = sorted({talk.speaker for talk in talks})
    found = []
    for talk in talks:
        start, end = talk.start + dice.uniform(-0.5, 0.5), talk.end + dice.uniform(-0.5, 0.5)
        if end > start and dice.random() > 0.1:
            found.append(Talk(start, end, f"found {talk.speaker if dice.random() > 0.2 else dice.choice(names)}"))
    found.append(Talk(200.0, 203.0, "found nobody"))
    return apart(found)


def apart(talks: list[Talk]) -> list[Talk]:
    """Without the same speaker twice at a time: what that would mean is not agreed upon."""
    kept: list[Talk] = []
    for talk in sorted(talks):
        if all(other.speaker != talk.speaker or other.end <= talk.start for other in kept):
            kept.append(talk)
    return kept


def references(shared_data: Path) -> list[list[Talk]]:
    return [apart(talks) for path in sorted(shared_data.rglob("*.rttm")) for talks in read_rttm(path).values()]


def test_errors_are_those_of_pyannote(shared_data: Path, tmp_path: Path) -> None:
    python, dice = environment(), random.Random(1)
    truths = [*references(shared_data), *(some_talks(dice, speakers) for speakers in (1, 2, 2, 3, 4, 5) for _ in range(5))]
    assert len(truths) > 30
    cases = [(truth, disturbed(dice, truth), collar) for truth in truths for collar in COLLARS]
    given, told = tmp_path / "in.json", tmp_path / "out.json"
    given.write_text(json.dumps([{"reference": truth, "hypothesis": found, "collar": collar} for truth, found, collar in cases]))
    script = REPOSITORY / "tests" / "fakes" / "pyannote_score.py"
    subprocess.run([python, "-W", "ignore", script, given, told], check=True, timeout=300)
    expected = json.loads(told.read_text())
    for (truth, found, collar), theirs in zip(cases, expected, strict=True):
        ours = errors(truth, found, collar)
        for kind, seconds in theirs.items():
            assert getattr(ours, kind) == pytest.approx(seconds, abs=1e-3), (kind, collar, truth[:3])
    assert any(case["confused"] > 1 for case in expected)
