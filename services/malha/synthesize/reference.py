"""Reference audio: the speech a voice is cloned from, read from a WAV file and checked to be enough of it.

Nothing but numpy reads it, so a file made to break a decoder has none to break. How many people speak in it `malha.synthesize.voices` asks.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from malha.runtime.errors import FailedPrecondition, InvalidArgument
from malha.synthesize.engine import REFERENCE_HERTZ, Reference

LEAST_SECONDS: Final = 6.0
MOST_SECONDS: Final = 30.0

_LOWEST_HERTZ, _HIGHEST_HERTZ = 8000, 48_000
_FRAME_SECONDS: Final = 0.03
_QUIET: Final = 0.003
"""Root mean square of full scale (-50 dB): below it there is no voice."""
_VOICED_SHARE: Final = 0.1
"""A frame is voice where it is at least so loud against the louder frames: a tenth, 20 dB below them."""
_CLIPPED_SHARE: Final = 0.02
"""Of the samples, at full scale."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Form:
    """What a WAV file's ``fmt`` chunk says."""

    tag: int
    channels: int
    rate: int
    bits: int


def read_reference(content: bytes) -> Reference:
    """Read and check a file; milliseconds of work. Raises InvalidArgument, whose reason says what is wrong with it."""
    form, data = _chunks(content)
    samples = _mono(form, data)
    _check_length(samples.size / form.rate)
    _check_loudness(samples, form.rate)
    if form.rate != REFERENCE_HERTZ:
        samples = soxr.resample(samples, form.rate, REFERENCE_HERTZ)
    pcm = np.round(np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()
    return Reference(pcm, hashlib.sha256(content).hexdigest())


def cannot_clone(engine: str) -> FailedPrecondition:
    """What to say where an engine, or its model, has voices of its own only."""
    return FailedPrecondition(
        f"engine {engine} cannot clone a voice: leave reference_audio out, or serve Synthesize by engine coqui with an XTTS model",
        reason="CLONING_UNAVAILABLE",
    )


def wrong(message: str, reason: str) -> InvalidArgument:
    """The error of reference audio that cannot be used."""
    return InvalidArgument(message, reason=reason, violations={"open.reference_audio": message})


def _check_length(seconds: float) -> None:
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        which, reason = ("short", "REFERENCE_TOO_SHORT") if seconds < LEAST_SECONDS else ("long", "REFERENCE_TOO_LONG")
        wanted = f"{LEAST_SECONDS:g} to {MOST_SECONDS:g} s of one speaker"
        raise wrong(f"the reference audio is too {which}, {seconds:.1f} s: send {wanted}", reason)


def _check_loudness(samples: Samples, rate: int) -> None:
    """Enough of it must be voice, and little of it clipped."""
    size = int(rate * _FRAME_SECONDS)
    frames = samples[: samples.size // size * size].reshape(-1, size)
    loudness = np.sqrt((frames * frames).mean(axis=1))
    loud = float(np.percentile(loudness, 95))
    if loud < _QUIET:
        raise wrong("the reference audio is silent: send speech", "REFERENCE_SILENT")
    voiced = float((loudness >= max(_QUIET, loud * _VOICED_SHARE)).sum()) * _FRAME_SECONDS
    if voiced < LEAST_SECONDS / 2:
        raise wrong(
            f"the reference audio holds {voiced:.1f} s of sound in all its silence: at least {LEAST_SECONDS / 2:g} s are needed",
            "REFERENCE_SILENT",
        )
    if float((np.abs(samples) >= 0.999).mean()) > _CLIPPED_SHARE:
        raise wrong("the reference audio is overdriven: record it more quietly", "REFERENCE_CLIPPED")


def _chunks(content: bytes) -> tuple[_Form, bytes]:
    """The form and the samples of a RIFF/WAVE file (Microsoft's Multimedia Programming Interface, 1991; WAVE_FORMAT_EXTENSIBLE)."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise _no_wav("it is no RIFF/WAVE file")
    form: _Form | None = None
    start = 12
    while start + 8 <= len(content):
        name, size = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        body = content[start + 8 : start + 8 + size]
        if name == b"fmt ":
            form = _form(body)
        elif name == b"data":
            if form is None:
                break
            return form, body
        start += 8 + size + size % 2
    raise _no_wav("its chunks are incomplete")


def _form(body: bytes) -> _Form:
    if len(body) < 16:
        raise _no_wav("its `fmt ` chunk is too short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    form = _Form(tag, channels, rate, bits)
    if (tag, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32)}:
        raise _no_wav("only PCM of 8 to 32 bits and float of 32 are read")
    if channels not in {1, 2} or not _LOWEST_HERTZ <= rate <= _HIGHEST_HERTZ:
        raise _no_wav(f"it needs one or two channels at {_LOWEST_HERTZ:,} to {_HIGHEST_HERTZ:,} Hz")
    return form


def _mono(form: _Form, data: bytes) -> Samples:
    """Samples from -1 to 1, the mean of the channels."""
    width = form.bits // 8
    data = data[: len(data) // (width * form.channels) * width * form.channels]
    if form.tag == _FLOAT:
        samples = np.frombuffer(data, "<f4")
        if not np.isfinite(samples).all():
            raise _no_wav("some of its samples are no numbers")
        samples = np.clip(samples, -1, 1)
    elif width == 1:
        samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif width == 3:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = padded.view("<i4").ravel().astype(np.float32) / 2**31
    else:
        samples = np.frombuffer(data, f"<i{width}").astype(np.float32) / 2 ** (form.bits - 1)
    mixed: Samples = samples.reshape(-1, form.channels).mean(axis=1, dtype=np.float32)
    return mixed


def _no_wav(what: str) -> InvalidArgument:
    return wrong(f"the reference audio cannot be read as WAV: {what}", "REFERENCE_UNREADABLE")
