"""Two at once: on one conversation, on one piece of state, on a call that begins while its conversation is deleted."""

import asyncio
import uuid
from typing import Any

import pytest

from malha.conversation.service import ConversationService
from malha.conversation.settings import ConversationSettings
from malha.runtime.errors import Aborted, FailedPrecondition


async def test_many_who_make_one_conversation_make_one(caller: Any) -> None:
    made = await asyncio.gather(*(caller.ask("UpsertConversation", conversation_id="c", subject=str(number)) for number in range(8)))
    assert sum(one.created for one in made) == 1
    assert len({one.conversation.id for one in made}) == 1


async def test_one_of_many_saves_by_one_revision_wins(caller: Any) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    revision = 0
    for _ in range(3):
        saves = [caller.ask("SaveState", conversation_id="c", key="k", value={"by": by}, if_revision=revision) for by in range(6)]
        done = await asyncio.gather(*saves, return_exceptions=True)
        won = [one for one in done if not isinstance(one, Exception)]
        assert len(won) == 1
        assert all(isinstance(one, Aborted) for one in done if isinstance(one, Exception))
        revision = won[0].state.revision


async def test_a_call_that_begins_meanwhile_is_not_lost(caller: Any) -> None:
    made = await caller.ask("UpsertConversation", conversation_id="c")
    async with caller.database.tenant_tx(caller.tenant) as connection:
        await connection.execute(
            "INSERT INTO live_session (session_id, tenant_id, conversation_id, principal_digest, resume_digest, config) VALUES ($1, $2, $3, '', '', '')",
            uuid.uuid4(),
            caller.tenant,
            uuid.UUID(made.conversation.id),
        )
        deleting = asyncio.create_task(caller.ask("DeleteConversation", conversation_id="c"))
        await asyncio.sleep(0.2)
        assert not deleting.done()
    with pytest.raises(FailedPrecondition):
        await deleting
    assert await caller.rows("conversation") == 1


async def test_the_service_cleans_up_by_itself_and_outlives_a_failure(caller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    await caller.ask("SaveState", conversation_id="c", key="k", value={})
    await caller.run("UPDATE state SET expires_at = now() - interval '1 second'")
    service = ConversationService(caller.database, ConversationSettings(_env_file=None, conversation_sweep_seconds=0.05))
    sweep, failures = service._sweeper.sweep, iter([Aborted("away")])

    async def fails_first() -> int:
        for error in failures:
            raise error
        return await sweep()

    monkeypatch.setattr(service._sweeper, "sweep", fails_first)
    await service.start()
    try:
        async with asyncio.timeout(30):
            while await caller.rows("state"):
                await asyncio.sleep(0.05)
    finally:
        await service.close()
