"""A client that does not read."""

import asyncio
from typing import Any

import pytest

from malha.ocr.reading import PageFailed
from malha.ocr.service import _Telling
from malha.runtime.errors import DeadlineExceeded


class Deaf:
    """A stream that never has room again."""

    async def send(self, response: Any) -> None:
        await asyncio.Event().wait()


async def test_a_client_that_leaves_its_pages_unread_loses_its_place() -> None:
    with pytest.raises(DeadlineExceeded) as ended:
        await _Telling(Deaf(), 0.0, 0.05).page(PageFailed(1, "PAGE_DAMAGED", "damaged"))
    assert ended.value.reason == "READER_SLOW"
