"""The contracts behind the edge, found in their descriptors: services by capability, REST bindings, comments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from malha.runtime.contracts import SERVICES as FULL_NAMES
from malha.runtime.contracts import load_contracts

load_contracts()

SERVICES: dict[str, ServiceDescriptor] = {
    capability: descriptor_pool.Default().FindServiceByName(name) for name, capability in FULL_NAMES.items()
}
"""By capability, the name a `Mesh` knows it by."""

DESCRIPTORS = "contracts.binpb"
"""A FileDescriptorSet with source information, made by `make generate`: generated code has no comments."""

_VARIABLE = re.compile(r"\{([^}=]+)(?:=[^}]*)?\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One ``google.api.http`` rule of a unary method."""

    capability: str
    method: MethodDescriptor
    verb: str
    path: str
    body: str
    """``*``, the name of the field that is the body, or empty."""
    alias: bool = False
    """Whether the method has another address, which is the one to use."""

    @property
    def variables(self) -> list[str]:
        """Fields, as dotted paths, that stand in the path."""
        return _VARIABLE.findall(self.path)

    @property
    def route(self) -> str:
        """The path with one ``{p0}``, ``{p1}``, ... for each variable; ``**`` takes slashes too."""
        order = iter(range(len(self.variables)))
        return _VARIABLE.sub(lambda found: f"{{p{next(order)}{':path' if '**' in found[0] else ''}}}", self.path)


def bindings() -> Iterator[Binding]:
    """All REST bindings of all contracts."""
    for capability, service in SERVICES.items():
        for method in service.methods:
            if method.client_streaming or method.server_streaming:
                continue
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            for each in (rule, *rule.additional_bindings):
                yield from _binding(capability, method, each, alias=each is not rule)


def _binding(capability: str, method: MethodDescriptor, rule: http_pb2.HttpRule, *, alias: bool) -> Iterator[Binding]:
    verb = rule.WhichOneof("pattern")
    if verb == "custom":
        yield Binding(capability, method, rule.custom.kind.upper(), rule.custom.path, rule.body, alias)
    elif verb is not None:
        yield Binding(capability, method, verb.upper(), getattr(rule, verb), rule.body, alias)


@cache
def comments() -> dict[str, str]:
    """The comment on everything in the contracts, by its full name."""
    files = descriptor_pb2.FileDescriptorSet.FromString((resources.files("malha.edge") / DESCRIPTORS).read_bytes())
    found: dict[str, str] = {}
    for file in files.file:
        for location in file.source_code_info.location:
            name = _name(file, list(location.path))
            if name and location.leading_comments:
                found[name] = " ".join(location.leading_comments.split())
    return found


def _name(file: descriptor_pb2.FileDescriptorProto, path: list[int]) -> str:
    """The full name of what a source location's path leads to; empty for what has none (options, ranges, ...)."""
    names, at = [file.package], file
    for number, index in zip(path[::2], path[1::2], strict=False):
        field = at.DESCRIPTOR.fields_by_number.get(number)
        if field is None or field.message_type is None or "name" not in field.message_type.fields_by_name or not field.is_repeated:
            return ""
        at = getattr(at, field.name)[index]
        names.append(at.name)
    return ".".join(names) if len(path) % 2 == 0 else ""
