"""Keys: one of the installation wraps one of each conversation, which encrypts its files. All AES-256-GCM (NIST SP 800-38D), random nonces."""

import base64
import binascii
import hashlib
import secrets
import uuid
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.runtime.secret_file import secret_file

KEY_FILE: Final = "recording.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MAGIC: Final = b"MREC\x01"


class MasterKey:
    """The installation's key. ``fingerprint`` says which it is."""

    def __init__(self, file: Path) -> None:
        """Read it, or make it. Raises FailedPrecondition for a file that holds none, or that others may read."""
        content = secret_file(file, lambda: base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
        try:
            key = base64.b64decode(content.strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != _KEY_BYTES:
            raise FailedPrecondition(f"{file} holds no key: 32 bytes in base64", reason="RECORDING_KEY_DAMAGED")
        self.fingerprint = hashlib.sha256(b"malha recording key" + key).hexdigest()[:16]
        self._cipher = AESGCM(key)

    def wrap(self, key: bytes, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> bytes:
        """A conversation's key, as the database keeps it: of use for no other conversation."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, _owner(tenant_id, conversation_id))

    def unwrap(self, wrapped: bytes, wrapped_by: str, tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> bytes:
        """The key again. Raises FailedPrecondition where another installation's key wrapped it."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _owner(tenant_id, conversation_id))
        except (InvalidTag, ValueError):
            raise FailedPrecondition(
                f"this recording's key was wrapped by key {wrapped_by}, and this machine has {self.fingerprint}: set MALHA_RECORDING_KEY_FILE",
                reason="RECORDING_KEY_OTHER",
            ) from None


def new_key() -> bytes:
    """A conversation's."""
    return secrets.token_bytes(_KEY_BYTES)


def seal(key: bytes, name: str, content: bytes) -> bytes:
    """A file, encrypted; it opens under its own name alone."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _MAGIC + nonce + AESGCM(key).encrypt(nonce, content, name.encode())


def unseal(key: bytes, name: str, sealed: bytes) -> bytes:
    """What `seal` sealed. Raises InvalidArgument for what was changed, or lies under another's name."""
    nonce, body = sealed[len(_MAGIC) : len(_MAGIC) + _NONCE_BYTES], sealed[len(_MAGIC) + _NONCE_BYTES :]
    try:
        if not sealed.startswith(_MAGIC):
            raise InvalidTag
        return AESGCM(key).decrypt(nonce, body, name.encode())
    except (InvalidTag, ValueError):
        raise InvalidArgument("a file of this recording is damaged", reason="RECORDING_DAMAGED") from None


def _owner(tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> bytes:
    return tenant_id.bytes + conversation_id.bytes
