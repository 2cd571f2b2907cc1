import uuid
from datetime import UTC, datetime

import numpy as np

from malha.jobs.messages import job_message
from malha.jobs.store import JobRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_progress_is_told_without_the_noise_of_the_column_it_lies_in() -> None:
    """The column is a float of 32 bits."""
    stored = float(np.float32(0.1))
    assert stored != 0.1
    kept = JobRow(uuid.UUID(int=1), "transcribe", "running", stored, 1, None, None, {}, None, "", NOW, NOW, None)
    assert job_message(kept).progress == 0.1
