"""How long a WAV file lasts, by its header."""

import io
import wave

import pytest

from malha.jobs.recording import wav_seconds


def test_of_a_wav_file() -> None:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(4 * 8000 * 3))
    assert wav_seconds(out.getvalue()[:100], len(out.getvalue())) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("head", [b"", b"RIFF", b"OggS" + bytes(60), b"RIFF\0\0\0\0WAVEfmt " + bytes(40)])
def test_of_anything_else_it_is_not_known(head: bytes) -> None:
    assert wav_seconds(head, 1000) is None
