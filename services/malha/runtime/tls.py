"""What TLS is made with: a certificate and its key, the roots that are trusted; from files, looked at when a process starts."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from malha.runtime.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A listener's certificate chain and private key, both PEM."""

    chain: bytes
    key: bytes


def key_pair(certificate: Path | None, key: Path | None, settings: str = "MALHA_TLS") -> KeyPair | None:
    """What lies in the two files; None where neither is set. ``settings`` begins the names of theirs.

    Raises FailedPrecondition where only one is set, or they are no certificate and its key.
    """
    names = f"{settings}_CERTIFICATE and {settings}_KEY"
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise FailedPrecondition(f"{names} go together: set both, or neither", reason="TLS_FILE")
    pair = KeyPair(_read(certificate, names), _read(key, names))
    _check(
        lambda context: context.load_cert_chain(certificate, key, password=""),  # or OpenSSL asks the terminal for it
        f"{certificate} and {key} are no PEM certificate and its private key without a passphrase: set {names}",
    )
    return pair


def roots(file: Path) -> bytes:
    """The certificates that clients trust. Raises FailedPrecondition where the file has none."""
    pem = _read(file, "MALHA_TLS_CA")
    _check(lambda context: context.load_verify_locations(file), f"{file} has no PEM certificate: set MALHA_TLS_CA")
    return pem


def server_name(chain: bytes) -> str:
    """A name that the first certificate of a chain is valid for."""
    from cryptography import x509  # noqa: PLC0415 - only where there is a certificate

    certificate = x509.load_pem_x509_certificate(chain)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return hosts[0].replace("*", "live", 1) if hosts else ""


def _read(file: Path, names: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FailedPrecondition(f"cannot read {file} ({error.strerror}): set {names} to PEM files", reason="TLS_FILE") from None


def _check(load: Callable[[ssl.SSLContext], None], problem: str) -> None:
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except ssl.SSLError:
        raise FailedPrecondition(problem, reason="TLS_FILE") from None
