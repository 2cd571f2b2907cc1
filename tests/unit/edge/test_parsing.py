"""JSON as messages: what is wrong is told by field, and what was sent is told to nobody."""

import json
from typing import Any

import pytest
from google.protobuf import json_format

from malha.api.conversation.v1 import conversation_pb2, feedback_pb2, state_pb2
from malha.api.jobs.v1 import jobs_pb2
from malha.edge.errors import InvalidField
from malha.edge.parsing import message_of

PLANTED = "529.982.247-25"
DEEP: dict[str, Any] = {}
for _ in range(120):
    DEEP = {"a": DEEP}


def test_what_is_right_is_read() -> None:
    message = message_of({"conversation_id": "c", "thumb_up": True, "stars": 5}, feedback_pb2.CreateFeedbackRequest)
    assert (message.conversation_id, message.thumb_up, message.stars) == ("c", True, 5)
    assert message_of({"conversationId": "c", "value": {"a": "b"}}, state_pb2.SaveStateRequest).value["a"] == "b"


@pytest.mark.parametrize(
    ("values", "request_type", "field", "words"),
    [
        ({"channel": PLANTED}, conversation_pb2.UpsertConversationRequest, "channel", "CONVERSATION_CHANNEL_WHATSAPP"),
        ({"cpf": PLANTED}, feedback_pb2.CreateFeedbackRequest, "cpf", "there are conversation_id, thumb_up"),
        ({"x" * 500: 1}, feedback_pb2.CreateFeedbackRequest, "x" * 64, "is not a field"),
        ({"value": PLANTED}, state_pb2.SaveStateRequest, "value", "a JSON object"),
        ({"value": DEEP}, state_pb2.SaveStateRequest, "value", "33 levels"),
        ({"key": "k", "ttl": PLANTED}, state_pb2.SaveStateRequest, "ttl", "a duration in seconds"),
        ({"time": PLANTED}, feedback_pb2.CreateFeedbackRequest, "time", "a time such as"),
        ({"stars": PLANTED}, feedback_pb2.CreateFeedbackRequest, "stars", "a whole number"),
        ({"stars": 2**40}, feedback_pb2.CreateFeedbackRequest, "stars", "32 bits"),
        ({"thumb_up": PLANTED}, feedback_pb2.CreateFeedbackRequest, "thumb_up", "true or false"),
        ({"comment": [PLANTED]}, feedback_pb2.CreateFeedbackRequest, "comment", "must be text"),
        ({"comment": "\ud800"}, feedback_pb2.CreateFeedbackRequest, "comment", "must be text"),
        ({"transcribe": {"content": 5}}, jobs_pb2.CreateJobRequest, "transcribe.content", "base64"),
        ({"transcribe": {"roles": [PLANTED]}}, jobs_pb2.CreateJobRequest, "transcribe.roles", "a list, each of it one of ROLE_AGENT"),
        ({"transcribe": {"languages": PLANTED}}, jobs_pb2.CreateJobRequest, "transcribe.languages", "a list, each of it text"),
        ({"transcribe": PLANTED}, jobs_pb2.CreateJobRequest, "transcribe", "a JSON object"),
        ({"transcribe": {"content": "", "upload_id": "a"}}, jobs_pb2.CreateJobRequest, "transcribe", "exclude each other"),
    ],
)
def test_what_is_wrong_is_told_by_field_without_what_was_sent(values: dict[str, Any], request_type: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidField) as caught:
        message_of(values, request_type)
    assert list(caught.value.violations) == [field]
    assert words in caught.value.message
    assert PLANTED not in caught.value.message
    assert "malha.api" not in caught.value.message


def nested(levels: int, innermost: Any) -> dict[str, Any]:
    value = {"a": innermost}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("value", [nested(33, 1), nested(32, [1])])
def test_what_is_taken_can_be_sent_and_told_again(value: dict[str, Any]) -> None:
    request = message_of({"value": value}, state_pb2.SaveStateRequest)
    told = state_pb2.GetStateResponse(value=state_pb2.SaveStateRequest.FromString(request.SerializeToString()).value)
    assert json.loads(json_format.MessageToJson(told))["value"] == value


@pytest.mark.parametrize("value", [nested(34, 1), nested(33, [1])])
def test_a_level_more_is_refused_where_its_field_is_known(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidField, match="value: must be a JSON object, at most 33 levels deep"):
        message_of({"value": value}, state_pb2.SaveStateRequest)
