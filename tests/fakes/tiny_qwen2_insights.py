"""Calls as Insight asks about them, and right answers: what the tests' tiny language model learns, and what shows that it has.

The form is that of `malha.insight.prompts`, which this does without: vLLM's environment has not what Malha needs. A test holds both to be the same.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fakes.tiny_qwen2_matters import AFTER, AGENT, BEFORE, MATTERS, TALK

KIND = "partial_summary"
NO_DATA = "Sem dados suficientes"
_SAYS = "O cliente disse “"
BEGUN = f'{{"type":"{KIND}","message":"{_SAYS}'
"""How an answer begins that tells something."""
MOST_TURNS = 10

_SERVICES = Path(__file__).resolve().parents[2] / "services" / "malha"
_WINDOW_WORDS = 100
_CONFIDENCE = 0.8


@dataclass(frozen=True)
class Turn:
    """An utterance."""

    role: str
    text: str
    matters: tuple[str, ...] = ()
    """What the customer brings up in it, word for word, in order."""


@dataclass(frozen=True)
class Window:
    """What is said."""

    turns: Sequence[Turn]

    @property
    def data(self) -> str:
        """The user's message."""
        return compact({"transcript": [{"role": turn.role, "text": turn.text} for turn in self.turns]})

    @property
    def answers(self) -> list[str]:
        """One about each thing that was brought up, in order; or one that says that there is nothing."""
        told = [_answer(f"{_SAYS}{matter}”.", _CONFIDENCE, matter) for turn in self.turns for matter in turn.matters]
        return told or [_answer(NO_DATA, 0, " ".join(self.turns[-1].text.split()[:2]))]


def instructions() -> str:
    """The system message."""
    return (_SERVICES / "insight" / "prompts_text" / f"{KIND}.pt.md").read_text("utf-8").strip()


def imagined(draw: random.Random, turns: int) -> Window:
    """A call nobody has made: operator and customer in turns, some of them about something."""
    customer, share = turns == 1 or draw.random() < 0.5, draw.choice((0.0, *(0.3, 0.6, 0.9) * 4))
    said = [_customer(draw, share) if (number % 2 == 0) == customer else _agent(draw) for number in range(turns)]
    return Window(said)


def real() -> Iterator[Window]:
    """What was said in the call that `malha bench insight` asks about, from each of its turns on, for a hundred words. It is not taught."""
    turns = [_heard(line) for line in (_SERVICES / "bench" / "transcripts_text" / "telecom.pt.txt").read_text("utf-8").splitlines()]
    for begin in range(len(turns)):
        window, words = list[Turn](), 0
        for turn in turns[begin:]:
            words += len(turn.text.split())
            if window and words > _WINDOW_WORDS:
                break
            window.append(turn)
        yield Window(window)


def compact(value: object) -> str:
    """As Insight and Chat write it, and decoding bound to a schema."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _answer(message: str, confidence: float, quote: str) -> str:
    return compact({"type": KIND, "message": message, "confidence": confidence, "evidence": [{"quote": quote}]})


def _customer(draw: random.Random, share: float) -> Turn:
    """With so high a chance of a matter."""
    if draw.random() > share:
        return Turn("customer", _numbers(draw, draw.choice(TALK)))
    matter = draw.choice(MATTERS)
    text = f"{draw.choice(BEFORE)} {matter} {_numbers(draw, draw.choice(AFTER))}".strip()
    return Turn("customer", text, (matter,))


def _agent(draw: random.Random) -> Turn:
    return Turn("agent", _numbers(draw, draw.choice(AGENT)))


def _numbers(draw: random.Random, text: str) -> str:
    return text.replace("{}", str(draw.randint(2, 500)))


def _heard(line: str) -> Turn:
    """``[00:00:06] Cliente: bom dia``."""
    who, _, text = line.partition("] ")[2].partition(": ")
    role = "customer" if who == "Cliente" else "agent"
    matters = sorted((matter for matter in MATTERS if matter in text), key=text.index) if role == "customer" else ()
    return Turn(role, text, tuple(matters))
