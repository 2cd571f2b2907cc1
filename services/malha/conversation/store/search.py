"""Conversations in which something was said or written, the newest first.

Words that stand in many conversations are found soon by going through the newest ones. Where those few do not fill a page, the words are
rarer, and the index finds all their places at once. Should that be too many places after all, the rest of the conversations is gone through.
"""

import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from malha.conversation.store.conversations import COLUMNS, NEWEST, Conversation, Place, conversation_of
from malha.store.roles import Connection
from malha.store.text import storable

NEWEST_FIRST: Final = 500
"""Conversations gone through before the index is asked."""
_FURTHER: Final = 4
MOST_PLACES: Final = 1000
"""Taken from the index."""
MOST_MATCHES: Final = 3
"""Told of each conversation."""
_START, _STOP = "\x02", "\x03"
"""Around the words found in a snippet."""

QUERY: Final = "SELECT to_tsquery('simple', $1)::text"
HITS: Final = "SELECT count(*) AS places, array_agg(DISTINCT conversation_id) AS ids FROM malha_search($1, $2)"
AMONG: Final = f"""
    SELECT {COLUMNS} FROM conversation WHERE id = ANY($1) AND ($2::timestamptz IS NULL OR (started_at, id) < ($2, $3))
    ORDER BY {NEWEST} LIMIT $4
"""  # noqa: S608 - constants
_PLACES: Final = """
        (SELECT live_session.session_id, segment.segment_id, NULL::uuid AS message_id, segment.text
         FROM live_session JOIN segment ON segment.session_id = live_session.session_id
         WHERE live_session.conversation_id = conversation.id AND segment.search @@ $1::tsquery {said} LIMIT {most})
        UNION ALL
        (SELECT NULL, NULL, message.id, message.text FROM message
         WHERE message.conversation_id = conversation.id AND message.search @@ $1::tsquery {written} LIMIT {most})
        LIMIT {most}
"""
_FIRST_PLACES: Final = _PLACES.format(
    most=MOST_MATCHES, said="ORDER BY live_session.created_at, segment.start_seconds", written="ORDER BY message.created_at"
)
WALK: Final = f"""
    SELECT {COLUMNS}
    FROM (
        SELECT * FROM conversation WHERE $2::timestamptz IS NULL OR (started_at, id) < ($2, $3)
        ORDER BY started_at DESC, id DESC LIMIT $5
    ) AS conversation CROSS JOIN LATERAL ({_PLACES.format(most=1, said="", written="")}) AS place
    ORDER BY {NEWEST} LIMIT $4
"""  # noqa: S608 - constants
"""Stops where the page is full. The limits within make this a loop over conversations, in their order."""
MATCHES: Final = f"""
    SELECT conversation.id, place.session_id, segment_id, message_id, ts_headline('simple',
        translate(left(place.text, 100000), '{_START}{_STOP}', ''), $1::tsquery,
        'StartSel="{_START}", StopSel="{_STOP}", MaxWords=24, MinWords=12, ShortWord=0') AS snippet
    FROM unnest($2::uuid[]) AS conversation (id) CROSS JOIN LATERAL ({_FIRST_PLACES}) AS place
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Match:
    """A segment, or a message, with the words. ``highlights``: first character and the one after the last, in the snippet."""

    session_id: uuid.UUID | None
    segment_id: str | None
    message_id: uuid.UUID | None
    snippet: str
    highlights: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation with some of its places."""

    conversation: Conversation
    matches: tuple[Match, ...]


def query_of(words: str) -> str:
    """For `QUERY`: all the words, of the last one the beginning. Empty: there is none among them."""
    wanted = [word for word in storable(words).split() if any(map(str.isalnum, word))]
    return " & ".join(_written(word, ":*" if number == len(wanted) else "") for number, word in enumerate(wanted, 1))


def _written(word: str, end: str) -> str:
    """A word as it may stand in a text: with its accents in the letters (NFC), or behind them (NFD)."""
    forms = dict.fromkeys(unicodedata.normalize(form, word) for form in ("NFC", "NFD"))
    quoted = ["'" + form.replace("\\", "\\\\").replace("'", "''") + "'" + end for form in forms]
    return quoted[0] if len(quoted) == 1 else f"({' | '.join(quoted)})"


async def search(connection: Connection, words: str, after: Place | None, most: int) -> list[Found]:
    """Those before the place ``after``. ``words`` come from `query_of`."""
    query = await connection.fetchval(QUERY, words)
    if not query:
        return []
    at, conversation_id = after or (None, None)
    rows = await connection.fetch(WALK, query, at, conversation_id, most, NEWEST_FIRST)
    if most // _FURTHER <= len(rows) < most:  # as many again will do, most likely
        rows = await connection.fetch(WALK, query, at, conversation_id, most, _FURTHER * NEWEST_FIRST)
    if len(rows) < most:
        hits = await connection.fetchrow(HITS, query, MOST_PLACES)
        if hits["places"] < MOST_PLACES:
            rows = await connection.fetch(AMONG, hits["ids"] or [], at, conversation_id, most)
        else:
            rows = await connection.fetch(WALK, query, at, conversation_id, most, None)
    return await _with_matches(connection, query, [conversation_of(row) for row in rows])


async def _with_matches(connection: Connection, query: str, conversations: Sequence[Conversation]) -> list[Found]:
    matches = dict[uuid.UUID, list[Match]]()
    for row in await connection.fetch(MATCHES, query, [conversation.id for conversation in conversations]):
        snippet, highlights = plain(row["snippet"])
        match = Match(row["session_id"], row["segment_id"], row["message_id"], snippet, highlights)
        matches.setdefault(row["id"], []).append(match)
    return [Found(conversation, tuple(matches.get(conversation.id, ()))) for conversation in conversations]


def plain(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A snippet without its marks, and where they stood."""
    text, highlights = "", []
    head, *parts = marked.split(_START)
    text = head
    for part in parts:
        word, _, rest = part.partition(_STOP)
        highlights.append((len(text), len(text) + len(word)))
        text += word + rest
    return text, tuple(highlights)
