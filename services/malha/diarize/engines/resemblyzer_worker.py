"""resemblyzer's network in a worker process. It keeps nothing between two questions, so a worker that dies costs a repetition."""

from collections.abc import Iterator

import numpy as np

from malha.diarize.clustering import group
from malha.diarize.engines.resemblyzer_messages import BATCH, Grouping, Windows, WorkerOptions
from malha.diarize.engines.resemblyzer_network import Network
from malha.diarize.engines.resemblyzer_weights import UnreadableWeights, read
from malha.runtime.worker import PAUSE


class ResemblyzerWorker:
    """The loaded network."""

    def __init__(self, options: WorkerOptions) -> None:
        """Raises FailedPrecondition if the weights cannot be read."""
        try:
            self._network = Network(read(options.weights))
        except UnreadableWeights as error:
            raise _unusable(options, error) from error
        self.info = "resemblyzer"

    def open(self, arguments: object) -> "_Questions":
        del arguments
        return _Questions(self._network)


class _Questions:
    def __init__(self, network: Network) -> None:
        self._network = network

    def feed(self, item: object) -> Iterator[object]:
        match item:
            case Windows(pcm):
                prints = []
                for at in range(0, len(pcm), BATCH):
                    if at:
                        yield PAUSE
                    prints.append(self._network.prints([np.frombuffer(window, "<i2") for window in pcm[at : at + BATCH]]))
                yield np.concatenate(prints)
            case Grouping(prints, weights, max_speakers):
                yield group(prints, weights, max_speakers)
            case _:
                raise TypeError("a question is Windows or Grouping")

    def finish(self) -> Iterator[object]:
        return iter(())

    def close(self) -> None:
        """Nothing is kept between questions."""


def create_worker(options: WorkerOptions) -> ResemblyzerWorker:
    """The factory the engine host calls in its worker."""
    return ResemblyzerWorker(options)


def _unusable(options: WorkerOptions, error: Exception) -> Exception:
    from malha.diarize.engines.resemblyzer_weights import COMMAND  # noqa: PLC0415 - only on the way out
    from malha.runtime.errors import FailedPrecondition  # noqa: PLC0415 - brings grpc, 20 MB that a loaded worker has no use for

    return FailedPrecondition(f"{options.weights} cannot be used ({error}): {COMMAND}", reason="MODEL_UNUSABLE")
