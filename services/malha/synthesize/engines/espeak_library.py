"""The espeak-ng library of the ``espeakng-loader`` wheel, by ctypes (its interface: espeak-ng/speak_lib.h, version 1.52).

Its state is global, so one thread of a process uses it. Speech is computed inside `EspeakLibrary.speak`, which hands it over buffer by buffer.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Final

import espeakng_loader

BUFFER_MILLISECONDS: Final = 50
PCM_SAMPLE_BYTES: Final = 2

_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_INITIALIZE_DONT_EXIT: Final = 0x8000
_CHARS_UTF8: Final = 0x01
_ENDPAUSE: Final = 0x1000
_POS_CHARACTER: Final = 1
_RATE: Final = 1
_EVENT_LIST_TERMINATED: Final = 0
_EVENT_WORD: Final = 1
_EE_OK: Final = 0
_MAX_PATH: Final = 140
"""The library keeps its data path in 160 bytes, together with names of files in it."""

Receive = Callable[[bytes, list[tuple[int, int]]], bool]
"""Takes a buffer of 16-bit mono PCM and the words that begin in it (index into the text, sample from its start); False stops the speech."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # a priority byte and a name, again and again; a zero priority ends it
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class EspeakError(RuntimeError):
    """The library refused a call: its data are missing or damaged (reinstall ``espeakng-loader``), or a voice does not exist."""


class EspeakLibrary:
    """Loads the library and its data. Raises EspeakError if the data cannot be read."""

    def __init__(self, data_path: str | None = None) -> None:
        self._library = _load()
        self._receive: Receive | None = None
        self._failure: Exception | None = None
        path = _short_path(data_path or espeakng_loader.get_data_path())
        self.sample_rate_hertz: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MILLISECONDS, os.fsencode(path), _INITIALIZE_DONT_EXIT
        )
        if self.sample_rate_hertz <= 0:
            raise EspeakError("espeak-ng cannot read its data")
        self._library.espeak_ng_SetRandSeed(1)  # it took the time of day: voices with breath in them would differ from start to start
        # A voice is found by the name of its file, which for en-gb is `en`.
        self._files = {next(_languages(voice)): _file_name(voice) for voice in self._voices(None)}
        self._callback = _Callback(self._on_audio)  # kept: the library holds a bare pointer to it
        self._library.espeak_SetSynthCallback(self._callback)

    @property
    def version(self) -> str:
        version: bytes = self._library.espeak_Info(None)
        return version.decode()

    @property
    def languages(self) -> frozenset[str]:
        """Names of the languages there are voices for: ``pt-br``."""
        return frozenset(self._files)

    def variants(self) -> frozenset[str]:
        """Names of the voice variants: ``f2``."""
        wanted = ctypes.create_string_buffer(b"variant")
        spec = _Voice(languages=ctypes.cast(wanted, ctypes.c_void_p).value)
        return frozenset(_file_name(voice) for voice in self._voices(ctypes.byref(spec)))

    def select(self, language: str, variant: str, words_per_minute: int) -> None:
        """Choose voice and pace (80 to 450) of what is spoken next; ``variant`` may be empty. Raises EspeakError for what does not exist."""
        voice = "+".join(filter(None, (self._files.get(language, language), variant)))
        if self._library.espeak_SetVoiceByName(voice.encode()) != _EE_OK:
            raise EspeakError("no such voice")
        self._library.espeak_SetParameter(_RATE, words_per_minute, 0)

    def speak(self, text: str, receive: Receive) -> None:
        """Speak a text as it stands (no SSML, no phonemes), a pause behind it; ``receive`` is called on this thread until all is spoken.

        Raises what ``receive`` raised.
        """
        encoded = text.encode() + b"\0"
        self._receive, self._failure = receive, None
        try:
            status = self._library.espeak_Synth(encoded, len(encoded), 0, _POS_CHARACTER, 0, _CHARS_UTF8 | _ENDPAUSE, None, None)
        finally:
            self._receive = None
        if self._failure is not None:
            raise self._failure
        if status != _EE_OK:
            raise EspeakError("espeak-ng cannot speak this text")

    def _on_audio(self, samples: int | None, count: int, events: "ctypes._Pointer[_Event]") -> int:
        """The library's callback; 1 tells it to stop. An exception must not cross into it."""
        assert self._receive is not None
        try:
            pcm = ctypes.string_at(samples, count * PCM_SAMPLE_BYTES) if samples and count > 0 else b""
            return 0 if self._receive(pcm, list(_words(events))) else 1
        except Exception as error:
            self._failure = error
            return 1

    def _voices(self, spec: object) -> Iterator[_Voice]:
        voices = self._library.espeak_ListVoices(spec)
        index = 0
        while voices[index]:
            yield voices[index].contents
            index += 1


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_Info.argtypes = [ctypes.c_void_p]
    library.espeak_Info.restype = ctypes.c_char_p
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_ListVoices.argtypes = [ctypes.c_void_p]
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    return library


def _short_path(path: str) -> str:
    """The same directory by a path the library has room for."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        return path
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)  # stays open as long as the process
    return f"/proc/self/fd/{descriptor}"


def _words(events: "ctypes._Pointer[_Event]") -> Iterator[tuple[int, int]]:
    index = 0
    while (event := events[index]).type != _EVENT_LIST_TERMINATED:
        if event.type == _EVENT_WORD:
            yield event.text_position - 1, event.sample
        index += 1


def _file_name(voice: _Voice) -> str:
    identifier: bytes = voice.identifier
    return identifier.decode(errors="replace").rpartition("/")[2]


def _languages(voice: _Voice) -> Iterator[str]:
    address: int | None = voice.languages
    while address is not None and ctypes.string_at(address, 1) != b"\0":
        name = ctypes.string_at(address + 1)
        yield name.decode(errors="replace")
        address += len(name) + 2
