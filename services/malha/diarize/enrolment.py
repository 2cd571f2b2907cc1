"""Enrolled speakers: the contract's unary methods, and what a recording has to be to enrol from it."""

import uuid
from collections.abc import Mapping
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.diarize.v1 import diarize_pb2 as api
from malha.diarize.engine import SAMPLE_RATE_HERTZ, DiarizeEngine, Embedding, Voices
from malha.diarize.recording import read_wav
from malha.diarize.store import NewSpeaker, Speaker, SpeakerStore, not_kept
from malha.runtime.auth import Principal
from malha.runtime.durations import duration
from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.runtime.pages import make_token, read_token
from malha.runtime.rpc import UnaryMethod

LEAST_SECONDS: Final = 6.0
MOST_SECONDS: Final = 60.0
LEAST_SPEECH_SECONDS: Final = 4.0
SLACK_SECONDS: Final = 0.5
"""A file may be longer by so much: nobody cuts to the sample."""
PAGE: Final = 100


class Enrolment:
    """Answers what is asked of speakers."""

    def __init__(self, engine: DiarizeEngine, store: SpeakerStore | None) -> None:
        self._engine = engine
        self._store = store

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "EnrollSpeaker": UnaryMethod(self.enroll),
            "ListSpeakers": UnaryMethod(self.list),
            "DeleteSpeaker": UnaryMethod(self.delete),
        }

    async def enroll(self, request: api.EnrollSpeakerRequest, principal: Principal) -> api.EnrollSpeakerResponse:
        """Make a voice print and keep it."""
        store, tenant = self._kept(principal)
        self._engine.check()
        model = self._engine.capabilities.print_model
        if not model:
            raise FailedPrecondition(f"engine {self._engine.capabilities.name} makes no voice prints", reason="NO_VOICE_PRINTS")
        samples = read_wav(request.audio, MOST_SECONDS + 2 * SLACK_SECONDS)
        _check_length(len(samples) / SAMPLE_RATE_HERTZ)
        voices = await self._engine.listen(samples.tobytes())
        speaker = NewSpeaker(request.speaker_id, request.customer_id, request.consent_id, model, _checked(voices), voices.speech_seconds)
        return api.EnrollSpeakerResponse(speaker=_message(await store.save(tenant, speaker, principal.token_id)))

    async def list(self, request: api.ListSpeakersRequest, principal: Principal) -> api.ListSpeakersResponse:
        """A page of speakers."""
        store, tenant = self._kept(principal)
        most, asked = request.page_size or PAGE, ("ListSpeakers",)
        after = str(read_token(principal, asked, request.page_token)[0]) if request.page_token else ""
        speakers = await store.list(tenant, after, most + 1)
        token = make_token(principal, asked, (speakers[most - 1].speaker_id,)) if len(speakers) > most else ""
        return api.ListSpeakersResponse(speakers=map(_message, speakers[:most]), next_page_token=token)

    async def delete(self, request: api.DeleteSpeakerRequest, principal: Principal) -> api.DeleteSpeakerResponse:
        """Forget a speaker."""
        store, tenant = self._kept(principal)
        await store.delete(tenant, request.speaker_id, principal.token_id)
        return api.DeleteSpeakerResponse()

    def _kept(self, principal: Principal) -> tuple[SpeakerStore, uuid.UUID]:
        if self._store is None or principal.tenant_id is None:
            raise not_kept()
        return self._store, principal.tenant_id


def _check_length(seconds: float) -> None:
    if seconds < LEAST_SECONDS:
        raise _refused(f"the audio has {seconds:.1f} s: send {LEAST_SECONDS:g} to {MOST_SECONDS:g} s of one speaker", "TOO_SHORT")
    if seconds > MOST_SECONDS + SLACK_SECONDS:
        raise _refused(f"the audio is longer than {MOST_SECONDS:g} s: send {LEAST_SECONDS:g} to {MOST_SECONDS:g} s", "TOO_LONG")


def _checked(voices: Voices) -> Embedding:
    """The print of a recording that can be enrolled. Raises InvalidArgument."""
    if voices.embedding is None or voices.speech_seconds < LEAST_SPEECH_SECONDS:
        found = f"{voices.speech_seconds:.1f} s of speech"
        raise _refused(f"the audio holds {found}: at least {LEAST_SPEECH_SECONDS:g} s are needed", "NO_SPEECH")
    if voices.speakers > 1:
        raise _refused(f"the audio holds {voices.speakers} voices: send one speaker alone", "SEVERAL_VOICES")
    return voices.embedding


def _refused(message: str, reason: str) -> InvalidArgument:
    return InvalidArgument(message, reason=reason, violations={"audio": message})


def _message(speaker: Speaker) -> api.Speaker:
    created = Timestamp()
    created.FromDatetime(speaker.created_at)
    return api.Speaker(
        speaker_id=speaker.speaker_id,
        consent_id=speaker.consent_id,
        customer_id=speaker.customer_id,
        speech=duration(round(speaker.speech_seconds, 3)),
        model=speaker.model,
        create_time=created,
    )
