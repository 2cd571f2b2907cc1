"""Page tokens: read back as they were made, and by nobody else."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.conversation.store.search import plain, query_of
from malha.runtime.auth import Principal
from malha.runtime.errors import InvalidArgument
from malha.runtime.pages import EPOCH, make_token, micros, moment_of, read_token

ANA = Principal("a", "token", tenant_id=uuid.UUID(int=1))
EVA = Principal("e", "token", tenant_id=uuid.UUID(int=2))


@given(st.integers(-(2**50), 2**53), st.text(max_size=150, alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_place_comes_back(number: int, name: str) -> None:
    token = make_token(ANA, ("List", "x"), (number, name))
    assert read_token(ANA, ("List", "x"), token) == [number, name]
    assert token.isascii()
    for who, asked in ((EVA, ("List", "x")), (ANA, ("List", "y")), (ANA, ("Search", "x"))):
        with pytest.raises(InvalidArgument):
            read_token(who, asked, token)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read_token(ANA, ("List",), token)
    assert raised.value.reason == "INVALID_PAGE_TOKEN"


@given(st.integers(0, 63), st.integers(1, 255))
def test_a_changed_token_is_refused(index: int, change: int) -> None:
    token = make_token(ANA, ("List",), (1_700_000_000_000_000, str(uuid.UUID(int=7))))
    index %= len(token)
    changed = token[:index] + chr(ord(token[index]) ^ change) + token[index + 1 :]
    try:
        assert read_token(ANA, ("List",), changed) == [1_700_000_000_000_000, str(uuid.UUID(int=7))]  # the last character has spare bits
    except InvalidArgument:
        return
    assert index == len(token) - 1


@given(st.datetimes(min_value=EPOCH.min, max_value=EPOCH.max.replace(year=9998)))
def test_moments_are_exact_to_the_microsecond(moment: object) -> None:
    aware = moment.replace(tzinfo=EPOCH.tzinfo)  # type: ignore[attr-defined]
    assert moment_of(micros(aware)) == aware


@given(st.text())
def test_a_query_is_quoted_words(text: str) -> None:
    query = query_of(text)
    assert not query or query.endswith(("':*", "':*)"))
    assert "\x00" not in query


def test_marks_become_places() -> None:
    assert plain("a \x02bê\x03 c \x02d\x03") == ("a bê c d", ((2, 4), (7, 8)))
    assert plain("nothing") == ("nothing", ())
