"""Documents for the tests of Ocr: drawn pages, PDF files with and without text, and such as are sent to do harm."""

import io
import zlib
from collections.abc import Sequence
from typing import Final

import pypdfium2 as pdfium
from PIL import Image

PORTUGUESE: Final = (
    "A reclamação foi registrada às três horas da manhã.",
    "O cliente não recebeu a confirmação do pagamento.",
    "Informações sobre a devolução estão no próximo capítulo.",
    "Você também poderá alterar o endereço de cobrança.",
    "Órgãos públicos têm até amanhã para responder à petição.",
    "Ações, opções e condições: é só ligar já, sem ônus.",
    "Avó e avô moram no sertão, há décadas, com saúde.",
)
"""Every accented letter of the language, most of them several times."""


def drawn(lines: Sequence[str], size: int = 14, width: int = 550) -> Image.Image:
    """A page, black on white, as PDFium draws Helvetica by a font of its own; twice as many pixels as ``size`` and ``width`` are points."""
    height = 60 + 1.5 * size * len(lines)
    return rendered(pdf([text_content(lines, left=30, top=height - 30 - size, size=size, leading=1.5)], box=(0, 0, width, height)))


def columns(left: Sequence[str], right: Sequence[str], head: str = "", size: int = 12) -> Image.Image:
    """A page of two columns, under a head that goes over both."""
    height = 130 + 1.5 * size * max(len(left), len(right))
    parts = (
        text_content([head], left=30, top=height - 50, size=2 * size),
        text_content(left, left=30, top=height - 100, size=size, leading=1.5),
        text_content(right, left=400, top=height - 100, size=size, leading=1.5),
    )
    return rendered(pdf([b"".join(parts)], box=(0, 0, 750, height)))


def rendered(document: bytes, scale: float = 2.0) -> Image.Image:
    """The first page of a PDF."""
    opened = pdfium.PdfDocument(document)
    try:
        return opened[0].render(scale=scale).to_pil().convert("RGB")
    finally:
        opened.close()


def encoded(page: Image.Image, kind: str, **options: object) -> bytes:
    """As a file: ``PNG``, ``JPEG``, ``TIFF``, ``PDF`` (pages as images)."""
    file = io.BytesIO()
    page.save(file, kind, **options)
    return file.getvalue()


def pdf(contents: Sequence[bytes], *, box: Sequence[float] = (0, 0, 595, 842), entries: bytes = b"", trailer: bytes = b"") -> bytes:
    """A PDF whose pages have these content streams, in Helvetica as F1. ``entries``: more of each page; ``trailer``: of the file's trailer."""
    media = " ".join(map(str, box)).encode()
    kids = [4 + 2 * number for number in range(len(contents))]
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for kid, content in zip(kids, contents, strict=True):
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> %s >>"
        objects += [page % (media, kid + 1, entries), _stream(content)]
    return assembled(objects, trailer)


def scanned_pdf(image: bytes, size: tuple[int, int], side: float) -> bytes:
    """A page with an image, JPEG or JPEG 2000, ``side`` times as wide and high as the page is."""
    packing = b"DCTDecode" if image.startswith(b"\xff\xd8") else b"JPXDecode"
    shown = b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /%s /Length %d >>"
    return assembled(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /XObject << /I 5 0 R >> >> >>",
            _stream(b"%g 0 0 %g 0 0 cm /I Do" % (600 * side, 800 * side)),
            (shown % (*size, packing, len(image))) + b"\nstream\n%s\nendstream" % image,
        ]
    )


def _stream(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)


def assembled(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects, the first one its catalogue."""
    file, places = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % place for place in places)
    file += b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)
    return bytes(file)


def text_content(lines: Sequence[str], left: float = 72, top: float = 760, size: int = 12, leading: float = 1.3) -> bytes:
    """A content stream that writes lines, from the top."""
    shown = b"".join(b"(%s) Tj T*\n" % _escaped(line) for line in lines)
    return b"BT /F1 %d Tf %g %g Td %g TL\n%sET\n" % (size, left, top, size * leading, shown)


def _escaped(line: str) -> bytes:
    return line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def encrypted_pdf() -> bytes:
    """One that needs a password (ISO 32000-1, 7.6.3), which nobody knows."""
    handler = b"/Encrypt << /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >> /ID [<%s> <%s>]" % (
        b"41" * 32,
        b"42" * 32,
        b"43" * 16,
        b"43" * 16,
    )
    return pdf([text_content(["secret"])], trailer=handler)


def many_pages_pdf(count: int) -> bytes:
    """So many pages, in some kilobytes: all are the same."""
    groups = count // 1000
    kids = b" ".join([b"4 0 R"] * 1000)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (groups * 1000, b" ".join([b"3 0 R"] * groups)),
        b"<< /Type /Pages /Parent 2 0 R /Count 1000 /Kids [%s] >>" % kids,
        b"<< /Type /Page /Parent 3 0 R /MediaBox [0 0 595 842] >>",
    ]
    return assembled(objects)


def flate_bomb_pdf(megabytes: int) -> bytes:
    """A page whose drawing is as many megabytes when unpacked, packed a thousandfold."""
    return pdf([b"0 0 m 1 1 l S " * (megabytes * 1024 * 1024 // 14)])
