"""``malha insights``: what Malha would have advised during a conversation that exists as text."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from pathlib import Path
from typing import Annotated, Final

import typer

TYPES: Final = ("partial_summary", "next_step", "risk_alert", "upsell")
LANGUAGES: Final = ("pt", "es", "en")
EXAMPLES: Final = (
    "  malha insights conversation.txt --language pt\n"
    "  malha insights conversation.txt --rate 4 --types risk_alert,next_step\n"
    "  malha insights counter.jsonl --policy counter --why --json\n\n"
    "\b\nLines of a conversation, all but the words optional:\n"
    "  [00:01:05] Cliente: quero cancelar o contrato\n"
    "  Operator: good morning\n"
    '  {"role": "customer", "text": "hola", "start": 1.5, "end": 2.0}'
)


def insights(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A conversation: text or JSONL.", show_default=False)
    ],
    *,
    language: Annotated[
        str, typer.Option("--language", "-l", help="Its language: pt, es or en.  [default: what its words look like]", show_default=False)
    ] = "",
    policy: Annotated[
        str,
        typer.Option(
            help="When advice is thought of: call_center, counter, or one of the tenant's.  [default: call_center]", show_default=False
        ),
    ] = "",
    types: Annotated[str, typer.Option(help=f"Kinds of advice, of {', '.join(TYPES)}.  [default: all]", show_default=False)] = "",
    model: Annotated[str, typer.Option(help="Alias of the model that is asked.", show_default=False)] = "",
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, max=1000.0, help="Times the pace it was spoken at.  [default: as fast as it goes]", show_default=False),
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="Also tell why there was no advice, line by line.")] = False,
    target: Annotated[
        str | None,
        typer.Option(
            envvar="MALHA_TARGET",
            help="A server's gRPC address.  [default: the one of this machine, else one is started]",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one event a line.")] = False,
) -> None:
    """Tell a conversation to Insight as if it were a live call, and show each insight with the words it rests on.

    Identity numbers are masked before anything is sent, as in live calls. Times that the file does not have are guessed: 150 words a minute.
    """
    wanted = tuple(filter(None, (name.strip() for name in types.split(","))))
    for name in wanted:
        if name not in TYPES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(TYPES)}", param_hint="--types")
    if language and language.replace("_", "-").partition("-")[0].lower() not in LANGUAGES:
        raise typer.BadParameter(f"{language!r} is not understood: there are {', '.join(LANGUAGES)}", param_hint="--language")
    from malha.cli.insights_run import InsightsOptions, run_insights

    run_insights(InsightsOptions(file, language, policy, wanted, model, rate or 0.0, why, target), json=json)
