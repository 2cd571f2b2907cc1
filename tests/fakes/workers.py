"""Workers for the tests of the engine host. Each is a factory ``(options) -> Worker``, named ``fakes.workers:NAME`` to a host."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from malha.runtime.worker import PAUSE, Interim, spare_capacity

TESTS = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"PYTHONPATH": str(TESTS)}
TURNS = itertools.count()


@dataclass
class Stream:
    """Does to each item what its first element, a command, says."""

    arguments: object
    closed: Callable[[], None] = lambda: None
    fed: list[object] = field(default_factory=list)

    def feed(self, item: object) -> Iterator[object]:
        self.fed.append(item)
        command, *values = item if isinstance(item, tuple) else ("echo", item)
        yield from getattr(self, f"do_{command}")(*values)

    def finish(self) -> Iterator[object]:
        if self.arguments == "count":
            yield len(self.fed)

    def close(self) -> None:
        self.closed()

    def do_echo(self, value: object) -> Iterator[object]:
        yield value

    def do_take(self, _value: object) -> Iterator[object]:
        yield from ()

    def do_pid(self) -> Iterator[object]:
        yield os.getpid()

    def do_environment(self, name: str) -> Iterator[object]:
        yield os.environ.get(name), os.nice(0), Path.cwd()

    def do_print(self, text: str) -> Iterator[object]:
        print(text, flush=True)
        yield None

    def do_spare(self, seconds: float, began: str | None = None) -> Iterator[object]:
        """Whether there was spare capacity before a wait, which ends with it, and after."""
        before, until = spare_capacity(), time.monotonic() + seconds
        mark(began)
        while spare_capacity() and time.monotonic() < until:
            time.sleep(0.005)
        yield before, spare_capacity()

    def do_sleep(self, seconds: float, began: str | None = None) -> Iterator[object]:
        mark(began)
        time.sleep(seconds)
        yield "slept"

    def do_hold(self, path: str) -> Iterator[object]:
        """Until a file is there."""
        until = time.monotonic() + 20
        while not Path(path).exists() and time.monotonic() < until:
            time.sleep(0.005)
        yield "held"

    def do_steps(self, count: int, seconds: float = 0.0) -> Iterator[object]:
        for step in range(count):
            time.sleep(seconds)
            yield step

    def do_turns(self, count: int, seconds: float = 0.0) -> Iterator[object]:
        """The numbers of the turns it takes, counted over all streams of the worker."""
        for _ in range(count):
            time.sleep(seconds)
            yield next(TURNS)

    def do_pauses(self, count: int, seconds: float) -> Iterator[object]:
        """Pause so often, then say when."""
        for _ in range(count):
            time.sleep(seconds)
            yield PAUSE
        yield next(TURNS)

    def do_interim(self, *values: object) -> Iterator[object]:
        """The values as interim outputs, then their number."""
        for value in values:
            yield Interim(value)
        yield len(values)

    def do_big(self, size: int) -> Iterator[object]:
        yield b"x" * size

    def do_mark(self, path: str) -> Iterator[object]:
        """Leave a mark when the generator is closed early."""
        try:
            while True:
                time.sleep(0.01)
                yield "step"
        finally:
            Path(path).write_text("left")

    def do_die(self, path: str | None = None, after: int = 0) -> Iterator[object]:
        """Give some outputs and die; with a path, only while no file is there. Otherwise say so."""
        for step in range(after):
            yield Interim(f"interim {step}")
            yield step
        if path is None or not Path(path).exists():
            if path is not None:
                Path(path).touch()
            time.sleep(0.05)  # the outputs are on their way
            os.kill(os.getpid(), signal.SIGKILL)
        yield "alive"

    def do_raise(self, error: BaseException) -> Iterator[object]:
        raise error
        yield

    def do_unpicklable(self) -> Iterator[object]:
        yield lambda: None

    def do_lock_gil(self, seconds: int, began: str | None = None) -> Iterator[object]:
        """Keep the GIL in C code."""
        import ctypes

        mark(began)
        ctypes.PyDLL(None).sleep(seconds)
        yield None


class Workbench:
    """Its options are its ``info``; arguments ``("close", path)`` leave a mark when the stream is closed, ``("fail", error)`` fail to open."""

    def __init__(self, options: object) -> None:
        self.info = options

    def open(self, arguments: object) -> Stream:
        match arguments:
            case ("fail", BaseException() as error):
                raise error
            case ("close", str() as path):
                return Stream(arguments, closed=lambda: append(path))
        return Stream(arguments)


def mark(began: str | None) -> None:
    """Say in a file that an item is being worked on."""
    if began is not None:
        Path(began).touch()


def append(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("closed\n")


def failing(error: object) -> Workbench:
    """A factory that raises its options."""
    assert isinstance(error, BaseException)
    raise error


def dying_after(options: object) -> Workbench:
    """Loads as many times as the file ``options[0]`` has bytes, taking one each time; then dies while it loads, or after ``options[1]`` s."""
    path, seconds = options if isinstance(options, tuple) else (options, 0)
    left = Path(str(path)).read_bytes()
    if not left:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)
    Path(str(path)).write_bytes(left[1:])
    return Workbench(options)


def slow(seconds: object) -> Workbench:
    """Takes its time to load."""
    assert isinstance(seconds, int | float)
    time.sleep(seconds)
    return Workbench(seconds)
