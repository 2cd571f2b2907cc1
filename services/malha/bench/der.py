"""Diarization error rate, as NIST's md-eval counts it: missed speech, false alarms and confusion, over the speech of the reference.

Overlapping speech counts for each who speaks. Within ``collar`` of where anybody in the reference begins or ends nothing is counted. The
speakers of the two sides are paired as is best for the whole file. Source: NIST Rich Transcription Spring 2009 evaluation plan, section 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from malha.runtime.errors import InvalidArgument

COLLAR_SECONDS: Final = 0.25
_MOST_SPEAKERS: Final = 12
"""Of a reference: pairing tries every set of them."""


class Talk(NamedTuple):
    """A speaker, from ``start`` to ``end`` in seconds."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True)
class Errors:
    """Seconds of each kind of error, and of reference speech, speakers counted one by one."""

    missed: float
    false_alarm: float
    confused: float
    speech: float

    @property
    def rate(self) -> float:
        """The diarization error rate; of a reference without speech 0 where nothing was found, else 1."""
        wrong = self.missed + self.false_alarm + self.confused
        return wrong / self.speech if self.speech else float(wrong > 0)


class _Moment(NamedTuple):
    """Who speaks for so many seconds, by the reference and by the hypothesis."""

    seconds: float
    reference: frozenset[str]
    hypothesis: frozenset[str]


def errors(reference: Sequence[Talk], hypothesis: Sequence[Talk], collar: float = COLLAR_SECONDS) -> Errors:
    """Compare. Raises InvalidArgument for more speakers in the reference than can be paired."""
    moments = _moments(reference, hypothesis, collar)
    pairs = _paired(moments)
    missed = false_alarm = confused = speech = 0.0
    for seconds, truly, found in moments:
        right = sum(pairs.get(speaker) in truly for speaker in found)
        speech += seconds * len(truly)
        missed += seconds * max(0, len(truly) - len(found))
        false_alarm += seconds * max(0, len(found) - len(truly))
        confused += seconds * (min(len(truly), len(found)) - right)
    return Errors(missed, false_alarm, confused, speech)


def read_rttm(path: Path) -> dict[str, list[Talk]]:
    """What an RTTM file says, by recording. Raises InvalidArgument."""
    talks: dict[str, list[Talk]] = {}
    try:
        for line in path.read_text().splitlines():
            fields = line.split()
            if fields and fields[0] == "SPEAKER":
                start, seconds = float(fields[3]), float(fields[4])
                talks.setdefault(fields[1], []).append(Talk(start, start + seconds, fields[7]))
    except (IndexError, ValueError) as error:
        raise InvalidArgument(f"{path} is no RTTM file", reason="NO_RTTM") from error
    return talks


def _moments(reference: Sequence[Talk], hypothesis: Sequence[Talk], collar: float) -> list[_Moment]:
    edges = [edge for talk in reference for edge in (talk.start, talk.end)]
    around = [side for edge in edges for side in (edge - collar, edge + collar)]
    cuts = sorted({*edges, *around, *(edge for talk in hypothesis for edge in (talk.start, talk.end))})
    moments = []
    for start, end in pairwise(cuts):
        middle = (start + end) / 2
        if any(abs(middle - edge) < collar for edge in edges):
            continue
        who = [frozenset(talk.speaker for talk in talks if talk.start <= middle < talk.end) for talks in (reference, hypothesis)]
        if who[0] or who[1]:
            moments.append(_Moment(end - start, who[0], who[1]))
    return moments


def _paired(moments: Sequence[_Moment]) -> dict[str, str]:
    """Speakers of the hypothesis to those of the reference, each at most once, so that they share as much time as can be."""
    truly = sorted({speaker for moment in moments for speaker in moment.reference})
    found = sorted({speaker for moment in moments for speaker in moment.hypothesis})
    if len(truly) > _MOST_SPEAKERS:
        raise InvalidArgument(f"a reference may have {_MOST_SPEAKERS} speakers", reason="TOO_MANY_SPEAKERS")
    shared = {
        (one, other): sum(seconds for seconds, reference, hypothesis in moments if one in reference and other in hypothesis)
        for one in truly
        for other in found
    }

    @cache
    def best(index: int, used: int) -> tuple[float, tuple[tuple[str, str], ...]]:
        """The most time that hypothesis speakers from ``index`` on can share with reference speakers that are not used."""
        if index == len(found):
            return 0.0, ()
        choices = [best(index + 1, used)]
        for number, speaker in enumerate(truly):
            if not used >> number & 1:
                seconds, pairs = best(index + 1, used | 1 << number)
                choices.append((seconds + shared[speaker, found[index]], ((found[index], speaker), *pairs)))
        return max(choices)

    return dict(best(0, 0)[1])
