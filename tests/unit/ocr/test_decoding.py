"""Images and PDF pages to pixels and text, as the decoding process does it."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes.documents import columns, drawn, encoded, encrypted_pdf, many_pages_pdf, pdf, scanned_pdf, text_content
from malha.ocr.documents import images
from malha.ocr.documents import pdf as pdfs
from malha.ocr.documents.kinds import JPEG, PDF, PNG, TIFF
from malha.ocr.documents.messages import DecodeLimits, Describe, Description, ImagePage, TextPage
from malha.ocr.documents.raster import RasterFile, read
from malha.ocr.documents.worker import describe
from malha.ocr.errors import DocumentDamaged, DocumentEncrypted, PageDamaged, PageTooLarge
from malha.ocr.layout import arrange

LIMITS = DecodeLimits(page_pixels=10_000_000, engine_pixels=4_000_000, dpi=200, memory_bytes=1 << 30, cpu_seconds=60)


@pytest.fixture
def raster() -> Iterator[RasterFile]:
    file = RasterFile()
    yield file
    file.close()


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(content: bytes) -> str:
        (tmp_path / "document").write_bytes(content)
        return str(tmp_path / "document")

    return write


def test_an_image_is_pixels_in_blue_green_red(file: Any, raster: RasterFile) -> None:
    page = Image.new("RGB", (30, 20), (200, 100, 50))
    prepared = images.prepare(file(encoded(page, "PNG")), PNG, 1, raster.path, LIMITS)
    assert (prepared.image.width, prepared.image.height, prepared.scale) == (30, 20, 1.0)
    assert (read(prepared.image) == np.array([50, 100, 200], np.uint8)).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "I", "F"])
def test_all_kinds_of_pixels_become_the_same(mode: str, file: Any, raster: RasterFile) -> None:
    """A black square on white, whatever the file counts it in."""
    plain = Image.new("L", (40, 40), 255)
    plain.paste(0, (10, 10, 30, 30))
    if mode == "I;16":
        page = Image.fromarray(np.asarray(plain).astype(np.uint16) * 257)
    elif mode in {"LA", "RGBA"}:
        page = plain.convert(mode)
        page.putalpha(plain.point(lambda value: 255 - value))  # transparent where it is white
    else:
        page = plain.convert(mode)
    prepared = images.prepare(
        file(encoded(page, "TIFF" if mode in {"CMYK", "I", "F"} else "PNG")),
        TIFF if mode in {"CMYK", "I", "F"} else PNG,
        1,
        raster.path,
        LIMITS,
    )
    pixels = read(prepared.image)
    assert pixels[20, 20].max() < 10
    assert pixels[2, 2].min() > 245


def test_an_image_is_turned_as_its_camera_says(file: Any, raster: RasterFile) -> None:
    page = Image.new("RGB", (60, 20), "white")
    page.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    prepared = images.prepare(file(encoded(page, "JPEG", exif=exif, quality=95)), JPEG, 1, raster.path, LIMITS)
    assert (prepared.image.width, prepared.image.height) == (20, 60)
    assert read(prepared.image)[2, 17].max() < 60


def test_a_large_image_is_scaled_to_what_the_engine_is_given(file: Any, raster: RasterFile) -> None:
    prepared = images.prepare(file(encoded(Image.new("L", (4000, 2000), 255), "PNG")), PNG, 1, raster.path, LIMITS)
    assert prepared.scale == pytest.approx(2**0.5, abs=0.001)
    assert (prepared.image.width, prepared.image.height) == (2828, 1414)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(file: Any, raster: RasterFile) -> None:
    bomb = encoded(Image.new("1", (10_000, 10_000), 1), "PNG")
    assert len(bomb) < 50_000
    with pytest.raises(PageTooLarge, match="100,000,000 pixels, over the limit of 10,000,000:"):
        images.prepare(file(bomb), PNG, 1, raster.path, LIMITS)


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (30_000, 149)])
def test_a_strip_is_refused_and_one_that_engines_can_read_is_not(size: tuple[int, int], file: Any, raster: RasterFile) -> None:
    with pytest.raises(PageTooLarge, match="more than 200 times"):
        images.prepare(file(encoded(Image.new("L", size, 255), "PNG")), PNG, 1, raster.path, LIMITS)
    with pytest.raises(PageTooLarge, match="more than 200 times"):
        pdfs.prepare(file(pdf([b""], box=(0, 0, size[0] / 10, size[1] / 10))), 1, raster.path, LIMITS, text_layer=True)
    less = Image.new("L", (max(size), max(size) // 200), 255)
    assert isinstance(images.prepare(file(encoded(less, "PNG")), PNG, 1, raster.path, LIMITS), ImagePage)


@pytest.mark.parametrize("kind", [PNG, JPEG, TIFF])
def test_an_image_cut_off_is_damaged(kind: str, file: Any, raster: RasterFile) -> None:
    whole = encoded(drawn(["uma página que foi cortada"] * 20), images.FORMATS[kind])
    for share in (0.01, 0.3, 0.9):
        path = file(whole[: max(20, int(len(whole) * share))])
        try:
            images.count_pages(path, kind, 10)
        except DocumentDamaged:
            continue
        with pytest.raises(PageDamaged):
            images.prepare(path, kind, 1, raster.path, LIMITS)


def test_a_tiff_has_pages(file: Any, raster: RasterFile) -> None:
    pages = [Image.new("L", (40, 40 + number), 255) for number in range(5)]
    path = file(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert images.count_pages(path, TIFF, 100) == 5
    assert images.count_pages(path, TIFF, 3) == 4  # no further than it matters
    assert [images.prepare(path, TIFF, number, raster.path, LIMITS).image.height for number in range(1, 6)] == [40, 41, 42, 43, 44]


def test_text_of_a_pdf_page_stands_where_it_is_drawn(file: Any, raster: RasterFile) -> None:
    path = file(pdf([text_content(["Olá, senhor João", "ação e reação"], left=72, top=720)]))
    page = pdfs.prepare(path, 1, raster.path, LIMITS, text_layer=True)
    assert isinstance(page, TextPage)
    assert [line.text for line in page.lines] == ["Olá, senhor João", "ação e reação"]
    assert (page.width, page.height) == (1653, 2339)  # A4 at 200 dots an inch
    box = page.lines[0].box
    assert box.left == pytest.approx(72 / 72 * 200, abs=6)
    assert box.bottom == pytest.approx((842 - 720) / 72 * 200, abs=12)
    rendered = pdfs.prepare(path, 1, raster.path, LIMITS, text_layer=False)
    assert isinstance(rendered, ImagePage)
    dark = np.argwhere(read(rendered.image).min(axis=2) < 128)
    assert dark.min(axis=0) == pytest.approx([box.top, box.left], abs=8)


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_text_of_a_page_that_is_turned_stands_where_it_is_seen(rotate: int, file: Any, raster: RasterFile) -> None:
    path = file(pdf([text_content(["uma linha de texto"], left=72, top=720)], entries=b"/Rotate %d" % rotate))
    page = pdfs.prepare(path, 1, raster.path, LIMITS, text_layer=True)
    rendered = pdfs.prepare(path, 1, raster.path, LIMITS, text_layer=False)
    assert isinstance(page, TextPage)
    assert isinstance(rendered, ImagePage)
    dark = np.argwhere(read(rendered.image).min(axis=2) < 128)
    top, left = dark.min(axis=0)
    bottom, right = dark.max(axis=0)
    boxes = [line.box for line in page.lines]
    assert min(box.left for box in boxes) == pytest.approx(left, abs=10)
    assert min(box.top for box in boxes) == pytest.approx(top, abs=10)
    assert max(box.right for box in boxes) == pytest.approx(right, abs=10)
    assert max(box.bottom for box in boxes) == pytest.approx(bottom, abs=10)


def test_columns_of_a_pdf_are_lines_apart(file: Any, raster: RasterFile) -> None:
    left, right = [f"left {n} lorem ipsum dolor" for n in range(6)], [f"right {n} sit amet consectetur" for n in range(6)]
    rows = b"".join(
        text_content([here], left=60, top=700 - 16 * n) + text_content([there], left=330, top=700 - 16 * n)
        for n, (here, there) in enumerate(zip(left, right, strict=True))
    )
    page = pdfs.prepare(file(pdf([rows])), 1, raster.path, LIMITS, text_layer=True)
    assert isinstance(page, TextPage)
    assert [line.text for block in arrange(page.lines) for line in block] == [*left, *right]


def test_what_stands_in_form_fields_is_read(file: Any, raster: RasterFile) -> None:
    shown = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /Font << /F1 3 0 R >> >> /Length %d >>\nstream\n%s\nendstream"
    )
    drawing = b"BT /F1 12 Tf 2 5 Td (Maria da Silva) Tj ET"
    field = b"/Annots [<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (Maria da Silva) /F 4 /Rect [72 600 272 620] /AP << /N 6 0 R >> >>]"
    content = pdf([text_content(["Nome:"])], entries=field)
    objects = content.split(b"endobj\n")
    assert len(objects) == 6
    from fakes.documents import assembled

    bodies = [part.split(b"obj\n", 1)[1].rstrip(b"\n") for part in objects[:5]]
    page = pdfs.prepare(file(assembled([*bodies, shown % (len(drawing), drawing)])), 1, raster.path, LIMITS, text_layer=True)
    assert isinstance(page, TextPage)
    assert [line.text for line in page.lines] == ["Nome:", "Maria da Silva"]


def test_a_scan_with_a_stamp_on_it_is_recognised_and_one_with_its_text_is_not(file: Any, raster: RasterFile) -> None:
    scan = encoded(columns(["texto"] * 10, ["texto"] * 10), "PDF", resolution=150)
    assert isinstance(pdfs.prepare(file(scan), 1, raster.path, LIMITS, text_layer=True), ImagePage)
    assert isinstance(pdfs.prepare(file(pdf([text_content(["texto"] * 10)])), 1, raster.path, LIMITS, text_layer=True), TextPage)


@pytest.mark.parametrize(("side", "damaged"), [(1.0, True), (0.35, True), (0.2, False)])
@pytest.mark.parametrize(("kind", "where"), [("JPEG", b"\xff\xdb"), ("JPEG2000", b"\xff\x52")])
def test_a_page_that_would_be_blank_for_its_damaged_image_is_damaged(
    kind: str, where: bytes, side: float, damaged: bool, file: Any, raster: RasterFile
) -> None:
    page = drawn(["texto"] * 10)
    image = encoded(page, kind)
    assert isinstance(pdfs.prepare(file(scanned_pdf(image, page.size, side)), 1, raster.path, LIMITS, text_layer=True), ImagePage)
    path = file(scanned_pdf(image[: image.index(where)], page.size, side))
    if damaged:
        with pytest.raises(PageDamaged, match="cannot be drawn"):
            pdfs.prepare(path, 1, raster.path, LIMITS, text_layer=True)
    else:
        assert isinstance(pdfs.prepare(path, 1, raster.path, LIMITS, text_layer=True), ImagePage)


def test_an_empty_page_is_rendered_white(file: Any, raster: RasterFile) -> None:
    page = pdfs.prepare(file(pdf([b""])), 1, raster.path, LIMITS, text_layer=True)
    assert isinstance(page, ImagePage)
    assert read(page.image).min() == 255


def test_a_large_page_is_rendered_as_coarsely_as_it_must_and_a_monstrous_one_is_refused(file: Any, raster: RasterFile) -> None:
    poster = pdfs.prepare(file(pdf([b""], box=(0, 0, 2384, 3370))), 1, raster.path, LIMITS, text_layer=True)  # A0
    assert isinstance(poster, ImagePage)
    assert 3_900_000 < poster.image.width * poster.image.height <= 4_010_000
    with pytest.raises(PageTooLarge, match="inches"):
        pdfs.prepare(file(pdf([b""], box=(0, 0, 14_400, 14_400))), 1, raster.path, LIMITS, text_layer=True)


def test_a_document_is_described(file: Any) -> None:
    assert describe(Describe(file(pdf([b""] * 3)), "", 10)) == Description(PDF, 3)
    assert describe(Describe(file(many_pages_pdf(5000)), "", 10)).pages == 5000
    with pytest.raises(DocumentEncrypted, match="password"):
        describe(Describe(file(encrypted_pdf()), "", 10))
    with pytest.raises(DocumentDamaged):
        describe(Describe(file(b"%PDF-1.7\n" + b"junk" * 100), "", 10))
    with pytest.raises(DocumentDamaged):
        describe(Describe(file(b"\x89PNG\r\n\x1a\n" + b"junk" * 100), "", 10))


def test_random_damage_is_told_as_such(file: Any, raster: RasterFile) -> None:
    """Whatever the bytes, the answer is a page or an error of ours."""
    random = np.random.default_rng(7)
    for kind, whole in ((PNG, encoded(drawn(["x"] * 5), "PNG")), (TIFF, encoded(drawn(["x"]), "TIFF")), (PDF, pdf([text_content(["x"])]))):
        for _ in range(40):
            damaged = bytearray(whole)
            for place in random.integers(8, len(whole), 8):
                damaged[place] = random.integers(256)
            path = file(bytes(damaged))
            try:
                if describe(Describe(path, "", 10)).media_type == PDF:
                    pdfs.prepare(path, 1, raster.path, LIMITS, text_layer=True)
                else:
                    images.prepare(path, kind, 1, raster.path, LIMITS)
            except (DocumentDamaged, DocumentEncrypted, PageDamaged, PageTooLarge):
                pass


def test_a_raster_is_gone_when_it_is_closed() -> None:
    file = RasterFile()
    path = file.path
    assert Path(path).exists()
    file.close()
    assert not Path(path).exists()


def test_pillow_reads_only_what_it_is_told_to(file: Any, raster: RasterFile) -> None:
    gif = io.BytesIO()
    Image.new("L", (9, 9)).save(gif, "GIF")
    with pytest.raises(DocumentDamaged):
        images.count_pages(file(gif.getvalue()), PNG, 10)
