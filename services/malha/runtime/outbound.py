"""The one way out to URLs that tenants supply.

A name is resolved once per request, every address it has must be public, and the connection goes to the address that was looked at: a name
that answers otherwise the second time (DNS rebinding) is not asked a second time. TLS is verified against the name. Redirects are not
followed, proxies of the environment not used, time and the answer's size are bounded. Names are resolved by threads of their own: a name
server that does not answer keeps nobody else's work waiting.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpcore
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from malha.runtime.errors import DeadlineExceeded, InvalidArgument, Unavailable
from malha.runtime.settings import MalhaSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS: Final = {"https": 443, "http": 80}
MOST_ANSWER_BYTES: Final = 64 * 1024
NAMES_AT_ONCE: Final = 8

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_TRANSLATED: Final = tuple(map(ipaddress.IPv6Network, ("2001::/32", "2002::/16")))
"""Teredo and 6to4: an IPv4 address in disguise. NAT64 (64:ff9b::/96, 64:ff9b:1::/48) and mapped ones are not in 2000::/3."""
_SPECIAL: Final = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")))
"""What looks public and is not: Azure's metadata, protocol assignments (Oracle's metadata), the way into 6to4. The metadata of other clouds
is link-local, unique local or shared."""


class Refused(InvalidArgument):
    """The URL leads where tenants may not send this server, or is none: give one with https and a public address."""

    default_reason = "URL_REFUSED"


class OutboundSettings(MalhaSettings):
    """Where URLs of tenants may lead."""

    outbound_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks that URLs of tenants may lead to though they are not public, and by http too, comma separated: 10.1.0.0/16.",
    )
    outbound_ca: Path | None = Field(None, description="PEM roots to trust for such URLs, instead of the system's.")
    outbound_seconds: float = Field(10.0, gt=0, le=300, description="How long one request to such a URL may take in all.")

    @field_validator("outbound_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator("outbound_networks")
    @classmethod
    def _check(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        return tuple(map(ipaddress.ip_network, self.outbound_networks))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its status, and the beginning of its body."""

    status: int
    body: bytes


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet's, and itself rather than another in disguise."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in _GLOBAL_UNICAST or any(address in network for network in _TRANSLATED)
    ):
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)


class Outbound:
    """Sends requests to URLs of tenants."""

    def __init__(self, settings: OutboundSettings) -> None:
        self._seconds = settings.outbound_seconds
        self._networks = settings.networks
        self._tls = ssl.create_default_context(cafile=settings.outbound_ca)
        self._names = ThreadPoolExecutor(NAMES_AT_ONCE, thread_name_prefix="outbound-names")

    def close(self) -> None:
        """Resolve no more."""
        self._names.shutdown(wait=False, cancel_futures=True)

    async def check(self, url: str) -> None:
        """Raise Refused for a URL that would be refused now; it is looked at again at each request. Raises Unavailable for an unknown name."""
        host, port, secure = _parts(url)
        try:
            async with asyncio.timeout(self._seconds):
                await self._resolve(host, port, secure=secure)
        except TimeoutError:
            raise DeadlineExceeded(f"the name was not resolved within {self._seconds:g} s", reason="URL_TIMEOUT") from None

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """POST, and the answer whatever its status. Raises Refused, Unavailable and DeadlineExceeded, none of which quotes the URL."""
        host, port, secure = _parts(url)
        sent = {"Content-Length": str(len(content)), "Connection": "close", **headers}
        try:
            async with asyncio.timeout(self._seconds):
                addresses = await self._resolve(host, port, secure=secure)
                pool = httpcore.AsyncConnectionPool(ssl_context=self._tls, max_connections=1, network_backend=_Fixed(addresses))
                async with pool, pool.stream("POST", url, headers=list(sent.items()), content=content) as response:
                    return Answer(response.status, await _beginning(response))
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {self._seconds:g} s", reason="URL_TIMEOUT") from None
        except ssl.SSLError:
            raise _unreachable("its certificate is not valid for its name") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise _unreachable(type(error).__name__) from None

    async def _resolve(self, host: str, port: int, *, secure: bool) -> list[str]:
        """The addresses of a name, all of which may be connected to."""
        try:
            look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            found = await asyncio.get_running_loop().run_in_executor(self._names, look)
        except (OSError, UnicodeError):
            raise _unreachable("its name is not known") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            known = ipaddress.ip_address(address.partition("%")[0])
            allowed = any(known in network for network in self._networks)
            if not allowed and not is_public(known):
                raise Refused("the URL leads to an address that is not public")
            if not allowed and not secure:
                raise Refused("the URL must begin with https://")
        return addresses


class _Fixed(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, whatever the name resolves to by now."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._addresses = list(addresses)
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own parameter
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del host
        for address in self._addresses[:-1]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError:
                continue
        return await self._backend.connect_tcp(self._addresses[-1], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


async def _beginning(response: httpcore.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_stream():
        body += piece
        if len(body) >= MOST_ANSWER_BYTES:
            break
    return bytes(body[:MOST_ANSWER_BYTES])


def _parts(url: str) -> tuple[str, int, bool]:
    """Host, port, whether by TLS. Raises Refused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused("this is no URL") from None
    if parts.scheme not in PORTS or not host or not url.isascii() or any(character <= " " or character == "\\" for character in url):
        raise Refused("the URL must be like https://example.com/path, in ASCII")
    if parts.username is not None or parts.password is not None:
        raise Refused("the URL must not hold a login")
    return host, port or PORTS[parts.scheme], parts.scheme == "https"


def _unreachable(why: str) -> Unavailable:
    return Unavailable(f"the server cannot be reached: {why}", reason="URL_UNREACHABLE")
