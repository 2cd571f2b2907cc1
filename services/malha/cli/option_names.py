"""What is wrong with a field of a contract, told by the option that sets it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from malha.cli.client import sdk


@contextmanager
def told_by_options(options: Mapping[str, str], words: Sequence[str] = ()) -> Iterator[None]:
    """Have errors of the server name options, not fields.

    ``options``: by field. ``words``: fields named as their options; as these are words too, they are meant only behind `open.` or between back-ticks.
    """
    plain = "|".join(words) or "(?!)"
    field = re.compile(rf"`?\b(?:open\.)?(?:format\.)?({'|'.join(options)})\b`?|`({plain})`|\bopen\.({plain})\b")

    def option(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[3]
        return options.get(name, f"--{name}")

    try:
        yield
    except sdk.MalhaError as error:
        error.message = field.sub(option, error.message)
        error.args = (error.message,)
        raise
