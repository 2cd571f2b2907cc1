"""An S3-compatible store: four requests, signed with AWS Signature Version 4 (docs.aws.amazon.com, "Authenticating Requests"), path-style."""

import asyncio
import hashlib
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

from malha.runtime.errors import FailedPrecondition, NotFound, Unavailable

_PAUSES: Final = (0.2, 1.0)
"""Seconds before a request is sent again. All four may be sent twice."""
_MOST_PAGES: Final = 10_000


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, and where in it."""

    endpoint: str
    bucket: str
    prefix: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)


class S3Blobs:
    """`malha.recording.blobs.Blobs` in a bucket."""

    def __init__(self, place: S3Place, seconds: float) -> None:
        """``seconds``: how long one request may take."""
        self._place = place
        self._seconds = seconds
        self._client = httpx.AsyncClient(timeout=seconds, follow_redirects=False, trust_env=False)

    async def put(self, name: str, content: bytes) -> None:
        await self._send("PUT", self._key(name), content=content)

    async def get(self, name: str) -> bytes:
        answer = await self._send("GET", self._key(name))
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotFound("a file of this recording is gone", reason="RECORDING_FILE_GONE")
        return answer.content

    async def remove(self, folder: str) -> int:
        keys, _ = await self._list(f"{self._key(folder)}/", "")
        for key in keys:
            await self._send("DELETE", key)
        return len(keys)

    async def folders(self, folder: str) -> set[str]:
        _, folders = await self._list(f"{self._key(folder)}/", "/")
        return {each.rstrip("/").rpartition("/")[2] for each in folders}

    async def close(self) -> None:
        await self._client.aclose()

    def _key(self, name: str) -> str:
        return f"{self._place.prefix}/{name}" if self._place.prefix else name

    async def _list(self, prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
        """(keys, folders) that begin so."""
        keys: list[str] = []
        folders: list[str] = []
        query = {"list-type": "2", "prefix": prefix} | ({"delimiter": delimiter} if delimiter else {})
        for _ in range(_MOST_PAGES):
            page = _parse((await self._send("GET", "", query=query)).content)
            keys += _names(page, "Contents", "Key")
            folders += _names(page, "CommonPrefixes", "Prefix")
            token = page.findtext("{*}NextContinuationToken")
            if not token:
                break
            query["continuation-token"] = token
        return keys, folders

    async def _send(self, method: str, key: str, *, content: bytes = b"", query: Mapping[str, str] | None = None) -> httpx.Response:
        path = "/" + "/".join(filter(None, (self._place.bucket, quote(key, safe="/~"))))
        text = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted((query or {}).items()))
        url = f"{self._place.endpoint.rstrip('/')}{path}{'?' if text else ''}{text}"
        why = ""
        for pause in (*_PAUSES, None):
            headers = signed(self._place, method, url, {}, content, datetime.now(UTC))
            try:
                async with asyncio.timeout(self._seconds):  # httpx bounds each piece, not all of them together
                    answer = await self._client.request(method, url, headers=headers, content=content)
            except (httpx.HTTPError, TimeoutError) as error:
                why = type(error).__name__
            else:
                if answer.is_success or (answer.status_code == httpx.codes.NOT_FOUND and method != "PUT" and not query):
                    return answer
                why = f"status {answer.status_code}"
                if not answer.is_server_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    raise FailedPrecondition(
                        f"the S3 store refuses {method} ({why}): see MALHA_BLOB_URL, its bucket and its keys", reason="BLOB_REFUSED"
                    )
            if pause is not None:
                await asyncio.sleep(pause)
        raise Unavailable(f"the S3 store is away ({why})", reason="BLOB_UNAVAILABLE", retry_seconds=1)


def signed(place: S3Place, method: str, url: str, headers: Mapping[str, str], content: bytes, now: datetime) -> dict[str, str]:
    """The headers of a request, with those that sign it. The URL's query has to be sorted and encoded."""
    parts = urlsplit(url)
    day, moment = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(content).hexdigest()
    given = {name.lower(): value for name, value in headers.items()}
    given |= {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": moment}
    names = ";".join(sorted(given))
    lines = [f"{name}:{given[name].strip()}" for name in sorted(given)]
    canonical = "\n".join([method, parts.path or "/", parts.query, *lines, "", names, digest])
    scope = f"{day}/{place.region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{place.secret_key}".encode()
    for part in (day, place.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"{place.access_key}/{scope}"
    return given | {"authorization": f"AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}"}


def _parse(content: bytes) -> ET.Element:
    try:
        return ET.fromstring(content)  # noqa: S314 - of the store this installation trusts with its files; expat bounds expansion
    except ET.ParseError:
        raise Unavailable("the S3 store answers with no listing", reason="BLOB_UNAVAILABLE", retry_seconds=1) from None


def _names(page: ET.Element, kind: str, field_name: str) -> list[str]:
    return [text for each in page.findall(f"{{*}}{kind}") if (text := each.findtext(f"{{*}}{field_name}"))]
