"""Windows, prompts and limits of a Whisper decoding."""

import pytest

from malha.transcribe.engines.whisper_windows import (
    MAX_FRAMES,
    MAX_TEXT_TOKENS,
    WINDOWS,
    max_text_tokens,
    prompt_length,
    wider_window,
    window_frames,
)

_MEL_CHANNELS = {80, 128}


def test_no_window_encodes_to_as_many_steps_as_there_are_mel_channels() -> None:
    assert not {frames // 2 for frames in WINDOWS} & _MEL_CHANNELS
    assert all(frames % 2 == 0 for frames in WINDOWS)
    assert list(WINDOWS) == sorted(WINDOWS)


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0, 300), (2, 300), (2.01, 400), (4, 500), (4.5, 600), (10, 1200), (28.9, 3000), (30, 3000), (45, 3000)]
)
def test_a_window_holds_the_utterance_and_a_tail(seconds: float, frames: int) -> None:
    assert window_frames(int(seconds * 16_000)) == frames


def test_another_try_sees_twice_the_window_up_to_the_longest() -> None:
    assert [wider_window(frames) for frames in (300, 500, 1200, 2000, 3000)] == [600, 1000, 2500, MAX_FRAMES, MAX_FRAMES]


def test_a_prompt_is_cut_to_one_of_few_lengths() -> None:
    assert [prompt_length(tokens) for tokens in (0, 7, 8, 15, 16, 31, 32, 500)] == [0, 0, 8, 8, 16, 16, 32, 32]


def test_text_is_bounded_by_the_window_and_by_the_model() -> None:
    assert max_text_tokens(500) == 124
    assert max_text_tokens(3000) == MAX_TEXT_TOKENS
