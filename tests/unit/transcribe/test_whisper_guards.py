"""What counts as a hallucination."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.transcribe.engines.whisper_guards import (
    COURTESIES,
    CREDITS,
    Evidence,
    compression_ratio,
    cut_loops,
    is_doubtful,
    is_implausible,
    is_silence,
)


def evidence(text: str, *, seconds: float = 4.0, log_probability: float = -0.2, silence: float = 0.01, looped: bool = False) -> Evidence:
    return Evidence(text, seconds, log_probability, silence, looped)


@pytest.mark.parametrize(
    "text", ["Não, não, não, não.", "onze nove oito oito sete sete seis seis", "Quero cancelar a minha assinatura agora."]
)
def test_speech_passes(text: str) -> None:
    assert not is_silence(evidence(text))
    assert not is_doubtful(evidence(text))
    assert not is_implausible(evidence(text))


def test_silence_needs_both_its_own_probability_and_a_poor_text() -> None:
    text = "o preço subiu muito"
    assert is_silence(evidence(text, silence=0.7, log_probability=-1.2))
    assert not is_silence(evidence(text, silence=0.7, log_probability=-0.4))
    assert not is_silence(evidence(text, silence=0.5, log_probability=-1.2))


@pytest.mark.parametrize(
    "text",
    ["Legendas pela comunidade Amara.org", "¡Subtítulos realizados por la comunidad de Amara.org!", "Transcription by CastingWords."],
)
def test_subtitle_credits_are_never_speech(text: str) -> None:
    assert is_silence(evidence(text))
    assert not is_silence(evidence(f"Meu protocolo fala de {text}"))


@pytest.mark.parametrize("text", ["Obrigado por assistir!", "Gracias por ver el video.", "Thanks for watching!"])
def test_courtesies_are_dropped_only_where_something_else_speaks_for_silence(text: str) -> None:
    assert not is_silence(evidence(text, seconds=1.5))
    assert is_silence(evidence(text, seconds=1.5, silence=0.4))
    assert is_silence(evidence(text, seconds=1.5, log_probability=-0.7))
    assert is_silence(evidence(text, seconds=20))


def test_the_lists_are_written_as_texts_are_compared() -> None:
    for phrase in (*CREDITS, *COURTESIES):
        assert is_silence(evidence(phrase, silence=0.4)), phrase


def test_repetition_is_implausible() -> None:
    assert compression_ratio("obrigado " * 40) > 2.4
    assert is_implausible(evidence("obrigado " * 40, seconds=30))
    assert compression_ratio("Quero cancelar a minha assinatura porque o preço está muito alto.") < 1.2


def test_more_text_than_anyone_can_say_is_implausible() -> None:
    text = "Quero cancelar a minha assinatura porque o preço está muito alto."
    assert is_implausible(evidence(text, seconds=1.0))
    assert not is_implausible(evidence(text, seconds=2.0))


def test_a_poor_text_or_a_cut_loop_is_doubtful_and_plausible() -> None:
    for doubtful in (evidence("talvez isto", log_probability=-1.1), evidence("talvez isto", looped=True)):
        assert is_doubtful(doubtful)
        assert not is_implausible(doubtful)


def test_confidence_is_the_mean_probability_and_none_without_text() -> None:
    assert evidence("sim", log_probability=-0.1).confidence == pytest.approx(0.905, abs=0.001)
    assert evidence("", log_probability=-0.1).confidence == 0.0


def test_a_sentence_said_three_times_is_said_once() -> None:
    sentence = list(range(1, 9))
    assert cut_loops([90, 91, *sentence * 3, 92]) == [90, 91, *sentence, 92]
    assert cut_loops([90, *sentence * 3, 1, 2, 3]) == [90, *sentence]
    assert cut_loops([90, *sentence * 2]) == [90, *sentence * 2]


def test_short_words_may_be_repeated() -> None:
    assert cut_loops([5, 6] * 4) == [5, 6] * 4
    assert cut_loops([5] * 17) == [5] * 17
    assert cut_loops([5] * 200) == [5]
    assert cut_loops([]) == []


@given(st.lists(st.integers(0, 3), max_size=224))
def test_cutting_keeps_the_beginning_adds_nothing_and_ends(tokens: list[int]) -> None:
    kept = cut_loops(tokens)
    assert kept[:1] == tokens[:1]
    assert set(kept) == set(tokens)
    remaining = iter(tokens)
    assert all(token in remaining for token in kept)


@given(
    before=st.lists(st.integers(100, 200), max_size=20, unique=True),
    sentence=st.lists(st.integers(0, 99), min_size=6, max_size=20, unique=True),
)
def test_any_loop_of_a_sentence_is_found(before: list[int], sentence: list[int]) -> None:
    assert cut_loops([*before, *sentence * 5]) == [*before, *sentence]
