"""A model hub on a free local port that speaks the Hugging Face Hub's HTTP interface, and misbehaves on demand.

Large files are answered by a redirect to a second port, as the hub does to its storage, so that a client's token can be seen to stay behind.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_PAGE = 2
_LFS_BYTES = 1_000


@dataclass(frozen=True)
class Request:
    """What was asked for, at the hub or at its ``storage``."""

    storage: bool
    path: str
    headers: Mapping[str, str]


@dataclass
class Faults:
    """What goes wrong. Counts are used up by the requests they spoil."""

    statuses: Counter[int] = field(default_factory=Counter)
    """So many answers of this status before a good one."""
    cut_after: list[int] = field(default_factory=list)
    """Each makes one file answer break off after so many bytes."""
    corrupt: Counter[str] = field(default_factory=Counter)
    """So many answers with another content for this file."""
    ignore_range: bool = False
    extra_files: list[dict[str, object]] = field(default_factory=list)
    """Entries added to the file list."""
    next_page: str = ""
    """Where the file list says it goes on, instead of where it does."""


class FakeHub:
    """Serves one repository at one commit; an async context manager."""

    def __init__(self, repository: str, files: Mapping[str, bytes], *, token: str = "") -> None:
        self.repository = repository
        self.files = dict(files)
        self.faults = Faults()
        self.requests: list[Request] = []
        self._token = token
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> Self:
        for storage in (False, True):
            self._servers.append(
                await asyncio.start_server(
                    lambda reader, writer, storage=storage: self._serve(reader, writer, storage=storage), "127.0.0.1", 0
                )
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()

    @property
    def endpoint(self) -> str:
        return self._url(0)

    def asked(self, part: str) -> list[Request]:
        """The requests with this in their path."""
        return [request for request in self.requests if part in request.path]

    def _url(self, server: int) -> str:
        return f"http://127.0.0.1:{self._servers[server].sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, storage: bool) -> None:
        """One request a connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            request = Request(storage, first.split()[1], headers)
            self.requests.append(request)
            writer.write(self._answer(request))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client left
        finally:
            writer.close()

    def _answer(self, request: Request) -> bytes:
        for status, times in self.faults.statuses.items():
            if times:
                self.faults.statuses[status] -= 1
                return _response(status, b"", {"Retry-After": "0"})
        if self._token and not request.storage and request.headers.get("authorization") != f"Bearer {self._token}":
            return _response(401)
        path = unquote(urlsplit(request.path).path)
        if path in {f"/api/models/{self.repository}/revision/{revision}" for revision in (COMMIT, "main")}:
            return _response(200, json.dumps({"id": self.repository, "sha": COMMIT}).encode())
        if path == f"/api/models/{self.repository}/tree/{COMMIT}":
            return self._tree(int(parse_qs(urlsplit(request.path).query).get("cursor", ["0"])[0]))
        name = path.removeprefix(f"/{self.repository}/resolve/{COMMIT}/").removeprefix("/storage/")
        if name not in self.files:
            return _response(404)
        if len(self.files[name]) >= _LFS_BYTES and not request.storage:
            return _response(302, b"", {"Location": f"{self._url(1)}/storage/{name}"})
        return self._file(name, request.headers.get("range", ""))

    def _tree(self, cursor: int) -> bytes:
        entries = [
            {"type": "directory", "path": "onnx", "oid": "0" * 40, "size": 0},
            *map(self._entry, sorted(self.files)),
            *self.faults.extra_files,
        ]
        follows = cursor + _PAGE < len(entries)
        address = (
            self.faults.next_page or f"{self.endpoint}/api/models/{self.repository}/tree/{COMMIT}?recursive=true&cursor={cursor + _PAGE}"
        )
        link = {"Link": f'<{address}>; rel="next"'} if follows else {}
        return _response(200, json.dumps(entries[cursor : cursor + _PAGE]).encode(), link)

    def _entry(self, name: str) -> dict[str, object]:
        content = self.files[name]
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        entry: dict[str, object] = {"type": "file", "path": name, "oid": git, "size": len(content)}
        if len(content) >= _LFS_BYTES:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def _file(self, name: str, wanted: str) -> bytes:
        content = self.files[name]
        if self.faults.corrupt[name]:
            self.faults.corrupt[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and not self.faults.ignore_range else 0
        if start >= len(content) > 0:
            return _response(416)
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        answer = _response(206 if start else 200, content[start:], headers)
        if self.faults.cut_after:
            return answer[: answer.index(b"\r\n\r\n") + 4 + self.faults.cut_after.pop(0)]
        return answer


def _response(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
