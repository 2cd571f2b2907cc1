"""Speech where there are no recordings: a dialogue spoken by a server's own Synthesize service, through its edge."""

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import httpx
import numpy as np
import soxr

from malha.bench.dialogues import AGENT, DIALOGUES, Turn
from malha.bench.speech import RATE, Samples
from malha.runtime.errors import FailedPrecondition, Unavailable

SPEECH_SECONDS = 30.0
"""For one turn."""


@dataclass(frozen=True, slots=True)
class Voices:
    """Who speaks for the agent and who for the customer."""

    agent: str
    customer: str


class Speaker:
    """Has turns of a dialogue spoken in one language by two voices."""

    def __init__(self, url: str, token: str, language: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=SPEECH_SECONDS, trust_env=False)
        self._language = language
        self.voices = self._choose()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def speak(self, turn: Turn) -> Samples:
        """One turn as 16 kHz mono PCM16. Raises Unavailable."""
        voice = self.voices.agent if turn.role == AGENT else self.voices.customer
        answer = self._ask("POST", "/api/v1/tts", json={"text": turn.text, "language": self._language, "voice": voice, "format": "wav"})
        with wave.open(BytesIO(answer.content)) as file:
            rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
        resampled: Samples = soxr.resample(samples, rate, RATE) if rate != RATE else samples
        return resampled

    def _choose(self) -> Voices:
        """Two voices, of different gender where the server says which is which. Raises FailedPrecondition without any."""
        voices = self._ask("GET", "/api/v1/voices", params={"language": self._language}).json().get("voices", [])
        if not voices:
            raise FailedPrecondition(f"this server has no voice for {self._language!r}", reason="NO_VOICE")
        agent = voices[0]
        others = [voice for voice in voices[1:] if voice.get("gender") != agent.get("gender")] or voices[1:] or [agent]
        return Voices(agent["name"], others[0]["name"])

    def _ask(self, method: str, path: str, **options: object) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)  # type: ignore[arg-type]  # httpx checks its own options
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Unavailable(f"the server did not speak ({type(error).__name__})", reason="SPEECH_FAILED") from error
        return answer


def spoken(url: str, token: str, language: str = "en") -> Iterator[Samples]:
    """Every turn of a language's dialogue, spoken."""
    speaker = Speaker(url, token, language)
    try:
        for turn in DIALOGUES[language]:
            yield speaker.speak(turn)
    finally:
        speaker.close()
