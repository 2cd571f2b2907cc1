"""Two people, spoken by the embedded synthesiser, and the dialogues they have."""

import io
import wave
from collections.abc import Sequence

import numpy as np
import soxr

from malha.synthesize.engine import SpeechConfig
from malha.synthesize.engines.espeak import EspeakEngine
from malha.synthesize.settings import SynthesizeSettings

RATE = 16_000
ANA = [
    "Good morning, this is the service desk, how may I help you today?",
    "I see, and when did you first notice that the invoice was wrong?",
    "Thank you very much, I will look into it and call you back tomorrow.",
    "Please have a look at the letter that we sent you in September.",
]
RUI = [
    "Hello, I am calling because I was charged twice for the same order.",
    "It must have been two weeks ago, right after I had changed my address.",
    "That would be great, because I have been waiting for quite a while now.",
    "No, I did not get any letter, and nobody told me about it either.",
]
"""What they say."""


class Talkers:
    """Sentences of two people, 16 kHz int16, and how they are put together."""

    def __init__(self, ana: Sequence[np.ndarray], rui: Sequence[np.ndarray]) -> None:
        self.ana, self.rui = ana, rui

    def alone(self, who: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([part for sentence in who for part in (sentence, pause(0.4))])

    def dialogue(self, pauses: float = 0.5) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
        """All of it, by turns; and who speaks when."""
        parts, truth, at = [pause(pauses)], [], pauses
        for pair in zip(self.ana, self.rui, strict=True):
            for name, sentence in zip(("ana", "rui"), pair, strict=True):
                truth.append((at, at + len(sentence) / RATE, name))
                parts += [sentence, pause(pauses)]
                at += len(sentence) / RATE + pauses
        return np.concatenate(parts), truth


def pause(seconds: float) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(int(seconds * RATE)) * 8).astype(np.int16)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


async def spoken() -> Talkers:
    """Have them speak."""
    engine = EspeakEngine(SynthesizeSettings(_env_file=None))
    await engine.start()
    try:
        rate = engine.capabilities.sample_rate_hertz
        voices = []
        for voice, sentences in (("en-us+f2", ANA), ("en-gb", RUI)):
            config = SpeechConfig("default", voice, "en")
            spoken = [b"".join([chunk.pcm async for chunk in engine.speak(config, text)]) for text in sentences]
            voices.append([_trimmed(soxr.resample(np.frombuffer(pcm, "<i2"), rate, RATE)) for pcm in spoken])
        return Talkers(*voices)
    finally:
        await engine.close()


def _trimmed(samples: np.ndarray) -> np.ndarray:
    """Without the silence around it."""
    loud = np.flatnonzero(np.abs(samples) > 300)
    return samples[loud[0] : loud[-1] + 1]
