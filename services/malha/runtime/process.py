"""How every Malha process runs its event loop: uvloop, signals, a collector tuned for long-lived streams, errors in one line."""

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from malha.runtime import logs, tracing
from malha.runtime.errors import FailedPrecondition, MalhaError
from malha.runtime.logs import Event
from malha.runtime.settings import RuntimeSettings
from malha.runtime.supervisor import exit_with_parent, wait_for_turn

log = logs.get("runtime.process")

EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: starting again does not help."""

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def run(name: str, main: Main, settings: RuntimeSettings, prepare: Callable[[], None] = lambda: None) -> int:
    """Run ``main(stop)`` until it returns; SIGTERM and SIGINT set ``stop``, a second one ends at once. Returns the exit status.

    ``prepare`` is for a standby, before its turn: it imports what ``main`` would import later.
    """
    logs.configure(settings.log_level)
    exit_with_parent()
    wait_for_turn(prepare)
    tracing.configure(name, settings.otlp_endpoint)
    sys.setswitchinterval(0.0005)
    _allow_open_files()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(name, main))
    except FailedPrecondition as error:
        print(f"malha: {error.message}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except MalhaError as error:
        print(f"malha: {error.message}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 130
    finally:
        tracing.shutdown()
    return 0


def _allow_open_files() -> None:
    """Take all the open files the system allows: the usual soft limit of 1,024 ends at as many calls."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def tune_collector() -> None:
    """Once a process is warm: collections over thousands of streams were the tail of the latency (p99 319 -> 9 ms at 1,500 calls).

    Of the young ones too: the interpreter counts what is allocated less what is freed, which hardly grows under an even load, so 50,000 took
    seconds to gather and the pause, over all that was new in them, 28 ms with 1,000 calls. Rarer costs less; by the clock, ten times a
    second, cost a tenth more CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


async def _with_signals(name: str, main: Main) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    task = loop.create_task(main(stop), name=name)

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, on_signal)
    log.info(Event.PROCESS_STARTED, process=name)
    try:
        await task
    finally:
        log.info(Event.PROCESS_STOPPED, process=name)
