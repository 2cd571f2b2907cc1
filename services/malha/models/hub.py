"""A client for model hubs that speak the Hugging Face Hub's HTTP interface: list a repository's files at a commit, fetch one and check it."""

import asyncio
import os
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from malha.models.answers import TransientStatusError, check, given_up
from malha.models.digest import RemoteFile
from malha.models.part import Part, disk_error
from malha.runtime.errors import Aborted, FailedPrecondition, Unavailable

DEFAULT_ENDPOINT = "https://huggingface.co"

_MAX_PAGES = 100
_MAX_FILES = 10_000
_MAX_PAUSE_SECONDS = 10.0
_URL = re.compile(r"https?://[^/?#]", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How to reach a hub."""

    endpoint: str = DEFAULT_ENDPOINT
    token: str = field(default="", repr=False)
    attempts: int = 4
    """Tries in a row that bring nothing new before giving up."""
    pause_seconds: float = 0.5
    """Before the second try; it doubles with each."""
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    """The longest silence of a server that is believed to go on."""

    @classmethod
    def from_environment(cls) -> Self:
        """``HF_ENDPOINT``, ``HF_TOKEN`` or the file ``HF_TOKEN_PATH``, where the hub's own tools have theirs unless it names another.

        Raises FailedPrecondition if the endpoint is no URL, or the file that is named cannot be read.
        """
        endpoint = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
        if not _URL.match(endpoint):
            raise FailedPrecondition(f"HF_ENDPOINT must begin with https:// or http://, such as {DEFAULT_ENDPOINT}", reason="INVALID_URL")
        return cls(endpoint=endpoint, token=os.environ.get("HF_TOKEN") or _token_of_file())


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]


class Hub:
    """A connection pool to one hub; an async context manager."""

    def __init__(self, options: HubOptions) -> None:
        self._options = options
        self._client = httpx.AsyncClient(
            base_url=options.endpoint.rstrip("/") + "/",
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {options.token}"} if options.token else {}),
            timeout=httpx.Timeout(options.read_seconds, connect=options.connect_seconds),
            follow_redirects=True,  # to the hub's storage; httpx leaves the token behind when the host changes
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def listing(self, repository: str, revision: str) -> Listing:
        """The files of ``repository`` at ``revision`` (a branch, tag or commit).

        Raises NotFound, Unauthenticated, PermissionDenied, Unavailable, and Aborted for what a well-meaning hub would not say.
        """
        about, _ = await self._json(repository, f"api/models/{quote(repository)}/revision/{quote(revision, safe='')}")
        commit = str(about.get("sha", "")) if isinstance(about, dict) else ""
        if not _COMMIT.fullmatch(commit) or (_COMMIT.fullmatch(revision) and commit != revision):
            raise Aborted(f"{self._options.endpoint} names no commit for the revision asked for", reason="HUB_UNTRUSTWORTHY")
        files: list[RemoteFile] = []
        page: str | None = f"api/models/{quote(repository)}/tree/{commit}?recursive=true"
        for _ in range(_MAX_PAGES):
            if page is None or len(files) > _MAX_FILES:
                break
            entries, page = await self._json(repository, page)
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise self._unexpected()
            files += [_remote_file(entry) for entry in entries if entry.get("type") == "file"]
        return Listing(repository, commit, tuple(files))

    async def download(self, listing: Listing, file: RemoteFile, target: Path, on_bytes: Callable[[int], None]) -> str:
        """Fetch one file to ``target`` and return its SHA-256. ``on_bytes`` is told of bytes gained, and of lost ones by a negative number.

        Goes on where an earlier try ended. Raises as `listing` does; Aborted if the content is not what the hub stated; ResourceExhausted if
        the disk is full.
        """
        url = f"{quote(listing.repository)}/resolve/{listing.commit}/{quote(file.path)}"
        try:
            with Part(target, file, on_bytes) as part:
                for _ in part.read_back():
                    await asyncio.sleep(0)
                resumed = part.size > 0
                await self._retrying(lambda: self._fetch(listing.repository, url, part), progress=lambda: part.size)
                if resumed and not part.is_right:
                    part.restart()
                    await self._retrying(lambda: self._fetch(listing.repository, url, part), progress=lambda: part.size)
                return part.accept()
        except OSError as error:
            raise disk_error(error, target, file.size_bytes) from error

    async def _fetch(self, repository: str, url: str, part: Part) -> None:
        """Bring the part from where it is to its end."""
        if part.is_whole:
            return
        headers = {"Range": f"bytes={part.size}-"} if part.size else {}
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.restart()
                raise httpx.RemoteProtocolError("the hub refuses to resume", request=response.request)
            check(response, self._options.endpoint, repository)
            self._place(response, part)
            async for chunk in response.aiter_raw():
                part.append(chunk)
        if not part.is_whole:
            raise httpx.RemoteProtocolError("the hub sent less than it said", request=response.request)

    def _place(self, response: httpx.Response, part: Part) -> None:
        """See where in the file the answer begins, and that it is as long as it should be."""
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            if not part.continues(response.headers.get("Content-Range", "")):
                part.restart()
                raise httpx.RemoteProtocolError("the hub sends another part than was asked for", request=response.request)
            return
        part.restart()
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and not part.is_as_long_as(int(length)):
            raise part.wrong("is not as long as")

    async def _json(self, repository: str, url: str) -> tuple[Any, str | None]:
        """What the hub says there, and the address of the next page."""

        async def get() -> httpx.Response:
            response = await self._client.get(url)
            check(response, self._options.endpoint, repository)
            return response

        response = await self._retrying(get, progress=lambda: 0)
        try:
            return response.json(), self._own(response.links.get("next", {}).get("url"))
        except ValueError as error:
            raise self._unexpected() from error

    async def _retrying(self, operation: Callable[[], Awaitable[_T]], progress: Callable[[], int]) -> _T:
        """Try until it works or ``attempts`` in a row brought no progress."""
        failures = 0
        while True:
            before = progress()
            try:
                return await operation()
            except (httpx.RequestError, TransientStatusError) as error:
                failures = 1 if progress() > before else failures + 1
                if failures >= self._options.attempts:
                    raise given_up(error, self._options.endpoint) from error
                await asyncio.sleep(self._pause(failures, error))

    def _pause(self, failures: int, error: Exception) -> float:
        asked = error.retry_after if isinstance(error, TransientStatusError) else 0.0
        backoff = min(self._options.pause_seconds * 2.0 ** (failures - 1), _MAX_PAUSE_SECONDS)
        return max(asked, backoff * (0.75 + random.random() / 2))  # noqa: S311 - spreads retries

    def _unexpected(self) -> Unavailable:
        return Unavailable(f"{self._options.endpoint} answers, but not as a model hub does", reason="HUB_UNEXPECTED")

    def _own(self, link: str | None) -> str | None:
        """A link to the hub itself; the token goes nowhere else."""
        if link is None:
            return None
        url = self._client.base_url.join(link)
        if (url.scheme, url.host, url.port) != (self._client.base_url.scheme, self._client.base_url.host, self._client.base_url.port):
            raise Aborted(f"{self._options.endpoint} points to another host for its file list", reason="HUB_UNTRUSTWORTHY")
        return str(url)


def _token_of_file() -> str:
    named = os.environ.get("HF_TOKEN_PATH")
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    try:
        return Path(named or home / "token").read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise FailedPrecondition("HF_TOKEN_PATH names no file that can be read", reason="TOKEN_FILE_UNREADABLE") from error
        return ""


def _remote_file(entry: dict[str, object]) -> RemoteFile:
    path = str(entry.get("path", ""))
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or any(ord(letter) < ord(" ") for letter in path):
        raise Aborted("the hub lists a file outside its repository: nothing was fetched", reason="HUB_UNTRUSTWORTHY")
    lfs = entry.get("lfs")
    sha256 = str(lfs.get("oid", "")).removeprefix("sha256:") if isinstance(lfs, dict) else ""
    size = entry.get("size")
    file = RemoteFile(path, size if isinstance(size, int) else -1, sha256=sha256, git_sha1="" if sha256 else str(entry.get("oid", "")))
    if file.size_bytes < 0 or not _DIGEST.fullmatch(file.digest):
        raise Aborted("the hub lists a file without its size or digest", reason="HUB_UNTRUSTWORTHY")
    return file
