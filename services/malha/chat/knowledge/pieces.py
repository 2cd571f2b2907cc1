"""Documents in pieces that a prompt can hold: about so many words, cut between sentences where it can be, each beginning with the end of the last."""

import re
from collections.abc import Iterator
from typing import Final

WORDS: Final = 120
"""Of a piece."""
OVERLAP: Final = 30
"""Words that a piece shares with the one before it: what stands across a cut is whole in one of them."""
_SENTENCE_END: Final = re.compile(r"[.!?:]['\")\]»”]*$")


def split(text: str) -> Iterator[str]:
    """The pieces of a document, in order."""
    words = text.split()
    start = 0
    while start < len(words):
        end = _cut(words, start)
        yield " ".join(words[start:end])
        if end >= len(words):
            return
        start = max(end - OVERLAP, start + 1)


def _cut(words: list[str], start: int) -> int:
    """Where the piece that begins at ``start`` ends: behind the last sentence of its last third, else at its full length."""
    end = start + WORDS
    if end >= len(words):
        return len(words)
    for place in range(end, start + WORDS * 2 // 3, -1):
        if _SENTENCE_END.search(words[place - 1]):
            return place
    return end
