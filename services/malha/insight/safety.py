"""Whether a message advises what would harm the customer or insults somebody.

What is dangerous to name at all (a password, remote access, a way round the identity check, money on its way to somebody) may stand in a sentence that
tells what happened, warns of it or protects from it; in any other it is refused.
"""

import re
from typing import Final

from malha.insight.claims import claim, plain, reports

_CODE: Final = re.compile(
    r"\b(?:codigos?|codes?|numeros?|numbers?|digit\w*)\b[^.;]{0,40}\b(?:sms|celular|movil|mensagem|mensaje|whatsapp|aplicativo|atras|tras|detras|verso|reverso|back|text message|texted)\b"
)
"""``the code that came by text message``."""
_SHORT_OF_CHECK: Final = re.compile(
    r"\b(?:sem|sin|without)\s+(?:\w+\s+){0,2}?(?:verific|confirm|confer|check|valid|autentic|authentic|comprob|identific|identify|proof|prova|prueba|perguntar|preguntar|asking|question)\w*"
    r"|\b(?:nao|no|not|nem|ni|never|dispens\w*|desnecessari\w*|innecesari\w*|unnecessary|skip|pule|pular|salte|saltar\w*|omita|omitir|ignore|bypass|evite)\b(?:\s+(?!(?:y|and|mas|pero|but|sem|sin|without|antes|before|ate|hasta|until)\b|e\s+(?!preciso|necessari|obrigatori))\w+){0,4}?\s+"
    r"(?:verific\w+|confirmar\b|confirme quem|identific\w+|identidade\b|identidad\b|identity|comprobar\b|autentic\w+|authentic\w+|documento\w*|titularidad\w*|verify\w*|checks?\b|prove)"
)
_CHECK_DONE: Final = re.compile(
    r"\b(?:verificac\w+|identidade|identidad|identity|autenticac\w+|verification|verified|verificad\w+|autenticad\w+)\b(?:\s+\w+){0,3}?\s+(?:ja|ya|already|feit\w+|hech\w+|hizo|done|ok|conclu\w+|complet\w+|confirmad\w+|confirmed|passed|superad\w+)\b"
    r"|\b(?:ja|ya|already)\b(?:\s+\w+){0,3}?\s+(?:verificad\w*|verificac\w*|autenticad\w*|identificad\w*|verified|identified|authenticated|comprobad\w*)\b"
    r"|\b(?:confie|confia|fiese|trust|believe|acredite)\b(?:\s+\w+){0,3}?\s+(?:cliente|ele|ela|caller|customer|him|her)\b"
)
_TRANSFER: Final = re.compile(
    r"\b(?:mande|envie|transfira|transfiera|faca|haga|deposite|pague|ingrese|gire|remeta|send|wire|transfer|pay|make|deposit|move|realize|realice|efetue|efectue)\b[^.;]{0,50}?\b"
    r"(?:(?:um|o|el|un|the|a)\s+(?:pix|bizum)|pix\s+(?:para|pra|a|de)|dinheiro|dinero|money|funds|fundos|fondos|cash|grana|plata|transferencia|bank transfer|saldo|iban|deposito"
    r"|(?:para|pra)\s+(?:a|uma|essa|esta|outra|sua|minha|nova)\s+conta|a\s+(?:la|una|esta|otra|su|mi)\s+cuenta|(?:to|into)\s+(?:\w+\s+){1,2}account)\b"
)
_NEGATED: Final = re.compile(
    r"\b(?:nao|nunca|jamais|never|not|dont|don't|recuse|rechace|refuse|evite|avoid|niegue|negue|bloqueie|bloquee|block)\b(?:\s+\w+){0,6}\s*$"
)
_NEGATED_SPANISH: Final = re.compile(r"\bno\b(?:\s+\w+){0,6}\s*$")


def unsafe(message: str, agents: str, language: str) -> bool:
    """Whether a message must not be shown. ``agents`` is what agents said, ``language`` a BCP 47 tag."""
    whole = plain(message)
    if _stands(claim("insult"), whole):
        return True
    said = plain(agents)
    return any(_unsafe(plain(sentence), said, spanish=language.startswith("es")) for sentence in re.split(r"[;!?\n:]+|\.(?!\d)", message))


def _unsafe(text: str, agents: str, *, spanish: bool) -> bool:
    secret = claim("secret").search(text) or _CODE.search(text)
    if (
        secret
        and not _denied(text, secret.start(), spanish=spanish)
        and (_orders(text, "obtain") or not (_told(text, secret.start()) or claim("protect").search(text)))
    ):
        return True
    remote = claim("remote").search(text)
    if remote and not _denied(text, remote.start(), spanish=spanish) and (_orders(text, "urge") or not _told(text, remote.start())):
        return True
    if _stands(_TRANSFER, text) and not any(_denied(text, match.start(), spanish=spanish) for match in _TRANSFER.finditer(text)):
        return True
    if _stands(_CHECK_DONE, text) and not re.search(r"verific|confirm|identi|verif|check|comprob|autentic|authentic", agents):
        return True
    return any(
        not _denied(text, match.start(), spanish=spanish) and not reports(text, _SHORT_OF_CHECK) for match in _SHORT_OF_CHECK.finditer(text)
    )


def _orders(text: str, name: str) -> bool:
    """Whether a clause begins with an order of a list."""
    clauses = re.split(r",|\s(?:e|y|and|ou|o|or)\s", text)
    return any(claim(name).match(clause.strip()) for clause in clauses)


def _told(text: str, end: int) -> bool:
    """Whether what stands at ``end`` is something that the customer or somebody is said to have done, had or wanted."""
    head = text[:end]
    return any(claim(name).search(head) for name in ("happened", "report_alone")) or reports(text, re.compile(re.escape(text[end:])))


def _stands(pattern: re.Pattern[str], text: str) -> bool:
    """Whether it stands in a sentence that does not only report it."""
    return pattern.search(text) is not None and not reports(text, pattern)


def _denied(text: str, at: int, *, spanish: bool) -> bool:
    """Whether what stands at ``at`` is advised against, and nothing turns that round."""
    head = text[:at]
    if claim("twist").search(text):
        return False
    return _NEGATED.search(head) is not None or (spanish and _NEGATED_SPANISH.search(head) is not None)
