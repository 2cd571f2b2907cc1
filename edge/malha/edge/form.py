"""A multipart form (RFC 7578) read as it comes: fields whole, the one file in pieces."""

from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from malha.edge.errors import InvalidField, UnsupportedMedia
from malha.runtime.errors import InvalidArgument

FILE = "file"
FIELD_BYTES = 4096
MOST_FIELDS = 32


@dataclass(frozen=True, slots=True)
class Field:
    """A whole field."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegins:
    """The file's part begins; `FileData` follows."""


@dataclass(frozen=True, slots=True)
class FileData:
    """The next bytes of the file."""

    content: bytes


Part = Field | FileBegins | FileData


class FormReader:
    """Fed with the body, tells its parts. What a part's name or a field holds is bounded; the file is not, its reader bounds it."""

    def __init__(self, content_type: str, noun: str = "recording") -> None:
        """``noun``: what the file is. Raises UnsupportedMedia for anything but a multipart form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise UnsupportedMedia(f"send multipart/form-data with the {noun} as its part `file`, as `curl -F file=@FILE` does")
        self.complete = False
        self._noun = noun
        self._parts: list[Part] = []
        self._header = [bytearray(), bytearray()]
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value = bytearray()
        self._fields = 0
        self._files = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise _malformed() from None

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts that these bytes of the body complete or continue. Raises InvalidArgument for what is no form."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise _malformed() from None
        parts, self._parts = self._parts, []
        return iter(parts)

    def finish(self) -> None:
        """Raises InvalidArgument if the body ended in the middle of the form."""
        if not self.complete:
            raise _malformed()

    def _on_part_begin(self) -> None:
        self._headers, self._name, self._value = {}, "", bytearray()

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = [bytearray(), bytearray()]

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name != FILE:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise InvalidArgument(f"a form of more than {MOST_FIELDS} fields", reason="TOO_MANY_FIELDS")
            return
        self._files += 1
        if self._files > 1:
            raise InvalidField(FILE, f"one {self._noun} a request")
        self._parts.append(FileBegins())

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            self._parts.append(FileData(data[start:end]))
            return
        self._value += data[start:end]
        if len(self._value) > FIELD_BYTES:
            raise InvalidArgument(
                f"a field of more than {FIELD_BYTES} bytes; the {self._noun} goes into the part `file`", reason="FIELD_TOO_LARGE"
            )

    def _on_part_end(self) -> None:
        if self._name != FILE:
            self._parts.append(Field(self._name, self._value.decode("utf-8", "replace")))

    def _on_end(self) -> None:
        self.complete = True


def _malformed() -> InvalidArgument:
    return InvalidArgument("the body is no whole multipart form", reason="MALFORMED_FORM")
