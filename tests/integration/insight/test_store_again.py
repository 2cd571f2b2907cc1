"""What is kept may be kept again: nobody knows whether a commit was made whose answer was lost. Another owner's stays another owner's."""

import uuid
from typing import Any

from fakes.postgres import make_tenant
from malha.insight.domain import InsightType
from malha.insight.store import InsightStore, NewInsight
from malha.store.database import Database


class Kept:
    """A tenant's store and one session."""

    def __init__(self, database: Database, tenant: uuid.UUID) -> None:
        self.store = InsightStore(database, tenant)
        self.session = uuid.uuid4()
        self.conversation = uuid.UUID(int=0)
        self._database, self._tenant = database, tenant

    @classmethod
    async def of(cls, database: Database) -> "Kept":
        kept = cls(database, await make_tenant(database))
        kept.conversation = await kept.store.conversation("c-1", kept.session)
        return kept

    async def add(self, new: NewInsight) -> bool:
        return new.id in await self.store.add(self.conversation, self.session, [new])

    async def rows(self, table: str = "insight") -> list[dict[str, Any]]:
        async with self._database.tenant_tx(self._tenant) as connection:
            return [dict(row) for row in await connection.fetch(f"SELECT * FROM {table}")]


def new(status: str = "shown", version: str = "rule@1", **body: Any) -> NewInsight:
    return NewInsight(uuid.uuid4(), InsightType.RISK_ALERT, 7, version, status, body, 4.0, None)


async def test_an_insight_is_added_once_by_whoever_added_it_first(database: Database) -> None:
    kept, mine, theirs = await Kept.of(database), new(), new()
    assert [await kept.add(each) for each in (mine, mine, theirs, mine)] == [True, True, False, True]
    assert [row["id"] for row in await kept.rows()] == [mine.id]


async def test_a_question_is_settled_once_by_whoever_settled_it_first(database: Database) -> None:
    kept, question = await Kept.of(database), new("pending", "p1")
    await kept.add(question)
    answer, other = {"message": "a", "stages": [{"time": "0.1s"}]}, {"message": "a", "stages": [{"time": "0.2s"}]}
    assert [await kept.store.settle(question.id, "shown", "", body) for body in (answer, answer, other, answer)] == [
        True,
        True,
        False,
        True,
    ]
    assert not await kept.store.settle(question.id, "late", "LATE", {})
    [row] = await kept.rows()
    assert (row["status"], row["body"]) == ("shown", answer)


async def test_a_stand_in_takes_its_place_once(database: Database) -> None:
    kept, question = await Kept.of(database), new("pending", "p1")
    await kept.add(question)
    mine, theirs = new(version="stand-in"), new(version="stand-in")

    async def settle(instead: NewInsight) -> bool:
        return await kept.store.settle(question.id, "late", "LATE", {}, (kept.conversation, kept.session, instead))

    assert [await settle(each) for each in (mine, mine, theirs)] == [True, True, False]
    assert {(row["id"], row["status"]) for row in await kept.rows()} == {(question.id, "late"), (mine.id, "shown")}


async def test_feedback_is_kept_once(database: Database) -> None:
    kept, insight, known = await Kept.of(database), new(), uuid.uuid4()
    await kept.add(insight)
    assert await kept.store.feedback(known, insight.id, "used", "token-1") is InsightType.RISK_ALERT
    assert await kept.store.feedback(known, insight.id, "used", "token-1") is None
    assert [(row["id"], row["action"]) for row in await kept.rows("feedback")] == [(known, "used")]
