"""What OpenAI's requests and errors become, and how the chat doors are described."""

import pytest
from google.protobuf.duration_pb2 import Duration

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.chat_completions import told_of, usage_of
from malha.edge.chat_conversations import continuation_of
from malha.edge.chat_errors import failed, is_compatible, openai_error, openai_fields
from malha.edge.chat_request import completion_of
from malha.edge.errors import BodyTooLarge, InvalidField, RateLimited
from malha.edge.fields import Fields
from malha.edge.openapi import document
from malha.runtime.errors import DeadlineExceeded, FailedPrecondition, NotFound, ResourceExhausted, Unauthenticated, Unavailable


def test_a_request_becomes_a_stream() -> None:
    body = {
        "model": "main",
        "messages": [
            {"role": "user", "content": "Oi"},
            {"role": "developer", "content": "Seja breve."},
            {"role": "assistant", "content": None},
            {"role": "user", "content": [{"type": "text", "text": "Qual é"}, {"type": "text", "text": "o prazo?"}]},
        ],
        "max_completion_tokens": 5,
        "max_tokens": 7,
        "n": 1,
        "tools": [],
        "logprobs": False,
        "metadata": {"a": "b"},
        "conversation_id": "c1",
        "stop": "#",
    }
    opening, *said, finish = completion_of(body).requests
    assert (opening.open.alias, opening.open.conversation_id, opening.open.parameters.max_tokens) == ("main", "c1", 5)
    assert list(opening.open.parameters.stop) == ["#"]
    assert not opening.open.parameters.HasField("temperature")
    assert [(each.message.author, each.message.text, each.message.context) for each in said] == [
        (api.AUTHOR_SYSTEM, "Seja breve.", True),
        (api.AUTHOR_USER, "Oi", True),
        (api.AUTHOR_USER, "Qual é\no prazo?", False),
    ]
    assert finish.HasField("finish")


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        (None, ""),
        ({"type": "text"}, ""),
        ({"type": "json_object"}, '{"type":"object"}'),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}, '{"type":"array"}'),
    ],
)
def test_response_formats(wanted: object, schema: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": wanted}
    assert completion_of(body).requests[0].open.response_schema == schema


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(300):
        schema = {"properties": {"x": schema}}
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    with pytest.raises(InvalidField, match="nested too deeply"):
        completion_of(body)


def test_errors_have_openai_s_types() -> None:
    cases = (
        (InvalidField("top_p", "is wrong"), "invalid_request_error", "top_p"),
        (BodyTooLarge("large"), "invalid_request_error", None),
        (Unauthenticated("who"), "authentication_error", None),
        (NotFound("no"), "not_found_error", None),
        (RateLimited("many"), "rate_limit_error", None),
        (Unavailable("away"), "server_error", None),
    )
    for error, kind, param in cases:
        told = openai_fields(error)["error"]
        assert (told["type"], told["param"], told["code"], told["message"]) == (kind, param, error.reason, error.message)


def test_answers_that_failed() -> None:
    for reason, kind in (
        ("MODEL_TIMEOUT", DeadlineExceeded),
        ("MODEL_RATE_LIMITED", ResourceExhausted),
        ("BUDGET_EXHAUSTED", ResourceExhausted),
        ("MODEL_REFUSED", FailedPrecondition),
        ("SCHEMA_UNSUPPORTED", FailedPrecondition),
        ("STREAM_BROKEN", Unavailable),
        ("", Unavailable),
    ):
        error = failed(api.MessageEnd(finish_reason="error", reason=reason))
        assert type(error) is kind
        assert error.reason == (reason or "MODEL_UNAVAILABLE")
        assert (error.retry_seconds is None) == (reason in {"BUDGET_EXHAUSTED", "MODEL_REFUSED", "SCHEMA_UNSUPPORTED"})
    told = api.MessageEnd(finish_reason="error", reason="MODEL_RATE_LIMITED", retry_after=Duration(seconds=7))
    assert (error := failed(told)) is not None
    assert error.retry_seconds == 7
    assert openai_error(error).headers["retry-after"] == "7"
    assert openai_fields(error)["error"]["retry_after_ms"] == 7000
    for finish, reason in (("stop", ""), ("length", "MAX_TOKENS"), ("stop", "STORE_UNAVAILABLE"), ("error", "CONTENT_FILTERED")):
        assert failed(api.MessageEnd(finish_reason=finish, reason=reason)) is None


def test_what_is_told_of_an_answer() -> None:
    end = api.MessageEnd(prompt_tokens=3, completion_tokens=4, model="tiny", first_token=Duration(nanos=250_000_000))
    end.citations.add(document_id="d", title="Planos", quote="R$ 10", score=1.5)
    assert usage_of(end)["total_tokens"] == 7
    assert told_of(end)["first_token_sec"] == 0.25
    assert told_of(end)["citations"] == [{"document_id": "d", "title": "Planos", "quote": "R$ 10", "score": 1.5}]


def test_a_conversation_is_named_within_bounds() -> None:
    assert continuation_of(Fields({"message": "Oi", "complex": False}), "c1").complex is False
    with pytest.raises(InvalidField):
        continuation_of(Fields({"message": "Oi"}), "x" * 129)


def test_the_doors_are_described() -> None:
    paths = document()["paths"]
    for base in ("/v1", "/api/v1"):
        assert "post" in paths[f"{base}/chat/completions"]
        assert "post" in paths[f"{base}/embeddings"]
        assert {"get"} == paths[f"{base}/models"].keys() == paths[f"{base}/models/{{alias}}"].keys()
    assert {"200", "202", "default"} == paths["/api/v1/conversations/{conversation_id}/continue"]["post"]["responses"].keys()
    assert "text/event-stream" in paths["/api/v1/conversations/{conversation_id}/continue-stream"]["post"]["responses"]["200"]["content"]
    assert "get" in paths["/api/v1/conversations/{conversation_id}/status"]
    assert is_compatible("/v1/models")
    assert is_compatible("/api/v1/embeddings")
    assert not is_compatible("/api/v1/jobs")
