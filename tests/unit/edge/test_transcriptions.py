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


@pytest.mark.parametrize("form", ["json", "text", "verbose_json"])
def test_how_much_is_missing_of_what_could_be_recognised(form: str) -> None:
    lost = [{"reason": "ENGINE_CRASHED", "message": "an utterance could not be recognised", "segment_id": each} for each in ("0-2", "0-3")]
    segment = {"start_sec": 0.0, "end_sec": 1.0, "text": "Hello.", "confidence": 0.9, "words": []}
    heard = {"text": "Hello.", "language": "en", "duration_sec": 3.0, "segments": [segment], "warnings": lost}
    assert answer_of(heard, {"response_format": form}).headers["malha-lost"] == "2"
    assert "malha-lost" not in answer_of(heard | {"warnings": [lost[0] | {"segment_id": ""}]}, {"response_format": form}).headers
