"""A document whose pages keep the processes that work for everybody is given up. The decoder stands in: it says at once what a real one says late."""

import pytest

from fakes.ocr_engine import NullOcrEngine
from malha.ocr.documents.messages import Blocks, Prepare, TextPage
from malha.ocr.engine import Box, Line
from malha.ocr.errors import PageDamaged, PageTimeout
from malha.ocr.reading import MOST_STUCK, PageFailed, PageRead, ReadingOrder, read_pages
from malha.runtime.errors import EngineCrashed, MalhaError

LINE = Line("bom dia", 1.0, Box(0, 0, 10, 10))
TIMEOUT = PageTimeout.over(30, "decode")


class Decoder:
    """Fails the pages it is told to."""

    def __init__(self, bad: dict[int, MalhaError]) -> None:
        self.asked: list[int] = []
        self._bad = bad

    async def prepare(self, asked: Prepare) -> TextPage:
        self.asked.append(asked.number)
        if asked.number in self._bad:
            raise self._bad[asked.number]
        return TextPage(100, 100, (LINE,))

    async def arrange(self, asked: object) -> Blocks:
        return ((LINE,),)


async def read(decoder: Decoder, pages: int) -> list[PageRead | PageFailed]:
    order = ReadingOrder("nowhere", "application/pdf", pages, text_layer=True, scrub=False, language="", names=())
    return [page async for page in read_pages(decoder, NullOcrEngine(), order)]


async def test_after_so_many_stuck_pages_the_rest_is_not_tried() -> None:
    decoder = Decoder({2: TIMEOUT, 3: EngineCrashed("it died twice"), 5: TIMEOUT, 7: TIMEOUT})
    told = await read(decoder, 500)
    reasons = [page.reason if isinstance(page, PageFailed) else "" for page in told]
    assert reasons == ["", "PAGE_TIMEOUT", "ENGINE_CRASHED", "", "PAGE_TIMEOUT"] + 495 * ["DOCUMENT_GIVEN_UP"]
    assert [page.number for page in told] == list(range(1, 501))
    assert max(decoder.asked) <= 6, "the next page is made ready while one is read"


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
