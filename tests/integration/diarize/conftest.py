"""Two people to tell apart, and a server that does."""

import asyncio

import pytest

from fakes.talkers import Talkers, spoken
from malha.diarize.engines.resemblyzer_weights import COMMAND, find


@pytest.fixture(scope="session", autouse=True)
def wheel() -> None:
    """The tests of this folder need the weights."""
    if find() is None:
        pytest.skip(f"the diarizer's weights are not installed: {COMMAND}")


@pytest.fixture(scope="session")
def talkers() -> Talkers:
    """Made once."""
    return asyncio.run(spoken())
