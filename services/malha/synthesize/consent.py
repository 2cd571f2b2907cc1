"""Consent to the cloning of a voice: no clone without a record of it, and no clone that the audit does not tell of."""

from dataclasses import dataclass
from typing import Final

from malha.runtime.auth import Principal
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.store.database import Database
from malha.synthesize.engine import Reference

_AUDIT: Final = """
    INSERT INTO audit (tenant_id, actor, action, object_type, object_id, details) VALUES (malha_tenant(), $1, 'voice.clone', 'consent', $2, $3)
"""


@dataclass(frozen=True, slots=True)
class Use:
    """What a consent was used for."""

    reference: Reference
    engine: str
    model: str
    one_voice_checked: bool
    """Whether somebody listened to the reference for a second voice."""


class ConsentBook:
    """Writes to the audit of a database, which whoever made it closes."""

    def __init__(self, database: Database | None) -> None:
        self._database = database

    def check(self, consent_id: str, principal: Principal) -> None:
        """Raise InvalidArgument without a consent, FailedPrecondition where its use could not be kept."""
        if not consent_id:
            raise InvalidArgument(
                "a voice is cloned with the consent of whose it is: give `consent_id`, the id of its record",
                reason="CONSENT_MISSING",
                violations={"open.consent_id": "is required with reference_audio"},
            )
        if self._database is None or principal.tenant_id is None:
            raise FailedPrecondition(
                "a voice is cloned only where the audit can tell of it: set MALHA_DATABASE_URL for the process that serves Synthesize",
                reason="STORE_NOT_CONFIGURED",
            )

    async def record(self, consent_id: str, principal: Principal, use: Use) -> None:
        """Keep who clones, by which consent, from which file (its digest) and with what. Raises what `check` raises, and Unavailable."""
        self.check(consent_id, principal)
        assert self._database is not None
        assert principal.tenant_id is not None
        details = {
            "engine": use.engine,
            "model": use.model,
            "seconds": round(use.reference.seconds, 1),
            "sha256": use.reference.digest,
            "one_voice_checked": use.one_voice_checked,
        }
        async with self._database.tenant_tx(principal.tenant_id) as connection:
            await connection.execute(_AUDIT, principal.token_id, consent_id, details)
