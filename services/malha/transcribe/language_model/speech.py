"""Sentences spoken for the adaptation of the acoustic model, the same on every run: espeak-ng with its random numbers and its order fixed.

Synthesize binds the same library for its clients; no capability imports another, and only here are pitch and seed of interest.
The library carries state from sentence to sentence, so the same speech comes of the same sentences in the same order in a new process.
"""

import ctypes
from dataclasses import dataclass
from typing import Final

import espeakng_loader
import numpy as np
import soxr
from numpy.typing import NDArray

from malha.transcribe.engine import SAMPLE_RATE_HERTZ

_SYNCHRONOUS: Final = 2
_DONT_EXIT: Final = 0x8000
_BUFFER_MILLISECONDS: Final = 200
_UTF8: Final = 1
_POSITION_CHARACTER: Final = 1
_RATE, _PITCH = 1, 3
_SEED: Final = 1
_TELEPHONE_HERTZ: Final = 8_000
_FULL_SCALE: Final = 32_768.0
_Callback: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence and how it is spoken."""

    words: tuple[str, ...]
    voice: str
    """As espeak-ng names it: ``en-us+f2``."""
    words_per_minute: int
    pitch: int
    """0 to 99; 50 is the voice's own."""
    attenuation_db: float
    silence_seconds: tuple[float, float]
    """Before and behind the speech."""
    telephone: bool
    """Whether it is sampled at 8 kHz on its way."""


class Speaker:
    """The library, loaded. One per process. Raises OSError or RuntimeError if it or its data are missing."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        self._library.espeak_SetSynthCallback.argtypes = [_Callback]
        self._library.espeak_SetSynthCallback.restype = None
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        unsigned, address = ctypes.c_uint, ctypes.c_void_p
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            unsigned,
            ctypes.c_int,
            unsigned,
            unsigned,
            address,
            address,
        ]
        path = espeakng_loader.get_data_path().encode()
        self._rate_hertz: int = self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MILLISECONDS, path, _DONT_EXIT)
        if self._rate_hertz <= 0:
            raise RuntimeError("espeak-ng cannot read its data: pip install --force-reinstall espeakng-loader")
        self._spoken = bytearray()
        self._callback = _Callback(self._take)  # kept: the library holds a bare pointer to it
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, utterance: Utterance) -> bytes:
        """The utterance as 16 kHz mono 16-bit PCM."""
        speech = soxr.resample(self._synthesize(utterance), self._rate_hertz, SAMPLE_RATE_HERTZ)
        before, behind = (np.zeros(round(seconds * SAMPLE_RATE_HERTZ), np.float32) for seconds in utterance.silence_seconds)
        signal = np.concatenate([before, speech * np.float32(10 ** (-utterance.attenuation_db / 20)), behind])
        if utterance.telephone:
            signal = soxr.resample(soxr.resample(signal, SAMPLE_RATE_HERTZ, _TELEPHONE_HERTZ), _TELEPHONE_HERTZ, SAMPLE_RATE_HERTZ)
        return np.clip(np.rint(signal * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()

    def _synthesize(self, utterance: Utterance) -> NDArray[np.float32]:
        self._spoken.clear()
        self._library.espeak_ng_SetRandSeed(_SEED)
        if self._library.espeak_SetVoiceByName(utterance.voice.encode()):
            raise RuntimeError(f"this espeak-ng has no voice {utterance.voice}")
        self._library.espeak_SetParameter(_RATE, utterance.words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
        text = " ".join(utterance.words).encode() + b"\0"
        if self._library.espeak_Synth(text, len(text), 0, _POSITION_CHARACTER, 0, _UTF8, None, None):
            raise RuntimeError("espeak-ng refused a sentence")
        return np.frombuffer(bytes(self._spoken), np.int16).astype(np.float32) / np.float32(_FULL_SCALE)

    def _take(self, samples: int | None, count: int, _: int | None) -> int:
        if samples and count > 0:
            self._spoken += ctypes.string_at(samples, 2 * count)
        return 0
