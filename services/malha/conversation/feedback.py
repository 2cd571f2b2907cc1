"""Feedback: the contract's methods."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from malha.api.conversation.v1 import feedback_pb2 as api
from malha.conversation.messages import invalid, moment, name_of, tenant_of, timestamp
from malha.conversation.store import conversations
from malha.conversation.store import feedback as store
from malha.conversation.store.names import as_uuid
from malha.runtime.auth import Principal
from malha.runtime.errors import NotFound
from malha.runtime.metrics import INSIGHT_FEEDBACK
from malha.runtime.pages import make_token, micros, moment_of, read_token
from malha.runtime.rpc import UnaryMethod
from malha.store.database import Database
from malha.store.roles import Connection
from malha.store.text import storable

_PAGE: Final = 100
_AHEAD: Final = timedelta(minutes=1)
"""How far a client's clock may be ahead."""
ACTIONS: Final = {
    "shown": api.INSIGHT_ACTION_SHOWN,
    "used": api.INSIGHT_ACTION_USED,
    "edited": api.INSIGHT_ACTION_EDITED,
    "ignored": api.INSIGHT_ACTION_IGNORED,
}


class FeedbackBook:
    """Answers what is asked of feedback."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {"CreateFeedback": UnaryMethod(self.create), "ListFeedback": UnaryMethod(self.list)}

    async def create(self, request: api.CreateFeedbackRequest, principal: Principal) -> api.CreateFeedbackResponse:
        """Keep feedback."""
        _check(request)
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            given = await _given(connection, request)
            feedback_id, insight_type = await store.create(connection, given)
        if given.action is not None and insight_type is not None:
            INSIGHT_FEEDBACK.labels(insight_type, given.action).inc()
        return api.CreateFeedbackResponse(feedback_id=str(feedback_id))

    async def list(self, request: api.ListFeedbackRequest, principal: Principal) -> api.ListFeedbackResponse:
        """A page of feedback; with the first one the averages of all."""
        most = request.page_size or _PAGE
        given_from, given_until = moment(request, "time_from"), moment(request, "time_until")
        asked = ("ListFeedback", request.conversation_id, request.insight_id, given_from, given_until)
        after = _place(principal, asked, request.page_token)
        async with self._database.tenant_tx(tenant_of(principal)) as connection:
            wanted = store.Filter(
                conversation_id=(await conversations.find(connection, request.conversation_id)).id if request.conversation_id else None,
                insight_id=(await store.insight(connection, request.insight_id))[0] if request.insight_id else None,
                given_from=given_from,
                given_until=given_until,
            )
            kept = await store.newest(connection, wanted, after, most + 1)
            summary = None if after else api.FeedbackSummary(**await store.summary(connection, wanted))
        token = make_token(principal, asked, (micros(kept[most - 1].at), str(kept[most - 1].id))) if len(kept) > most else ""
        return api.ListFeedbackResponse(feedback=map(_feedback_message, kept[:most]), next_page_token=token, summary=summary)


def _check(request: api.CreateFeedbackRequest) -> None:
    """Raise InvalidArgument for feedback that says nothing, or nothing that can be."""
    rated = request.HasField("thumb_up") or request.HasField("stars") or request.HasField("nps")
    told = rated or request.comment or request.problem or request.action
    if not told:
        raise invalid("stars", "give at least one of thumb_up, stars, nps, comment, problem and action")
    if request.action and not request.insight_id:
        raise invalid("insight_id", "an action is done with an insight: name it")
    if not (request.conversation_id or request.insight_id):
        raise invalid("conversation_id", "name the conversation or the insight")
    at = moment(request, "time")
    if at is not None and at > datetime.now(UTC) + _AHEAD:
        raise invalid("time", "lies ahead: check the clock")


async def _given(connection: Connection, request: api.CreateFeedbackRequest) -> store.Given:
    """The feedback of a request. Raises NotFound where its conversation or insight is not known, or do not go together."""
    insight_id = conversation_id = None
    if request.insight_id:
        insight_id, conversation_id = await store.insight(connection, request.insight_id)
    if request.conversation_id:
        named = (await conversations.find(connection, request.conversation_id)).id
        if conversation_id not in (None, named):
            raise store.absent_insight()
        conversation_id = named
    if conversation_id is None:
        raise NotFound("there is no such conversation", reason="CONVERSATION_NOT_FOUND")
    return store.Given(
        conversation_id=conversation_id,
        insight_id=insight_id,
        thumb=(1 if request.thumb_up else -1) if request.HasField("thumb_up") else None,
        stars=request.stars if request.HasField("stars") else None,
        nps=request.nps if request.HasField("nps") else None,
        comment=storable(request.comment),
        problem=request.problem,
        action=name_of(ACTIONS, request.action),
        author=storable(request.author),
        at=moment(request, "time"),
    )


def _feedback_message(kept: store.Feedback) -> api.Feedback:
    given = kept.given
    return api.Feedback(
        id=str(kept.id),
        conversation_id=str(given.conversation_id),
        insight_id=str(given.insight_id or ""),
        thumb_up=None if given.thumb is None else given.thumb > 0,
        stars=given.stars,
        nps=given.nps,
        comment=given.comment,
        problem=given.problem,
        action=ACTIONS[given.action] if given.action else api.INSIGHT_ACTION_UNSPECIFIED,
        author=given.author,
        time=timestamp(kept.at),
    )


def _place(principal: Principal, asked: tuple[object, ...], token: str) -> store.Place | None:
    if not token:
        return None
    at, name = read_token(principal, asked, token)
    feedback_id = as_uuid(name)
    return None if feedback_id is None else (moment_of(at), feedback_id)
