"""Lists that a server gives in pages."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def all_pages(ask: Callable[[str], Awaitable[tuple[Iterable[T], str]]]) -> tuple[T, ...]:
    """The items of all pages. ``ask(token)`` gives those of one, and the next one's token; that of the first is empty, and what follows the last."""
    found: list[T] = []
    token = ""
    while True:
        items, token = await ask(token)
        found += items
        if not token:
            return tuple(found)
