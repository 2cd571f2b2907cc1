"""Whether a message keeps to the catalogue: it offers, grants and promises nothing, and names no price, that the tenant has not listed.

What a customer says is no source for that, however often it is said: it may be told as the customer's wish or words, and no more. An agent's words may
be told as facts, a knowledge base's as well; what is offered has to be in the catalogue.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from malha.insight.claims import amounts, claim, plain, reports
from malha.insight.domain import InsightType, Offer, Utterance
from malha.insight.evidence import numbers
from malha.insight.reading import Text, read
from malha.insight.words import content, words

_HANDING: Final = ("offer", "grant", "hand_out", "suggest")
_ADDED: Final = re.compile(
    r"\b(?:e|y|and|mais|mas|plus|com|con|with|ademais|alem de|junto com|e tambem|y tambien)\s+(?:um|uma|un|una|a|an|outro|outra|otro|otra|dois|duas|dos|\d+)\s+(\w+)"
)
"""What comes on top: ``e um celular``."""


_SUBJECT: Final = re.compile(r"(?:(?:o|a|os|as|el|la|los|las|the|nossa|nosso|nuestra|nuestro|our)\s+)?(?:propri\w+\s+|propi\w+\s+)?")
_INFINITIVE: Final = re.compile(r"[^\W\d_]{2,}(?:[aei]r)(?:le|les|lhe|lhes|-lhe|-lhes)?(?!\w)")
_NARRATES: Final = re.compile(r"(?:ou|eu|iu|aram|eram|iram|aron|ieron|ed)$")
"""Verbs in the past, folded. Of Spanish ones in -\u00f3 nothing is left to tell them by."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What may be relied on."""

    named: tuple[Offer, ...]
    """The offers the message names."""
    listed: Text
    """All that catalogue and knowledge base say."""
    agents: Text
    """What agents said."""
    said: Text
    """What anybody said: a source of what there is to look at, and of nothing else."""
    language: str

    @property
    def named_text(self) -> str:
        return "\n".join(_text(offer) for offer in self.named)


def keeps_to_catalogue(
    message: str, kind: InsightType, language: str, window: Sequence[Utterance], offers: Sequence[Offer], knowledge: Sequence[str] = ()
) -> bool:
    """Whether a message may be shown, as far as offers, prices and promises go. ``message`` is plain text, ``language`` a BCP 47 tag."""
    listed = "\n".join([*(_text(offer) for offer in offers), *knowledge])
    agents = "\n".join(utterance.text for utterance in window if utterance.role == "agent")
    spoken = "\n".join(utterance.text for utterance in window)
    sources = Sources(
        named_offers(message, language, offers), read(listed, language), read(agents, language), read(spoken, language), language
    )
    if kind is InsightType.UPSELL and not sources.named:
        return False
    if not all(_keeps(sentence, sources) for sentence in sentences(message)):
        return False
    if any(_decided_elsewhere(plain(sentence), sources) for sentence in sentences(message)):
        return False
    return not (_accepts(message) and _uncovered(plain(message), amounts(message), sources.listed))


def named_offers(message: str, language: str, offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """The offers whose names stand in a message; of names within each other the longest."""
    said = _stems(message, language)
    found = [(offer, stems) for offer in offers if (stems := _name_stems(offer.name, language)) and _within(stems, said)]
    return tuple(offer for offer, stems in found if not any(len(others) > len(stems) and _within(stems, others) for _, others in found))


def sentences(message: str) -> list[str]:
    """A message in sentences, parted before an imperative that hands something out as well."""
    found: list[str] = []
    for part in re.split(r"[;!?\n]+|[.:](?!\d)|\s[\u2013\u2014-]\s", message):
        rest = part
        while (at := _imperative(rest)) > 0:
            found.append(rest[:at])
            rest = rest[at:].lstrip(" ,")
        found.append(rest)
    return [each.strip(" ,") for each in found if each.strip(" ,")]


def _imperative(sentence: str) -> int:
    """Where another clause begins with an imperative that hands something out; 0: nowhere."""
    for comma in re.finditer(r",\s+(?:(?:e|y|and|ent\u00e3o|entonces|then|so)\s+)?|\s(?:e|y|and)\s", sentence):
        rest = plain(sentence[comma.end() :])
        if claim("pays").match(rest):
            continue
        if any((match := claim(name).match(rest)) and match.end() for name in ("offer", "grant", "suggest", "tell")):
            return comma.end()
    return 0


def _keeps(sentence: str, sources: Sources) -> bool:
    text, said = plain(sentence), amounts(sentence)
    if _refuses(text):
        return True
    handing = {name for name in _HANDING if claim(name).search(text)}
    if handing & {"hand_out"} and reports(text, claim("hand_out")):
        handing -= {"hand_out"}
    goods = bool(said or claim("benefit").search(text) or claim("product").search(text))
    if _remits(text) and not _said_by_agents(text, sources) and not reports(text, claim("remission")):
        return False
    if handing & {"offer", "grant", "hand_out"} or (handing and goods):
        return _offers_listed(sentence, text, sources, free="offer" not in handing and not handing & {"grant", "hand_out"})
    if not _uncovered(text, said, sources.listed) or not _uncovered(text, said, sources.agents):
        return True
    if claim("careful").match(text) and (not said or _only_looks(text, said, sources)):
        return True
    return reports(text, claim("benefit")) if claim("benefit").search(text) else reports(text, None) or _billed(text)


def _offers_listed(sentence: str, text: str, sources: Sources, *, free: bool) -> bool:
    """Whether all that a sentence hands out is in the offers the message names; ``free``: other words may stand in it as well."""
    ours = plain(sources.named_text)
    if numbers(sentence, sources.language) - numbers(sources.named_text, sources.language):
        return False
    if any(match.group() not in ours for match in claim("benefit").finditer(text)):
        return False
    known = set(_stems(sources.named_text, sources.language))
    added = [word for word in _ADDED.findall(text) if word not in ours and not claim("service").match(word)]
    if added:
        return False
    if named_offers(sentence, sources.language, sources.named):
        return True
    if claim("product").search(text):
        return False
    rest = [word for word in words(sentence, sources.language) if word.stem not in known and not _ordinary(word.folded)]
    goods = content(tuple(rest), sources.language)
    services = [word for word in re.findall(r"[\w-]+", text) if claim("service").fullmatch(word)]
    return free or (not goods and bool(services) and not claim("grant").search(text))


def _ordinary(word: str) -> bool:
    """Whether a word is none of goods: a service, whom it is for, or the verb itself."""
    word = plain(word)
    return any(
        claim(name).fullmatch(word) for name in ("service", "customer", "report", "offer", "hand_out", "tell", "careful")
    ) or word in ("of", "offer", "give")


def _uncovered(text: str, said: set[str], source: Text) -> bool:
    """Whether amounts or advantages are named that a source does not name."""
    if said and said - source.amounts:
        return True
    return any(match.group() not in source.plain for match in claim("benefit").finditer(text))


def _remits(text: str) -> bool:
    """Whether a sentence says that something a customer owes is owed no more."""
    return claim("fee").search(text) is not None and claim("remission").search(text) is not None and not claim("careful").match(text)


def _said_by_agents(text: str, sources: Sources) -> bool:
    """Whether an agent used the same words of remission."""
    return all(match.group() in sources.agents.plain for match in claim("remission").finditer(text))


def _only_looks(text: str, said: set[str], sources: Sources) -> bool:
    """Whether a sentence has something looked at that the customer named with its amount."""
    if claim("record").match(text) or claim("benefit").search(text) or claim("granted").search(text):
        return False
    return not said - sources.said.amounts


def _decided_elsewhere(text: str, sources: Sources) -> bool:
    """Whether a sentence tells what somebody says or will do who is not in the call (``a empresa assume ...``), and no agent has said it. That they did something is told."""
    subject = _SUBJECT.match(text)
    who = claim("authority").match(text, subject.end() if subject else 0)
    if who is None:
        return False
    verb = re.match(r"\s+(?:(?:se|le|lhe|ja|ya|nao|no)\s+)*([^\W\d_]+)", text[who.end() :])
    if verb is None or (_NARRATES.search(verb.group(1)) and not claim("report").fullmatch(verb.group(1))):
        return False
    told = [stem for stem in _stems(text, sources.language) if len(stem) > 2]
    return sum(stem in sources.agents.stems for stem in told) * 2 < len(told)


def _billed(text: str) -> bool:
    """Whether a sentence tells what a bill came to; one that begins with an infinitive wants something done."""
    return claim("billed").search(text) is not None and claim("granted").search(text) is None and not _INFINITIVE.match(text)


def _refuses(text: str) -> bool:
    """Whether a sentence advises against it, and no second half turns that round."""
    refusal = claim("refuse").search(text)
    if refusal is None or claim("twist").search(text):
        return False
    rest = text[: refusal.start()] + " " + text[refusal.end() :]
    return not any(claim(name).search(rest) for name in ("offer", "grant"))


def _accepts(message: str) -> bool:
    return any(claim("accept").match(plain(sentence)) and not _refuses(plain(sentence)) for sentence in _clauses(message))


def _clauses(message: str) -> list[str]:
    return [clause.strip() for clause in re.split(r"[;!?\n,]+|[.:](?!\d)|\s(?:e|y|and)\s", message) if clause.strip()]


def _text(offer: Offer) -> str:
    return "\n".join((offer.name, offer.description, offer.price, *offer.keywords))


def _stems(text: str, language: str) -> list[str]:
    """With numbers as digits, however they are written."""
    return list(read(read(text, language).digits, language).order)


@lru_cache(maxsize=8_192)
def _name_stems(name: str, language: str) -> tuple[str, ...]:
    return tuple(_stems(name, language))


def _within(stems: Sequence[str], said: Sequence[str]) -> bool:
    return any(list(said[at : at + len(stems)]) == list(stems) for at in range(len(said) - len(stems) + 1))
