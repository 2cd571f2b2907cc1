"""A report says what it said when it was signed, or is refused."""

import base64
import json
import stat
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from malha.privacy.erasure import Erased
from malha.privacy.report import KEY_FILE, Signer
from malha.privacy.subjects import Subject
from malha.runtime.errors import FailedPrecondition, InvalidArgument

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ERASED = Erased(Subject(uuid.UUID(int=1), "customer", uuid.UUID(int=2)), "cli", "request", {"message": 3}, {"customers": ["x"]}, NOW, NOW)


def test_a_report_is_genuine_until_it_is_changed(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    report = signer.sign(ERASED)
    text = json.dumps(report, indent=2)
    assert Signer(tmp_path).verify(text)["counts"] == {"message": 3}
    for spoiled in (text.replace('"message": 3', '"message": 2'), json.dumps(report | {"signature": base64.b64encode(bytes(64)).decode()})):
        with pytest.raises(InvalidArgument) as refused:
            signer.verify(spoiled)
        assert refused.value.reason == "REPORT_NOT_GENUINE"


def test_another_installations_report_is_not_genuine_even_with_its_own_key_in_it(tmp_path: Path) -> None:
    foreign = Signer(tmp_path / "other").sign(ERASED)
    with pytest.raises(InvalidArgument):
        Signer(tmp_path / "mine").verify(json.dumps(foreign))


def test_anybody_can_check_it_with_the_public_key(tmp_path: Path) -> None:
    report = Signer(tmp_path).sign(ERASED)
    signature = base64.b64decode(report.pop("signature"))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(report["public_key"]))
    key.verify(signature, json.dumps(report, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"signature": 1}', '{"signature": "AA==", "format": "x"}', "[" * 100_000])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Signer(tmp_path).verify(text)
    assert refused.value.reason == "NO_REPORT"


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    first = Signer(tmp_path).public_key
    file = tmp_path / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Signer(tmp_path).public_key == first
    file.chmod(0o644)
    with pytest.raises(FailedPrecondition, match="chmod 600"):
        Signer(tmp_path)
    file.chmod(0o600)
    file.write_bytes(b"not a key")
    with pytest.raises(FailedPrecondition):
        Signer(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_checking_a_report_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="MALHA_DATA_DIR"):
        Signer(tmp_path / "fresh", make=False)
    assert not (tmp_path / "fresh").exists()
    Signer(tmp_path)
    assert Signer(tmp_path, make=False).public_key == Signer(tmp_path).public_key
