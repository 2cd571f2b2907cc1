import time
import uuid

from malha.sdk._uuid7 import uuid7


def test_layout_is_that_of_rfc_9562():
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= after


def test_ids_differ_and_sort_by_time():
    first = {uuid7() for _ in range(1_000)}
    time.sleep(0.002)
    second = uuid7()
    assert len(first) == 1_000
    assert all(str(earlier) < str(second) for earlier in first)
