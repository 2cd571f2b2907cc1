import pytest

from malha.insight.domain import Draft, InsightType, Offer, Role, TriggerKind, Utterance
from malha.insight.evidence import supported
from malha.insight.extractive import LONGEST_QUOTE, Scene, extract
from malha.insight.keywords import Keywords
from malha.insight.window import Entry
from malha.insight.words import content, words

OFFER = Offer("f", "Fibra 500", price="R$ 79,90", keywords=("mais velocidade", "more speed", "más velocidad"))
KEYWORDS = Keywords((), (OFFER,))
ALL = tuple(InsightType)
TALK: dict[str, tuple[tuple[Role, str], ...]] = {
    "pt": (
        ("agent", "Bom dia, em que posso ajudar?"),
        ("customer", "A minha fatura veio com valor errado e fui cobrado duas vezes."),
        ("agent", "Vou verificar a cobrança da fatura no sistema agora mesmo."),
        ("customer", "Senão eu quero cancelar. E queria mais velocidade também."),
    ),
    "es": (
        ("agent", "Buenos días, en qué puedo ayudarle."),
        ("customer", "Mi factura vino con un importe equivocado y me cobraron dos veces."),
        ("customer", "Si no, quiero cancelar, y quisiera más velocidad."),
    ),
    "en": (
        ("agent", "Good morning, how can I help you?"),
        ("customer", "My bill has the wrong amount and I was charged twice this month."),
        ("customer", "Otherwise I want to cancel, and I wanted more speed too."),
    ),
}


def scene(language: str, topic: str = "billing", talk: tuple[tuple[Role, str], ...] | None = None) -> Scene:
    entries = []
    for index, (role, text) in enumerate(talk if talk is not None else TALK[language]):
        said = words(text, language)
        utterance = Utterance(f"s{index}", index + 1, role, text, index * 5.0, index * 5.0 + 4, language)
        entries.append(Entry(utterance, said, tuple(content(said, language)), tuple(KEYWORDS.find(said, language))))
    return Scene(language, tuple(entries), topic, TriggerKind.MANUAL, len(entries))


def by_type(drafts: tuple[Draft, ...]) -> dict[InsightType, Draft]:
    return {draft.type: draft for draft in drafts}


@pytest.mark.parametrize("language", ["pt", "es", "en"])
def test_each_type_rests_on_words_of_the_window(language: str) -> None:
    here = scene(language)
    drafts = by_type(extract(ALL, here))
    assert set(drafts) == set(ALL)
    texts = {entry.utterance.segment_id: entry.utterance.text for entry in here.entries}
    window = tuple(entry.utterance for entry in here.entries)
    for draft in drafts.values():
        assert draft.evidence
        assert all(each.quote in texts[each.segment_id] for each in draft.evidence)
        problem = supported(draft.message, draft.evidence, window, language=language, catalogue=(OFFER,))
        assert problem is None or (draft.type is InsightType.NEXT_STEP and problem == "UNRELATED")
    assert drafts[InsightType.UPSELL].message.count("Fibra 500 (R$ 79,90)") == 1


def test_the_summary_quotes_the_customer_on_the_topic() -> None:
    (draft,) = extract((InsightType.PARTIAL_SUMMARY,), scene("pt"))
    assert draft.message.startswith('Cliente fala de fatura e cobrança: "A minha fatura veio com valor errado')
    assert {each.segment_id for each in draft.evidence} <= {"s1", "s3"}


def test_without_a_topic_there_is_a_summary_and_no_step() -> None:
    drafts = by_type(extract(ALL, scene("pt", topic="")))
    assert drafts[InsightType.PARTIAL_SUMMARY].message.startswith("Cliente disse")
    assert InsightType.NEXT_STEP not in drafts


def test_nothing_telling_gives_nothing() -> None:
    assert extract(ALL, scene("pt", talk=(("customer", "Alô?"), ("agent", "Bom dia.")))) == ()


def test_the_operators_own_keywords_are_no_risk_and_no_offer() -> None:
    assert (
        extract((InsightType.RISK_ALERT, InsightType.UPSELL), scene("pt", talk=(("agent", "quer cancelar ou ter mais velocidade?"),))) == ()
    )


def test_offers_come_from_the_catalogue_alone() -> None:
    bare = Scene("pt", tuple(Entry(e.utterance, e.words, e.stems) for e in scene("pt").entries), "billing", TriggerKind.MANUAL, 4)
    assert extract((InsightType.UPSELL,), bare) == ()


def test_long_utterances_are_cut_between_words() -> None:
    long_ = "a fatura veio errada e a cobrança também " * 20
    (draft,) = extract((InsightType.PARTIAL_SUMMARY,), scene("pt", talk=(("customer", long_),)))
    (quote,) = (each.quote for each in draft.evidence)
    assert len(quote) <= LONGEST_QUOTE
    assert long_.startswith(quote + " ")


def test_other_languages_are_advised_in_english() -> None:
    (draft,) = extract(
        (InsightType.PARTIAL_SUMMARY,), scene("de", topic="", talk=(("customer", "Meine Rechnung stimmt diesen Monat nicht"),))
    )
    assert draft.message == 'The customer said: "Meine Rechnung stimmt diesen Monat nicht"'
