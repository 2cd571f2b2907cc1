"""A remote recogniser by OpenAI's own client: any server with ``POST /audio/transcriptions``, another Malha's edge among them.

One request an utterance. Tries, pauses, places and the breaker are `malha.transcribe.guard`'s.
"""

import io
import math
import wave
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final

import httpx2
import openai
import orjson

from malha.runtime.errors import FailedPrecondition, MalhaError, NotFound
from malha.runtime.remote import Failures, find_key
from malha.transcribe.engine import SAMPLE_RATE_HERTZ, Capabilities, Hypothesis, RecognitionConfig, Word
from malha.transcribe.errors import RemoteAnswerInvalid, RemoteRateLimited, RemoteRefused, RemoteTimeout, RemoteUnavailable
from malha.transcribe.guard import GuardedEngine, GuardLimits, gather
from malha.transcribe.settings import TranscribeSettings

NAME: Final = "openai"
CONNECT_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 60.0
VERBOSE: Final = "verbose_json"
FAILURES: Final = Failures("the remote recogniser", RemoteRateLimited, RemoteTimeout, RemoteUnavailable, RemoteRefused)
_SAMPLE_BYTES: Final = 2
_NAMED: Final = {
    "catalan": "ca",
    "chinese": "zh",
    "dutch": "nl",
    "english": "en",
    "french": "fr",
    "galician": "gl",
    "german": "de",
    "italian": "it",
    "japanese": "ja",
    "polish": "pl",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
    "ukrainian": "uk",
}
"""OpenAI tells languages by their English names, other servers by tags. Of those that are in neither the tag asked for is told, or none."""


def create(settings: TranscribeSettings) -> GuardedEngine:
    """The entry point's target. Raises FailedPrecondition where no server is set or its key cannot be read."""
    limits = replace(
        GuardLimits.of(settings),
        total_seconds=settings.remote_transcribe_total_seconds,
        tries=settings.remote_transcribe_tries,
        concurrency=settings.remote_transcribe_concurrency,
    )
    return GuardedEngine(NAME, OpenAIEngine(settings), limits)


class OpenAIEngine:
    """See `malha.transcribe.engine.TranscribeEngine`. Connections stay open between utterances."""

    def __init__(self, settings: TranscribeSettings) -> None:
        if not settings.remote_transcribe_url:
            raise FailedPrecondition(
                f"engine {NAME!r} needs a server: set MALHA_REMOTE_TRANSCRIBE_URL, such as https://api.openai.com/v1",
                reason="REMOTE_NOT_CONFIGURED",
            )
        self._settings = settings
        self._key = find_key(settings.remote_transcribe_key_env, settings.remote_transcribe_key_file)
        self._client: openai.AsyncOpenAI | None = None

    async def start(self) -> None:
        """Nothing is asked of the server yet: one that is away now may be back when it is needed."""
        settings, most = self._settings, self._settings.remote_transcribe_concurrency
        self._client = openai.AsyncOpenAI(
            base_url=settings.remote_transcribe_url,
            api_key=self._key or "none",
            max_retries=0,
            http_client=httpx2.AsyncClient(
                timeout=httpx2.Timeout(settings.remote_transcribe_seconds, connect=CONNECT_SECONDS),
                limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEPALIVE_SECONDS),
                trust_env=False,
                follow_redirects=False,
            ),
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            name=NAME,
            version=f"openai {version('openai')}",
            models=(self._settings.remote_transcribe_model,),
            languages=("*",),
            incremental=False,
            interim=False,
            words=self._settings.remote_transcribe_format == VERBOSE,
            detects_language=True,
        )

    def check(self, language: str, model: str) -> Capabilities:
        """Only its server knows which languages it speaks."""
        del language
        if model not in {"", self._settings.remote_transcribe_model}:
            raise NotFound(
                f"engine {NAME!r} asks for model {self._settings.remote_transcribe_model!r} alone: leave the model out",
                reason="UNKNOWN_MODEL",
            )
        return self.capabilities

    async def recognise(self, config: RecognitionConfig, audio: AsyncIterator[bytes]) -> AsyncIterator[Hypothesis]:
        """One hypothesis, when ``audio`` has ended. Raises what `malha.transcribe.errors` has."""
        pcm = await gather(audio)
        if not pcm:
            yield Hypothesis("", final=True, language=config.language)
            return
        try:
            answer = _read(await self._post(config, pcm))
        except Exception as error:
            raise _as_malha_error(error) from error
        yield _hypothesis(answer, config, len(pcm) / _SAMPLE_BYTES / SAMPLE_RATE_HERTZ)

    async def _post(self, config: RecognitionConfig, pcm: bytes) -> bytes:
        """The answer's body, whatever it is."""
        assert self._client is not None, "started"
        asked: dict[str, Any] = {
            "language": config.language.partition("-")[0].lower(),
            "prompt": config.prompt,
            "timestamp_granularities": ["word", "segment"]
            if config.words and self.capabilities.words
            else None,  # segments tell how sure it is
        }
        create: Any = self._client.audio.transcriptions.with_raw_response.create  # its overloads want formats and fields as literals
        response = await create(
            file=("utterance.wav", _wav(pcm), "audio/wav"),
            model=self._settings.remote_transcribe_model,
            response_format=self._settings.remote_transcribe_format,
            **{name: value for name, value in asked.items() if value},
        )
        body: bytes = response.http_response.content
        return body


def _wav(pcm: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(_SAMPLE_BYTES)
        file.setframerate(SAMPLE_RATE_HERTZ)
        file.writeframes(pcm)
    return out.getvalue()


def _read(body: bytes) -> Mapping[str, Any]:
    answer = orjson.loads(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
        raise RemoteAnswerInvalid("the remote recogniser answered something that is no transcript")
    return answer


def _hypothesis(answer: Mapping[str, Any], config: RecognitionConfig, seconds: float) -> Hypothesis:
    """Raises RemoteAnswerInvalid where words or segments are not what they should be."""
    try:
        confidence = _confidence(answer)
        words = tuple(_word(word, confidence, seconds) for word in answer.get("words") or ()) if config.words else ()
        told = str(answer.get("language") or "").lower()
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise RemoteAnswerInvalid("the remote recogniser told words that are none") from error
    tag = _NAMED.get(told, told if len(told) in {2, 3} else "")
    return Hypothesis(answer["text"].strip(), final=True, confidence=confidence, language=config.language or tag, words=words)


def _confidence(answer: Mapping[str, Any]) -> float:
    """The mean probability of a token over the segments, as far as they tell it; else 0: unknown."""
    told = [float(segment["avg_logprob"]) for segment in answer.get("segments") or () if segment.get("avg_logprob") is not None]
    return min(1.0, math.exp(sum(told) / len(told))) if told else 0.0


def _word(word: Mapping[str, Any], confidence: float, seconds: float) -> Word:
    start, end = (min(max(float(word[name]), 0.0), seconds) for name in ("start", "end"))
    return Word(str(word["word"]).strip(), start, max(start, end), confidence)


def _as_malha_error(error: Exception) -> MalhaError:
    """What the client raised, as an error that quotes none of it."""
    if isinstance(error, MalhaError):
        return error
    if isinstance(error, openai.APIStatusError):
        return FAILURES.of_status(error.status_code, error.response.headers.get("retry-after", ""))
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return RemoteTimeout("the remote recogniser did not answer in time")
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError | OSError):
        return RemoteUnavailable("the remote recogniser cannot be reached, or broke the connection")
    return RemoteAnswerInvalid("the remote recogniser answered something that is no transcript")
