import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malha.bench.statistics import Ledger, compare, percentile, summary


def test_percentiles_are_values_by_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.01, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7
    assert math.isnan(percentile([], 0.5))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_no_more_than_the_share_lies_below_a_percentile(values: list[float]) -> None:
    for share in (0.5, 0.95, 0.99):
        found = percentile(sorted(values), share)
        assert sum(value < found for value in values) <= share * len(values)
        assert sum(value <= found for value in values) >= share * len(values)


def test_a_summary_of_nothing_says_so() -> None:
    assert summary([]) == {"p50": None, "p95": None, "p99": None}
    assert summary([3.0, 1.0, 2.0], (50,)) == {"p50": 2.0}


def _ledger(seqs: list[int], finals: list[str], counted: int | None, *, ended: bool = True) -> Ledger:
    ledger = Ledger(summary_segments=counted, ended=ended)
    for seq in seqs:
        ledger.told(seq)
    for final in finals:
        ledger.final(final, 1, "text", (0, 0.0, 1.0))
    return ledger


@pytest.mark.parametrize(
    ("seqs", "finals", "counted", "ended", "faults"),
    [
        ([1, 2, 3, 4], ["a", "b"], 2, True, (0, 0)),
        ([1, 3, 4], ["a", "b"], 2, True, (1, 0)),  # a sequence number is missing
        ([2, 3, 4], ["a"], 1, True, (1, 0)),  # the first one is missing
        ([1, 2, 2, 3], ["a", "a"], 1, True, (0, 1)),  # told twice
        ([1, 3, 2, 4], ["a", "b"], 2, True, (1, 1)),  # out of order
        ([1, 2, 3], ["a"], 2, True, (1, 0)),  # the server counts one more than it told
        ([1, 2, 3, 4], ["a", "b"], 1, True, (0, 1)),  # the server counts one less than it told
        ([1, 2], ["a", "b"], None, False, (1, 0)),  # the end never came
        ([], [], None, False, (1, 0)),
    ],
)
def test_losses_and_repetitions_are_counted(
    seqs: list[int], finals: list[str], counted: int | None, ended: bool, faults: tuple[int, int]
) -> None:
    ledger = _ledger(seqs, finals, counted, ended=ended)
    assert (ledger.lost, ledger.duplicated) == faults


def test_an_empty_final_is_not_among_the_segments_a_summary_counts() -> None:
    ledger = _ledger([1, 2, 3], ["a"], 1)
    ledger.final("b", 1, "", (0, 1.0, 2.0))
    assert (ledger.lost, ledger.duplicated, ledger.finals) == (0, 0, 2)


def test_segments_are_compared_by_count_and_boundary() -> None:
    reference = [(0, 0.0, 1.0), (0, 1.5, 2.0), (1, 0.0, 1.0)]
    assert compare(reference, reversed(reference)) == (0, 0)
    assert compare(reference, reference[:2]) == (1, 0)
    assert compare(reference, [*reference, reference[0]]) == (0, 1)
    assert compare(reference, [(0, 0.0, 1.1), *reference[1:]]) == (1, 1)
