"""A file that comes as a multipart form with fields beside it: read as it comes, within bounds, and what its fields say."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from typing import IO, Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request

from malha.edge.errors import BodyTooLarge, InvalidField
from malha.edge.fields import choice_of
from malha.edge.form import Field, FileBegins, FileData, FormReader, Part
from malha.edge.messages import ANY_LANGUAGE, ROLES
from malha.runtime.errors import DeadlineExceeded, InvalidArgument, Unavailable

FORM_BYTES: Final = 256 * 1024
"""What a form may hold beside its file."""
MEMORY_BYTES: Final = 1024 * 1024
"""A waiting file larger than this lies on disk."""
PIECE_BYTES: Final = 256 * 1024
BODY_SECONDS = 30.0
"""How long the next bytes of a body may take."""
_FLAGS: Final = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False, "": False}

Value = TypeVar("Value")


class UploadForm:
    """One form on its way in, with one file and at most the fields named."""

    def __init__(self, names: Sequence[str], most_bytes: int, noun: str = "recording") -> None:
        """``most_bytes`` bounds the file; ``noun`` is what it is called."""
        self.noun = noun
        self.received = False
        """Whether all of the body has come."""
        self._names = names
        self._most_bytes = most_bytes
        self._file_bytes: int | None = None
        self._given = set[str]()

    async def parts(self, request: Request) -> AsyncGenerator[Part]:
        """The parts as they come. Raises BodyTooLarge, InvalidArgument for what is no whole form with a file, and what the body's reading raises."""
        reader, size = FormReader(request.headers.get("content-type", ""), self.noun), 0
        async with contextlib.aclosing(_body_of(request)) as body:
            async for data in body:
                size += len(data)
                if size > self._most_bytes + FORM_BYTES:
                    raise self.too_large()
                for part in reader.feed(data):
                    self._check(part)
                    yield part
        self.received = True
        reader.finish()
        if self._file_bytes is None:
            raise InvalidArgument("the form has no part `file`", reason="MISSING_FILE", violations={"file": "is required"})
        if not self._file_bytes:
            raise InvalidArgument("the file is empty", reason="EMPTY_FILE", violations={"file": "is empty"})

    def _check(self, part: Part) -> None:
        match part:
            case Field() if part.name not in self._names:
                raise InvalidField(part.name[:64], f"is not known: the form has file, {', '.join(self._names)}")
            case Field() if part.name in self._given and not part.name.endswith("[]"):
                raise InvalidField(part.name, "is given more than once: several values of one field are told with commas between")
            case Field():
                self._given.add(part.name)
            case FileBegins():
                self._file_bytes = 0
            case FileData():
                self._file_bytes = (self._file_bytes or 0) + len(part.content)
                if self._file_bytes > self._most_bytes:
                    raise self.too_large()

    def too_large(self) -> BodyTooLarge:
        """What a larger file is refused with."""
        return BodyTooLarge(f"the {self.noun} is over {self._most_bytes:,} bytes", quota="max_upload_bytes")


async def _body_of(request: Request) -> AsyncGenerator[bytes]:
    """The body as it comes. Raises ClientDisconnect, and DeadlineExceeded for one that stands still."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                data = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise DeadlineExceeded(f"no more of the body came for {BODY_SECONDS:g} s", reason="UPLOAD_STALLED") from None
        yield data


def flag_of(fields: Mapping[str, str], name: str, default: str = "false") -> bool:
    """A field that is true or false, in any of the forms programs write it. Raises InvalidField."""
    return choice_of(name, fields.get(name, default).strip().lower(), _FLAGS)


def languages_of(fields: Mapping[str, str]) -> list[str]:
    """Field ``language``: tags with commas between; none: any."""
    language = fields.get("language", "")
    return [] if language in ("", ANY_LANGUAGE) else [tag.strip() for tag in language.split(",")]


def roles_of(fields: Mapping[str, str]) -> list[Any]:
    """Field ``roles``: that of each channel, with commas between. Raises InvalidField, for one left out too: all after it would move."""
    roles = fields.get("roles", "").strip()
    return [choice_of("roles", role.strip(), ROLES) for role in roles.split(",")] if roles else []


def waiting_file() -> IO[bytes]:
    """Where a file waits for the fields that follow it; a large one on disk, without a name."""
    return tempfile.SpooledTemporaryFile(MEMORY_BYTES)


@contextlib.contextmanager
def disk_checked(noun: str) -> Iterator[None]:
    """Around what writes a file. Raises Unavailable where the disk does not take it."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"this edge cannot keep the {noun}: {error.strerror}", reason="DISK_FULL", retry_seconds=30.0) from error


async def unless_gone(request: Request, work: Coroutine[Any, Any, Value]) -> Value:
    """Wait for ``work``, but not for longer than the client does. Raises ClientDisconnect."""
    working = asyncio.create_task(work, name="edge-upload-work")
    gone = asyncio.create_task(_gone(request), name="edge-upload-gone")
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
