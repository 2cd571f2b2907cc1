"""A form is the same form however it is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.edge.errors import UnsupportedMedia
from malha.edge.form import Field, FileBegins, FileData, FormReader
from malha.runtime.errors import InvalidArgument

BOUNDARY = "xYzZY"
TYPE = f'multipart/form-data; boundary="{BOUNDARY}"'


def part(name: str, value: bytes, *headers: str) -> bytes:
    lines = [f"--{BOUNDARY}", f'Content-Disposition: form-data; name="{name}"', *headers, "", ""]
    return "\r\n".join(lines).encode() + value + b"\r\n"


def read(pieces: list[bytes], content_type: str = TYPE) -> tuple[list[Field], bytes, list[str]]:
    """Fields, the file, and the order of both."""
    reader, fields, file, order = FormReader(content_type), [], b"", []
    for piece in pieces:
        for each in reader.feed(piece):
            match each:
                case Field():
                    fields.append(each)
                    order.append(each.name)
                case FileBegins():
                    order.append("file")
                case FileData(content):
                    file += content
    reader.finish()
    return fields, file, order


@given(st.binary(max_size=400), st.data())
def test_cut_anywhere(content: bytes, data: st.DataObject) -> None:
    content = content.replace(b"--" + BOUNDARY.encode(), b"")
    body = (
        part("language", "português".encode())
        + part("file", content, "Content-Type: audio/wav")
        + part("words", b"")
        + f"--{BOUNDARY}--\r\n".encode()
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    fields, file, order = read(pieces)
    assert fields == [Field("language", "português"), Field("words", "")]
    assert file == content
    assert order == ["language", "file", "words"]


@given(st.binary(max_size=300))
def test_whatever_the_body_is_it_is_no_defect(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read([body])


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json", "multipart/form-data", "multipart/mixed; boundary=a", "multipart/form-data; boundary="],
)
def test_other_media(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia):
        FormReader(content_type)


def test_a_boundary_longer_than_the_standard_allows() -> None:
    with pytest.raises(InvalidArgument):
        FormReader(f"multipart/form-data; boundary={'b' * 300}")


def test_a_part_without_a_name_is_an_unnamed_field() -> None:
    body = f"--{BOUNDARY}\r\nX-Other: 1\r\n\r\nvalue\r\n--{BOUNDARY}--\r\n".encode()
    assert read([body])[0] == [Field("", "value")]
