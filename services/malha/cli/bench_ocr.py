"""``malha bench ocr``: how well and how fast documents are read."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = (
    "\b\nExamples:\n  malha bench ocr *.png --json\n  malha bench ocr *.pdf --text-layer\n"
    "  malha bench ocr *.png --engines rapidocr,paddleocr   (MALHA_PADDLEOCR_PYTHON says where PaddleOCR is)"
)


def ocr(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, readable=True, help="Documents; the text of NAME.png is NAME.txt.", show_default=False),
    ],
    *,
    engines: Annotated[str, typer.Option(help="Engines, one after the other.")] = "rapidocr",
    languages: Annotated[str, typer.Option("--languages", "-l", help="Languages of the text.", show_default=False)] = "",
    repeat: Annotated[int, typer.Option(min=1, max=100, help="How often each file is read; the median counts.")] = 3,
    text_layer: Annotated[bool, typer.Option("--text-layer", help="Take the text that PDF pages carry.")] = False,
    save: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read documents by Ocr and, in turns, by rapidocr alone: character errors, accents, seconds to the first page, memory, speed against it."""
    from malha.bench.ocr import Options, run_ocr
    from malha.cli.bench import _finish
    from malha.cli.output import status

    named, tags = (tuple(filter(None, (part.strip() for part in told.split(",")))) for told in (engines, languages))
    with status("starting") as spinner:
        report = run_ocr(Options(files, named, tags, repeat, text_layer), spinner.update)
    _finish(report, _table(report), save, json=json)


def _table(report: Mapping[str, Any]) -> Any:
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    shown: list[Any] = []
    for name, told in ((report["engine"], report), *report["engines"].items()):
        table = Table("page", "character errors", "accents read", "confidence", "first page", title=name, box=SIMPLE)
        for page in told["pages"]:
            place = f"{Path(page['file']).name} {page['number']}"
            table.add_row(
                place, _share(page["cer"]), _share(page["accent_recall"]), _share(page["confidence"]), f"{page['first_page_s']} s"
            )
        speed = "" if told["against_bare"] is None else f", {told['against_bare']} times the speed of rapidocr alone"
        shown += [table, f"first page {told['first_page_s']} s, with loading {told['first_page_cold_s']} s; {told['rss_mb']} MB{speed}"]
    return Group(*shown)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
