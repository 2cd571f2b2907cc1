"""JSON and times between the contract and the domain."""

import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from malha.conversation.messages import json_of, seconds, struct_of
from malha.runtime.errors import InvalidArgument

TEXT = st.text(max_size=20, alphabet=st.characters(exclude_categories=["Cs"]))
LEAVES = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_json_comes_back_as_it_was(value: dict[str, Any]) -> None:
    assert json_of(struct_of(value)) == value


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_json_is_understood_as_protobuf_itself_does(value: dict[str, Any]) -> None:
    assert ParseDict(value, Struct()) == struct_of(value)
    assert json_of(ParseDict(value, Struct())) == MessageToDict(struct_of(value))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused(number: float) -> None:
    struct = Struct()
    struct.fields["list"].list_value.values.add().struct_value.fields["deep"].number_value = number
    with pytest.raises(InvalidArgument):
        json_of(struct)


@given(st.floats(0, 1e8))
def test_seconds_are_kept_to_the_microsecond(value: float) -> None:
    told = seconds(value)
    assert told is not None
    assert abs(told.ToNanoseconds() / 1e9 - value) <= 1e-6
