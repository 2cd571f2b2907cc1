"""E-mail addresses, written and said: ``joao ponto silva arroba gmail ponto com``."""

import re
from collections.abc import Iterator

from malha.text.pii.kinds import Kind, Match

_WRITTEN = re.compile(r"(?<![\w.%+-])[\w.%+-]+ ?@ ?[\w-]+(?: ?\. ?[\w-]+)+")
_DOT = r"(?: (?:ponto|punto|dot) | ?\. ?)"
_ENDINGS = "com|net|org|br|pt|es|io|gov|edu|info|biz|co|mx|ar|cl|pe|eu|me|app|dev|us|uk|cat|gal|ai|tv|online|site|shop|store|tech|cloud|jus|leg|mil|adv|eng|ind"
_PROVIDERS = "g ?mail|hot ?mail|outlook|yahoo|icloud|uol|bol|terra|live|sapo|proton ?mail|msn"
_SAID = re.compile(
    rf" (?P<at>arroba|at sign|at|@) (?P<domain>(?:[\w-]+ ){{0,3}}?[\w-]+(?:{_DOT}[\w-]+)*?{_DOT}(?:{_ENDINGS})(?:{_DOT}(?:{_ENDINGS}))*|(?:{_PROVIDERS}))(?![\w-])"
)
_UNFINISHED = re.compile(r" (?:arroba|@)(?: [\w-]+){0,3}(?: (?:ponto|punto|dot)|\.)?\W*$")
_CUE = re.compile(r"\b(?:e-?mail|mail|correo|endereco eletronico|correio eletronico)\b(?P<words>(?: [^ ]+){1,12})$")
_COPULA = re.compile(
    r"^(?: (?:e|es|is|o|el|meu|mi|my|seria|fica|eletronico|electronico|address|para|to|a|dele|dela|pessoal|personal|pode|mandar|anota|anotar|apunte|aqui|:),?(?= |$)(?! (?:ponto|punto|dot) ))*"
)
_CONNECTORS = frozenset(
    [
        "ponto",
        "punto",
        "dot",
        "underline",
        "underscore",
        "anderline",
        "traco",
        "tracinho",
        "hifen",
        "guion",
        "dash",
        "hyphen",
        "bajo",
        "baixo",
        "barra",
        ".",
        "_",
        "-",
    ]
)
_CONJUNCTIONS = frozenset(["a", "e", "o", "y"])
_ONES = frozenset(["um", "uno", "one"])
_TOGETHER = frozenset({"tudo junto", "todo junto", "all together", "one word"})
_NO_MAILBOX = frozenset(
    [
        "me",
        "us",
        "him",
        "her",
        "them",
        "it",
        "here",
        "there",
        "look",
        "looking",
        "available",
        "online",
        "shop",
        "store",
        "buy",
        "bought",
        "order",
        "ordered",
        "found",
        "find",
        "see",
        "website",
        "site",
        "visit",
        "back",
        "up",
        "out",
        "on",
        "in",
        "of",
        "is",
        "was",
        "be",
        "stay",
        "work",
        "works",
        "working",
        "live",
        "lives",
        "living",
        "based",
        "check",
        "only",
        "also",
        "and",
        "or",
        "the",
        "a",
        "an",
        "call",
        "arrive",
        "arrived",
        "meet",
        "go",
    ]
)
"""Before an English ``at`` that means a place or a web site."""
_CUED_WORDS = 7
"""That may stand between "my e-mail is" and the at sign."""


def emails(plain: str) -> Iterator[Match]:
    """Every address in a view's plain text."""
    if "@" in plain:
        for match in _WRITTEN.finditer(plain):
            yield Match(Kind.EMAIL, match.start(), match.end())
    if " arroba" in plain or " at " in plain or "@" in plain:
        for match in _SAID.finditer(plain):
            start = _mailbox(plain, match.start("at") - 1, strict=match["at"] == "at")
            if start >= 0:
                yield Match(Kind.EMAIL, start, match.end())


def unfinished(plain: str) -> int | None:
    """Where an address begins that the text ends within, if it does: its domain is to come, or all after "my e-mail is"."""
    match = _UNFINISHED.search(plain)
    if match:
        start = _mailbox(plain, match.start(), strict=False)
        return start if start >= 0 else match.start() + 1
    cue = _CUE.search(plain)
    if cue is None:
        return None
    copula = _COPULA.match(cue["words"])
    begin = cue.start("words") + (copula.end() if copula else 0)
    words = plain[begin:].split()
    return begin + 1 if 0 < len(words) <= 4 and copula and copula.end() else None


def _mailbox(plain: str, end: int, *, strict: bool) -> int:
    """Where the part before the at sign begins, which ends at ``end``; -1 where nothing there can be one."""
    cue = _CUE.search(plain[:end])
    if cue is not None:
        copula = _COPULA.match(cue["words"])
        words = cue["words"][copula.end() if copula else 0 :]
        if 0 < len(words.split()) <= _CUED_WORDS:
            return end - len(words) + 1
    words, at = plain[:end].split(" "), end
    taken: list[str] = []
    while words and (not taken or _belongs(words, taken)):
        taken.append(words.pop())
        at -= len(taken[-1]) + 1
    while len(taken) > 1 and taken[-1] in _CONJUNCTIONS and taken[-2] not in _CONNECTORS:
        at += len(taken.pop()) + 1
    if not taken or not taken[0] or (strict and taken[-1].strip(".,") in _NO_MAILBOX):
        return -1
    return at + 1


def _belongs(words: list[str], taken: list[str]) -> bool:
    """Whether the last of ``words`` is part of the mailbox whose end is ``taken`` (backwards)."""
    before, after = words[-1], taken[-1]
    if before.endswith((",", ";", "?", "!")) or len(taken) > 16:
        return False
    pair = " ".join(reversed(taken[-2:]))
    return (
        before in _CONNECTORS
        or after in _CONNECTORS
        or pair in _TOGETHER
        or f"{before} {after}" in _TOGETHER
        or (len(before) == 1 and len(after) == 1)
        or ((after.isdigit() or after in _ONES) and before.isalnum() and (len(before) > 1 or before.isdigit()))
    )
