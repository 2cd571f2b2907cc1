"""What ``malha ocr`` does."""

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from malha.cli.client import connected, sdk
from malha.cli.option_names import told_by_options
from malha.cli.output import EXIT_FAILURE, note, print_json_line, status
from malha.cli.screen import printable

_OPTIONS: Final = {"max_pages": "--max-pages"}


@dataclass(frozen=True, slots=True)
class OcrOptions:
    """What the command line says."""

    languages: tuple[str, ...]
    max_pages: int | None
    ignore_text_layer: bool
    scrub: bool | None
    target: str | None


def run_ocr(files: Sequence[Path], options: OcrOptions, *, json: bool) -> int:
    """Read and print one file after the other; the exit status: 1 where a file was refused or none of its pages read. Raises what the SDK raises."""
    return asyncio.run(_read_all(files, options, json=json))


async def _read_all(files: Sequence[Path], options: OcrOptions, *, json: bool) -> int:
    code = 0
    async with connected(options.target) as malha:
        for file in files:
            if len(files) > 1 and not json:
                note(f"{file}:")
            try:
                with told_by_options(_OPTIONS):
                    read = await _read(malha, file, options, json=json)
            except sdk.InvalidRequest as error:  # this document; the next one may be fine
                note(f"malha: {file}: {error}" if len(files) > 1 else f"malha: {error}")
                read = False
            code = code if read else EXIT_FAILURE
    return code


async def _read(malha: sdk.Malha, file: Path, options: OcrOptions, *, json: bool) -> bool:
    """Print a file's pages as they come; whether any could be read."""
    stream = malha.read(
        file,
        languages=options.languages,
        max_pages=options.max_pages,
        ignore_text_layer=options.ignore_text_layer,
        scrub=options.scrub,
    )
    read = failed = 0
    with status(f"reading {printable(file.name)}"):
        async for page in stream:
            read += page.failure is None
            failed += page.failure is not None
            if json:
                print_json_line({"file": str(file), **dataclasses.asdict(page), "text": page.text, "engine": stream.engine.name})
            elif page.failure is not None:
                note(f"malha: {file}: page {page.number}: {page.failure.message}")
            else:
                _print(page, first=read + failed == 1)
    if not json and read and stream.page_count > read + failed:
        note(f"{read + failed} of {stream.page_count} pages")
    return bool(read) or not failed


def _print(page: sdk.Page, *, first: bool) -> None:
    """The text; pages are apart by an empty line."""
    if not first:
        print()
    print("\n".join(printable(line) for line in page.text.split("\n")), flush=True)
    if not page.blocks:
        note(f"malha: page {page.number} has no text")
