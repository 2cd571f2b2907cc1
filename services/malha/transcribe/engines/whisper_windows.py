"""How much audio, prompt and text one Whisper decoding may hold. Pure arithmetic, used on both sides of the worker's pipe.

Whisper is trained on windows of 30 s, but its encoder takes any length, and its cost grows faster than its length: padding a 4 s utterance to
30 s costs about 20 times the encoder's work. So a window is the utterance and a tail of silence, rounded up to one of ``WINDOWS``. The
rounding never looks at the neighbours in a batch: an utterance is decoded from the same numbers alone or in company, and gives the same text.
"""

from bisect import bisect_left

FRAMES_PER_SECOND = 100
SAMPLES_PER_FRAME = 160
MAX_FRAMES = 3000
MAX_UTTERANCE_SECONDS = MAX_FRAMES / FRAMES_PER_SECOND
"""An utterance longer than this is cut by who calls the engine."""

WINDOWS = (300, 400, 500, 600, 800, 1000, 1200, 1500, 2000, 2500, MAX_FRAMES)
"""Window lengths in mel frames of 10 ms.

Half of a length (the encoder's stride is 2) may never equal the number of mel channels, 80 or 128: CTranslate2 would take the encoder's output
for mel features again, without an error. Nothing shorter than 3 s: Whisper falls into repetition on very short windows.
"""

TAIL_FRAMES = 100
"""Silence wanted after the utterance: Whisper loses or repeats words that end at the window's edge."""

PROMPT_LENGTHS = (0, 8, 16, 32)
"""Numbers of prompt tokens. CTranslate2 batches only prompts of one length, so prompts are cut to one of few."""

MAX_TEXT_TOKENS = 224
"""Half of Whisper's text context; the other half is for the prompt."""

_TOKENS_PER_SECOND = 20
_SPARE_TOKENS = 24


def window_frames(samples: int) -> int:
    """Frames of the window for an utterance of ``samples`` at 16 kHz; those beyond ``MAX_FRAMES`` have no place in it."""
    wanted = -(-samples // SAMPLES_PER_FRAME) + TAIL_FRAMES
    return WINDOWS[min(bisect_left(WINDOWS, wanted), len(WINDOWS) - 1)]


def wider_window(frames: int) -> int:
    """Frames of the window for another try: twice as long. What makes Whisper repeat itself in a short window is often gone in a longer one."""
    return WINDOWS[min(bisect_left(WINDOWS, 2 * frames), len(WINDOWS) - 1)]


def prompt_length(tokens: int) -> int:
    """How many of a prompt's last tokens are used."""
    return max(length for length in PROMPT_LENGTHS if length <= tokens)


def max_text_tokens(frames: int) -> int:
    """Tokens after which a decoding stops: more than the fastest speech in languages of several tokens a letter, less than a runaway's."""
    return min(MAX_TEXT_TOKENS, _SPARE_TOKENS + _TOKENS_PER_SECOND * frames // FRAMES_PER_SECOND)
