"""Writes an ONNX model, as far as a chain of nodes needs it: protobuf by hand, so that the ``onnx`` package is not.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (IR version 8).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

_IR_VERSION: Final = 8
_OPSET: Final = 17
_LENGTH_DELIMITED: Final = 2
_FLOAT, _INT32, _INT64 = 1, 6, 7
_ELEMENTS: Final = {"float32": _FLOAT, "int32": _INT32, "int64": _INT64}
_ATTRIBUTE_INT, _ATTRIBUTE_INTS = 2, 7


@dataclass(frozen=True, slots=True)
class Node:
    """An operator; an input that is left out is named ''."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, int | Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output: its element type as numpy calls it, and its sizes, by a name where they are free."""

    name: str
    element: str
    shape: Sequence[int | str]


def model(
    nodes: Sequence[Node], constants: Mapping[str, npt.NDArray[np.generic]], inputs: Sequence[Value], outputs: Sequence[Value]
) -> bytes:
    """The bytes of the model."""
    graph = b"".join(
        [
            *(_bytes(1, _node(node)) for node in nodes),
            _text(2, "graph"),
            *(_bytes(5, _tensor(name, values)) for name, values in constants.items()),
            *(_bytes(11, _value(value)) for value in inputs),
            *(_bytes(12, _value(value)) for value in outputs),
        ]
    )
    opset = _text(1, "") + _integer(2, _OPSET)
    return _integer(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, opset)


def _node(node: Node) -> bytes:
    names = [*(_text(1, name) for name in node.inputs), *(_text(2, name) for name in node.outputs)]
    attributes = [_bytes(5, _attribute(name, value)) for name, value in node.attributes.items()]
    return b"".join([*names, _text(4, node.operator), *attributes])


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _integer(3, value) + _integer(20, _ATTRIBUTE_INT)
    return b"".join([_text(1, name), *(_integer(8, each) for each in value), _integer(20, _ATTRIBUTE_INTS)])


def _tensor(name: str, values: npt.NDArray[np.generic]) -> bytes:
    shape = b"".join(_integer(1, size) for size in values.shape)
    return shape + _integer(2, _ELEMENTS[values.dtype.name]) + _text(8, name) + _bytes(9, np.ascontiguousarray(values).tobytes())


def _value(value: Value) -> bytes:
    sizes = b"".join(_bytes(1, _integer(1, size) if isinstance(size, int) else _text(2, size)) for size in value.shape)
    tensor = _integer(1, _ELEMENTS[value.element]) + _bytes(2, sizes)
    return _text(1, value.name) + _bytes(2, _bytes(1, tensor))


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Base 128, the lowest first; of what is not negative."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
