"""``malha bench insight``: how soon advice comes, by rules and by a model, and what Malha adds to a model's first token."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx

from malha.bench.first_token import Door, run_first_tokens
from malha.bench.generator import Load, raise_file_limit
from malha.bench.insight_load import Answers, Heard, ask_questions, hear_calls
from malha.bench.live import about_run, audio_loop, generator_process
from malha.bench.private_server import Running, first_line, private_server
from malha.bench.statistics import summary
from malha.bench.transcripts import OURS, Turn, our_transcript
from malha.runtime.errors import Unavailable

QUESTION_EVERY_SECONDS: Final = 20.0
"""Of one operator: the rate of the policy ``call_center``."""
OPENING_SECONDS: Final = 60.0
VLLM_SECONDS: Final = 300.0
STOP_SECONDS: Final = 60.0
SHARES: Final = (50, 95, 99)
SMALL: Final = "--enforce-eager --max-num-seqs 16 --kv-cache-memory-bytes 134217728"
"""What suits a model of a few megabytes, where MALHA_VLLM_ARGUMENTS does not say otherwise."""
ONE_CORE: Final = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    calls: int = 50
    seconds: float = 20.0
    rate: float = 4.0
    """Times the pace the conversations were spoken at: so many times more alerts, and load, than so many calls are."""
    chat_url: str = ""
    """Of an OpenAI-compatible server, with ``/v1``."""
    vllm: Path | None = None
    """A model that vLLM is started with."""
    pairs: int = 200
    audio: bool = True
    """Whether as many calls stream audio meanwhile."""


def run_insight(options: Options, on_phase: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure what there is to measure: without a model, the rules alone. Raises Unavailable if a server does not start."""
    report: dict[str, Any] = {"calls": options.calls, "seconds": options.seconds, "rate": options.rate}
    report |= _rules(options, on_phase)
    with ExitStack() as stack:
        url = options.chat_url
        if options.vllm is not None:
            on_phase("starting vLLM")
            url = stack.enter_context(_vllm(options.vllm))
        report |= _model(options, url.rstrip("/"), on_phase) if url else dict.fromkeys(("llm_ms", "chat_first_token_added_ms"))
    return report | about_run()


def _rules(options: Options, on_phase: Callable[[str], None]) -> dict[str, Any]:
    on_phase("starting the server")
    with ExitStack() as stack:
        server = stack.enter_context(_server(""))
        if options.audio:
            on_phase("opening calls")
            stack.enter_context(_audio_calls(server, options))
        on_phase("rules")
        conversations = [(language, _until(our_transcript(language), options.seconds * options.rate)) for language in OURS]
        heard: Heard = asyncio.run(hear_calls(server.grpc, server.token, conversations, options.calls, options.rate))
    return {
        "rules_ms": summary(heard.alerts_ms, SHARES),
        "rules": {
            "alerts": len(heard.alerts_ms),
            "others": len(heard.others_ms),
            "others_server_ms": summary(heard.others_ms, SHARES),
            "audio_calls": options.calls if options.audio else 0,
        },
    }


def _model(options: Options, url: str, on_phase: Callable[[str], None]) -> dict[str, Any]:
    on_phase("starting the server")
    with _server(url) as server:
        on_phase("questions to the model")
        turns = our_transcript("pt")
        every = QUESTION_EVERY_SECONDS
        answers: Answers = asyncio.run(
            ask_questions(server.grpc, server.token, "pt", turns, options.calls, max(options.seconds, every), every)
        )
        on_phase("first tokens")
        model = _first_model(url)
        times = run_first_tokens(
            Door(f"{server.url}/api/v1/chat/completions", "default", server.token), Door(f"{url}/chat/completions", model), options.pairs
        )
    return {
        "llm_ms": summary(answers.settled_ms, SHARES),
        "llm": {
            "model": model,
            "questions": answers.outcomes.total(),
            "outcomes": dict(answers.outcomes.most_common()),
            "longest_ms": round(max(answers.settled_ms, default=0.0), 3),
            "shown_ms": summary(answers.model_ms, SHARES),
        },
        "chat_first_token_added_ms": summary((through - direct for through, direct in times), SHARES),
        "chat_first_token": {
            "pairs": len(times),
            "through_ms": summary((through for through, _ in times), SHARES),
            "direct_ms": summary((direct for _, direct in times), SHARES),
        },
    }


def _until(turns: Sequence[Turn], seconds: float) -> list[Turn]:
    """What is said until then; of a conversation that is over before, it begins anew."""
    length = max(turn.end for turn in turns) + 1.0
    rounds = int(seconds // length) + 1
    return [
        replace(turn, start=turn.start + number * length, end=turn.end + number * length)
        for number in range(rounds)
        for turn in turns
        if turn.end + number * length <= seconds
    ]


@contextmanager
def _server(chat_url: str) -> Iterator[Running]:
    settings = {
        "MALHA_TRANSCRIBE_ENGINE": "null",
        "MALHA_LOG_LEVEL": "WARNING",
        "MALHA_QUOTAS": "false",
        "MALHA_EDGE_REQUESTS_PER_MINUTE": "1000000",
        "MALHA_CHAT_BASE_URL": chat_url,
        "MALHA_MODELS_FILE": "",
    }
    raise_file_limit()  # the servers inherit it
    with private_server(settings) as server:
        yield server


@contextmanager
def _audio_calls(server: Running, options: Options) -> Iterator[None]:
    """As many calls stream audio and want advice."""
    loop = audio_loop(server, stereo=False)
    with TemporaryDirectory(prefix="malha-bench-") as directory:
        audio = Path(directory) / "loop.pcm"
        audio.write_bytes(b"".join(loop.chunks(100)))
        load = Load(server.websocket, server.token, options.calls, options.seconds + OPENING_SECONDS, str(audio), insights=True)
        with generator_process(load) as generator:
            assert generator.stdout is not None
            for line in generator.stdout:
                if json.loads(line)["phase"] == "opened":
                    break
            else:
                raise Unavailable("the load generator did not open its calls", reason="GENERATOR_FAILED")
            yield


@contextmanager
def _vllm(model: Path) -> Iterator[str]:
    """``malha serve llm`` on a free port; its base URL. Raises Unavailable where it does not come up."""
    environment = {"MALHA_VLLM_ARGUMENTS": SMALL, **ONE_CORE, **os.environ}
    # as nice as Malha's own engines are: on a machine of its own it would take nothing from those who tell what it says
    command = [
        "nice",
        "-n",
        "10",
        sys.executable,
        "-m",
        "malha.cli.main",
        "serve",
        "llm",
        "bench",
        "--model",
        str(model.resolve()),
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            line = first_line(process.stdout, VLLM_SECONDS)
            if not line:
                raise Unavailable(f"vLLM did not start; malha serve llm bench --model {model} tells why", reason="VLLM_NOT_STARTED")
            yield str(json.loads(line)["base_url"])
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


def _first_model(url: str) -> str:
    """What the server calls its first model: what Chat asks too."""
    try:
        answer = httpx.get(f"{url}/models", timeout=10.0, trust_env=False).raise_for_status()
        return str(answer.json()["data"][0]["id"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise Unavailable(f"{url}/models does not list a model ({type(error).__name__})", reason="CHAT_FAILED") from error
