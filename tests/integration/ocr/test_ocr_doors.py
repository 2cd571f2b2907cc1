"""Ocr through the edge, the SDK and the program, before a real server with the real engine."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from integration.cli.program import run_malha
from integration.edge.conftest import RunningEdge, running_edge
from PIL import Image

from fakes.documents import drawn, encoded, encrypted_pdf, pdf, text_content
from fakes.ocr import TOKEN, Client
from malha.sdk import InvalidRequest, Malha, MalhaSync, Page

pytestmark = [pytest.mark.engine("rapidocr"), pytest.mark.asyncio(loop_scope="module")]

OCR = "/api/v1/ocr"
SCAN = encoded(drawn(["Bom dia, senhora.", "A fatura está paga."]), "PNG")
TEXT = pdf([text_content(["Primeira página."]), text_content(["CPF 529.982.247-25"])])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(client: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    port = int(client.target.rpartition(":")[2])
    async with running_edge(tmp_path_factory.mktemp("edge"), client.target, TOKEN, grpc_port=port, max_upload_bytes=3_000_000) as running:
        yield running


async def post(edge: RunningEdge, document: bytes, accept: str = "", **fields: str) -> httpx.Response:
    headers = {"Accept": accept} if accept else {}
    async with edge.client() as http:
        http.timeout = httpx.Timeout(120)
        return await http.post(OCR, files={"file": ("document", document)}, data=fields, headers=headers)


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


# Edge


async def test_a_document_is_answered_as_json(edge: RunningEdge) -> None:
    answer = await post(edge, SCAN, languages="pt,en")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["text"] == "Bom dia, senhora.\nA fatura está paga.\n"
    assert (told["media_type"], told["page_count"], told["engine"], told["scrubbed"], told["failed"]) == (
        "image/png",
        1,
        "rapidocr",
        True,
        [],
    )
    (page,) = told["pages"]
    assert (page["number"], page["source"], page["rotation"], page["width"]) == (1, "recognition", 0, 1100)
    line = page["blocks"][0]["lines"][0]
    assert line["text"] == "Bom dia, senhora."
    assert line["box"]["left"] == pytest.approx(60, abs=10)


async def test_as_plain_text_pages_are_apart_by_form_feeds(edge: RunningEdge) -> None:
    answer = await post(edge, TEXT, "text/plain", scrub="false")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "Primeira página.\n\fCPF 529.982.247-25\n"


async def test_as_ndjson_each_event_is_a_line(edge: RunningEdge) -> None:
    answer = await post(edge, TEXT, "application/x-ndjson, application/json;q=0.5")
    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["event"] for event in events] == ["opened", "document", "page", "page", "closed"]
    assert [event["text"] for event in events if event["event"] == "page"] == ["Primeira página.", "CPF [CPF]"]
    assert events[-1] == {"event": "closed", "pages": 2, "failed": 0}


async def test_a_page_that_fails_is_named_beside_those_that_do_not(edge: RunningEdge) -> None:
    file = io.BytesIO()
    drawn(["Uma página boa."]).save(file, "TIFF", save_all=True, append_images=[Image.new("1", (8000, 8000), 1)], compression="tiff_lzw")
    told = (await post(edge, file.getvalue())).json()
    assert [page["text"] for page in told["pages"]] == ["Uma página boa."]
    assert [(failed["number"], failed["reason"]) for failed in told["failed"]] == [(2, "PAGE_TOO_LARGE")]


@pytest.mark.parametrize(
    ("document", "fields", "expected"),
    [
        (b"", {}, (400, "EMPTY_FILE")),
        (b"some text", {}, (415, "NOT_A_DOCUMENT")),
        (SCAN, {"media_type": "application/pdf"}, (415, "WRONG_MEDIA_TYPE")),
        (SCAN, {"languages": "pt,tlh"}, (400, "UNSUPPORTED_LANGUAGE")),
        (SCAN, {"max_pages": "none"}, (400, "INVALID_FIELD")),
        (SCAN, {"max_pages": "00000000019999999999"}, (400, "INVALID_FIELD")),
        (SCAN, {"scrub": "perhaps"}, (400, "INVALID_FIELD")),
        (SCAN, {"language": "pt"}, (400, "INVALID_FIELD")),
        (encrypted_pdf(), {}, (422, "DOCUMENT_ENCRYPTED")),
        (pdf([b""] * 30), {}, (413, "TOO_MANY_PAGES")),
        (encoded(Image.new("1", (10_000, 10_000), 1), "PNG"), {}, (413, "PAGE_TOO_LARGE")),
        (SCAN[:5000], {}, (422, "PAGE_DAMAGED")),
        (bytes(4_000_000), {}, (413, "BODY_TOO_LARGE")),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
async def test_what_is_wrong_is_told_by_the_one_table(edge: RunningEdge, document: bytes, fields: dict[str, str], expected: Any) -> None:
    assert error(await post(edge, document, **fields)) == expected
    streamed = await post(edge, document, "application/x-ndjson", **fields)
    if expected[1].startswith("PAGE_"):  # a document that can be read has begun to be told
        assert [json.loads(line).get("reason") for line in streamed.text.splitlines()] == [None, None, expected[1], None]
    else:
        assert error(streamed) == expected


async def test_without_a_file_or_a_token_nothing_is_read(edge: RunningEdge) -> None:
    async with edge.client() as http:
        assert error(await http.post(OCR, files={"languages": (None, "pt")})) == (400, "MISSING_FILE")
        assert error(await http.post(OCR, content=SCAN)) == (415, "UNSUPPORTED_MEDIA_TYPE")
        wrong = [{"files": [("file", SCAN), ("file", SCAN)]}, {"files": {"document": SCAN}}, {"content": SCAN}]
        wrong += [{"files": {"file": bytes(size)}} for size in (3_000_001, 4_000_000)]
        for body in wrong:
            message = (await http.post(OCR, **body)).json()["error"]["message"]
            assert "document" in message, "and not a recording"
        assert (await http.get(OCR)).status_code == 405
    async with edge.client(token="") as http:
        assert error(await http.post(OCR, files={"file": SCAN})) == (401, "TOKEN_MISSING")


# SDK


async def test_a_document_is_awaited_whole_or_read_page_by_page(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "document.pdf"
    path.write_bytes(TEXT)
    async with Malha(client.target, TOKEN) as malha:
        document = await malha.read(path, languages="pt", scrub=False)
        assert document.text == "Primeira página.\fCPF 529.982.247-25"
        assert (document.media_type, document.page_count, document.engine.name, document.scrubbed) == (
            "application/pdf",
            2,
            "rapidocr",
            False,
        )
        assert [page.origin for page in document.pages] == ["text_layer", "text_layer"]
        pages: list[Page] = [page async for page in malha.read(TEXT, max_pages=1)]
        assert [page.number for page in pages] == [1]
        recognised = await malha.read(io.BytesIO(SCAN))
        assert recognised.pages[0].blocks[0].lines[0].text == "Bom dia, senhora."
        assert recognised.pages[0].origin == "recognition"
        assert (await malha.read([SCAN[:100], SCAN[100:]])).text == recognised.text


async def test_what_is_wrong_is_raised_and_a_bad_page_is_told(client: Client, tmp_path: Path) -> None:
    async with Malha(client.target, TOKEN) as malha:
        with pytest.raises(FileNotFoundError):
            malha.read(tmp_path / "absent.pdf")
        with pytest.raises(InvalidRequest) as refused:
            await malha.read(b"no document")
        assert refused.value.reason == "NOT_A_DOCUMENT"
        (page,) = (await malha.read(SCAN[:5000])).pages
        assert page.failure is not None
        assert (page.failure.reason, page.text) == ("PAGE_DAMAGED", "")


async def test_the_same_without_await(client: Client) -> None:
    def read() -> tuple[list[str], str]:
        with MalhaSync(client.target, TOKEN) as malha:
            return [page.text for page in malha.read(TEXT)], malha.read(SCAN).whole().text

    pages, whole = await asyncio.to_thread(read)
    assert pages == ["Primeira página.", "CPF [CPF]"]
    assert whole == "Bom dia, senhora.\nA fatura está paga."


# Program


async def test_the_program_prints_text_or_json(client: Client, tmp_path: Path) -> None:
    def ocr(*arguments: str) -> Any:
        return run_malha(tmp_path, "ocr", *arguments, MALHA_TARGET=client.target, MALHA_TOKEN=TOKEN)

    file, bad = tmp_path / "document.pdf", tmp_path / "bad.png"
    file.write_bytes(TEXT)
    bad.write_bytes(SCAN[:5000])
    done = await asyncio.to_thread(ocr, str(file), "--languages", "pt")
    assert (done.returncode, done.stdout) == (0, "Primeira página.\n\nCPF [CPF]\n"), done.stderr
    done = await asyncio.to_thread(ocr, str(file), "--json", "--max-pages", "1", "--ignore-text-layer")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["number"], line["text"], line["origin"]) == (1, "Primeira página.", "recognition")
    done = await asyncio.to_thread(ocr, str(bad))
    assert (done.returncode, done.stdout) == (1, "")
    assert "page 1: the image is damaged" in done.stderr
    locked = tmp_path / "locked.pdf"
    locked.write_bytes(encrypted_pdf())
    done = await asyncio.to_thread(ocr, str(locked), str(file))
    assert (done.returncode, done.stdout) == (1, "Primeira página.\n\nCPF [CPF]\n")
    assert f"malha: {locked}: the PDF needs a password" in done.stderr
    locked.write_bytes(pdf([b""] * 30))
    done = await asyncio.to_thread(ocr, str(locked))
    assert (done.returncode, done.stderr.count("ask for its first ones by --max-pages")) == (1, 1)
    done = await asyncio.to_thread(ocr, str(file), "-l", "tlh")
    assert done.returncode == 1
    assert done.stderr.startswith("malha: engine rapidocr")
