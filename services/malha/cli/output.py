"""What the program prints, and how it fails: data on standard output, all else on standard error."""

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

EXIT_FAILURE = 1
EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: trying again does not help."""


def print_json(data: Any) -> None:
    """A JSON document; on one line where a program reads it."""
    print(json.dumps(data, ensure_ascii=not _in_utf8(), indent=2 if sys.stdout.isatty() else None), flush=True)


def print_json_line(data: Any) -> None:
    """One of many JSON objects."""
    print(json.dumps(data, ensure_ascii=not _in_utf8()), flush=True)


def open_standard_streams() -> None:
    """Whoever started the program may have closed them: nothing comes from there then, what is told is let go, and no file takes their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            setattr(sys, name, os.fdopen(number, mode))


def print_anything() -> None:
    """Whatever standard output's encoding lacks is printed as Python escapes it, which JSON reads too: a file's name may not be UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _in_utf8() -> bool:
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns, each as wide as its widest cell: nothing is cut, so that lines can be read by people and by ``grep`` alike."""
    from rich.cells import cell_len  # noqa: PLC0415 - `malha --help` must be quick

    from malha.cli.screen import printable  # noqa: PLC0415 - for that reason

    lines = [list(map(printable, line)) for line in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def counted(count: int, noun: str) -> str:
    """``1 day``, ``2 days``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def note(text: str) -> None:
    """A line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def status(text: str) -> Iterator[Any]:
    """A spinner while something takes long; call ``update(text)`` on what this gives. Nothing where standard error is no terminal."""
    from rich.console import Console  # noqa: PLC0415 - `malha --help` must be quick

    with Console(stderr=True).status(text) as spinner:
        yield spinner


def silence_output() -> None:
    """Nobody reads standard output any more: nor shall what is printed from now on, or the exit, try to write to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: Exception) -> NoReturn:
    """End the program with the error in one line."""
    code, message = explain(error)
    note(f"malha: {message}")
    sys.exit(code)


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and line for an error. One that nobody foresaw is a defect, and says where it was raised."""
    from pydantic import ValidationError  # noqa: PLC0415 - only on the way out

    from malha.runtime.errors import FailedPrecondition, MalhaError  # noqa: PLC0415

    if isinstance(error, FailedPrecondition):
        return EXIT_CONFIGURATION, error.message
    if isinstance(error, MalhaError):
        return EXIT_FAILURE, error.message
    if isinstance(error, ValidationError):
        return EXIT_CONFIGURATION, "; ".join(
            f"{_setting(problem['loc'])}: {problem['msg'].lower()}" for problem in error.errors(include_input=False)
        )
    if _is_sdk_error(error):
        return EXIT_FAILURE, str(error)
    if isinstance(error, OSError):
        return EXIT_FAILURE, f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return EXIT_FAILURE, f"a defect of Malha: {type(error).__name__} at {_place(error)}; MALHA_TRACEBACK=1 shows all of it"


def _is_sdk_error(error: Exception) -> bool:
    sdk = sys.modules.get("malha.sdk.errors")  # if it was never imported, it raised nothing
    return sdk is not None and isinstance(error, sdk.MalhaError)


def _setting(location: tuple[int | str, ...]) -> str:
    """The environment variable behind a field of settings."""
    name = "_".join(str(part) for part in location).upper()
    return name if name.startswith("MALHA_") or name == "API_TOKENS" else f"MALHA_{name}"


def _place(error: Exception) -> str:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "an unknown place" if place is None else f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}"
