"""PCM16 as a WAV file, and back."""

import io
import wave

from malha.sdk.errors import InvalidRequest

_NO_WAV = "this is no WAV file of 16-bit PCM with one or two channels; transcribe(..., diarize=True) takes any recording"


def wav_of(pcm: bytes, sample_rate: int) -> bytes:
    """PCM16 of one channel as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(pcm)
    return file.getvalue()


def read_wav(content: bytes) -> tuple[bytes, int, int]:
    """(PCM16, sample rate, channels) of a WAV file. Raises InvalidRequest."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            if file.getsampwidth() == 2 and file.getnchannels() in {1, 2}:
                return file.readframes(file.getnframes()), file.getframerate(), file.getnchannels()
    except (wave.Error, EOFError) as error:
        raise InvalidRequest(_NO_WAV, reason="UNSUPPORTED_FORMAT") from error
    raise InvalidRequest(_NO_WAV, reason="UNSUPPORTED_FORMAT")
