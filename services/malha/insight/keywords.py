"""Words worth asking the model about: Malha's own, the tenant's, and those of its offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from malha.insight.domain import Offer
from malha.insight.phrases import Phrases
from malha.insight.specs import STEMMED
from malha.insight.words import Word, words
from malha.runtime.errors import InvalidArgument
from malha.text.tokens import primary

INVALID_KEYWORD: Final = "INVALID_KEYWORD"
MOST_KEYWORDS: Final = 500

Kind = Literal["risk", "topic", "offer"]

RISK_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        *("cancelar", "cancelamento", "rescisão", "reclamação", "reclamar", "procon", "anatel", "ouvidoria", "reclame aqui", "advogado"),
        *("processo judicial", "justiça", "concorrente", "portabilidade", "outra operadora", "fraude", "golpe", "cobrança indevida"),
        *("lgpd", "meus dados", "supervisor", "gerente", "absurdo", "insatisfeito"),
    ),
    "es": (
        *(
            "cancelar",
            "cancelación",
            "darme de baja",
            "dar de baja",
            "rescindir",
            "reclamación",
            "reclamo",
            "queja",
            "quejarme",
            "defensa del consumidor",
        ),
        *(
            "profeco",
            "sernac",
            "abogado",
            "demanda",
            "denuncia",
            "competencia",
            "portabilidad",
            "otra compañía",
            "fraude",
            "estafa",
            "cobro indebido",
        ),
        *("protección de datos", "mis datos", "supervisor", "encargado", "vergüenza", "insatisfecho"),
    ),
    "en": (
        *("cancel", "cancellation", "terminate", "complaint", "complain", "ombudsman", "lawyer", "lawsuit", "legal action", "competitor"),
        *(
            "another provider",
            "switch provider",
            "fraud",
            "scam",
            "unauthorized charge",
            "overcharged",
            "gdpr",
            "my data",
            "supervisor",
            "manager",
        ),
        *("unacceptable", "ridiculous", "refund"),
    ),
}
TOPIC_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        *(
            "promessa de pagamento",
            "vou pagar",
            "acordo",
            "parcelar",
            "parcelamento",
            "negociar",
            "desconto",
            "segunda via",
            "reembolso",
            "estorno",
        ),
        *("multa", "fidelidade", "upgrade", "contratar", "quanto custa", "visita técnica", "garantia", "protocolo"),
    ),
    "es": (
        *(
            "promesa de pago",
            "voy a pagar",
            "acuerdo de pago",
            "cuotas",
            "plazos",
            "negociar",
            "descuento",
            "duplicado",
            "reembolso",
            "devolución",
        ),
        *("penalización", "permanencia", "contratar", "cuánto cuesta", "visita técnica", "garantía"),
    ),
    "en": (
        *(
            "payment plan",
            "will pay",
            "installments",
            "negotiate",
            "discount",
            "credit",
            "early termination",
            "upgrade",
            "sign up",
            "how much",
        ),
        *("technician", "warranty", "replacement"),
    ),
}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A keyword that was said, not denied."""

    kind: Kind
    first: int
    """Index of its first word."""
    last: int
    offer: Offer | None = None


class Keywords:
    """Keywords of a tenant, ready to be found in any language. Shared by its calls."""

    def __init__(self, tenant: Sequence[str] = (), catalogue: Sequence[Offer] = ()) -> None:
        """
        Args:
            tenant: words and phrases worth an insight, besides Malha's own.
            catalogue: offers, each with keywords; an offer's name is one too.

        Raises:
            InvalidArgument: INVALID_KEYWORD: too many, or one without words; the violations say which.
        """
        _check(tenant, catalogue)
        self._tenant = tuple(tenant)
        self._catalogue = tuple(catalogue)
        self._indexes: dict[str, tuple[Phrases, list[list[tuple[Kind, Offer | None]]]]] = {}

    def find(self, said: tuple[Word, ...], language: str) -> list[Spoken]:
        """What ``said`` has of them."""
        phrases, meanings = self._index(language)
        return [
            Spoken(kind, hit.first, hit.last, offer)
            for hit in phrases.find(said)
            if not hit.negated
            for kind, offer in meanings[hit.phrase]
        ]

    def prepare(self, language: str) -> None:
        """Index them for a language before the first word is said."""
        self._index(language)

    def _index(self, language: str) -> tuple[Phrases, list[list[tuple[Kind, Offer | None]]]]:
        code = primary(language)
        code = code if code in STEMMED else ""
        index = self._indexes.get(code)
        if index is None:
            index = self._indexes[code] = self._build(code)
        return index

    def _build(self, language: str) -> tuple[Phrases, list[list[tuple[Kind, Offer | None]]]]:
        phrases, meanings = Phrases(language), list[list[tuple[Kind, Offer | None]]]()

        def add(text: str, kind: Kind, offer: Offer | None = None) -> None:
            number = phrases.add(text)
            if number == len(meanings):
                meanings.append([])
            meanings[number].append((kind, offer))

        for text in RISK_KEYWORDS.get(language, ()):
            add(text, "risk")
        for text in (*TOPIC_KEYWORDS.get(language, ()), *self._tenant):
            add(text, "topic")
        for offer in self._catalogue:
            for text in dict.fromkeys((offer.name, *offer.keywords)):
                add(text, "offer", offer)
        return phrases, meanings


def _check(tenant: Sequence[str], catalogue: Sequence[Offer]) -> None:
    violations = {f"keywords[{index}]": "one or more words" for index, text in enumerate(tenant) if not words(text, "")}
    if len(tenant) > MOST_KEYWORDS:
        violations["keywords"] = f"at most {MOST_KEYWORDS}"
    for index, offer in enumerate(catalogue):
        if not words(offer.name, ""):
            violations[f"catalogue[{index}].name"] = "one or more words"
        for place, text in enumerate(offer.keywords):
            if not words(text, ""):
                violations[f"catalogue[{index}].keywords[{place}]"] = "one or more words"
    if violations:
        raise InvalidArgument("keywords must be words", reason=INVALID_KEYWORD, violations=violations)
