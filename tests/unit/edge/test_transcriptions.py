"""OpenAI's form has no place for warnings: what was lost must not look like silence."""

import pytest

from malha.edge.transcriptions import answer_of
from malha.runtime.errors import Unavailable


def test_what_could_not_be_recognised_was_not_silent() -> None:
    lost = {"reason": "ENGINE_CRASHED", "message": "an utterance could not be recognised", "segment_id": "0-1"}
    with pytest.raises(Unavailable) as refused:
        answer_of({"text": "", "segments": [], "warnings": [lost]}, {})
    assert refused.value.reason == "ENGINE_CRASHED"
    silent = answer_of({"text": "", "segments": [], "warnings": [lost | {"segment_id": ""}]}, {})
    assert silent.body == b'{"text":""}'
