"""Kinds of document that are read, told by their first bytes: never by a file's name, and no decoder is asked to guess."""

from typing import Final

from malha.runtime.errors import UnsupportedFormat

PNG, JPEG, TIFF, PDF = "image/png", "image/jpeg", "image/tiff", "application/pdf"
SUPPORTED: Final = (PNG, JPEG, TIFF, PDF)
HEAD_BYTES: Final = 1024
"""Of a PDF, its header may begin anywhere in these (Adobe's implementation note 13 to ISO 32000-1)."""

_MAGICS: Final = {
    b"\x89PNG\r\n\x1a\n": PNG,
    b"\xff\xd8\xff": JPEG,
    b"II*\x00": TIFF,
    b"MM\x00*": TIFF,
    b"II+\x00": TIFF,
    b"MM\x00+": TIFF,
}
_ALIASES: Final = {"image/jpg": JPEG, "image/tif": TIFF, "application/x-pdf": PDF}


def check_media_type(media_type: str) -> str:
    """The media type by its usual name; empty stays empty. Raises UnsupportedFormat for one that is not read."""
    plain = media_type.partition(";")[0].strip().lower()
    known = _ALIASES.get(plain, plain)
    if known and known not in SUPPORTED:
        raise UnsupportedFormat(
            f"documents of this media type are not read: there are {', '.join(SUPPORTED)}",
            violations={"open.media_type": f"must be one of {', '.join(SUPPORTED)}, or empty"},
        )
    return known


def sniff(head: bytes, expected: str = "") -> str:
    """The media type of a document that begins so.

    Raises UnsupportedFormat: EMPTY_FILE, NOT_A_DOCUMENT, or WRONG_MEDIA_TYPE where it is not what was ``expected``.
    """
    if not head:
        raise UnsupportedFormat("the document is empty", reason="EMPTY_FILE")
    found = next((kind for magic, kind in _MAGICS.items() if head.startswith(magic)), PDF if b"%PDF-" in head[:HEAD_BYTES] else "")
    if not found:
        raise UnsupportedFormat(
            f"the document is of no kind that is read: there are {', '.join(SUPPORTED)}",
            reason="NOT_A_DOCUMENT",
            metadata={"supported": ", ".join(SUPPORTED)},
        )
    if expected and found != expected:
        raise UnsupportedFormat(f"the document is {found}, not {expected}", reason="WRONG_MEDIA_TYPE", metadata={"found": found})
    return found
