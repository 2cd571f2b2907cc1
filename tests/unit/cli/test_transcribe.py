"""What ``malha transcribe`` says of a recording without text."""

from pathlib import Path

import pytest

from malha.cli.transcribe import _print
from malha.sdk import CallWarning, Engine, Transcription


@pytest.mark.parametrize(("segment", "words"), [("0-1", "nothing of call.wav could be recognised"), ("", "nothing is said in call.wav")])
def test_what_was_lost_was_not_silent(segment: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    warning = CallWarning(reason="R", message="m", segment_id=segment)
    _print(Path("call.wav"), Transcription("", "", 1.0, (), (), Engine("e", "1", ""), None, (warning,)), name_it=False, words=False)
    assert capsys.readouterr().err.splitlines()[-1] == f"malha: {words}"
