import random
from pathlib import Path

import numpy as np
import pytest

from malha.insight.domain import Utterance
from malha.insight.topic_tiles import TopicTracker
from malha.insight.topics import BUCKETS, LANGUAGES, topic_model
from malha.insight.topics_build import MODELS, PHRASES, digest, read_phrases, train
from malha.insight.window import Entry
from malha.insight.words import content, words

CALLS = 40
HELD_OUT = Path(__file__).parent / "held_out_topics"


def entries(texts: list[str], language: str) -> list[Entry]:
    made = []
    for index, text in enumerate(texts):
        said = words(text, language)
        made.append(
            Entry(
                Utterance(f"s{index}", index, "customer", text, index * 5.0, index * 5.0 + 4, language),
                said,
                tuple(content(said, language)),
            )
        )
    return made


def turns(texts: list[str], language: str) -> list[str]:
    """The topic after each utterance with which it changed; ``?`` where it has no name."""
    tracker, talk = TopicTracker(language), entries(texts, language)
    return [tracker.topic or "?" for index in range(len(talk)) if tracker.say(talk[: index + 1])]


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_phrases_are_told_apart(language: str) -> None:
    """Thirteen topics, sentences of the test's own: the better part of them right, and nearly all of those the model is sure of."""
    model = topic_model(language)
    assert model is not None
    sure, right = [], []
    for topic, phrase in read_phrases(HELD_OUT / f"{language}.txt"):
        posterior = model.posterior(content(words(phrase, language), language))
        right.append(model.topics[int(posterior.argmax())] == topic)
        if posterior.max() >= 0.45:
            sure.append(right[-1])
    assert len(right) == 104
    assert np.mean(right) >= 0.75
    assert len(sure) >= 45
    assert np.mean(sure) >= 0.93


@pytest.mark.parametrize("language", LANGUAGES)
def test_phrases_are_many_and_balanced_and_none_is_held_out(language: str) -> None:
    trained = read_phrases(PHRASES / f"{language}.txt")
    topics = [topic for topic, _ in trained]
    assert len(set(topics)) == 13
    assert all(topics.count(topic) >= 30 for topic in set(topics))
    assert not {phrase for _, phrase in trained} & {phrase for _, phrase in read_phrases(HELD_OUT / f"{language}.txt")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_models_are_of_the_present_phrases(language: str) -> None:
    """Else: ``python -m malha.insight.topics_build``."""
    with np.load(MODELS / f"{language}.npz", allow_pickle=False) as stored:
        assert int(stored["digest"]) == digest(PHRASES / f"{language}.txt")


def test_training_gives_a_model_that_knows_its_phrases() -> None:
    labelled = [("a", "minha fatura veio errada"), ("b", "a internet caiu"), ("a", "a conta está cara"), ("b", "sem sinal de wi-fi")]
    first, second = train(labelled, "pt"), train(labelled, "pt")
    assert all((first[key] == second[key]).all() for key in first)
    assert first["weights"].shape == (BUCKETS, 2)
    assert first["weights"].dtype == np.int8


def test_other_languages_have_no_model() -> None:
    assert topic_model("de-DE") is None
    assert topic_model("") is None
    assert topic_model("pt-BR") is topic_model("pt_PT")


def test_a_posterior_of_nothing_is_a_distribution() -> None:
    model = topic_model("pt")
    assert model is not None
    assert model.posterior([]).sum() == pytest.approx(1.0, abs=1e-5)


TECHNICAL = [
    "a internet está muito lenta e o wifi cai toda hora",
    "já reiniciei o roteador e a luz continua vermelha",
    "o modem não conecta desde ontem",
]
BILLING = [
    "a fatura veio com valor errado este mês",
    "fui cobrado duas vezes na mesma conta",
    "não reconheço essa taxa no boleto da mensalidade",
]


def test_the_first_topic_and_a_new_one_are_changes_and_more_of_the_same_is_not() -> None:
    assert turns(["bom dia, como posso ajudar", *TECHNICAL, *BILLING], "pt") == ["technical", "billing"]


def test_courtesies_change_nothing() -> None:
    assert turns([*TECHNICAL, "muito obrigado pela ajuda, tenha um bom dia", "de nada, até logo, obrigado por ligar"], "pt") == [
        "technical"
    ]


def test_other_languages_go_by_their_words() -> None:
    internet = ["meine internet verbindung ist seit gestern sehr langsam und der router blinkt rot"] * 2
    bill = ["die letzte rechnung enthält falsche gebühren und wurde doppelt von meinem konto abgebucht"] * 2
    assert turns([*internet, *internet, *bill, *bill], "de") == ["?"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_topics_of_made_up_calls_are_found(language: str) -> None:
    """Calls of a greeting, five held-out sentences of one topic and five of another, courtesies in between."""
    by_topic: dict[str, list[str]] = {}
    for topic, phrase in read_phrases(HELD_OUT / f"{language}.txt"):
        by_topic.setdefault(topic, []).append(phrase)
    courtesies, topics = by_topic.pop("greeting"), sorted(by_topic)
    chance = random.Random(7)
    found = wrong = 0
    for _ in range(CALLS):
        first, second = chance.sample(topics, 2)
        said, about = [chance.choice(courtesies)], [first]
        for topic in (first, second):
            for phrase in chance.sample(by_topic[topic], 5):
                courtesy = [chance.choice(courtesies)] if chance.random() < 0.3 else []
                said += [phrase, *courtesy]
                about += [topic] * (1 + len(courtesy))
        tracker, talk = TopicTracker(language), entries(said, language)
        changes = [(tracker.topic, about[index]) for index in range(len(talk)) if tracker.say(talk[: index + 1])]
        found += ((first, first) in changes) + ((second, second) in changes)
        wrong += sum(told != true for told, true in changes)
    assert found / (2 * CALLS) >= 0.88, found
    assert wrong / CALLS <= 0.1, wrong
