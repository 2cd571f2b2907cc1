"""OcrService over gRPC: a real server, the real engine, real documents."""

import asyncio
import io
import os
import signal
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from fakes.documents import PORTUGUESE, columns, drawn, encoded, encrypted_pdf, flate_bomb_pdf, many_pages_pdf, pdf, text_content
from fakes.ocr import DEADLINE, Client, serving, text_of
from fakes.ocr_engine import NullOcrEngine
from malha.api.ocr.v1 import ocr_pb2 as api
from malha.bench.cer import accent_recall, character_error_rate
from malha.ocr.engine import PageImage, Reading
from malha.ocr.service import OcrService
from malha.runtime.errors import MalhaError
from malha.runtime.status import from_rpc_error

pytestmark = [pytest.mark.engine("rapidocr"), pytest.mark.asyncio(loop_scope="module")]

LEFT = [f"Esta é a linha {n} da coluna esquerda," for n in range(1, 9)]
RIGHT = [f"e esta é a linha {n} da coluna direita." for n in range(1, 9)]


# What it is for


async def test_a_page_is_read_with_its_accents(client: Client) -> None:
    told = await client.read(encoded(drawn(PORTUGUESE), "PNG"), languages=["pt"], scrub=False)
    assert told.kinds == ["opened", "document", "page", "closed"]
    assert (told.opened.engine.name, told.opened.engine.model) == ("rapidocr", "PP-OCRv6_small")
    assert {"pt", "es", "en"} <= set(told.opened.languages)
    assert (told.document.media_type, told.document.pages, told.document.pages_to_read) == ("image/png", 1, 1)
    (page,) = told.pages
    assert character_error_rate("\n".join(PORTUGUESE), text_of(page)) < 0.01
    recall = accent_recall("\n".join(PORTUGUESE), text_of(page))
    assert recall is not None
    assert recall > 0.97
    assert page.confidence > 0.9
    assert (page.number, page.rotation, page.source) == (1, 0, api.SOURCE_RECOGNITION)
    boxes = [line.box for block in page.blocks for line in block.lines]
    assert all(box.left >= 0 and box.left + box.width <= page.width and box.top + box.height <= page.height for box in boxes)
    assert [box.top for box in boxes] == sorted(box.top for box in boxes)
    assert (told.closed.pages, told.closed.failed) == (1, 0)
    assert told.closed.first_page.seconds < DEADLINE


@pytest.mark.parametrize("name", ["english_test", "english_complex", "spanish_test", "mixed_language_test", "phototest"])
async def test_the_pages_of_others_are_read(client: Client, shared_data: Path, name: str) -> None:
    """Rendered pages and a scan, by errors of characters; of the PDF files the text they carry."""
    reference = (shared_data / "ocr" / f"{name}.txt").read_text()
    image = next(path for path in (shared_data / "ocr").iterdir() if path.stem == name and path.suffix in {".png", ".tif"})
    told = await client.read(image.read_bytes(), scrub=False)
    assert character_error_rate(reference, told.text) < 0.01
    document = image.with_suffix(".pdf")
    if document.exists():
        carried = await client.read(document.read_bytes(), scrub=False)
        assert [page.source for page in carried.pages] == [api.SOURCE_TEXT_LAYER]
        assert character_error_rate(reference, carried.text) < 0.001


async def test_a_page_that_carries_its_text_can_be_recognised_all_the_same(client: Client, shared_data: Path) -> None:
    document = shared_data / "ocr" / "spanish_test.pdf"
    told = await client.read(document.read_bytes(), ignore_text_layer=True, scrub=False)
    assert [page.source for page in told.pages] == [api.SOURCE_RECOGNITION]
    assert character_error_rate(document.with_suffix(".txt").read_text(), told.text) < 0.01


@pytest.mark.parametrize("degrees", [90, 180, 270])
async def test_a_page_scanned_the_wrong_way_round_is_turned(client: Client, degrees: int) -> None:
    page = drawn(PORTUGUESE)
    turned = page.rotate(degrees, expand=True)  # anticlockwise: as many degrees clockwise put it right
    told = await client.read(encoded(turned, "PNG"), scrub=False)
    assert told.pages[0].rotation == degrees
    assert (told.pages[0].width, told.pages[0].height) == page.size
    assert character_error_rate("\n".join(PORTUGUESE), told.text) < 0.02


async def test_columns_are_read_one_after_the_other(client: Client) -> None:
    told = await client.read(encoded(columns(LEFT, RIGHT, "Um título por cima das duas"), "JPEG", quality=90), scrub=False)
    assert character_error_rate("\n".join(["Um título por cima das duas", *LEFT, *RIGHT]), told.text) < 0.02


async def test_pages_come_one_by_one_in_their_order(client: Client) -> None:
    sheets = [drawn([f"Esta é a página número {n}."]) for n in range(1, 6)]
    told = await client.read(encoded(sheets[0], "TIFF", save_all=True, append_images=sheets[1:], compression="tiff_lzw"), scrub=False)
    assert told.kinds == ["opened", "document", *["page"] * 5, "closed"]
    assert [page.number for page in told.pages] == [1, 2, 3, 4, 5]
    assert told.lines == [f"Esta é a página número {n}." for n in range(1, 6)]


class _Waiting(NullOcrEngine):
    """Reads one page, and the others once it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.pages = 0

    async def read(self, image: PageImage) -> Reading:
        self.pages += 1
        if self.pages > 1:
            await self.go.wait()
        return await super().read(image)


async def test_the_first_page_is_told_before_the_last_is_read(tmp_path: Path) -> None:
    sheets = [drawn([f"Página {n}"]) for n in range(1, 5)]
    document = encoded(sheets[0], "PDF", save_all=True, append_images=sheets[1:])
    engine, pages = _Waiting(), []
    async with serving(tmp_path, engine=engine) as client:
        call = client.open()
        await call.write(api.RecognizeRequest(open=api.Open(scrub=False)))
        assert (await call.read()).HasField("opened")
        for start in range(0, len(document), 500_000):
            await call.write(api.RecognizeRequest(data=api.Data(content=document[start : start + 500_000])))
        await call.done_writing()  # without `finish`: the end of the requests counts as one
        while (response := await call.read()) is not grpc.aio.EOF:
            if response.HasField("page"):
                pages.append(response.page.number)
                engine.go.set()
    assert pages == [1, 2, 3, 4]


async def test_a_pdf_with_text_and_scans_is_read_by_what_each_page_has(client: Client) -> None:
    carried = pdf([text_content(["Esta página traz o seu texto: ação."])])
    told = await client.read(carried, scrub=False)
    assert (told.lines, told.pages[0].source, told.pages[0].confidence) == (
        ["Esta página traz o seu texto: ação."],
        api.SOURCE_TEXT_LAYER,
        1.0,
    )
    scanned = await client.read(encoded(drawn(["Esta página foi digitalizada."]), "PDF", resolution=150), scrub=False)
    assert (scanned.lines, scanned.pages[0].source) == (["Esta página foi digitalizada."], api.SOURCE_RECOGNITION)


async def test_max_pages_reads_the_first_ones_of_a_document_of_any_length(client: Client) -> None:
    told = await client.read(many_pages_pdf(5000), max_pages=2)
    assert (told.document.pages, told.document.pages_to_read, told.closed.pages) == (5000, 2, 2)
    assert [len(page.blocks) for page in told.pages] == [0, 0]


async def test_personal_data_is_masked_unless_the_caller_says_no(client: Client) -> None:
    page = pdf([text_content(["Maria, CPF 529.982.247-25,", "telefone (11) 98765-4321."])])
    masked = await client.read(page, languages=["pt"])
    assert masked.opened.scrub
    assert "529" not in masked.text
    assert "98765" not in masked.text
    assert "[CPF]" in masked.text
    plain = await client.read(page, languages=["pt"], scrub=False)
    assert not plain.opened.scrub
    assert "529.982.247-25" in plain.text


# Documents that are wrong


@pytest.mark.parametrize(
    ("document", "opening", "reason"),
    [
        (b"", {}, "EMPTY_FILE"),
        (b"GIF89a" + bytes(100), {}, "NOT_A_DOCUMENT"),
        (b"just some text", {}, "NOT_A_DOCUMENT"),
        (encoded(drawn(["a"]), "PNG"), {"media_type": "application/pdf"}, "WRONG_MEDIA_TYPE"),
        (b"%PDF-1.4\nnothing", {}, "DOCUMENT_DAMAGED"),
        (b"\x89PNG\r\n\x1a\n", {}, "DOCUMENT_DAMAGED"),
        (b"II*\x00" + bytes(30), {}, "DOCUMENT_DAMAGED"),
        (encrypted_pdf(), {}, "DOCUMENT_ENCRYPTED"),
        (many_pages_pdf(3000), {}, "TOO_MANY_PAGES"),
        (pdf([b""] * 30), {"max_pages": 25}, "TOO_MANY_PAGES"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_document_that_cannot_be_read_is_refused_with_its_reason(
    client: Client, document: bytes, opening: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MalhaError) as refused:
        await client.read(document, **opening)
    assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


@pytest.mark.parametrize(
    ("opening", "reason", "told"),
    [
        ({"languages": ["tlh"]}, "UNSUPPORTED_LANGUAGE", "en, es"),
        ({"media_type": "image/gif"}, "UNSUPPORTED_FORMAT", "image/png"),
        ({"max_pages": 0}, "INVALID_FIELD", "max_pages"),
        ({"languages": ["pt"] * 9}, "INVALID_FIELD", "languages"),
    ],
)
async def test_an_opening_that_cannot_be_served_says_why(client: Client, opening: dict[str, Any], reason: str, told: str) -> None:
    with pytest.raises(MalhaError, match=told) as refused:
        await client.read(b"%PDF-", **opening)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (encoded(Image.new("1", (10_000, 10_001), 1), "PNG"), "PAGE_TOO_LARGE"),
        (encoded(drawn(["uma imagem cortada"] * 20), "PNG")[:8_000], "PAGE_DAMAGED"),
        (pdf([b""], box=(0, 0, 1_000_000, 1_000_000)), "PAGE_TOO_LARGE"),
        (encoded(Image.linear_gradient("L").resize((5000, 1)), "PNG"), "PAGE_TOO_LARGE"),
    ],
    ids=["100 megapixels", "cut off", "a page of miles", "a strip"],
)
async def test_a_page_that_cannot_be_read_is_told_and_closes_well(client: Client, document: bytes, reason: str) -> None:
    told = await client.read(document)
    assert told.kinds == ["opened", "document", "failed", "closed"]
    assert (told.failed[0].number, told.failed[0].reason) == (1, reason)
    assert (told.closed.pages, told.closed.failed) == (0, 1)


async def test_a_bad_page_does_not_take_its_neighbours_along(client: Client) -> None:
    good, sheet = drawn(["Uma página boa."]), io.BytesIO()
    good.save(sheet, "TIFF", save_all=True, append_images=[Image.new("1", (8000, 8000), 1), good])
    told = await client.read(sheet.getvalue(), scrub=False)
    assert told.kinds == ["opened", "document", "page", "failed", "page", "closed"]
    assert (told.failed[0].number, told.failed[0].reason) == (2, "PAGE_TOO_LARGE")
    assert told.lines == ["Uma página boa."] * 2
    assert (told.closed.pages, told.closed.failed) == (2, 1)


async def test_an_empty_page_has_no_text(client: Client) -> None:
    told = await client.read(pdf([b""]))
    assert told.kinds == ["opened", "document", "page", "closed"]
    assert (len(told.pages[0].blocks), told.pages[0].confidence) == (0, 0)


async def test_a_document_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, ocr_max_document_bytes=100_000) as client:
        call = client.open()
        await call.write(api.RecognizeRequest(open=api.Open()))
        await call.read()
        await call.write(api.RecognizeRequest(data=api.Data(content=b"%PDF-" + bytes(200_000))))
        with pytest.raises(grpc.aio.AioRpcError) as raised:  # nothing is sent meanwhile: see `send`
            await call.read()
        refused = from_rpc_error(raised.value)
        assert (refused.code, refused.reason, refused.quota) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "DOCUMENT_TOO_LARGE",
            "document_bytes",
        )


# Loads and losses


async def test_a_page_that_takes_too_long_fails_and_the_next_document_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path, ocr_page_seconds=10) as client:
        await client.read(encoded(drawn(["bom dia"]), "PNG"))
        (engine,) = client.engine.worker_pids
        psutil.Process(engine).suspend()
        told = await client.read(encoded(drawn(["boa tarde"]), "PNG"))
        assert [failed.reason for failed in told.failed] == ["PAGE_TIMEOUT"]
        assert "10 s to recognise, the limit of MALHA_OCR_PAGE_SECONDS" in told.failed[0].message
        assert (await client.read(encoded(drawn(["boa noite"]), "PNG"))).lines == ["boa noite"]
        assert engine not in client.engine.worker_pids


async def test_a_worker_killed_in_the_middle_of_a_page_costs_a_repetition(client: Client) -> None:
    sheets = [drawn([f"Página {n}", *PORTUGUESE]) for n in range(1, 4)]
    document = encoded(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
    call = client.open()
    await call.write(api.RecognizeRequest(open=api.Open(scrub=False)))
    assert (await call.read()).HasField("opened")
    await send_all(call, document)
    pages, killed = [], False
    while (response := await call.read()) is not grpc.aio.EOF:
        if response.HasField("page"):
            pages.append(response.page.number)
        if response.HasField("document") and not killed:
            killed = True
            await asyncio.sleep(0.2)
            os.kill(client.engine.worker_pids[0], signal.SIGKILL)
    assert killed
    assert pages == [1, 2, 3]
    assert response is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK


async def test_a_lost_client_stops_the_work(client: Client) -> None:
    def open_streams() -> float | None:
        return REGISTRY.get_sample_value("malha_streams_open", {"service": OcrService.name})

    sheets = [drawn(PORTUGUESE * 3) for _ in range(10)]
    call = client.open()
    await call.write(api.RecognizeRequest(open=api.Open()))
    assert (await call.read()).HasField("opened")
    await send_all(call, encoded(sheets[0], "PDF", save_all=True, append_images=sheets[1:]))
    while not (await asyncio.wait_for(call.read(), DEADLINE)).HasField("page"):
        pass
    call.cancel()
    async with asyncio.timeout(DEADLINE):
        while open_streams():
            await asyncio.sleep(0.05)
    assert (await client.read(encoded(drawn(["ainda aqui"]), "PNG"))).lines == ["ainda aqui"]


async def test_only_so_many_documents_are_open_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, ocr_max_documents=1) as client:
        call = client.open()
        await call.write(api.RecognizeRequest(open=api.Open()))
        assert (await call.read()).HasField("opened")
        with pytest.raises(MalhaError) as refused:
            await client.read(b"%PDF-")
        assert (refused.value.reason, refused.value.retry_seconds) == ("TOO_MANY_DOCUMENTS", 2.0)
        call.cancel()
        await until_read(client)


async def test_a_drawing_that_unpacks_without_end_fails_its_page_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, ocr_page_seconds=20, ocr_decoder_memory_bytes=512 << 20) as client:
        bomb = flate_bomb_pdf(900)
        assert len(bomb) < 5_000_000
        told = await client.read(bomb)
        assert [failed.reason for failed in told.failed] in (["PAGE_TIMEOUT"], ["ENGINE_CRASHED"], ["PAGE_TOO_LARGE"], ["PAGE_DAMAGED"], [])
        assert (await client.read(encoded(drawn(["bom dia"]), "PNG"))).lines == ["bom dia"]


async def test_a_page_that_needs_too_much_memory_names_the_limit(tmp_path: Path) -> None:
    async with serving(tmp_path, ocr_decoder_memory_bytes=256 << 20) as client:
        (failed,) = (await client.read(flate_bomb_pdf(600))).failed
    assert failed.reason == "ENGINE_CRASHED"
    assert "MALHA_OCR_DECODER_MEMORY_BYTES" in failed.message


async def until_read(client: Client) -> None:
    """Until a lost client's place is given to another."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await client.read(pdf([b""]))
                return
            except MalhaError as error:
                if error.reason != "TOO_MANY_DOCUMENTS":
                    raise
                await asyncio.sleep(0.05)


async def send_all(call: grpc.aio.StreamStreamCall, document: bytes) -> None:
    for start in range(0, len(document), 500_000):
        await call.write(api.RecognizeRequest(data=api.Data(content=document[start : start + 500_000])))
    await call.write(api.RecognizeRequest(finish=api.Finish()))
