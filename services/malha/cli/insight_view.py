"""An insight on the screen: what is advised, the words it rests on, and how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from malha.cli.screen import printable

STYLES: Final = {"risk_alert": "bold red", "next_step": "bold green", "upsell": "bold blue", "partial_summary": "bold yellow"}
INDENT: Final = " " * 10


@dataclass(frozen=True, slots=True)
class Ground:
    """Words an insight rests on."""

    speaker: str
    start_seconds: float
    quote: str


@dataclass(frozen=True, slots=True)
class Advice:
    """One insight, as it is shown."""

    type: str
    """``risk_alert``, ``next_step``, ``partial_summary``, ``upsell``."""
    message: str
    confidence: float
    grounds: Sequence[Ground]
    latency_ms: float | None
    """From what led to it to the insight."""
    degraded: bool
    why: str = ""
    """What made the server think of it, and who thought; empty: not told."""


def rendered(advice: Advice) -> Text:
    """A line for the advice and one for each of the places it rests on."""
    text = Text(INDENT)
    text.append(f"{advice.type.replace('_', ' ')} ", style=STYLES.get(advice.type, "bold"))
    text.append(printable(advice.message))
    told = [f"{advice.confidence:.0%}", advice.why, "degraded" if advice.degraded else ""]
    text.append(f"  {', '.join(filter(None, told))}", style="dim")
    if advice.latency_ms is not None:
        text.append(f"  {milliseconds(advice.latency_ms)}", style="dim green")
    for ground in advice.grounds:
        text.append(f'\n{INDENT}  rests on {ground.speaker} at {ground.start_seconds:.1f} s: "{printable(ground.quote)}"', style="dim")
    return text


def milliseconds(value: float) -> str:
    """``0.4 ms``, ``12 ms``."""
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"
