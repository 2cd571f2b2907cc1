"""REST for every unary method, as its ``google.api.http`` rule says (google/api/http.proto describes the mapping)."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from buf.validate import validate_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from malha.edge.bodies import json_body
from malha.edge.calls import Tokens, bearer, failure, metadata
from malha.edge.contracts import Binding, bindings
from malha.edge.errors import InvalidField, NotJson
from malha.edge.parsing import message_of
from malha.edge.settings import EdgeSettings
from malha.runtime.mesh import Mesh

ANSWER_SECONDS = 30.0
FLAGS = {"true": True, "false": False}
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_= \t\r\n"
"""Both alphabets of RFC 4648, and what lines are broken with."""


def routes(settings: EdgeSettings, mesh: Mesh) -> list[Route]:
    """A route for each binding. Those whose path is literal come first: ``/conversations:search`` is no conversation."""
    ordered = sorted(bindings(), key=lambda binding: len(binding.variables))
    tokens = Tokens(mesh)
    return [
        Route(binding.route, _endpoint(binding, settings, mesh, tokens), methods=[binding.verb], name=binding.method.full_name)
        for binding in ordered
    ]


def _endpoint(binding: Binding, settings: EdgeSettings, mesh: Mesh, tokens: Tokens) -> Callable[[Request], Awaitable[Response]]:
    request_type = message_factory.GetMessageClass(binding.method.input_type)
    response_type = message_factory.GetMessageClass(binding.method.output_type)
    path = f"/{binding.method.containing_service.full_name}/{binding.method.name}"
    content = base64_characters(binding.method.input_type)

    async def answer(request: Request) -> Response:
        token = bearer(request.headers.get("authorization", ""))
        identity = metadata(token)
        if content:  # before more is received than anybody may send
            await tokens.check(token)
        message = await _message(request, binding, request_type, settings.max_body_bytes + content)
        method = mesh.channel(binding.capability).unary_unary(
            path, request_serializer=request_type.SerializeToString, response_deserializer=response_type.FromString
        )
        try:
            response: Message = await method(message, metadata=identity, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise failure(error, by_contract=True) from None
        text = json_format.MessageToJson(
            response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None, ensure_ascii=False
        )
        return Response(text, media_type="application/json")

    return answer


def base64_characters(descriptor: Descriptor) -> int:
    """What a message's fields of bytes may take in its JSON form, by the contract's limits: recordings come on top of what a body may hold."""
    limits = (
        field.GetOptions().Extensions[validate_pb2.field].bytes.max_len
        for field in descriptor.fields
        if field.type == FieldDescriptor.TYPE_BYTES
    )
    return sum(-(-limit // 3) * 4 for limit in limits)


async def _message(request: Request, binding: Binding, request_type: type[Message], limit: int) -> Message:
    """The request's message: from its body, its query and, before both, its path. Raises InvalidArgument."""
    descriptor, values = binding.method.input_type, dict[str, Any]()
    if binding.body == "*":
        values = await _body(request, descriptor, limit)
    elif binding.body:
        kind = descriptor.fields_by_name[binding.body].message_type
        assert kind is not None, f"{binding.path}: a body is a message"
        values = {binding.body: await _body(request, kind, limit)}
    if binding.body != "*":
        _merge(values, descriptor, request.query_params.multi_items())
    elif request.query_params:
        raise InvalidField(next(iter(request.query_params)), "all fields go into the body of this request")
    _merge(
        values,
        descriptor,
        zip(binding.variables, (request.path_params[f"p{index}"] for index in range(len(binding.variables))), strict=True),
    )
    _check_base64(values, descriptor)
    return message_of(values, request_type)


async def _body(request: Request, descriptor: Descriptor, limit: int) -> dict[str, Any]:
    """A body that stands for a message. Raises BodyTooLarge, and NotJson, which names the fields: uploads as files and forms come here too."""
    try:
        return await json_body(request, limit)
    except NotJson:
        names = ", ".join(
            f"{field.name} (in base64)" if field.type == FieldDescriptor.TYPE_BYTES else field.name for field in descriptor.fields
        )
        raise NotJson(f"the body must be a JSON object of {names}") from None


def _check_base64(values: dict[str, Any], descriptor: Descriptor) -> None:
    """Raise InvalidField for what is no base64: protobuf leaves out the characters it does not know, and takes the rest."""
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_BYTES:
            value = values.get(field.name, values.get(field.json_name))
            if isinstance(value, str) and value.encode("ascii", "replace").translate(None, BASE64):
                raise InvalidField(field.name, "must be bytes in base64")


def _merge(values: dict[str, Any], descriptor: Descriptor, items: Iterable[tuple[str, str]]) -> None:
    """Put text values, named by dotted paths, into a message's JSON form; a repeated field takes all of its values."""
    lists = set[str]()
    for path, text in items:
        *parents, last = path.split(".")
        at, kind = values, descriptor
        for parent in parents:
            field = _field(kind, parent, path)
            if field.message_type is None or field.is_repeated:
                raise InvalidField(path, "is not a field of this request")
            at, kind = at.setdefault(field.name, {}), field.message_type
            if not isinstance(at, dict):
                raise InvalidField(path, "is not an object")
        field = _field(kind, last, path)
        if not field.is_repeated:
            at[field.name] = _value(field, path, text)
        elif path in lists:
            at[field.name].append(_value(field, path, text))
        else:
            at[field.name] = [_value(field, path, text)]
            lists.add(path)


def _field(descriptor: Descriptor, name: str, path: str) -> FieldDescriptor:
    field: FieldDescriptor | None = descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)
    if field is None:
        raise InvalidField(path, "is not a field of this request")
    return field


def _value(field: FieldDescriptor, path: str, text: str) -> Any:
    """Text as the JSON value of a field; numbers, times and enums may stay text (proto3 JSON mapping)."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in FLAGS:
            raise InvalidField(path, "must be true or false")
        return FLAGS[text]
    if field.type == FieldDescriptor.TYPE_ENUM and text.lstrip("-").isdecimal():
        return int(text)
    return text
