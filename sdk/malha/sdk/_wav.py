"""PCM16 as a WAV file, and back."""

import io
import wave

from malha.sdk.errors import InvalidRequest

_NO_WAV = "this is no WAV file of 16-bit PCM with one or two channels; transcribe(..., diarize=True) takes any recording"


MOST_WAV_BYTES = 4_128_768
"""What one request takes."""
_CONTAINERS = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"\x1aE\xdf\xa3": "WebM"}


def wav_of(pcm: bytes, sample_rate: int) -> bytes:
    """PCM16 of one channel as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(pcm)
    return file.getvalue()


def is_wav(content: bytes) -> bool:
    """Whether this is a WAV file, and else PCM16. Raises InvalidRequest for the files that are neither: as samples they are noise."""
    kind = "MP4" if content[4:8] == b"ftyp" else next((name for magic, name in _CONTAINERS.items() if content.startswith(magic)), "")
    if kind:
        raise InvalidRequest(f"this is {kind}: give a WAV file of 16-bit PCM, or PCM16 itself", reason="UNSUPPORTED_FORMAT")
    return content.startswith(b"RIFF")


def read_wav(content: bytes) -> tuple[bytes, int, int]:
    """(PCM16, sample rate, channels) of a WAV file. Raises InvalidRequest."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            if file.getsampwidth() == 2 and file.getnchannels() in {1, 2}:
                return file.readframes(file.getnframes()), file.getframerate(), file.getnchannels()
    except (wave.Error, EOFError) as error:
        raise InvalidRequest(_NO_WAV, reason="UNSUPPORTED_FORMAT") from error
    raise InvalidRequest(_NO_WAV, reason="UNSUPPORTED_FORMAT")
