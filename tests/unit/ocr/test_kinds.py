"""Kinds of document by their first bytes."""

import pytest

from fakes.documents import drawn, encoded, pdf
from malha.ocr.documents.kinds import JPEG, PDF, PNG, SUPPORTED, TIFF, check_media_type, sniff
from malha.runtime.errors import UnsupportedFormat


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", PNG), ("JPEG", JPEG), ("TIFF", TIFF), ("PDF", PDF)])
def test_what_is_read_is_known_by_its_first_bytes(kind: str, media_type: str) -> None:
    assert sniff(encoded(drawn(["a"]), kind)) == media_type
    assert sniff(encoded(drawn(["a"]), kind), media_type) == media_type


def test_a_pdf_may_have_something_before_its_header() -> None:
    assert sniff(b"\x00" * 500 + pdf([b""])) == PDF
    with pytest.raises(UnsupportedFormat):
        sniff(b"\x00" * 1024 + pdf([b""]))


@pytest.mark.parametrize(
    "head", [b"GIF89a", b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"<svg xmlns=", b"BM\x00\x00", b"%!PS-Adobe", b"\x00", b"8BPS", b"id=ImageMagick"]
)
def test_all_else_is_refused_and_nobody_is_asked_to_guess(head: bytes) -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        sniff(head)
    assert refused.value.reason == "NOT_A_DOCUMENT"
    assert all(media_type in refused.value.message for media_type in SUPPORTED)


def test_an_empty_document_and_a_wrong_media_type_are_told() -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        sniff(b"")
    assert refused.value.reason == "EMPTY_FILE"
    with pytest.raises(UnsupportedFormat, match="is image/png, not application/pdf") as refused:
        sniff(encoded(drawn(["a"]), "PNG"), PDF)
    assert refused.value.reason == "WRONG_MEDIA_TYPE"


def test_media_types_have_one_name() -> None:
    assert check_media_type("") == ""
    assert check_media_type("Image/JPG; charset=binary") == JPEG
    with pytest.raises(UnsupportedFormat, match="application/pdf"):
        check_media_type("image/gif")
