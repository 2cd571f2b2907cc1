import orjson
from hypothesis import given
from hypothesis import strategies as st

from malha.store.database import json_text
from malha.store.text import storable, storable_json

ANY_TEXT = st.text(st.characters(categories=None))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(ANY_TEXT)
def test_text_is_storable_and_otherwise_the_same(text: str) -> None:
    kept = storable(text)
    assert "\x00" not in kept.encode().decode()  # lone surrogates cannot be encoded
    assert kept == "".join(character for character in text if character != "\x00" and not "\ud800" <= character <= "\udfff")


def test_text_that_is_storable_is_not_copied() -> None:
    text = "São Paulo 🎧"
    assert storable(text) is text


@given(JSON)
def test_json_text_holds_nothing_that_postgresql_refuses(value: object) -> None:
    text = json_text(value)
    assert orjson.loads(text) == storable_json(value)
    assert "\x00" not in str(orjson.loads(text))


def test_a_written_escape_is_no_nul() -> None:
    assert orjson.loads(json_text({"path": "a\\u0000b"})) == {"path": "a\\u0000b"}
