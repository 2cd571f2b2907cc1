"""The program ``malha``. What each command does is imported when it runs, so that ``malha --help`` answers at once."""

import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from malha.cli import (
    backup,
    bench,
    commands,
    db,
    diarize,
    erase,
    import_conversations,
    insights,
    jobs,
    licences,
    models,
    ocr,
    recordings,
    retention,
    serve_llm,
    smoke,
    tenant,
    token,
)
from malha.cli.output import EXIT_FAILURE, fail, open_standard_streams, print_anything, silence_output


class _Program(TyperGroup):
    """Finds commands of two words, such as `serve llm`, beside the one of the first."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # click's own types differ between its versions
        name = " ".join(args[:2])
        return (name, self.commands[name], args[2:]) if name in self.commands else super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Program,
    name="malha",
    help="Live calls to text, speakers and advice.",
    epilog="\b\nExamples:\n  malha demo                 a live call, start to end, on this machine\n  malha up                   the servers, until Ctrl-C\n  malha transcribe call.wav  a recording to text",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _add(name: str, function: Callable[..., Any], examples: str) -> None:
    app.command(name, epilog=f"\b\nExamples:\n{examples}")(function)


_add("up", commands.up, "  malha up\n  malha up --mode core\n  malha up --port 8080 --json\n  malha up --host 0.0.0.0 --insecure")
_add("serve", commands.serve, "  malha serve live\n  malha serve transcribe --port 50061")
_add("serve llm", serve_llm.serve_llm, serve_llm.EXAMPLES)
_add(
    "demo", commands.demo, "  malha demo\n  malha demo --lang pt --yes\n  malha demo --chaos         kill -9, twelve times: nothing is lost"
)
_add("call", commands.call, "  malha call call.wav --roles agent,customer --conversation call-4711\n  malha call call.flac --json")
_add("transcribe", commands.transcribe, "  malha transcribe call.wav\n  malha transcribe *.mp3 --language pt --words --json")
_add("insights", insights.insights, insights.EXAMPLES)
_add("diarize", diarize.diarize, diarize.EXAMPLES)
_add(
    "say",
    commands.say,
    '  malha say "Bom dia." --language pt-BR -o out.wav\n  echo "Good morning." | malha say - --language en -o out.wav\n  malha say "Buenos días." --language es -o out.mp3',
)
_add("ocr", ocr.ocr, ocr.EXAMPLES)
_add("backup", backup.backup, "  malha backup malha.backup")
_add("restore", backup.restore, "  malha restore malha.backup --replace")
_add("erase", erase.erase, erase.EXAMPLES)
_add("smoke-test", smoke.smoke_test, smoke.EXAMPLES)
_add("licences", licences.licences, licences.EXAMPLES)
_add("version", commands.version, "  malha version --json")
app.add_typer(models.app, name="models")
app.add_typer(diarize.app, name="speakers")
app.add_typer(db.app, name="db")
app.add_typer(recordings.app, name="recordings")
app.add_typer(retention.app, name="retention")
app.add_typer(token.app, name="token")
app.add_typer(tenant.app, name="tenant")
app.add_typer(import_conversations.app, name="import")
app.add_typer(jobs.app, name="jobs")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the program. Every error is one line on standard error that says what to do."""
    open_standard_streams()
    print_anything()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        silence_output()
        sys.exit(EXIT_FAILURE)
    except Exception as error:
        if os.environ.get("MALHA_TRACEBACK"):
            raise
        fail(error)


if __name__ == "__main__":
    main()
