from malha.insight.domain import Evidence, InsightType
from malha.insight.duplicates import REMEMBERED, Duplicates

STEP, SUMMARY = InsightType.NEXT_STEP, InsightType.PARTIAL_SUMMARY
WORDS = (Evidence("s1", "Quero cancelar"),)
OTHER = (Evidence("s2", "a fatura veio errada"),)


def told() -> Duplicates:
    duplicates = Duplicates("pt")
    duplicates.told(STEP, "Pergunte o motivo do cancelamento ao cliente.", WORDS)
    return duplicates


def test_a_similar_message_of_the_same_type_repeats() -> None:
    assert told().repeats(STEP, "Perguntar ao cliente o motivo de cancelar", OTHER)


def test_another_message_and_another_type_do_not() -> None:
    assert not told().repeats(STEP, "Abra a fatura e explique os valores.", OTHER)
    assert not told().repeats(SUMMARY, "Pergunte o motivo do cancelamento ao cliente.", WORDS)


def test_the_same_words_are_the_same_evidence_however_written() -> None:
    assert told().repeats(STEP, "Outra mensagem inteiramente", (Evidence("s1", "quero cancelar."),))
    assert not told().repeats(STEP, "Outra mensagem inteiramente", (Evidence("s2", "quero cancelar"),))
    assert not told().repeats(STEP, "Outra mensagem inteiramente", (*WORDS, *OTHER))


def test_only_the_last_are_remembered() -> None:
    duplicates = told()
    for number in range(REMEMBERED):
        duplicates.told(STEP, f"palavra{number}", (Evidence(f"x{number}", "a b"),))
    assert not duplicates.repeats(STEP, "Pergunte o motivo do cancelamento ao cliente.", WORDS)
