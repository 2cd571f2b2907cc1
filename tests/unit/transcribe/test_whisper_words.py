"""Word times from an alignment, with the real word splitting of faster-whisper over a tokenizer made here."""

from itertools import pairwise
from pathlib import Path

import pytest
from faster_whisper.tokenizer import Tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as BaseTokenizer

from malha.bench.whisper_weights import build_whisper
from malha.transcribe.engines.whisper_words import Alignment, timed_words

SCRIPT = "você disse sim"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory: Path = build_whisper(tmp_path_factory.mktemp("model"), script=SCRIPT)
    return Tokenizer(BaseTokenizer.from_file(str(directory / "tokenizer.json")), multilingual=True, task="transcribe", language="pt")


def diagonal(tokens: int, steps_each: int) -> list[tuple[int, int]]:
    """A path in which each token, and the end, takes as many steps."""
    return [(step // steps_each, step) for step in range((tokens + 1) * steps_each)]


def test_words_carry_their_punctuation_times_and_mean_probability(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(" ¿você disse sim?!")
    probabilities = [0.5] * len(tokens)
    words = timed_words(tokenizer, tokens, Alignment(diagonal(len(tokens), 10), probabilities), seconds=60)
    assert [word.text for word in words] == ["¿você", "disse", "sim?!"]
    assert words[0].start == 0.0
    assert words[-1].end == pytest.approx(len(tokens) * 10 * 0.02)
    assert all(first.end == second.start for first, second in pairwise(words))
    assert {word.confidence for word in words} == {0.5}


def test_the_confidence_is_that_of_the_letters(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(" sim.")
    words = timed_words(tokenizer, tokens, Alignment(diagonal(len(tokens), 5), [0.9, 0.1]), seconds=60)
    assert [(word.text, word.confidence) for word in words] == [("sim.", 0.9)]


def test_a_mark_alone_is_kept(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(" (")
    assert [word.text for word in timed_words(tokenizer, tokens, Alignment(diagonal(len(tokens), 5), [0.9] * len(tokens)), seconds=9)] == [
        "("
    ]
    assert timed_words(tokenizer, [], Alignment([(0, 0)], []), seconds=9) == ()


@given(steps=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1500)), max_size=40), seconds=st.floats(0, 30))
def test_times_never_decrease_and_stay_within_the_utterance(tokenizer: Tokenizer, steps: list[tuple[int, int]], seconds: float) -> None:
    tokens = tokenizer.encode(" você disse, sim.")
    words = timed_words(tokenizer, tokens, Alignment(steps, [0.9] * len(tokens)), seconds)
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(0 <= time <= seconds for time in times)
