"""A channel's audio in files by the minute of the media, whatever comes twice, late, or never."""

import numpy as np
import pytest

from malha.recording.encoder import OpusFile, Samples, decode
from malha.recording.tape import Piece, Tape
from malha.runtime.errors import InvalidArgument

RATE = 8_000


def tone(seconds: float, hertz: float = 440, rate: int = RATE) -> Samples:
    return (np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate) * 8000).astype(np.int16)


class Kept:
    """A tape and the last state of each of its files."""

    def __init__(self, checkpoint_seconds: float = 1000) -> None:
        self.told: list[Piece] = []
        self.tape = Tape(0, 24_000, checkpoint_seconds, self.told.append)

    def files(self) -> list[tuple[int, int]]:
        return [(piece.start_ms, piece.duration_ms) for piece in {piece.start_ms: piece for piece in self.told}.values()]


def loud(samples: Samples, rate: int = RATE) -> list[bool]:
    """Of each second, whether it is loud."""
    return [bool(np.sqrt(np.mean(second.astype(float) ** 2)) > 1000) for second in np.split(samples, range(rate, samples.size, rate))]


def test_files_end_with_the_minute_of_the_media() -> None:
    kept = Kept()
    for at in np.arange(42.5, 130, 0.5):
        kept.tape.add(tone(0.5), float(at), RATE)
    kept.tape.seal()
    assert kept.files() == [(42_500, 17_500), (60_000, 60_000), (120_000, 10_000)]
    assert abs(decode(kept.told[1].content, RATE).size - 60 * RATE) <= RATE // 50


def test_one_large_piece_is_cut_too() -> None:
    kept = Kept()
    kept.tape.add(tone(150), 0, RATE)
    kept.tape.seal()
    assert kept.files() == [(0, 60_000), (60_000, 60_000), (120_000, 30_000)]


def test_a_hole_is_silence_and_what_comes_again_is_left_out() -> None:
    kept = Kept()
    kept.tape.add(tone(2), 0, RATE)
    kept.tape.add(tone(2), 4, RATE)
    kept.tape.add(tone(3), 4, RATE)
    kept.tape.add(tone(1), 1, RATE)
    kept.tape.seal()
    assert kept.files() == [(0, 7_000)]
    assert loud(decode(kept.told[0].content, RATE)[: 7 * RATE]) == [True, True, False, False, True, True, True]


def test_a_hole_beyond_the_minute_begins_another_file() -> None:
    kept = Kept()
    kept.tape.add(tone(2), 10, RATE)
    kept.tape.add(tone(2), 3610, RATE)
    kept.tape.seal()
    assert kept.files() == [(10_000, 2_000), (3_610_000, 2_000)]


def test_a_checkpoint_can_be_played() -> None:
    kept = Kept(checkpoint_seconds=5)
    for at in range(12):
        kept.tape.add(tone(1), at, RATE)
    assert [piece.duration_ms for piece in kept.told] == [5_000, 10_000]
    assert decode(kept.told[-1].content, RATE).size >= 8 * RATE
    kept.tape.seal()
    assert kept.told[-1].duration_ms == 12_000


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 32_000, 44_100, 48_000])
def test_every_rate_is_heard_again_as_it_was(rate: int) -> None:
    file = OpusFile(rate, 24_000)
    for second in np.split(tone(5, rate=rate), 5):
        file.add(second)
    heard = decode(file.finish(), 16_000)[: 5 * 16_000]
    spectrum = np.abs(np.fft.rfft(heard[16_000:48_000]))
    assert abs(float(np.argmax(spectrum)) / 2 - 440) < 2
    assert abs(heard.size - 80_000) < 2_000


@pytest.mark.parametrize("seconds", [-1.0, 1e12, float("nan"), float("inf")])
def test_a_place_no_call_has_is_passed_over(seconds: float) -> None:
    kept = Kept()
    kept.tape.add(tone(1), seconds, RATE)
    kept.tape.seal()
    assert kept.told == []


def test_a_new_rate_begins_another_file() -> None:
    kept = Kept()
    kept.tape.add(tone(1), 0, RATE)
    kept.tape.add(tone(1, rate=16_000), 1, 16_000)
    kept.tape.seal()
    assert kept.files() == [(0, 1_000), (1_000, 1_000)]


@pytest.mark.parametrize("content", [b"", b"OggS", bytes(1000), OpusFile(RATE, 24_000).finish()[:60]])
def test_what_is_no_file_is_told(content: bytes) -> None:
    with pytest.raises(InvalidArgument):
        decode(content, 16_000)
