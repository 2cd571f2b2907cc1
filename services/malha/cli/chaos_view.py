"""Calls while their servers are killed: on a terminal each call's latest line changes in place under what happened; elsewhere lines are printed once."""

import time

from rich.console import Console, Group
from rich.text import Text

from malha.bench.chaos import Kill
from malha.bench.chaos_call import ChaosCall
from malha.cli.output import note
from malha.cli.screen import Screen, printable

RESUMING = ("edge", "live")
"""What calls are without until they have resumed. Without a worker or the database they go on, and are told the next line later."""
NAMES = {"worker": "engine worker", "postgres": "PostgreSQL"}


class ChaosView(Screen):
    """Shows calls and kills while the block runs. Its methods are the callbacks of `malha.bench.chaos.run_chaos`."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        super().__init__(console or Console(quiet=quiet, highlight=False))
        self._begin = time.monotonic()
        self._phase = ""
        self._calls: dict[int, ChaosCall] = {}
        self._told: dict[int, int] = {}
        """Finals of each call that were shown."""
        self._kill: Kill | None = None
        """The last one, until calls have gone on after it."""
        self._away: set[int] = set()
        """Calls that have not gone on after it."""
        self._gaps_ms: list[float] = []

    def __rich__(self) -> Group:
        """The part of the screen that changes."""
        calls = [self._rendered(number, call) for number, call in sorted(self._calls.items())]
        return Group(*calls, Text(f"{time.monotonic() - self._begin:6.1f} s  {self._phase}", style="dim"))

    def phase(self, text: str) -> None:
        """What goes on now."""
        self._phase = text
        if not self._console.is_terminal:
            note(text)

    def kill(self, kill: Kill) -> None:
        """A process was killed."""
        self._settle()
        self._kill, self._gaps_ms = kill, []
        self._away = {number for number, call in self._calls.items() if not call.ended}
        self._print(f"kill -9 {_name(kill):<13} (process {kill.pid})", "bold red")

    def call(self, number: int, call: ChaosCall) -> None:
        """A call was told something, or is without a server."""
        self._calls[number] = call
        finals = call.finals[self._told.get(number, 0) :]
        self._told[number] = len(call.finals)
        if not self._console.is_terminal:
            for final in finals:
                self._print(f"call {number + 1}: {printable(final.text)}", "")
        if self._kill is None:
            return
        if self._kill.target not in RESUMING:
            after = [final.latency_ms for final in finals if final.at >= self._kill.at and final.latency_ms is not None]
            if after:
                self._print(f"{_name(self._kill)}: the next line was told {after[0]:.0f} ms after it was spoken", "green")
                self._kill = None
        elif number in self._away and call.resumed and call.resumed[-1][0] >= self._kill.at:
            self._away.discard(number)
            self._gaps_ms.append(call.resumed[-1][1])
            if not self._away:
                self._settle()

    def say(self, text: str, style: str = "") -> None:
        """A line about all of it."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _settle(self) -> None:
        """Say how calls went on after the last kill, if that was not said."""
        if self._kill is not None and self._gaps_ms:
            among = f"{len(self._gaps_ms)} of {len(self._gaps_ms) + len(self._away)} calls"
            self._print(f"{_name(self._kill)}: {among} went on within {max(self._gaps_ms):.0f} ms", "green")
        self._kill = None
        self._away = set()

    def _print(self, text: str, style: str) -> None:
        line = Text(f"{time.monotonic() - self._begin:6.1f} s  ", style="dim")
        self._console.print(line.append(text, style=style or "default"), soft_wrap=True)

    def _rendered(self, number: int, call: ChaosCall) -> Text:
        waits = call.lost or (number in self._away and self._kill is not None and self._kill.target in RESUMING)
        state, style = ("waits", "yellow") if waits else ("ended", "dim") if call.ended else ("live", "green")
        line = Text(f"  call {number + 1}  ", style="bold", no_wrap=True, overflow="ellipsis")
        return line.append(f"{state:<5}  ", style=style).append(printable(call.latest), style="not bold")


def _name(kill: Kill) -> str:
    return NAMES.get(kill.target, kill.target)
