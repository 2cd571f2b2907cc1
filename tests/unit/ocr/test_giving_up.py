"""A document whose pages keep the processes that work for everybody is given up. The decoder stands in: it says at once what a real one says late."""

import asyncio
import contextlib

import pytest

from fakes.ocr_engine import NullOcrEngine
from malha.ocr.documents.messages import Blocks, Prepare, TextPage
from malha.ocr.engine import Box, Line
from malha.ocr.errors import PageDamaged, PageTimeout
from malha.ocr.reading import MOST_STUCK, PageFailed, PageRead, ReadingOrder, _given_up, read_pages
from malha.runtime.errors import EngineCrashed, MalhaError

LINE = Line("bom dia", 1.0, Box(0, 0, 10, 10))
TIMEOUT = PageTimeout.over(30, "decode")


class Decoder:
    """Fails the pages it is told to, and stays at page ``endless`` until it is left."""

    def __init__(self, bad: dict[int, MalhaError], endless: int = 0) -> None:
        self.asked: list[int] = []
        self.left = asyncio.Event()
        self._bad = bad
        self._endless = endless

    async def prepare(self, asked: Prepare) -> TextPage:
        self.asked.append(asked.number)
        if asked.number == self._endless:
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        if asked.number in self._bad:
            raise self._bad[asked.number]
        return TextPage(100, 100, (LINE,))

    async def arrange(self, asked: object) -> Blocks:
        return ((LINE,),)


def order(pages: int) -> ReadingOrder:
    return ReadingOrder("nowhere", "application/pdf", pages, text_layer=True, scrub=False, language="", names=())


async def read(decoder: Decoder, pages: int) -> list[PageRead | PageFailed]:
    return [page async for page in read_pages(decoder, NullOcrEngine(), order(pages))]


async def test_after_so_many_stuck_pages_the_rest_is_not_tried() -> None:
    decoder = Decoder({2: TIMEOUT, 3: EngineCrashed("it died twice"), 5: TIMEOUT, 7: TIMEOUT})
    told = await read(decoder, 500)
    reasons = [page.reason if isinstance(page, PageFailed) else "" for page in told]
    assert reasons == ["", "PAGE_TIMEOUT", "ENGINE_CRASHED", "", "PAGE_TIMEOUT"] + 495 * ["DOCUMENT_GIVEN_UP"]
    assert [page.number for page in told] == list(range(1, 501))
    assert max(decoder.asked) <= 6, "the next page is made ready while one is read"


async def test_the_page_that_is_made_ready_then_is_left_at_once() -> None:
    decoder = Decoder(dict.fromkeys(range(1, MOST_STUCK + 1), TIMEOUT), endless=MOST_STUCK + 1)
    async with contextlib.aclosing(read_pages(decoder, NullOcrEngine(), order(500))) as pages:
        for _ in range(MOST_STUCK):
            await anext(pages)
            await asyncio.sleep(0)
        given_up = await anext(pages)
        assert (decoder.asked[-1], given_up) == (MOST_STUCK + 1, _given_up(MOST_STUCK + 1))
        async with asyncio.timeout(10):  # while its client does not ask for the next
            await decoder.left.wait()


async def test_pages_that_are_only_bad_cost_nobody_anything() -> None:
    told = await read(Decoder({number: PageDamaged("the page cannot be rendered") for number in range(1, 20)}), 20)
    assert [page.reason for page in told[:19] if isinstance(page, PageFailed)] == 19 * ["PAGE_DAMAGED"]
    assert isinstance(told[19], PageRead)


@pytest.mark.parametrize("stuck", range(MOST_STUCK))
async def test_fewer_leave_the_rest_to_be_read(stuck: int) -> None:
    told = await read(Decoder(dict.fromkeys(range(1, stuck + 1), TIMEOUT)), 10)
    assert sum(isinstance(page, PageRead) for page in told) == 10 - stuck


def test_the_limit_is_named() -> None:
    assert TIMEOUT.message == "the page took longer than 30 s to decode, the limit of MALHA_OCR_PAGE_SECONDS"
