"""Adaptation of the acoustic model's means to clear call speech, by MAP (Gauvain and Lee 1994, eq. 24, with fixed weights and variances).

The wheel's model was trained on people; speech that is synthetic, gated or band-limited lies beside its means. Sentences of the text are
spoken, given the recogniser's own noise floor, and aligned with PocketSphinx; each Gaussian's mean then moves towards the frames it
accounts for, by as much as there are many of them: ``(tau * mean + sum of frames) / (tau + number of frames)``.
"""

import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from malha.transcribe.engine import SAMPLE_RATE_HERTZ
from malha.transcribe.engines.pocketsphinx_frontend import LONGEST_OPENING_SECONDS, examine_whole
from malha.transcribe.language_model.acoustic import CEPSTRA, FOLDER, AcousticModel, Floats, features
from malha.transcribe.language_model.speech import Speaker, Utterance

VOICES: Final = ("en-us", *(f"en-us+{variant}" for variant in ("f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m5", "m6")))
"""Not f5 and m7: word error rates are measured with voices that the means never met, too."""
_TELL_EACH: Final = 100
_OPENING_BYTES: Final = round(2 * SAMPLE_RATE_HERTZ * LONGEST_OPENING_SECONDS)


@dataclass(frozen=True)
class Adaptation:
    """How much is spoken, and how far the means move. Chosen on the development sentences of ``heldout_calls.txt``."""

    sentences: int = 400
    shortest_words: int = 4
    longest_words: int = 14
    telephone_share: float = 0.5
    tau: float = 20.0
    """So many frames the wheel's mean counts for."""


@dataclass(frozen=True, slots=True)
class Occupation:
    """What the frames say of each Gaussian: how many it accounts for, (phone, stream, Gaussian), and their sum, (..., feature)."""

    frames: Floats
    total: Floats


Stretch = tuple[str, int, int, int]
"""A phone, a senone, the first frame and the number of frames."""


def plan(sentences: Iterable[Sequence[str]], adaptation: Adaptation) -> list[Utterance]:
    """Which sentences are spoken, and how: the ones with the lowest checksums, so that few change when the text does."""
    fitting = {tuple(words) for words in sentences if adaptation.shortest_words <= len(words) <= adaptation.longest_words}
    chosen = sorted(fitting, key=lambda words: (zlib.crc32(" ".join(words).encode()), words))[: adaptation.sentences]
    return [_utterance(words, index, adaptation) for index, words in enumerate(chosen)]


def digest(utterances: Sequence[Utterance], adaptation: Adaptation) -> str:
    """Names everything of this project that the means depend on."""
    return hashlib.sha256("\n".join(map(repr, (adaptation, *utterances))).encode()).hexdigest()


def adapt(model: AcousticModel, utterances: Sequence[Utterance], dictionary: Path, tau: float, tell: Callable[[str], None]) -> Floats:
    """The means after MAP. The words must be in ``dictionary``; ``tell`` is told now and then how far it is."""
    occupation = Occupation(np.zeros(model.means.shape[:3]), np.zeros(model.means.shape))
    heard = 0
    for spoken, (cepstra, stretches) in enumerate(_aligned(utterances, dictionary), start=1):
        _count(model, features(cepstra), stretches, occupation)
        heard += bool(stretches)
        if not spoken % _TELL_EACH or spoken == len(utterances):
            tell(f"{spoken} of {len(utterances)} sentences spoken, {heard} of them aligned")
    return update(model.means, occupation, tau)


def update(means: Floats, occupation: Occupation, tau: float) -> Floats:
    """The maximum a posteriori estimate."""
    moved: Floats = (tau * means + occupation.total) / (tau + occupation.frames[..., None])
    return moved


def _utterance(words: tuple[str, ...], index: int, adaptation: Adaptation) -> Utterance:
    choices = np.random.RandomState(index)  # frozen by NumPy's promise
    return Utterance(
        words=words,
        voice=VOICES[index % len(VOICES)],
        words_per_minute=int(choices.randint(140, 190)),
        pitch=int(choices.randint(38, 62)),
        attenuation_db=round(float(choices.uniform(0, 12)), 1),
        silence_seconds=(round(float(choices.uniform(0.15, 0.4)), 2), round(float(choices.uniform(0.15, 0.4)), 2)),
        telephone=float(choices.uniform()) < adaptation.telephone_share,
    )


def _aligned(utterances: Iterable[Utterance], dictionary: Path) -> Iterator[tuple[NDArray[np.float32], list[Stretch]]]:
    """Cepstra of each utterance, (frame, cepstrum), and which senones its frames belong to: none where it cannot be aligned."""
    speaker = Speaker()
    with tempfile.TemporaryDirectory() as folder:
        decoder = _aligner(dictionary, folder)
        for utterance in utterances:
            pcm = speaker.speak(utterance)
            pcm = examine_whole(pcm[:_OPENING_BYTES]).apply(pcm, 0)
            try:
                stretches = _align(decoder, pcm, " ".join(utterance.words))
            except RuntimeError:  # its search found no way through, and the decoder is not to be used again
                decoder = _aligner(dictionary, folder)
                stretches = []
            log = max(Path(folder).glob("*.mfc"))
            cepstra = np.frombuffer(log.read_bytes()[4:], ">f4")
            for path in Path(folder).glob("*.mfc"):
                path.unlink()
            yield cepstra.reshape(-1, CEPSTRA).astype(np.float32), stretches


def _aligner(dictionary: Path, folder: str) -> Any:
    """A decoder that logs its cepstra in the folder."""
    return pocketsphinx.Decoder(
        hmm=str(FOLDER),
        dict=str(dictionary),
        lm=None,
        samprate=SAMPLE_RATE_HERTZ,
        bestpath=False,  # its marks of sentence ends are too short for a phone's three states
        mfclogdir=folder,
        loglevel="FATAL",
    )


def _align(decoder: Any, pcm: bytes, text: str) -> list[Stretch]:
    """Raises RuntimeError where the speech and the text cannot be brought together."""
    decoder.set_align_text(text)
    _decode(decoder, pcm)
    decoder.set_alignment()
    _decode(decoder, pcm)
    return [
        (phone.name, int(state.name), state.start, state.duration) for word in decoder.get_alignment() for phone in word for state in phone
    ]


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _count(model: AcousticModel, frames: Floats, stretches: Sequence[Stretch], into: Occupation) -> None:
    """Add each frame to the Gaussians of its phone, by their posteriors in its senone."""
    phones = {name: index for index, name in enumerate(model.phones)}
    for name, senone, start, duration in stretches:
        phone, heard = phones[name], frames[start : start + duration]
        variances = model.variances[phone]
        distance = (heard[:, :, None, :] - model.means[phone]) ** 2 / variances + np.log(variances)
        score = model.log_weights[:, :, senone] - distance.sum(-1) / 2
        posterior = np.exp(score - score.max(-1, keepdims=True))
        posterior /= posterior.sum(-1, keepdims=True)
        into.frames[phone] += posterior.sum(0)
        into.total[phone] += np.einsum("tsg,tsf->sgf", posterior, heard)
