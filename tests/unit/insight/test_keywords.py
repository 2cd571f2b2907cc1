import pytest

from malha.insight.domain import Offer
from malha.insight.keywords import MOST_KEYWORDS, Keywords, Spoken
from malha.insight.words import words
from malha.runtime.errors import InvalidArgument

FIBRE = Offer("f", "Fibra 500", keywords=("mais velocidade",))


def kinds(keywords: Keywords, text: str, language: str = "pt") -> set[str]:
    return {spoken.kind for spoken in keywords.find(words(text, language), language)}


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("pt", "quero fazer um cancelamento"),
        ("pt", "vou fazer uma reclamação no Procon"),
        ("pt", "promessa de pagamento"),
        ("es", "una reclamación"),
        ("es-AR", "quiero darme de baja"),
        ("en", "I want a refund"),
    ],
)
def test_malhas_own_are_found(language: str, text: str) -> None:
    assert kinds(Keywords(), text, language)


def test_what_is_denied_is_none() -> None:
    assert not kinds(Keywords(), "não quero cancelar")


def test_tenants_own_and_offers() -> None:
    keywords = Keywords(("carência",), (FIBRE,))
    assert kinds(keywords, "tem carencia") == {"topic"}
    assert keywords.find(words("queria mais velocidade", "pt"), "pt") == [Spoken("offer", 1, 2, FIBRE)]
    assert kinds(keywords, "e a fibra 500") == {"offer"}
    assert kinds(keywords, "die carência", "de") == {"topic"}


def test_words_they_must_be() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Keywords(("ok", "?"), (Offer("f", "!", keywords=("...",)),))
    assert set(caught.value.violations) == {"keywords[1]", "catalogue[0].name", "catalogue[0].keywords[0]"}
    with pytest.raises(InvalidArgument):
        Keywords(("palavra",) * (MOST_KEYWORDS + 1))
