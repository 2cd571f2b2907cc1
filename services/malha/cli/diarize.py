"""``malha diarize``: who spoke when in recordings. ``malha speakers``: whom the server knows by voice."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from pathlib import Path
from typing import Annotated

import typer

from malha.cli.commands import Json, Target

EXAMPLES = "  malha diarize call.wav\n  malha diarize call.mp3 --max-speakers 2 --json\n  malha diarize call.wav --identify"
app = typer.Typer(help="Speakers the server knows by voice: enroll, list, delete.", no_args_is_help=True)

Identifier = Annotated[str, typer.Argument(help="What you call the speaker: a number, no name.", show_default=False)]


def diarize(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, readable=True, help="Recordings: WAV, FLAC, MP3, Ogg, WebM.", show_default=False),
    ],
    *,
    max_speakers: Annotated[
        int | None, typer.Option(min=1, max=20, help="At most so many.  [default: found out]", show_default=False)
    ] = None,
    identify: Annotated[bool, typer.Option("--identify", help="Compare them with the enrolled speakers.")] = False,
    target: Target = None,
    json: Json = False,
) -> None:
    """Tell who speaks when in recordings, by a running server. Of two channels each is a speaker."""
    from malha.cli.diarize_run import run_diarize

    raise typer.Exit(run_diarize(files, max_speakers, target, identify=identify, json=json))


@app.command(
    epilog="\b\nExamples:\n  malha speakers enroll ana voice.wav --consent consent-4711\n  malha speakers enroll caller-7 call.wav --consent c-9 --customer c-7 --json"
)
def enroll(
    speaker: Identifier,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="6 to 60 s of that speaker alone.", show_default=False)
    ],
    *,
    consent: Annotated[str, typer.Option(help="The record of the speaker's consent, by your id of it.", show_default=False)],
    customer: Annotated[
        str, typer.Option(help="The customer whose voice it is.  [default: nobody: an operator's]", show_default=False)
    ] = "",
    target: Target = None,
    json: Json = False,
) -> None:
    """Have the server know a voice, or know it anew."""
    from malha.cli.diarize_run import run_enroll

    run_enroll(speaker, file, consent, customer, target, json=json)


@app.command("list", epilog="\b\nExamples:\n  malha speakers list\n  malha speakers list --json")
def list_speakers(*, target: Target = None, json: Json = False) -> None:
    """Show whom the server knows."""
    from malha.cli.diarize_run import run_list

    run_list(target, json=json)


@app.command(epilog="\b\nExamples:\n  malha speakers delete ana\n  malha speakers delete ana --json")
def delete(speaker: Identifier, *, target: Target = None, json: Json = False) -> None:
    """Forget a voice: the consent is withdrawn."""
    from malha.cli.diarize_run import run_delete

    run_delete(speaker, target, json=json)
