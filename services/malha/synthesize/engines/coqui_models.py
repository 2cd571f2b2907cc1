"""The models coqui-tts runs, each as what a worker needs of it: XTTS-v2, which streams and clones, and VITS, which speaks a sentence whole.

Sampling is seeded by the sentence: repeated on another worker, it is the same speech in the same pieces.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from TTS.config import load_config
from TTS.tts.models.vits import Vits
from TTS.tts.models.xtts import Xtts

from malha.runtime.errors import FailedPrecondition
from malha.synthesize.engine import REFERENCE_HERTZ, Voice
from malha.synthesize.engines.coqui_messages import VITS, XTTS, Delivery, Timbre, WorkerOptions

Wave = NDArray[np.float32]

_TOKENS_A_PIECE: Final = 20
"""Of XTTS: 0.93 s of speech."""
_PIECE_SECONDS: Final = 0.5
"""Of VITS, which has the whole sentence by then."""


class Model(Protocol):
    """A loaded model, used by one thread and for one sentence at a time."""

    kind: str
    sample_rate_hertz: int
    voices: tuple[Voice, ...]
    languages: tuple[str, ...]

    def speak(self, sentence: str, delivery: Delivery) -> Iterator[Wave]:
        """Speak, from -1 to 1, in pieces as they are made."""


def load_model(options: WorkerOptions) -> Model:
    """Load what the directory holds. Raises FailedPrecondition for what is no model of these kinds."""
    torch.set_num_threads(options.threads)
    directory = Path(options.directory)
    kind = _kind(directory)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition(
            f"MALHA_COQUI_DEVICE={options.device}: torch sees no CUDA device here; set cpu or auto", reason="NO_SUCH_DEVICE"
        )
    return XttsModel(directory, device) if kind == XTTS else VitsModel(directory, device, options.language)


class XttsModel:
    """XTTS-v2: many languages, voices of its own where ``speakers_xtts.pth`` is there, and clones."""

    kind = XTTS

    def __init__(self, directory: Path, device: torch.device) -> None:
        self._config = load_config(str(directory / "config.json"))
        self._model = Xtts(self._config)
        self._model.load_checkpoint(self._config, checkpoint_dir=str(directory), eval=True)
        self._model.to(device)
        self.sample_rate_hertz = int(self._config.audio.output_sample_rate)
        self.languages = tuple(self._config.languages)
        manager = self._model.speaker_manager
        self._speakers: Mapping[str, Mapping[str, torch.Tensor]] = {} if manager is None else manager.speakers
        self.voices = tuple(Voice(name, self.languages) for name in self._speakers)

    def speak(self, sentence: str, delivery: Delivery) -> Iterator[Wave]:
        latent, embedding = self._conditioning(delivery)
        torch.manual_seed(crc32(sentence.encode()))
        for portion in self._portions(sentence, delivery.language):
            pieces = self._model.inference_stream(
                portion,
                delivery.language,
                latent,
                embedding,
                stream_chunk_size=_TOKENS_A_PIECE,
                temperature=self._config.temperature,
                length_penalty=self._config.length_penalty,
                repetition_penalty=self._config.repetition_penalty,
                top_k=self._config.top_k,
                top_p=self._config.top_p,
                speed=delivery.speed,
            )
            for piece in pieces:
                yield _wave(piece)

    def clone(self, pcm: bytes) -> Timbre:
        """The timbre of a reference at `REFERENCE_HERTZ`."""
        audio = torch.from_numpy(np.frombuffer(pcm, np.int16).astype(np.float32) / 32_768)[None]
        latent = self._model.get_gpt_cond_latents(
            audio, REFERENCE_HERTZ, length=self._config.gpt_cond_len, chunk_length=self._config.gpt_cond_chunk_len
        )
        embedding = self._model.get_speaker_embedding(audio, REFERENCE_HERTZ)
        return Timbre(latent.cpu().numpy(), embedding.cpu().numpy())

    def _conditioning(self, delivery: Delivery) -> tuple[torch.Tensor, torch.Tensor]:
        if delivery.timbre is not None:
            return torch.from_numpy(delivery.timbre.latent), torch.from_numpy(delivery.timbre.embedding)
        speaker = self._speakers[delivery.speaker]
        return speaker["gpt_cond_latent"], speaker["speaker_embedding"]

    def _portions(self, text: str, language: str) -> Iterator[str]:
        """The text in parts the model takes: one, but for numbers and the like, whose words are many times longer than they are."""
        text = text.strip()
        tokens = len(self._model.tokenizer.encode(text.lower(), lang=language))
        if tokens < self._model.args.gpt_max_text_tokens:
            yield text
        elif len(text) > 1:
            middle = text.rfind(" ", 1, len(text) // 2) + 1 or len(text) // 2
            yield from self._portions(text[:middle], language)
            yield from self._portions(text[middle:], language)


class VitsModel:
    """VITS: the voices and languages it was trained on."""

    kind = VITS

    def __init__(self, directory: Path, device: torch.device, language: str) -> None:
        config = load_config(str(directory / "config.json"))
        for name, file in (("speakers_file", "speakers.pth"), ("language_ids_file", "language_ids.json")):
            if (directory / file).is_file():  # where it was trained it lay elsewhere
                config[name] = config.model_args[name] = str(directory / file)
        self._model = Vits(config)
        self._model.load_checkpoint(config, str(directory / "model.pth"), eval=True)
        self._model.to(device)
        self._device = device
        self._length_scale = float(self._model.length_scale)
        self.sample_rate_hertz = int(config.audio.sample_rate)
        self._language_ids: Mapping[str, int] = self._model.language_manager.name_to_id if self._model.args.use_language_embedding else {}
        self.languages = tuple(self._language_ids) or (language or config.phoneme_language or _of_datasets(config),)
        if not self.languages[0]:
            raise FailedPrecondition(
                "the model's config.json names no language: set MALHA_COQUI_LANGUAGE to what it speaks, such as pt-br",
                reason="LANGUAGE_UNKNOWN",
            )
        speakers = getattr(self._model.speaker_manager, "name_to_id", None) or {}
        self.voices = tuple(Voice(name, self.languages) for name in speakers) or (Voice(directory.name, self.languages),)
        self._many = bool(speakers)

    def speak(self, sentence: str, delivery: Delivery) -> Iterator[Wave]:
        language = delivery.language if delivery.language in self._language_ids else None
        ids = self._model.tokenizer.text_to_ids(sentence.strip(), language=language)
        if not ids:
            return
        wave = self._whole(ids, delivery, crc32(sentence.encode()))
        size = int(_PIECE_SECONDS * self.sample_rate_hertz)
        for start in range(0, wave.size, size):
            yield wave[start : start + size]

    def _whole(self, ids: list[int], delivery: Delivery, seed: int) -> Wave:
        torch.manual_seed(seed)
        self._model.length_scale = self._length_scale / delivery.speed
        with torch.inference_mode():
            made = self._model.inference(torch.tensor([ids], device=self._device), aux_input=self._conditions(delivery, len(ids)))
        return _wave(made["model_outputs"])

    def _conditions(self, delivery: Delivery, length: int) -> dict[str, torch.Tensor | None]:
        manager = self._model.speaker_manager
        speaker = vector = None
        if self._many and self._model.args.use_d_vector_file:
            vector = torch.tensor(manager.get_mean_embedding(delivery.speaker), device=self._device)[None]
        elif self._many:
            speaker = torch.tensor([manager.name_to_id[delivery.speaker]], device=self._device)
        language = self._language_ids.get(delivery.language)
        return {
            "x_lengths": torch.tensor([length], device=self._device),
            "speaker_ids": speaker,
            "d_vectors": vector,
            "language_ids": None if language is None else torch.tensor([language], device=self._device),
            "durations": None,
        }


def _kind(directory: Path) -> str:
    try:
        kind = json.loads((directory / "config.json").read_text()).get("model", "")
    except (OSError, ValueError, AttributeError):
        kind = ""
    if kind not in {VITS, XTTS}:
        raise FailedPrecondition(f"{directory} holds no VITS and no XTTS model: its config.json must say which", reason="MODEL_UNKNOWN")
    return str(kind)


def _of_datasets(config: Any) -> str:
    return next((dataset.language for dataset in config.datasets if dataset.language), "")


def _wave(tensor: torch.Tensor) -> Wave:
    wave: Wave = tensor.detach().float().cpu().numpy().ravel()
    return wave
