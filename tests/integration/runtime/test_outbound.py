"""The way out to URLs of tenants: real sockets, real TLS, names that change their mind."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from integration.jobs.receiver import Receiver

from malha.runtime.errors import DeadlineExceeded, Unavailable
from malha.runtime.outbound import MOST_ANSWER_BYTES, Outbound, OutboundSettings, Refused, is_public

HERE = ("127.0.0.1/32",)


def outbound(networks: tuple[str, ...] = HERE, **fields: Any) -> Outbound:
    return Outbound(OutboundSettings(_env_file=None, outbound_networks=networks, outbound_seconds=fields.pop("seconds", 5), **fields))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().running() as running:
        yield running


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:808:808::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_what_is_inside_or_in_disguise_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "203.0.114.1", "2001:4860:4860::8888", "2606:4700::1111"])
def test_what_is_public_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://017700000001/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[fe80::1%25lo]/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://user:pw@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https:///path",
        "https://exa mple.com/",
        "https://exämple.com/",
        "https://example.com:99999/",
        "https://[/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "",
    ],
)
async def test_a_hostile_url_is_refused(url: str) -> None:
    with pytest.raises((Refused, Unavailable)) as refused:
        await outbound(()).check(url)
    assert isinstance(refused.value, Refused) or "name" in refused.value.message
    with pytest.raises((Refused, Unavailable)):
        await outbound(()).post(url, b"", {})


async def test_what_is_posted_arrives_and_the_answer_comes_back(receiver: Receiver) -> None:
    receiver.status, receiver.body = 418, b"short and stout"
    answer = await outbound().post(f"http://127.0.0.1:{receiver.port}/a?b=c", b"hello", {"X-Own": "1"})
    assert (answer.status, answer.body) == (418, b"short and stout")
    headers, body = receiver.posted.get_nowait()
    assert body == b"hello"
    assert (headers["x-own"], headers["host"]) == ("1", f"127.0.0.1:{receiver.port}")


async def test_http_is_for_allowed_networks_alone(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    resolves(monkeypatch, ["8.8.8.8"])
    with pytest.raises(Refused, match="https"):
        await outbound().post(f"http://example.com:{receiver.port}/", b"", {})


async def test_a_redirect_is_told_not_followed(receiver: Receiver) -> None:
    async with Receiver().running() as elsewhere:
        receiver.status, receiver.extra = 302, f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"
        assert (await outbound().post(f"http://127.0.0.1:{receiver.port}/", b"", {})).status == 302
        assert elsewhere.connections == 0


async def test_a_name_that_changes_its_mind_gains_nothing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is asked once; where it led then the connection goes, whatever it would say the second time."""
    asked = resolves(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    answer = await outbound().post(f"http://rebinding.example:{receiver.port}/", b"x", {})
    assert (answer.status, asked) == (200, ["rebinding.example"])
    with pytest.raises(Refused):  # and the next request looks at what it says by then
        await outbound().post(f"http://rebinding.example:{receiver.port}/", b"x", {})
    assert receiver.connections == 1


async def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(Refused):
        await outbound().check("https://half.example/")


async def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await outbound().post(f"http://127.0.0.1:{receiver.port}/", b"", {})).status == 200


async def test_a_long_answer_is_cut(receiver: Receiver) -> None:
    receiver.body = b"x" * 5_000_000
    assert len((await outbound().post(f"http://127.0.0.1:{receiver.port}/", b"", {})).body) == MOST_ANSWER_BYTES


async def test_one_who_drips_is_cut_off() -> None:
    left = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    try:
        with pytest.raises(DeadlineExceeded):
            await outbound(seconds=0.5).post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", b"", {})
        await asyncio.wait_for(left.wait(), 30)
    finally:
        server.close()
        await server.wait_closed()


async def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unavailable) as away:
        await outbound().post(f"http://127.0.0.1:{port}/", b"", {})
    assert str(port) not in away.value.message


async def test_tls_is_verified_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certified(tmp_path, "good.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with Receiver().running(tls) as receiver:
        resolves(monkeypatch, *[["127.0.0.1"]] * 3)
        trusting = outbound(outbound_ca=certificate)
        assert (await trusting.post(f"https://good.example:{receiver.port}/", b"x", {})).status == 200
        for client, name in ((trusting, "bad.example"), (outbound(), "good.example")):
            with pytest.raises(Unavailable):
                await client.post(f"https://{name}:{receiver.port}/", b"x", {})
    assert receiver.posted.qsize() == 1


def resolves(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """What names resolve to, one answer after the other; the names that were asked for."""
    asked, left = list[str](), list(answers)

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr("malha.runtime.outbound.socket.getaddrinfo", getaddrinfo)
    return asked


async def test_name_servers_that_do_not_answer_keep_no_other_work_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant owns its name server, and may let it stay silent: the threads that files are written by must not wait for it."""
    answers = threading.Event()
    monkeypatch.setattr("malha.runtime.outbound.socket.getaddrinfo", lambda *_, **__: answers.wait(60))
    client = outbound(seconds=0.2)
    try:
        for refused in await asyncio.gather(*(client.check("https://silent.example/") for _ in range(64)), return_exceptions=True):
            assert isinstance(refused, DeadlineExceeded)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "written"), 20) == "written"
    finally:
        answers.set()
        client.close()


def certified(directory: Path, name: str) -> Path:
    """A self-signed certificate of a name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
