"""``malha ocr``: documents to text."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = (
    "  malha ocr invoice.pdf\n"
    "  malha ocr scan.png --languages pt,en --json\n"
    "  malha ocr contract.pdf --max-pages 3 --ignore-text-layer\n"
    "  malha ocr *.jpg --no-scrub > texts.txt"
)


def ocr(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, readable=True, help="Documents: PNG, JPEG, TIFF, PDF.", show_default=False)
    ],
    *,
    languages: Annotated[
        str, typer.Option("--languages", "-l", help="Languages of the text, such as pt,en.  [default: any]", show_default=False)
    ] = "",
    max_pages: Annotated[
        int | None, typer.Option(min=1, help="Read the first so many pages of each.  [default: all]", show_default=False)
    ] = None,
    ignore_text_layer: Annotated[
        bool, typer.Option("--ignore-text-layer", help="Recognise all pages of a PDF, also those that carry their text.")
    ] = False,
    scrub: Annotated[
        bool | None,
        typer.Option("--scrub/--no-scrub", help="Mask personal data.  [default: as the tenant has it for calls]", show_default=False),
    ] = None,
    target: Annotated[
        str | None, typer.Option(envvar="MALHA_TARGET", help="The server's gRPC address.  [default: 127.0.0.1:50051]", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one page a line, with boxes.")] = False,
) -> None:
    """Have a running server read documents, and print their text page by page. A page that cannot be read is told on standard error."""
    from malha.cli.ocr_run import OcrOptions, run_ocr

    tags = tuple(filter(None, (tag.strip() for tag in languages.split(","))))
    raise typer.Exit(run_ocr(files, OcrOptions(tags, max_pages, ignore_text_layer, scrub, target), json=json))
