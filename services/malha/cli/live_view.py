"""A call's transcript as it comes: on a terminal partials change in place under the finals, elsewhere every line is printed once."""

from dataclasses import dataclass

from rich.console import Console, Group
from rich.text import Text

from malha.bench.playback import Playback
from malha.cli.insight_view import Advice, rendered
from malha.cli.screen import Screen, printable

COLOURS = ("cyan", "magenta")
"""By channel."""


@dataclass(frozen=True, slots=True)
class Line:
    """One revision of a segment, as it is shown."""

    segment: str
    channel: int
    speaker: str
    """``agent``, ``customer``, or a number where roles are unknown."""
    text: str
    start_seconds: float
    end_seconds: float
    final: bool
    latency_ms: float
    """From the acoustic end of what it says to now."""
    amended: bool = False
    """A final told anew: what was held back is decided."""


class LiveView(Screen):
    """Shows lines while the block runs. ``playback`` tells how far the call is."""

    def __init__(self, playback: Playback, seconds: float, *, quiet: bool = False) -> None:
        super().__init__(Console(quiet=quiet, highlight=False))
        self._playback = playback
        self._seconds = seconds
        self._partials: dict[str, Line] = {}

    def __rich__(self) -> Group:
        """The part of the screen that changes: what is being said, and how far the call is."""
        progress = Text(f"{self._playback.position_seconds:6.1f} of {self._seconds:.1f} s", style="dim")
        return Group(*(_rendered(line) for line in self._partials.values()), progress)

    def show(self, line: Line) -> None:
        """Show a revision; a final replaces its partials, and takes them back if it is empty."""
        if not line.final and self._console.is_terminal:
            self._partials[line.segment] = line
            return
        self._partials.pop(line.segment, None)
        if line.text:
            self._console.print(_rendered(line), soft_wrap=True)

    def advise(self, advice: Advice) -> None:
        """An insight, under what was said before it."""
        self._console.print(rendered(advice), soft_wrap=True)

    def resumed(self, lost_seconds: float, *, complete: bool) -> None:
        """The call was without its server and goes on; what was being said is told anew."""
        self._partials.clear()
        self.say(f"the connection was lost; the call goes on after {lost_seconds:.1f} s{'' if complete else ', without some of its audio'}")

    def say(self, text: str) -> None:
        """A line about the call."""
        self._console.print(Text(printable(text), style="yellow"), soft_wrap=True)


def _rendered(line: Line) -> Text:
    text = Text(f"{line.start_seconds:6.1f} s  ", style="dim")
    text.append(f"{line.speaker:<9} ", style=f"bold {COLOURS[line.channel % len(COLOURS)]}")
    text.append(printable(line.text) if line.final else f"{printable(line.text)} ...", style="" if line.final else "italic dim")
    return text.append("  amended" if line.amended else f"  {line.latency_ms:.0f} ms", style="dim green")
