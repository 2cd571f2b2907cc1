"""What OpenAI's requests for vectors become, and the vectors on their way back."""

import base64
import struct

import pytest

from malha.api.chat.v1 import chat_pb2 as api
from malha.edge.embeddings import answer_of, wanted_of
from malha.edge.errors import InvalidField


def test_a_request() -> None:
    wanted = wanted_of({"model": "vectors", "input": ["bom dia", "boa noite"], "encoding_format": "base64", "user": "x"})
    assert (wanted.request.alias, list(wanted.request.texts), wanted.packed) == ("vectors", ["bom dia", "boa noite"], True)
    assert list(wanted_of({"input": "bom dia"}).request.texts) == ["bom dia"]
    assert not wanted_of({"input": "bom dia", "encoding_format": None}).packed


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input.0"),
        ({"input": [1, 2]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": ["a"] * 257}, "input"),
        ({"input": ["a", "x" * 32_769]}, "input.1"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 8}, "dimensions"),
        ({"input": "a", "model": 7}, "model"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as wrong:
        wanted_of(body)
    assert list(wrong.value.violations) == [field]


def test_an_answer() -> None:
    values = [0.25, -1.0, 3.5]
    answer = api.EmbedResponse(embeddings=[api.Embedding(values=values)], model="embedder", prompt_tokens=4)
    numbers, packed = (answer_of(answer, packed=wanted) for wanted in (False, True))
    assert numbers["data"] == [{"object": "embedding", "index": 0, "embedding": values}]
    assert numbers["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert list(struct.unpack("<3f", base64.b64decode(packed["data"][0]["embedding"]))) == values
