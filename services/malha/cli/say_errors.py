"""What is wrong with a field of Synthesize's contract, told by the option of ``malha say`` that sets it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from malha.cli import option_names
from malha.cli.client import sdk
from malha.runtime.errors import InvalidArgument

REFERENCE: Final = "--reference"
MOST_REFERENCE_BYTES: Final = 4_128_768
"""What the contract takes of `reference_audio`."""

_OPTIONS: Final = {"reference_audio": REFERENCE, "consent_id": "--consent", "sample_rate_hertz": "--sample-rate"}
_WORDS: Final = ("voice", "language", "speed", "format")


@contextmanager
def told_by_options() -> Iterator[None]:
    """Have errors of the server name options, not fields."""
    try:
        with option_names.told_by_options(_OPTIONS, _WORDS):
            yield
    except sdk.MalhaError as error:
        if "open.reference_audio" in error.violations and REFERENCE not in error.message:
            error.message = f"{REFERENCE}: {error.message}"
            error.args = (error.message,)
        raise


def read_reference(file: Path) -> bytes:
    """What the voice is cloned from. Raises InvalidArgument for nothing and for more than the server takes, and OSError."""
    with file.open("rb") as opened:
        content = opened.read(MOST_REFERENCE_BYTES + 1)
    if not content:
        raise InvalidArgument(f"{REFERENCE} {file} is empty", reason="REFERENCE_UNREADABLE")
    if len(content) > MOST_REFERENCE_BYTES:
        raise InvalidArgument(
            f"{REFERENCE} {file} is over {MOST_REFERENCE_BYTES:,} bytes: a WAV file of 6 to 30 s is what it takes",
            reason="REFERENCE_TOO_LARGE",
        )
    return content
