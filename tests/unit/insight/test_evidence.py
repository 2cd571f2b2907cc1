import pytest

from malha.insight.domain import Evidence, Offer, Utterance
from malha.insight.evidence import supported

WINDOW = (
    Utterance("s1", 1, "customer", "Quero cancelar, a fatura veio noventa e nove reais e não 50. Falei com o Paulo.", 0.0, 6.0, "pt"),
    Utterance("s2", 2, "agent", "Entendi, vou verificar a fatura.", 6.0, 9.0, "pt"),
)
CATALOGUE = (Offer("f", "Fibra 500", "Internet de 500 mega", "R$ 79,90"),)
QUOTE = (Evidence("s1", "a fatura veio"),)


def judge(message: str, evidence: tuple[Evidence, ...] = QUOTE, knowledge: tuple[str, ...] = ()) -> str | None:
    return supported(message, evidence, WINDOW, catalogue=CATALOGUE, knowledge=knowledge)


@pytest.mark.parametrize(
    "message",
    [
        "Cliente quer cancelar: a fatura veio R$ 99,00.",
        "A fatura veio 99 reais e não cinquenta.",
        "Ofereça o Fibra 500 por R$ 79,90 para evitar que cancele a fatura.",
        "O cliente falou com o Paulo sobre a fatura.",
        "Explique a fatura. Registre no Procon se preciso.",
    ],
)
def test_what_was_said_or_is_in_the_catalogue_is_supported(message: str) -> None:
    assert judge(message) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Ofereça 30% na fatura para não cancelar.", "UNSUPPORTED_NUMBER"),
        ("Ofereça trinta por cento na fatura.", "UNSUPPORTED_NUMBER"),
        ("Ofereça \uff13\uff10 reais na fatura.", "UNSUPPORTED_NUMBER"),
        ("A fatura de R$ 79,91 está certa.", "UNSUPPORTED_NUMBER"),
        ("Veja a fatura em http://exemplo.example/x", "UNSUPPORTED_LINK"),
        ("Veja a fatura em exemplo.com.br", "UNSUPPORTED_LINK"),
        ("Mande a fatura para alguem@exemplo.org", "UNSUPPORTED_LINK"),
        ("Para a fatura ofereça o Combo Ouro.", "UNSUPPORTED_NAME"),
        ("Compre bananas maduras na feira.", "UNRELATED"),
        ("...", "UNRELATED"),
    ],
)
def test_what_nobody_gave_is_not(message: str, reason: str) -> None:
    assert judge(message) == reason


def test_knowledge_gives_too() -> None:
    assert judge("A fatura tem 12 dias de prazo, ver Manual Azul.", knowledge=("O Manual Azul diz: doze dias.",)) is None


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ((), "NO_EVIDENCE"),
        ((Evidence("s9", "a fatura veio"),), "UNKNOWN_SEGMENT"),
        ((Evidence("s2", "a fatura veio"),), "QUOTE_NOT_FOUND"),
        ((Evidence("s1", "fatura a veio"),), "QUOTE_NOT_FOUND"),
        ((Evidence("s1", " ... "),), "QUOTE_NOT_FOUND"),
        ((*QUOTE, Evidence("s1", "inventado")), "QUOTE_NOT_FOUND"),
    ],
)
def test_quotes_must_stand_in_their_segments(evidence: tuple[Evidence, ...], reason: str) -> None:
    assert judge("A fatura veio errada.", evidence) == reason


def test_case_accents_and_punctuation_of_a_quote_are_free() -> None:
    assert judge("A fatura veio errada.", (Evidence("s1", "QUERO CANCELAR a fatura"), Evidence("s1", "reais e nao"))) is None
