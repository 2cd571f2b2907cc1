"""Answers with quotes alone: the sentences of knowledge base and conversation that fit a question best. It says so, and says when it found nothing."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

from malha.chat.engine import Ask, Delta, Ended, Piece, Source
from malha.chat.knowledge.words import terms
from malha.chat.language import language_of
from malha.chat.models_file import Deployment
from malha.runtime.errors import FailedPrecondition

MOST_QUOTES: Final = 3
MOST_SENTENCES: Final = 400
"""That are looked at: the newest of the conversation, the best pieces of the knowledge base."""
MOST_CHARACTERS: Final = 400
"""Of a quote."""
LEAST_SHARE: Final = 0.34
"""Of the question's terms, by their weight, that a sentence must have to be an answer."""

_QUOTE: Final = re.compile(r"\n— «(.+?)» \(", re.DOTALL)
_SENTENCE: Final = re.compile(r"[^.!?\n]+(?:[.!?]+(?=\s|$)|[.!?]+\S|\n|$)+")
_FOUND: Final = {
    "pt": "Não tenho um modelo de linguagem agora; encontrei estas passagens:",
    "es": "Ahora no tengo un modelo de lenguaje; encontré estos pasajes:",
    "en": "I have no language model right now; I found these passages:",
}
_NOTHING: Final = {
    "pt": "Não tenho um modelo de linguagem agora, e não encontrei nada sobre isso na conversa nem na base de conhecimento.",
    "es": "Ahora no tengo un modelo de lenguaje, y no encontré nada sobre eso en la conversación ni en la base de conocimiento.",
    "en": "I have no language model right now, and I found nothing about that in the conversation or the knowledge base.",
}
_CONVERSATION: Final = {"pt": "conversa", "es": "conversación", "en": "conversation"}


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    origin: str
    terms: frozenset[str]
    weight: float
    """Of its origin: documents before what was said."""


class ExtractiveEngine:
    """Computes within a millisecond or two; needs nothing."""

    def __init__(self, deployment: Deployment) -> None:
        del deployment

    async def stream(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        if ask.schema is not None:
            raise FailedPrecondition("engine extractive answers in free text alone", reason="SCHEMA_UNSUPPORTED")
        language = language_of(ask.language, ask.question)
        quotes = best_sentences(ask, language)
        lines = [_FOUND[language] if quotes else _NOTHING[language], *(f"\n— «{quote.text}» ({quote.origin})" for quote in quotes)]
        written = 0
        for line in lines:
            written += len(line.split())
            yield Delta(line)
        yield Ended("stop", len(ask.question.split()), written, "extractive")

    async def continues(self) -> bool:
        """It need not: what it says of the same question is the same."""
        return False

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        del texts
        raise FailedPrecondition("engine extractive has no embeddings: set `embeddings` in models.toml", reason="EMBEDDINGS_NOT_CONFIGURED")

    async def close(self) -> None:
        """Nothing is open."""


def quoted(answer: str, sources: Iterable[Source]) -> Iterable[Source]:
    """The sources that an answer of this engine quotes: it is given more than it finds fitting."""
    quotes = _QUOTE.findall(answer)
    return (source for source in sources if any(quote in source.text for quote in quotes))


def best_sentences(ask: Ask, language: str) -> list[_Sentence]:
    """The sentences that share most with the question, the best first, none twice."""
    wanted = frozenset(terms(ask.question, language))
    if not wanted:
        return []
    sentences = list(_sentences(ask, language))[:MOST_SENTENCES]
    counts = Counter(term for sentence in sentences for term in sentence.terms)
    rarity = {term: log(1 + len(sentences) / (1 + counts[term])) + 0.1 for term in wanted}
    total = sum(rarity.values())
    scored = [
        (sum(rarity[term] for term in wanted & sentence.terms) / total, number, sentence) for number, sentence in enumerate(sentences)
    ]
    fitting = sorted(
        ((share * sentence.weight, -number, sentence) for share, number, sentence in scored if share >= LEAST_SHARE),
        key=lambda found: found[:2],
        reverse=True,
    )
    chosen: dict[str, _Sentence] = {}
    for _, _, sentence in fitting:
        chosen.setdefault(sentence.text.casefold(), sentence)
    return list(chosen.values())[:MOST_QUOTES]


def _sentences(ask: Ask, language: str) -> Iterable[_Sentence]:
    for source in ask.sources:
        yield from _split(source.text, source.title or source.document_id, language, 1.0)
    own = tuple(text for said in (_FOUND, _NOTHING) for text in said.values())
    for turn in reversed(ask.history):
        if turn.text.startswith(own):
            continue  # what it said itself rests on what was quoted
        yield from _split(turn.text, _CONVERSATION[language], language, 0.8)


def _split(text: str, origin: str, language: str, weight: float) -> Iterable[_Sentence]:
    for match in _SENTENCE.finditer(text):
        sentence = match[0].strip()
        if sentence and not sentence.endswith("?"):
            yield _Sentence(sentence[:MOST_CHARACTERS], origin, frozenset(terms(sentence, language)), weight)
