"""A file opens with its conversation's key, under its own name, unchanged; and not otherwise."""

import stat
import uuid
from pathlib import Path

import pytest

from malha.recording.keys import MasterKey, new_key, seal, unseal
from malha.runtime.errors import FailedPrecondition, InvalidArgument

TENANT, CONVERSATION, OTHER = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)


def test_what_was_sealed_opens_again_and_is_not_to_be_read_before() -> None:
    key = new_key()
    sealed = seal(key, "a", b"what was said" * 100)
    assert b"what was said" not in sealed
    assert unseal(key, "a", sealed) == b"what was said" * 100
    assert seal(key, "a", b"same") != seal(key, "a", b"same")


def test_another_key_another_name_and_a_changed_byte_are_refused() -> None:
    key = new_key()
    sealed = seal(key, "a", b"said")
    attempts = [(new_key(), "a", sealed), (key, "b", sealed), (key, "a", b""), (key, "a", sealed[:10])]
    attempts += [(key, "a", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) for at in range(len(sealed))]
    for attempt in attempts:
        with pytest.raises(InvalidArgument):
            unseal(*attempt)


def test_a_wrapped_key_is_of_use_for_its_own_conversation_alone(tmp_path: Path) -> None:
    master, key = MasterKey(tmp_path / "a"), new_key()
    wrapped = master.wrap(key, TENANT, CONVERSATION)
    assert key not in wrapped
    assert MasterKey(tmp_path / "a").unwrap(wrapped, master.fingerprint, TENANT, CONVERSATION) == key
    for tenant, conversation in ((TENANT, OTHER), (OTHER, CONVERSATION)):
        with pytest.raises(FailedPrecondition):
            master.unwrap(wrapped, master.fingerprint, tenant, conversation)
    with pytest.raises(FailedPrecondition, match=f"{master.fingerprint}.*MALHA_RECORDING_KEY_FILE"):
        MasterKey(tmp_path / "b").unwrap(wrapped, master.fingerprint, TENANT, CONVERSATION)


def test_the_master_key_is_its_owners_alone_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "recording.key"
    fingerprint = MasterKey(file).fingerprint
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert MasterKey(file).fingerprint == fingerprint
    file.chmod(0o640)
    with pytest.raises(FailedPrecondition, match="chmod 600"):
        MasterKey(file)
    for wrong in (b"", b"short", b"%" * 44):
        file.chmod(0o600)
        file.write_bytes(wrong)
        with pytest.raises(FailedPrecondition, match="holds no key"):
            MasterKey(file)
