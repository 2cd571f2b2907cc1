"""The client's half of RFC 6455, as far as a load generator needs it, at the least cost per frame.

A client must mask what it sends (section 5.3), but may choose the key; with the key 0 the masked payload is the payload. So a frame is made
once and the same bytes object is sent on every connection. Servers never mask, and Malha's text frames are small: no copy is made of them.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
ZERO_KEY = bytes(4)
FIN = 0x80
MASKED = 0x80
MAX_HEADER_BYTES = 16_384
MAX_MESSAGE_BYTES = 1 << 20


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class ProtocolError(Exception):
    """The server broke RFC 6455, or refused the handshake: the message says how."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a WebSocket is: ``ws://host:port/path``."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Raises ValueError for anything but a ``ws://`` URL (the generator speaks no TLS)."""
        parts = urlsplit(url)
        if parts.scheme != "ws" or not parts.hostname:
            raise ValueError("the URL must begin with ws:// and name a host")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or 80, path)


def handshake(target: Target, authorization: str = "") -> tuple[bytes, bytes]:
    """The opening request, and the ``Sec-WebSocket-Accept`` that must come back."""
    key = base64.b64encode(secrets.token_bytes(16))
    lines = [
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.host}:{target.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if authorization:
        lines.append(f"Authorization: {authorization}")
    return "\r\n".join([*lines, "", ""]).encode(), base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """One whole client frame, masked with the key 0."""
    size = len(payload)
    if size < 126:
        header = bytes((FIN | opcode, MASKED | size))
    elif size < 65_536:
        header = bytes((FIN | opcode, MASKED | 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((FIN | opcode, MASKED | 127)) + size.to_bytes(8, "big")
    return header + ZERO_KEY + payload


class Reader:
    """Cuts what a server sends into the handshake's answer and then frames. Feed it bytes as they come."""

    def __init__(self, accept: bytes) -> None:
        self._accept = accept
        self._buffer = b""
        self.opened = False

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield ``(opcode, payload)`` for every whole frame. Raises ProtocolError."""
        if self._buffer:
            data = self._buffer + data
        offset = 0 if self.opened else self._read_answer(data)
        if not self.opened:
            self._buffer = data
            return
        end = len(data)
        while end - offset >= 2:
            first, size = data[offset], data[offset + 1]
            start = offset + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                if size > 127:
                    raise ProtocolError("the server masked a frame")
                if end - start < width:
                    break
                size = int.from_bytes(data[start : start + width], "big")
                start += width
            if size > MAX_MESSAGE_BYTES:
                raise ProtocolError(f"the server sent a frame of {size} bytes")
            if not first & FIN or first & 0x70 or first & 0x0F == Opcode.CONTINUATION:
                raise ProtocolError("the server sent a fragmented or extended frame, which was not negotiated")
            if end - start < size:
                break
            offset = start + size
            yield first & 0x0F, data[start:offset]
        self._buffer = data[offset:]

    def _read_answer(self, data: bytes) -> int:
        """Where frames begin, once the answer to the handshake is whole."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > MAX_HEADER_BYTES:
                raise ProtocolError("the server's answer to the handshake has no end")
            return 0
        status, *headers = data[:end].split(b"\r\n")
        if not status.startswith(b"HTTP/1.1 101"):
            raise ProtocolError(f"the server refused the WebSocket: {status.decode('latin-1')[:60]}")
        fields = {name.strip().lower(): value.strip() for name, _, value in (header.partition(b":") for header in headers)}
        if fields.get(b"sec-websocket-accept") != self._accept:
            raise ProtocolError("the server's Sec-WebSocket-Accept does not fit the key")
        self.opened = True
        return end + 4
