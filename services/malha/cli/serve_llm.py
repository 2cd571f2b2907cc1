"""``malha serve llm``: a vLLM of this machine, kept alive, for Chat and Insight to use."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malha.cli.output import print_json_line

if TYPE_CHECKING:  # they load what `malha --help` may not
    from malha.chat.vllm_served import Served
    from malha.chat.vllm_settings import VllmSettings
    from malha.runtime.settings import RuntimeSettings

EXAMPLES = (
    "  malha serve llm paneas-v1\n"
    "  malha serve llm tiny --model models/qwen2.5-0.5b-instruct --port 8101\n"
    "  MALHA_VLLM_ARGUMENTS='--gpu-memory-utilization 0.8' malha serve llm paneas-v1 --json"
)
DEFAULT_PORT = 8100


def serve_llm(
    alias: Annotated[
        str, typer.Argument(help="An alias or a deployment of models.toml.  [default: the file's default alias]", show_default=False)
    ] = "",
    *,
    model: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Serve this directory under that name, without models.toml.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Its port, on loopback; 0 takes a free one.  [default: 8100]", show_default=False)
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the key to ask its clients for.  [default: none is asked for]", show_default=False)
    ] = None,
    quantization: Annotated[
        str, typer.Option(help="Its quantization, by vLLM's name.  [default: as its config.json says]", show_default=False)
    ] = "",
    max_model_len: Annotated[
        int | None, typer.Option(min=1, help="Tokens of prompt and answer together.  [default: the model's own]", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a line each time a server is ready.")] = False,
) -> None:
    """Start vLLM on this machine for an alias, and keep it alive until Ctrl-C, which lets answers end."""
    from dataclasses import replace

    from malha.chat.models_file import load_models
    from malha.chat.settings import ChatSettings
    from malha.chat.vllm_served import Served, served_by
    from malha.chat.vllm_settings import VllmSettings
    from malha.runtime.placement import read_placement
    from malha.runtime.remote import read_key
    from malha.runtime.settings import RuntimeSettings

    runtime = RuntimeSettings()
    if model is None:
        if (port, api_key_file, quantization, max_model_len) != (None, None, "", None):
            raise typer.BadParameter("goes with --model; models.toml says it of its own", param_hint="an option of a model")
        served = served_by(load_models(ChatSettings(), runtime.data_dir), alias)
    else:
        key = read_key(api_key_file) if api_key_file is not None else ""
        name = alias or model.resolve().name
        served = [Served(name, model.resolve(), (name,), DEFAULT_PORT if port is None else port, quantization, max_model_len, key=key)]
    settings = VllmSettings()
    if settings.placement_file is not None:
        placement = read_placement(settings.placement_file)
        served = [replace(one, gpus=placement.gpus_of(one.name)) for one in served]
    raise typer.Exit(run_serve_llm(served, settings, runtime, json=json))


def run_serve_llm(served: "list[Served]", settings: "VllmSettings", runtime: "RuntimeSettings", *, json: bool) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status, vLLM's own where it takes its arguments for wrong."""
    import asyncio

    from malha.chat.vllm_server import HOST, PORT_INFO, spec
    from malha.cli.up import EVENTS
    from malha.runtime import logs
    from malha.runtime.process import run
    from malha.runtime.supervisor import Change, ChildEvent, Supervisor, notify_ready

    log = logs.get("cli.serve_llm")
    specs = [spec(one, settings) for one in served]
    asked = {one.name: one.served_names[0] for one in served}
    waiting = set(asked)
    codes: list[int] = []

    def tell(event: ChildEvent) -> None:
        log.info(EVENTS[event.change], child=event.name, pid=event.pid, code=event.returncode)
        if event.change is not Change.READY:
            return
        url = f"http://{HOST}:{event.info[PORT_INFO]}/v1"
        if json:
            print_json_line({"deployment": event.name, "model": asked[event.name], "base_url": url, "pid": event.pid})
        else:
            print(f"{asked[event.name]} at {url}", flush=True)
        if waiting == {event.name}:
            notify_ready({})
        waiting.discard(event.name)

    async def main(stop: asyncio.Event) -> None:
        codes.append(await Supervisor(specs, tell).run(stop))

    return run("llm", main, runtime) or codes[0]
