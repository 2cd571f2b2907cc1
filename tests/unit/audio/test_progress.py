"""How far a call is, as the store keeps it."""

import json
from dataclasses import replace

from malha.audio.progress import Progress

EMPTY = Progress(3_200, 1_600, 16_000, (), 1, 800, 2, insights=False, header=b"head")


def test_it_is_the_same_again_from_the_store() -> None:
    assert Progress.of(json.loads(json.dumps(EMPTY.columns()))) == EMPTY


def test_a_call_that_an_earlier_version_stored_goes_on() -> None:
    columns = json.loads(json.dumps(EMPTY.columns()))
    del columns["flags"]["insights"]
    assert Progress.of(columns) == replace(EMPTY, insights=True)
