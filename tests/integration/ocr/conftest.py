"""One server with Ocr alone, the real engine behind it, for all tests of a module."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fakes.ocr import Client, serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with serving(tmp_path_factory.mktemp("server"), ocr_max_pages=20) as shared:
        yield shared
