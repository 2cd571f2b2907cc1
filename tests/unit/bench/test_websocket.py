import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as LibraryOpcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from malha.bench.websocket import MASKED, Opcode, ProtocolError, Reader, Target, frame, handshake


def _parsed(data: bytes, mask: bool) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=mask)
    with pytest.raises(StopIteration) as returned:
        next(parsing)
    return returned.value.value


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 320_000])
def test_frames_are_those_the_library_reads(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    parsed = _parsed(frame(Opcode.BINARY, payload[:size]), mask=True)
    assert parsed.opcode is LibraryOpcode.BINARY
    assert parsed.fin
    assert bytes(parsed.data) == payload[:size]


def test_the_payload_is_in_the_frame_as_it_is() -> None:
    made = frame(Opcode.BINARY, b"audio")
    assert made[1] & MASKED
    assert made.endswith(b"\0\0\0\0audio")


def test_the_library_accepts_the_handshake_and_the_reader_its_answer() -> None:
    request, accept = handshake(Target.parse("ws://127.0.0.1:8000/api/v1/asr/stream?x=1"), "Bearer t")
    server = ServerProtocol()
    server.receive_data(request)
    [received] = server.events_received()
    assert isinstance(received, Request)
    assert received.path == "/api/v1/asr/stream?x=1"
    assert received.headers["Authorization"] == "Bearer t"
    server.send_response(server.accept(received))
    reader = Reader(accept)
    assert list(reader.feed(b"".join(server.data_to_send()))) == []
    assert reader.opened


def _opened() -> Reader:
    _, accept = handshake(Target.parse("ws://h/"))
    reader = Reader(accept)
    assert list(reader.feed(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")) == []
    return reader


@given(st.lists(st.tuples(st.sampled_from([LibraryOpcode.TEXT, LibraryOpcode.BINARY]), st.binary(max_size=70_000)), max_size=4), st.data())
def test_frames_of_the_library_are_read_however_they_are_cut(messages: list[tuple[LibraryOpcode, bytes]], data: st.DataObject) -> None:
    stream = b"".join(Frame(opcode, payload).serialize(mask=False) for opcode, payload in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = _opened()
    read = [item for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) for item in reader.feed(stream[start:end])]
    assert read == [(int(opcode), payload) for opcode, payload in messages]


def test_frames_right_behind_the_answer_are_read() -> None:
    _, accept = handshake(Target.parse("ws://h/"))
    reader = Reader(accept)
    answer = b"HTTP/1.1 101 OK\r\nsec-websocket-accept: " + accept + b"\r\n\r\n"
    assert list(reader.feed(answer[:20])) == []
    assert list(reader.feed(answer[20:] + Frame(LibraryOpcode.TEXT, b"{}").serialize(mask=False))) == [(1, b"{}")]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "401"),
        (b"HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: wrong\r\n\r\n", "does not fit"),
        (b"x" * 20_000, "no end"),
    ],
)
def test_a_refused_or_wrong_handshake_is_an_error(answer: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        list(Reader(b"right").feed(answer))


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\x81\x85\0\0\0\0hello", "masked"), (b"\x01\x02hi", "fragmented"), (b"\x82\x7f" + (1 << 21).to_bytes(8, "big"), "2097152 bytes")],
)
def test_what_servers_may_not_send_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        list(_opened().feed(data))


@pytest.mark.parametrize("url", ["http://host/", "wss://host/", "ws:///path", "host:80"])
def test_only_plain_websocket_urls_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="ws://"):
        Target.parse(url)
