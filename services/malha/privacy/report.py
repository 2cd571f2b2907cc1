"""The report of an erasure: what, when, how much; ids alone; signed (Ed25519, RFC 8032) with a key in the data directory.

A report is JSON. What is signed is the same object without ``signature``, keys sorted, without spaces (so that anybody can check it).
"""

import base64
import binascii
import json
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from malha.privacy.erasure import Erased
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.runtime.secret_file import secret_file

KEY_FILE: Final = "erasure-signing.key"
FORMAT: Final = "malha-erasure-report/1"


class Signer:
    """Signs and checks reports with the key of a data directory, made when it is first needed to sign.

    ``make`` false: only to check. Raises FailedPrecondition where nothing was signed, or the key is damaged.
    """

    def __init__(self, data_directory: Path, *, make: bool = True) -> None:
        if not make and not (data_directory / KEY_FILE).exists():
            raise FailedPrecondition(
                f"no report was signed in {data_directory}: set MALHA_DATA_DIR to the directory of the server that signed it",
                reason="NO_SIGNING_KEY",
            )
        raw = secret_file(data_directory / KEY_FILE, _new_key)
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(raw, validate=False))
        except (ValueError, binascii.Error) as error:
            raise FailedPrecondition(f"{data_directory / KEY_FILE} holds no signing key", reason="SIGNING_KEY_DAMAGED") from error

    @property
    def public_key(self) -> str:
        """For whoever checks reports elsewhere; base64 of its 32 bytes."""
        return base64.b64encode(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sign(self, erased: Erased) -> dict[str, Any]:
        """The report."""
        report = {
            "format": FORMAT,
            "tenant": str(erased.subject.tenant_id),
            "subject": {"kind": erased.subject.kind, "id": str(erased.subject.id)},
            "actor": erased.actor,
            "cause": erased.cause,
            "began_at": erased.began_at.isoformat(),
            "ended_at": erased.ended_at.isoformat(),
            "counts": dict(erased.counts),
            "objects": dict(erased.objects),
            "public_key": self.public_key,
        }
        return report | {"signature": base64.b64encode(self._key.sign(_signed(report))).decode()}

    def verify(self, text: str) -> dict[str, Any]:
        """The report in a text, if this installation signed it just so. Raises InvalidArgument."""
        try:
            report = json.loads(text)
            signature = base64.b64decode(report.pop("signature"), validate=True)
            if report["format"] != FORMAT:
                raise ValueError(FORMAT)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidArgument("this is no report of an erasure", reason="NO_REPORT") from error
        try:
            self._key.public_key().verify(signature, _signed(report))
        except InvalidSignature:
            raise InvalidArgument("the report was changed, or another installation signed it", reason="REPORT_NOT_GENUINE") from None
        return dict(report)


def _signed(report: dict[str, Any]) -> bytes:
    return json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _new_key() -> bytes:
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())) + b"\n"
