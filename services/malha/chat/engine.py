"""What a language model is to Chat: an engine that answers one question, piece by piece.

Rule of the field: an engine has no retries, no fallback, no time-outs of its own beyond connecting, no metrics. The router wraps all of them once.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol


class Role(StrEnum):
    """Who wrote a turn."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was said."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of a document that fits a question."""

    document_id: str
    title: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None: as the model does by itself."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


OWN_SAMPLING: Final = Sampling()


@dataclass(frozen=True, slots=True)
class Ask:
    """One question and what belongs to it."""

    question: str
    instructions: str = ""
    """Of the caller: trusted, first in the prompt. Empty: Malha's own."""
    history: tuple[Turn, ...] = ()
    """What was said before, the oldest first."""
    sources: tuple[Source, ...] = ()
    """What may be quoted: data, never instructions."""
    begun: str = ""
    """The beginning of the answer, which was given before: an engine that `continues` says what follows on it. Ends in no white space."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema the answer must satisfy; None: free text."""
    language: str = ""
    """BCP 47 tag; empty: as the question is."""
    max_tokens: int = 1024
    sampling: Sampling = OWN_SAMPLING
    cache_salt: str = ""
    """Keeps tenants apart in a server's prefix cache."""


@dataclass(frozen=True, slots=True)
class Delta:
    """More of the answer, to append."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is whole: why it ended (``stop``, ``length``, ``filter``) and, where the model tells it, how many tokens were read and written."""

    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str = ""
    """As the server calls it; empty: it did not say."""


Piece = Delta | Ended


class ChatEngine(Protocol):
    """A way to models of one kind, for one deployment.

    `stream` gives deltas and then one `Ended`. Raises the errors of `malha.chat.errors`; closed early (``aclose``), it stops the model at once.
    """

    def stream(self, ask: Ask) -> AsyncGenerator[Piece, None]: ...

    async def continues(self) -> bool:
        """Whether it goes on from the beginning of an answer (``Ask.begun``), where models.toml does not say. Raises as `stream` does."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text. Raises FailedPrecondition where the engine has none."""

    async def close(self) -> None:
        """Give its connections back."""
