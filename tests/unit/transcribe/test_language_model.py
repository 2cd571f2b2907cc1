"""The call-centre language model: that the committed files are what the build makes, and what it is made of."""

from pathlib import Path

import numpy as np
import pytest

from malha.transcribe import language_model
from malha.transcribe.language_model import build, estimate, ngrams
from malha.transcribe.language_model.pronunciations import dictionary_lines, pronounce, read_pronunciations
from malha.transcribe.language_model.templates import expand, parse

HELD_OUT = Path(__file__).parents[2] / "integration" / "transcribe" / "heldout_calls.txt"
REBUILD = "the text, the program or a wheel changed: python -m malha.transcribe.language_model.build"


@pytest.fixture(scope="module")
def sentences() -> build.Sentences:
    return build.read_sentences()


def words_of(text: str) -> tuple[str, ...]:
    letters = "".join(letter if letter.isalpha() or letter == "'" else " " for letter in text.lower())
    return tuple(letters.split())


def test_the_committed_model_and_dictionary_are_what_the_build_makes(sentences: build.Sentences, tmp_path: Path) -> None:
    build.build_language_model(sentences, tmp_path)
    for committed in (language_model.MODEL, language_model.DICTIONARY):
        assert (tmp_path / committed.name).read_bytes() == committed.read_bytes(), f"{committed.name}: {REBUILD}"


def test_no_held_out_sentence_is_in_the_text(sentences: build.Sentences) -> None:
    lines = [line.partition("\t")[2] for line in HELD_OUT.read_text().splitlines() if "\t" in line]
    held_out = {words_of(line) for line in lines}
    assert len(held_out) > 100
    assert not held_out & {words_of(" ".join(sentence)) for sentence in sentences}


def small_model() -> ngrams.NGrams:
    general = ngrams.NGrams(
        words=("a", "b", "c", "d", "</s>", "<s>"),
        unigram_log=np.log10([0.3, 0.2, 0.2, 0.1, 0.2, 1e-9]),
        unigram_backoff=np.log10([0.5, 1, 6 / 7, 1, 1, 1]),
        bigrams=np.array([[2, 0], [0, 1]]),
        bigram_log=np.log10([0.4, 0.6]),
        bigram_backoff=np.log10([0.75, 1]),
        trigrams=np.array([[2, 0, 1]]),
        trigram_log=np.log10([0.7]),
    )
    text = [("a", "b", "c"), ("a", "b", "d"), ("b", "c"), ("a", "c", "b", "a")]
    mixture = estimate.Mixture(bigram_threshold=1e-4, trigram_threshold=1e-4)
    return estimate.estimate(text, general, ("a", "b", "c", "d"), mixture)


def probability(model: ngrams.NGrams, history: tuple[int, ...], word: int) -> float:
    """As any reader of back-off models computes it (Katz)."""
    orders: dict[int, dict[tuple[int, ...], float]] = {
        1: {(index,): log for index, log in enumerate(model.unigram_log)},
        2: dict(zip(map(tuple, model.bigrams.tolist()), model.bigram_log, strict=True)),
        3: dict(zip(map(tuple, model.trigrams.tolist()), model.trigram_log, strict=True)),
    }
    backoff: dict[tuple[int, ...], float] = {(index,): log for index, log in enumerate(model.unigram_backoff)}
    backoff |= dict(zip(map(tuple, model.bigrams.tolist()), model.bigram_backoff, strict=True))
    log = 0.0
    while (*history, word) not in orders[len(history) + 1]:
        log += backoff.get(history, 0.0)
        history = history[1:]
    return float(10 ** (log + orders[len(history) + 1][*history, word]))


def test_probabilities_after_every_history_sum_to_one() -> None:
    model = small_model()
    assert len(model.trigrams) > 0
    words = range(len(model.words))
    begin = model.words.index(estimate.BEGIN)
    for history in [(), *((a,) for a in words), *((a, b) for a in words for b in words if b != begin)]:
        total = sum(probability(model, history, word) for word in words if word != begin)
        assert total == pytest.approx(1, abs=1e-3), history


def test_the_text_makes_its_own_words_likelier() -> None:
    model = small_model()
    begin, a, b, d = (model.words.index(word) for word in ("<s>", "a", "b", "d"))
    assert probability(model, (begin, a), b) > 2 * probability(model, (begin, a), d)


def test_a_model_written_and_read_is_the_same(tmp_path: Path) -> None:
    model = small_model()
    ngrams.write(model, tmp_path / "small.lm.bin")
    again = ngrams.read(tmp_path / "small.lm.bin")
    assert again.words == model.words
    assert again.bigrams.tolist() == model.bigrams.tolist()
    assert again.trigrams.tolist() == model.trigrams.tolist()
    for name in ("unigram_log", "unigram_backoff", "bigram_log", "bigram_backoff", "trigram_log"):
        np.testing.assert_allclose(getattr(again, name), getattr(model, name), atol=1e-5)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.lm.bin").write_bytes(b"\\data\\\nngram 1=3\n")
    with pytest.raises(ngrams.FormatError, match=r"x\.lm\.bin is not a trigram model"):
        ngrams.read(tmp_path / "x.lm.bin")


def test_endings_are_pronounced_by_what_they_follow() -> None:
    found = pronounce(["supervisor'll", "chris's", "kate's", "joan's"], read_pronunciations())
    endings = {word: ways[0].split()[-2:] for word, ways in found.items()}
    assert endings == {"chris's": ["IH", "Z"], "joan's": ["N", "Z"], "kate's": ["T", "S"], "supervisor'll": ["AH", "L"]}
    with pytest.raises(ValueError, match=r"pronunciations\.dict: xqzt"):
        pronounce(["the", "xqzt"], read_pronunciations())
    assert list(dictionary_lines({"a": ["AH", "EY"]})) == ["a AH\n", "a(2) EY\n"]


def test_contractions_are_joined_to_the_word_before() -> None:
    assert set(expand(parse("(i|we) ('ll|will) call"), {}, 20)) == {
        ("i'll", "call"),
        ("we'll", "call"),
        ("i", "will", "call"),
        ("we", "will", "call"),
    }
