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
_PIECE = 64 << 10


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
    stall_after: list[int] = field(default_factory=list)
    """Each makes one file answer that is longer say nothing more after so many bytes, until the client leaves."""
    held: asyncio.Event | None = None
    """No file is answered before this is set."""
    trickle_seconds: float = 0.0
    """Between pieces of 64 KiB of a file."""
    retry_after: dict[str, str] = field(default_factory=lambda: {"Retry-After": "0"})
    """Headers of answers with a status of `statuses`."""
    corrupt: Counter[str] = field(default_factory=Counter)
    """So many answers with another content for this file."""
    served: dict[str, bytes] = field(default_factory=dict)
    """Content of files, instead of what the list says."""
    unserved: set[str] = field(default_factory=set)
    """Files in the list that are answered by 404."""
    wrong_ranges: int = 0
    """So many parts of files begin elsewhere than asked for."""
    ignore_range: bool = False
    extra_files: list[dict[str, object]] = field(default_factory=list)
    """Entries added to the file list."""
    next_page: str = ""
    """Where the file list says it goes on, instead of where it does."""


class FakeHub:
    """Serves repositories, each at one commit; an async context manager."""

    def __init__(
        self,
        repository: str,
        files: Mapping[str, bytes],
        *,
        token: str = "",
        gates: Mapping[str, str] | None = None,
        others: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> None:
        """``token``: without it nothing is answered. ``gates``: of a repository, the token without which its files are not."""
        self.repositories = {repository: dict(files)} | {name: dict(content) for name, content in (others or {}).items()}
        self.faults = Faults()
        self.requests: list[Request] = []
        self._first = repository
        self._token = token
        self._gates = dict(gates or {})
        self._servers: list[asyncio.Server] = []

    @property
    def files(self) -> dict[str, bytes]:
        """Of the first repository."""
        return self.repositories[self._first]

    @files.setter
    def files(self, files: Mapping[str, bytes]) -> None:
        self.repositories[self._first] = dict(files)

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
            await self._send(reader, writer, self._answer(request), in_pieces="/resolve/" in request.path or storage)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client left
        finally:
            writer.close()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes, *, in_pieces: bool) -> None:
        body = answer.index(b"\r\n\r\n") + 4
        if in_pieces and self.faults.held is not None:
            await self.faults.held.wait()
        if in_pieces and self.faults.stall_after and self.faults.stall_after[0] < len(answer) - body:
            writer.write(answer[: body + self.faults.stall_after.pop(0)])
            await writer.drain()
            await reader.read()
            return
        for begin in range(0, len(answer), _PIECE):
            if in_pieces and self.faults.trickle_seconds:
                await asyncio.sleep(self.faults.trickle_seconds)
            writer.write(answer[begin : begin + _PIECE])
            await writer.drain()

    def _answer(self, request: Request) -> bytes:
        for status, times in self.faults.statuses.items():
            if times:
                self.faults.statuses[status] -= 1
                return _response(status, b"", self.faults.retry_after)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._token and not request.storage and given != self._token:
            return _response(401)
        url = urlsplit(request.path)
        path = unquote(url.path)
        if request.storage:
            name, repository = path.removeprefix("/storage/"), parse_qs(url.query)["of"][0]
            return self._file(self.repositories[repository][name], name, request.headers.get("range", ""))
        for repository in self.repositories:
            if path in {f"/api/models/{repository}/revision/{revision}" for revision in (COMMIT, "main")}:
                return _response(200, json.dumps({"id": repository, "sha": COMMIT}).encode())
            if path == f"/api/models/{repository}/tree/{COMMIT}":
                return self._tree(repository, int(parse_qs(url.query).get("cursor", ["0"])[0]))
            if path.startswith(f"/{repository}/resolve/{COMMIT}/"):
                return self._resolve(repository, path.removeprefix(f"/{repository}/resolve/{COMMIT}/"), given, request)
        return _response(404)

    def _resolve(self, repository: str, name: str, given: str, request: Request) -> bytes:
        files = self.repositories[repository]
        if (gate := self._gates.get(repository)) and given != gate:
            return _response(403 if given else 401)
        if name not in files or name in self.faults.unserved:
            return _response(404)
        if len(files[name]) >= _LFS_BYTES:
            return _response(302, b"", {"Location": f"{self._url(1)}/storage/{name}?of={repository}"})
        return self._file(files[name], name, request.headers.get("range", ""))

    def _tree(self, repository: str, cursor: int) -> bytes:
        files = self.repositories[repository]
        entries = [
            {"type": "directory", "path": "onnx", "oid": "0" * 40, "size": 0},
            *(_entry(name, files[name]) for name in sorted(files)),
            *self.faults.extra_files,
        ]
        follows = cursor + _PAGE < len(entries)
        address = self.faults.next_page or f"{self.endpoint}/api/models/{repository}/tree/{COMMIT}?recursive=true&cursor={cursor + _PAGE}"
        link = {"Link": f'<{address}>; rel="next"'} if follows else {}
        return _response(200, json.dumps(entries[cursor : cursor + _PAGE]).encode(), link)

    def _file(self, content: bytes, name: str, wanted: str) -> bytes:
        content = self.faults.served.get(name, content)
        if self.faults.corrupt[name]:
            self.faults.corrupt[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and not self.faults.ignore_range else 0
        if start >= len(content) > 0:
            return _response(416)
        if start and self.faults.wrong_ranges:
            self.faults.wrong_ranges -= 1
            start += 7
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        answer = _response(206 if start else 200, content[start:], headers)
        if self.faults.cut_after:
            return answer[: answer.index(b"\r\n\r\n") + 4 + self.faults.cut_after.pop(0)]
        return answer


def _entry(name: str, content: bytes) -> dict[str, object]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": name, "oid": git, "size": len(content)}
    if len(content) >= _LFS_BYTES:
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _response(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
