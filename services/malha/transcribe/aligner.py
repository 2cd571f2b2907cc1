"""What an aligner is: it finds when each word of a given text is spoken. Audio is 16 kHz mono 16-bit PCM; times are seconds from its start."""

from typing import Protocol

from malha.runtime.errors import InvalidArgument
from malha.transcribe.engine import Recogniser, Word
from malha.transcribe.engines.align_messages import NotAlignable


class Aligner(Protocol):
    """Used by one event loop. It loads when it is first needed, and may unload again."""

    async def close(self) -> None:
        """Give back workers and memory. Work under way ends with an error."""

    def check(self, language: str) -> Recogniser:
        """Who aligns this language (a BCP 47 tag). Raises FailedPrecondition naming what would."""

    async def align(self, text: str, pcm: bytes, language: str, *, background: bool = False) -> tuple[Word, ...]:
        """The words of a text as it is written, in order; those without anything to say, such as a dash, are left out.

        ``background``: nobody waits for it; it gives way to what somebody waits for.

        Raises InvalidArgument (NOT_ALIGNABLE) where the text is not what is said, or has words nobody can say.
        """


def not_alignable(why: NotAlignable) -> InvalidArgument:
    """Words are named by their place: an error holds nothing that somebody said."""
    if why.unspeakable:
        places = ", ".join(str(place + 1) for place in why.unspeakable[:20])
        message = f"words with no pronunciation, counted from 1: {places}"
        return InvalidArgument(message, reason="NOT_ALIGNABLE", violations={"text": message})
    message = "the text is not what is said in the audio"
    return InvalidArgument(message, reason="NOT_ALIGNABLE", violations={"text": message})
