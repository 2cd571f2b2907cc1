"""JSON schemas (2020-12, as in OpenAPI 3.1) of protobuf messages, in the proto3 JSON mapping."""

from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from malha.edge.contracts import comments

Schema = dict[str, Any]

WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$", "examples": ["1.5s"]},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Empty": {"type": "object"},
}
_INTEGER: Schema = {"type": "integer", "format": "int32"}
_LONG: Schema = {"type": "string", "format": "int64"}
SCALARS: dict[int, Schema] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
    FieldDescriptor.TYPE_INT64: _LONG,
    FieldDescriptor.TYPE_UINT64: _LONG,
    FieldDescriptor.TYPE_SINT64: _LONG,
    FieldDescriptor.TYPE_FIXED64: _LONG,
    FieldDescriptor.TYPE_SFIXED64: _LONG,
}


class Schemas:
    """Collects the schemas that a document refers to, under ``components.schemas``."""

    def __init__(self) -> None:
        self.all: dict[str, Schema] = {}

    def message(self, descriptor: Descriptor) -> Schema:
        """A reference to a message's schema, or the schema of a well-known type."""
        name = descriptor.full_name
        if name in WELL_KNOWN:
            return WELL_KNOWN[name]
        if name not in self.all:
            schema = self.all[name] = _described({"type": "object"}, name)
            schema["properties"] = {field.name: self.field(field) for field in descriptor.fields}
        return _reference(name)

    def field(self, field: FieldDescriptor) -> Schema:
        """A field's schema, with its comment."""
        schema = self._value(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            schema = {"type": "object", "additionalProperties": self._value(field.message_type.fields_by_name["value"])}
        elif field.is_repeated:
            schema = {"type": "array", "items": schema}
        return _described(dict(schema), field.full_name)

    def _value(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        return SCALARS.get(field.type, _INTEGER)

    def _enum(self, descriptor: EnumDescriptor) -> Schema:
        name = descriptor.full_name
        if name not in self.all:
            values = [
                f"{value.name}: {comments()[f'{name}.{value.name}']}" for value in descriptor.values if f"{name}.{value.name}" in comments()
            ]
            schema = self.all[name] = _described({"type": "string", "enum": [value.name for value in descriptor.values]}, name)
            schema["description"] = "\n".join([schema.get("description", ""), *values]).strip()
        return _reference(name)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _described(schema: Schema, name: str) -> Schema:
    text = comments().get(name)
    return {**schema, "description": text} if text else schema
