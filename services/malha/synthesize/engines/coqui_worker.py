"""The worker side of the coqui engine: a model in a process of its own, one sentence after the other."""

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

from malha.runtime import logs
from malha.runtime.errors import FailedPrecondition, MalhaError
from malha.runtime.worker import Worker, WorkerStream
from malha.synthesize.engine import SpeechChunk
from malha.synthesize.engines.coqui_messages import Cloning, Delivery, Loaded, Timbre, WorkerOptions
from malha.synthesize.engines.coqui_models import Model, XttsModel, load_model


def load(options: object) -> Worker:
    """The engine host's factory. Raises FailedPrecondition where the model cannot be loaded."""
    assert isinstance(options, WorkerOptions)
    logs.configure("ERROR")  # coqui-tts would log characters of the text; ours tell where, never what
    try:
        return _CoquiWorker(load_model(options))
    except MalhaError:
        raise
    except Exception as error:
        raise FailedPrecondition(
            f"the model in MALHA_COQUI_MODEL cannot be loaded ({type(error).__name__}): malha models verify checks its files;"
            " a VITS model with phonemes also needs: apt-get install espeak-ng",
            reason="MODEL_UNUSABLE",
        ) from error


class _CoquiWorker:
    def __init__(self, model: Model) -> None:
        self._model = model
        self.info = Loaded(version("coqui-tts"), model.kind, model.sample_rate_hertz, model.voices, model.languages)

    def open(self, arguments: object) -> WorkerStream:
        if isinstance(arguments, Cloning):
            assert isinstance(self._model, XttsModel)
            return _CloneStream(self._model)
        assert isinstance(arguments, Delivery)
        return _SentenceStream(self._model, arguments)


class _SentenceStream:
    """Each input is a sentence, each output a `SpeechChunk`."""

    def __init__(self, model: Model, delivery: Delivery) -> None:
        self._model = model
        self._delivery = delivery

    def feed(self, item: object) -> Iterator[SpeechChunk]:
        assert isinstance(item, str)
        if not any(character.isalnum() for character in item):  # the models make noise of it
            return
        for wave in self._model.speak(item, self._delivery):
            yield SpeechChunk(np.round(np.clip(wave, -1, 1) * 32_767).astype("<i2").tobytes())

    def finish(self) -> Iterator[SpeechChunk]:
        return iter(())

    def close(self) -> None:
        """Nothing is held."""


class _CloneStream:
    """The input is a reference's PCM, the output its `Timbre`."""

    def __init__(self, model: XttsModel) -> None:
        self._model = model

    def feed(self, item: object) -> Iterator[Timbre]:
        assert isinstance(item, bytes)
        yield self._model.clone(item)

    def finish(self) -> Iterator[Timbre]:
        return iter(())

    def close(self) -> None:
        """Nothing is held."""
