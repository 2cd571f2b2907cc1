"""The commands' names, arguments and help. Each imports its work when it runs: help must be quick."""
# ruff: noqa: PLC0415 - for that reason

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from malha.cli.output import note, print_json

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]", show_default=False)]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow an address that other machines reach, without TLS.")]
AdminPort = Annotated[
    int | None, typer.Option(help="Port of /metrics and probes; 0 takes a free one.  [default: 9090]", show_default=False)
]
Target = Annotated[
    str | None, typer.Option(envvar="MALHA_TARGET", help="The server's gRPC address.  [default: 127.0.0.1:50051]", show_default=False)
]
Language = Annotated[str, typer.Option("--language", "-l", help="What is spoken, such as en or pt-BR.", show_default=False)]
AudioFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A recording: WAV, FLAC, MP3, Ogg, WebM.", show_default=False)
]


def up(
    *,
    mode: Annotated[
        Literal["core", "full"] | None,
        typer.Option(help="core: calls, text, advice, chat, speech; full: all that is installed.  [default: full]", show_default=False),
    ] = None,
    host: Host = None,
    port: Annotated[
        int | None, typer.Option(help="Port of REST and WebSocket; 0 takes a free one.  [default: 8000]", show_default=False)
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of gRPC; 0 takes a free one.  [default: 50051]", show_default=False)] = None,
    admin_port: AdminPort = None,
    insecure: Insecure = False,
    logs: Annotated[bool, typer.Option("--logs", help="Log to standard error, not to the data directory.")] = False,
    json: Json = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True, help="Stop when standard input closes.")] = False,
) -> None:
    """Start the servers and keep them up until Ctrl-C, which lets open calls end."""
    from malha.cli.up import Addresses, run_up

    addresses = Addresses(host=host, edge_port=port, grpc_port=grpc_port, admin_port=admin_port, insecure=insecure, mode=mode)
    raise typer.Exit(run_up(addresses, logs=logs, json=json, until_eof=until_eof))


def serve(
    names: Annotated[
        list[str], typer.Argument(help="Capabilities: audio, transcribe, synthesize, ocr, ...; or live, which is all.", show_default=False)
    ],
    *,
    port: Annotated[int | None, typer.Option(help="Port of gRPC; 0 takes a free one.  [default: 50051]", show_default=False)] = None,
    host: Host = None,
    admin_port: AdminPort = None,
    insecure: Insecure = False,
) -> None:
    """Serve capabilities in this process, over gRPC, with JSON logs on standard error."""
    from malha.cli.serve import run_serve
    from malha.runtime.settings import RuntimeSettings

    given = {"grpc_port": port, "host": host, "admin_port": admin_port, "insecure": insecure or None}
    raise typer.Exit(run_serve(names, RuntimeSettings(**{name: value for name, value in given.items() if value is not None})))  # type: ignore[arg-type]  # pydantic checks them


def demo(
    *,
    lang: Annotated[Literal["en", "pt", "es"], typer.Option(help="Language of the call; pt and es fetch a Whisper model.")] = "en",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Fetch the model without asking.")] = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Play four calls instead, in English, and kill every server under them in turn.")
    ] = False,
    json: Json = False,
) -> None:
    """Play a two-voice call to a server of its own and show its transcript as it comes."""
    if chaos:
        if lang != "en":
            raise typer.BadParameter("--chaos plays English calls", param_hint="--lang")
        from malha.cli.demo_chaos import run_chaos_demo

        raise typer.Exit(run_chaos_demo(json=json))
    from malha.cli.demo import run_demo

    raise typer.Exit(run_demo(lang, yes=yes, json=json))


def call(
    file: AudioFile,
    *,
    language: Language = "",
    roles: Annotated[str, typer.Option(help="Who speaks on each channel, such as agent,customer.", show_default=False)] = "",
    conversation: Annotated[
        str, typer.Option(help="Your id of the conversation it belongs to; made where it does not exist.", metavar="ID", show_default=False)
    ] = "",
    model: Annotated[str, typer.Option(help="The recogniser's model.", show_default=False)] = "",
    partials: Annotated[bool, typer.Option(help="Show what is understood while somebody still speaks.")] = True,
    target: Target = None,
    json: Json = False,
) -> None:
    """Stream a recording to a running server as the live call it was, and show the transcript as it comes. --json: one event a line."""
    from malha.cli.call import CallOptions, run_call

    spoken_by = tuple(filter(None, roles.split(",")))
    run_call(CallOptions(file, language, spoken_by, conversation, model, partials, target), json=json)


def transcribe(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, readable=True, help="Recordings: WAV, FLAC, MP3, Ogg, WebM.", show_default=False),
    ],
    *,
    language: Language = "",
    model: Annotated[str, typer.Option(help="The recogniser's model.", show_default=False)] = "",
    words: Annotated[bool, typer.Option("--words", help="Tell the time of each word.")] = False,
    target: Target = None,
    json: Json = False,
) -> None:
    """Transcribe recordings by a running server, as fast as it goes."""
    from malha.cli.transcribe import TranscribeOptions, run_transcribe

    raise typer.Exit(run_transcribe(files, TranscribeOptions(language, model, words, target), json=json))


def say(
    text: Annotated[str, typer.Argument(help="What to say; - speaks standard input line by line, as it comes.", show_default=False)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .wav, .ogg, .mp3, .pcm; - is standard output.")] = Path(
        "speech.wav"
    ),
    language: Language = "",
    voice: Annotated[str, typer.Option(help="A voice's name; else the first that speaks the language.", show_default=False)] = "",
    speed: Annotated[float, typer.Option(min=0.5, max=2.0, help="Times the voice's own pace.")] = 1.0,
    format: Annotated[str, typer.Option(help="wav, ogg, mp3 or pcm; else as the file is named.", show_default=False)] = "",  # noqa: A002 - the option's name
    sample_rate: Annotated[int | None, typer.Option(min=8000, max=48_000, help="Hz; else the engine's own.", show_default=False)] = None,
    reference: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="WAV of 6 to 30 s: the voice to clone.", show_default=False),
    ] = None,
    consent: Annotated[str, typer.Option(help="Id of the consent of whose voice it is.", show_default=False)] = "",
    target: Target = None,
    json: Json = False,
) -> None:
    """Have a running server speak a text into a file."""
    from malha.cli.say import SayOptions, run_say

    options = SayOptions(output, language, voice, speed, target, format, sample_rate, reference, consent)
    run_say(sys.stdin if text == "-" else text, options, json=json)


def version(*, json: Json = False) -> None:
    """Tell the versions of Malha and of what it runs on."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    from malha.runtime.version import VERSION

    versions = {"malha": VERSION, "python": platform.python_version()}
    for name in ("grpcio", "protobuf", "pocketsphinx", "faster-whisper", "ctranslate2"):
        try:
            versions[name] = installed(name)
        except PackageNotFoundError:
            versions[name] = ""
    if json:
        print_json(versions)
        return
    print(f"malha {VERSION}")
    note(", ".join(f"{name} {value or 'not installed'}" for name, value in versions.items() if name != "malha"))
