"""A hub on a local port, and an empty directory for models."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from integration.models.pulling import FILES, MODEL

from fakes.hub import FakeHub
from malha.models.store import ModelStore


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub(MODEL.repository, FILES) as serving:
        yield serving


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")
