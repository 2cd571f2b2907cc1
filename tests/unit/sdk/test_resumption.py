import asyncio

import pytest

from malha.sdk import Aborted, FailedPrecondition, NotFound, PermissionDenied, QuotaExceeded, ServerError, Unauthenticated, Unavailable
from malha.sdk import _resumption as resumption
from malha.sdk._resumption import ResumePoint, Setback, may_resume, was_cut


@pytest.mark.parametrize(
    ("error", "resumable"),
    [
        (Unavailable("gone"), True),
        (Unavailable("stopping", reason="DRAINING"), True),
        (QuotaExceeded("behind", reason="READER_SLOW"), True),
        (QuotaExceeded("calls", reason="CALLS"), False),
        (ServerError("Internal error from Core"), True),
        (ServerError("broken", reason="INTERNAL"), False),
        (ServerError("early", reason="ENDED_EARLY"), False),
        (Aborted("moved", reason="SESSION_MOVED"), False),
        (Aborted("given up"), False),
        (NotFound("unknown", reason="SESSION_UNKNOWN"), False),
        (FailedPrecondition("closed", reason="SESSION_ABANDONED"), False),
        (Unauthenticated("who", reason="UNKNOWN_TOKEN"), False),
        (PermissionDenied("no"), False),
    ],
)
def test_what_is_resumed(error, resumable):
    assert may_resume(error) is resumable


@pytest.mark.parametrize(
    ("error", "cut"),
    [
        (Unavailable("gone"), True),
        (ServerError("Internal error from Core"), True),
        (Unavailable("stopping", reason="DRAINING"), True),
        (Unavailable("away", reason="STORE_UNAVAILABLE"), False),
        (ServerError("broken", reason="INTERNAL"), False),
        (Aborted("moved", reason="SESSION_MOVED"), False),
        (NotFound("unknown"), False),
    ],
)
def test_what_is_asked_again_though_it_was_not_open(error, cut):
    assert was_cut(error) is cut


async def test_waits_grow_and_go_on_after_the_next_loss(monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def asleep(seconds):
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", asleep)
    setback = Setback()
    for failures in (3, 2):
        errors = iter([Unavailable("gone")] * failures)

        async def attempt(errors=errors):
            for error in errors:
                raise error
            return "taken"

        assert await setback.over(attempt, Unavailable("lost")) == "taken"
    for wait, nominal in zip(waits, (0.05, 0.1, 0.25, 0.5, 1.0, 1.0, 1.0), strict=True):
        assert nominal / 2 <= wait <= nominal * 1.5


async def test_a_server_that_says_when_is_asked_then(monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def asleep(seconds):
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", asleep)
    errors = iter([QuotaExceeded("calls", retry_after_seconds=7.0)])

    async def attempt():
        for error in errors:
            raise error
        return "taken"

    assert await Setback().over(attempt, Unavailable("lost", retry_after_seconds=3.0)) == "taken"
    assert waits == [3.0, 7.0]


async def test_it_is_given_up_after_its_time_and_then_not_asked_at_all(monkeypatch):
    monkeypatch.setattr(resumption, "GIVE_UP_SECONDS", 0.2)
    asked = []

    async def attempt():
        asked.append(True)
        raise Unavailable("still gone")

    setback = Setback()
    with pytest.raises(Unavailable, match="still gone"):
        await setback.over(attempt, Unavailable("lost"))
    assert asked
    asked.clear()
    with pytest.raises(Unavailable, match="lost again"):
        await setback.over(attempt, Unavailable("lost again"))
    assert not asked


async def test_a_refusal_is_final():
    asked = []

    async def attempt():
        asked.append(True)
        raise NotFound("unknown", reason="SESSION_UNKNOWN")

    with pytest.raises(NotFound):
        await Setback().over(attempt, Unavailable("lost"))
    assert len(asked) == 1


def test_a_token_is_not_shown():
    assert "secret" not in repr(ResumePoint("secret", "s", 1, None))


async def test_a_limit_is_waited_out_only_where_the_server_says_for_how_long(monkeypatch):
    monkeypatch.setattr(resumption, "WAITS_SECONDS", (0.01,))
    asked = []

    async def refused():
        asked.append(1)
        if len(asked) == 1:
            raise QuotaExceeded("streams", reason="QUOTA_EXCEEDED", retry_after_seconds=0.01)
        raise QuotaExceeded("budget", reason="BUDGET_EXHAUSTED")

    async with asyncio.timeout(10):
        with pytest.raises(QuotaExceeded, match="budget"):
            await Setback().over(refused, Unavailable("gone"))
    assert len(asked) == 2
