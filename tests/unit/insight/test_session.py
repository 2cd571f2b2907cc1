"""One session's insights, without a store and with a model of the test's own: the ladder, its bounds, its ends."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from malha.api.insight.v1 import insight_pb2 as api
from malha.insight.analysis import Analysis
from malha.insight.asking import Answer, Ask
from malha.insight.builtin_rules import with_builtin
from malha.insight.claims import plain
from malha.insight.domain import Draft, Evidence, InsightType, Request, TriggerKind, Utterance
from malha.insight.keywords import Keywords
from malha.insight.policy import CALL_CENTER
from malha.insight.reading import read
from malha.insight.rules import Rules
from malha.insight.session import MOST_TASKS, Session
from malha.insight.surroundings import Surroundings
from malha.runtime.errors import Unavailable

SAID = "a minha fatura que veio com um valor muito alto neste mês de novembro"
SUMMARY = InsightType.PARTIAL_SUMMARY
NOT_WAITED_SECONDS = 30.0
"""Less than the model takes in these tests."""


class Given:
    """A session, and what it told."""

    def __init__(self, ask: Callable[[Ask], Coroutine[Any, Any, Answer]] | None, *, ladder: float = 5.0, least: float = 0.6) -> None:
        self.events: list[api.AnalyzeResponse] = []
        analysis = Analysis(CALL_CENTER, Rules.compile(with_builtin([])), Keywords(()), (), (SUMMARY,), "pt-BR")
        around = Surroundings(
            store=None,
            interactions=None,
            place=None,
            ask=ask,
            tenant="acme",
            slots=asyncio.Semaphore(1),
            ladder_seconds=ladder,
            thresholds=dict.fromkeys(InsightType, least),
        )
        self.session = Session(analysis, make_ask, self.events.append, around)
        self._seq = 0

    def say(self, text: str = SAID) -> None:
        self._seq += 1
        said = Utterance(f"0-{self._seq}", self._seq, "customer", text, self._seq * 4.0, self._seq * 4.0 + 4, "pt-BR")
        self.session.say(said, amended=False, received_at=None, told_at=None)

    @property
    def insights(self) -> list[api.Insight]:
        return [event.insight for event in self.events if event.HasField("insight")]

    @property
    def reasons(self) -> list[str]:
        return [event.decision.reason for event in self.events if event.HasField("decision")]


def make_ask(kind: InsightType, request: Request) -> Ask:
    return Ask(kind, request, "pt-BR", (), (), "", "", "", 5.0)


def answer(message: str = "A cliente fala da fatura.", *, confidence: float = 0.9, reason: str = "", failed: bool = False) -> Answer:
    draft = Draft(SUMMARY, message, confidence, (Evidence("0-1", "minha fatura"),), TriggerKind.MANUAL)
    return Answer(draft, reason, failed, "raw", "tiny", False, "p1", 0.1, 0.2)


async def test_the_model_s_answer_is_told_once_it_is_there() -> None:
    async def ask(_: Ask) -> Answer:
        return answer()

    given = Given(ask)
    given.say()
    given.session.trigger()
    await given.session.finish()
    assert [(each.message, each.engine, each.degraded) for each in given.insights] == [("A cliente fala da fatura.", "tiny", False)]
    assert given.session.insights == 1


@pytest.mark.parametrize("ladder", [0.0, 0.05])
async def test_a_model_that_is_late_is_stood_in_for_and_not_waited_for_at_the_end(ladder: float) -> None:
    cancelled = asyncio.Event()

    async def ask(_: Ask) -> Answer:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return answer()

    given = Given(ask, ladder=ladder)
    given.say()
    given.session.trigger()
    async with asyncio.timeout(NOT_WAITED_SECONDS):
        await given.session.finish()
    assert [(each.engine, each.degraded) for each in given.insights] == [("rules", True)]
    assert "LATE" in given.reasons
    await given.session.close()
    assert cancelled.is_set() or not ladder


async def test_a_late_question_nothing_stands_in_for_is_over_at_once() -> None:
    async def ask(_: Ask) -> Answer:
        await asyncio.sleep(60)
        return answer()

    given = Given(ask, ladder=0.05)
    given.say("tá bom")
    given.session.trigger()
    async with asyncio.timeout(NOT_WAITED_SECONDS):
        await given.session.finish()
    assert not given.insights
    assert given.reasons[-2:] == ["LATE", "EMPTY"]
    await given.session.close()


async def test_a_question_that_still_waits_for_its_place_when_it_is_late_is_not_put() -> None:
    asked, going = list[str](), asyncio.Event()

    async def ask(question: Ask) -> Answer:
        asked.append(question.request.window[-1].text)
        await going.wait()
        return answer()

    given = Given(ask, ladder=0.1)
    first, second = SAID, "eu liguei na semana passada e ninguém resolveu o problema da cobrança"
    for text in (first, second):
        given.say(text)
        given.session.trigger()
    async with asyncio.timeout(NOT_WAITED_SECONDS):
        await given.session.finish()
    assert given.reasons.count("LATE") == 2
    going.set()
    await asyncio.sleep(0.05)
    assert asked == [first], "the tenant has one place, and the second question was over before it was free"
    await given.session.close()


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (answer(confidence=0.5), []),
        (answer(reason="UNSUPPORTED"), []),
        (answer(reason="INVALID_JSON", failed=True), [("rules", True)]),
    ],
    ids=["not sure", "not supported", "no answer"],
)
async def test_what_may_not_be_shown_is_not_and_what_is_no_answer_is_stood_in_for(answered: Answer, told: list[tuple[str, bool]]) -> None:
    async def ask(_: Ask) -> Answer:
        return answered

    given = Given(ask)
    given.say()
    given.session.trigger()
    await given.session.finish()
    assert [(each.engine, each.degraded) for each in given.insights] == told


async def test_a_model_that_breaks_is_stood_in_for() -> None:
    async def ask(_: Ask) -> Answer:
        raise Unavailable("away", reason="MODEL_AWAY")

    given = Given(ask)
    given.say()
    given.session.trigger()
    await given.session.finish()
    assert [each.degraded for each in given.insights] == [True]
    assert "MODEL_AWAY" in given.reasons


async def test_what_is_turned_off_is_not_thought_of_and_comes_back() -> None:
    given = Given(None)
    given.session.enable(False)
    given.say()
    given.session.trigger()
    await given.session.finish()
    assert not given.insights
    assert "OFF" in given.reasons
    given.session.enable(True)
    given.say("eu liguei na semana passada e ninguém resolveu o problema da cobrança")
    given.session.trigger()
    await given.session.finish()
    assert given.insights


async def test_so_many_are_under_way_and_no_more() -> None:
    going = asyncio.Event()

    async def ask(_: Ask) -> Answer:
        await going.wait()
        return answer()

    given = Given(ask, ladder=60)
    for _ in range(MOST_TASKS + 10):
        given.say()
        given.session.trigger()
    assert given.reasons.count("BUSY") == 10
    going.set()
    await given.session.finish()
    assert [each.message for each in given.insights] == ["A cliente fala da fatura."], "the others say the same"
    await given.session.close()


async def test_no_text_of_a_call_is_kept_once_it_is_over() -> None:
    said = read(f"{SAID} de quem ligou", "pt-BR")
    assert said.plain
    assert read(said.text, "pt-BR") is said
    await Given(None).session.close()
    assert read(said.text, "pt-BR") is not said
    assert plain.cache_info().currsize == 0
