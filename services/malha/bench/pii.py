"""How well personal numbers are found: recall and precision over generated texts, or over a file of annotated ones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from malha.bench.pii_corpora import read_corpus
from malha.bench.pii_texts import Sample, Span, generate
from malha.bench.statistics import summary
from malha.bench.usage import machine
from malha.text.pii import Found, find, scrub
from malha.text.spans import pieces

WARM_UP = 50
"""Texts before the clock runs: tables of check digits and numbering plans are read when they are first asked."""

ROUNDS = 3
"""The quickest of so many counts: a shared machine stops a process now and then."""


@dataclass(frozen=True, slots=True)
class Options:
    """``file``: annotated texts instead of generated ones."""

    texts: int
    seed: int
    file: Path | None = None


def run_pii(options: Options) -> dict[str, Any]:
    """The report. Raises InvalidArgument for a file that is not annotated text.

    A planted number counts as found where every token of it is masked, whatever as. A mask counts as right where every token of it is of planted numbers.
    """
    samples = read_corpus(options.file) if options.file else list(generate(options.texts, options.seed))
    for sample in samples[:WARM_UP]:
        find(pieces(sample.text), sample.language, sample.names)
    scores = [_score(sample) for sample in samples]
    return {
        "machine": machine(),
        "texts": len(samples),
        **({"file": options.file.name} if options.file else {"seed": options.seed}),
        **_shares(scores),
        "ms_per_segment": summary((score.milliseconds for score in scores), (50, 95, 99)),
        "words_per_segment": round(sum(len(sample.text.split()) for sample in samples) / max(1, len(samples)), 1),
        "by_kind": _by_kind(scores),
    }


@dataclass(frozen=True, slots=True)
class Score:
    """Of one text."""

    sample: Sample
    caught: tuple[bool, ...]
    """For each planted span."""
    named: tuple[bool, ...]
    """For each planted span: masked as its kind."""
    right: tuple[bool, ...]
    """For each mask."""
    milliseconds: float


def _score(sample: Sample) -> Score:
    told = pieces(sample.text)
    milliseconds = min(_milliseconds(sample) for _ in range(ROUNDS))
    found = find(told, sample.language, sample.names)
    planted = {token for span in (*sample.spans, *sample.others) for token in range(span.first, span.last + 1)}
    return Score(
        sample,
        tuple(_is_caught(span, found) for span in sample.spans),
        tuple(any(one.kind == span.kind and one.first <= span.last and span.first <= one.last for one in found) for span in sample.spans),
        tuple(all(token in planted for token in range(one.first, one.last + 1)) for one in found),
        milliseconds,
    )


def _milliseconds(sample: Sample) -> float:
    begin = perf_counter()
    scrub(pieces(sample.text), sample.language, sample.names)
    return (perf_counter() - begin) * 1e3


def _is_caught(span: Span, found: Sequence[Found]) -> bool:
    masked = {token for one in found for token in range(one.first, one.last + 1)}
    return masked.issuperset(range(span.first, span.last + 1))


def _shares(scores: Sequence[Score]) -> dict[str, Any]:
    return {
        "planted": sum(len(score.caught) for score in scores),
        "recall": _share(caught for score in scores for caught in score.caught),
        "precision": _share(right for score in scores for right in score.right),
        "spoken_recall": _share(caught for score in scores if score.sample.spoken for caught in score.caught),
        "right_kind": _share(named for score in scores for named in score.named),
    }


def _by_kind(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    kinds = Counter(span.kind for score in scores for span in score.sample.spans)
    report = {}
    for kind in sorted(kinds):
        caught = [
            (caught, named, score.sample.spoken)
            for score in scores
            for span, caught, named in zip(score.sample.spans, score.caught, score.named, strict=True)
            if span.kind == kind
        ]
        report[kind] = {
            "planted": kinds[kind],
            "recall": _share(one for one, _, _ in caught),
            "spoken_recall": _share(one for one, _, spoken in caught if spoken),
            "right_kind": _share(named for _, named, _ in caught),
        }
    return report


def _share(flags: Iterable[bool]) -> float | None:
    """None of nothing."""
    counted = Counter(flags)
    return round(counted[True] / counted.total(), 4) if counted else None
