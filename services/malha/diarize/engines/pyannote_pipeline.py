"""pyannote.audio's diarization pipeline, loaded from directories of this machine and from nowhere else.

A ``config.yaml`` names its models by folders of its own (``$model/segmentation``), by paths, or by ids of the hub: these are taken to the
directories that `malha models` has for them. The weights are pickles, which run what they hold: take them from whom you trust.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from pyannote.audio import Model
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization

from malha.diarize.engine import SAMPLE_RATE_HERTZ
from malha.diarize.engines.pyannote_clustering import most_voices, thinned
from malha.diarize.engines.pyannote_messages import WorkerOptions

WEIGHTS: Final = "pytorch_model.bin"
CPU_BATCH, GPU_BATCH = 1, 32
"""Chunks computed at once. On a CPU others wait for a batch, and it gains nothing."""
_OWN: Final = "$model"
_CLASSES: Final = ("SpeakerDiarization", "pyannote.audio.pipelines.SpeakerDiarization")


class UnusablePipeline(Exception):
    """What a directory holds cannot be loaded as a diarization pipeline; says why."""


class Pipeline(SpeakerDiarization):  # type: ignore[misc]  # pyannote.audio has no types
    """The pipeline, also on what its networks have made of a stream before: `get_segmentations` and `get_embeddings` take it from the file."""

    def get_segmentations(self, file: Mapping[str, Any], hook: Any = None) -> Any:
        return file["segmentations"] if "segmentations" in file else super().get_segmentations(file, hook=hook)

    def get_embeddings(self, file: Mapping[str, Any], binary_segmentations: Any, exclude_overlap: bool = False, hook: Any = None) -> Any:
        if "embeddings" in file:
            return file["embeddings"]
        return super().get_embeddings(file, binary_segmentations, exclude_overlap=exclude_overlap, hook=hook)


class _NoPlda(PLDA):  # type: ignore[misc]  # as above
    """Stands where a pipeline before pyannote 4 has none: left out, it would be fetched."""

    def __init__(self) -> None:
        """Nothing is loaded."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the networks take at once."""

    seconds: float
    step_seconds: float
    """From the beginning of one to that of the next."""
    speakers: int
    """That are told apart within one."""
    dimension: int
    """Of a voice's embedding."""

    @property
    def samples(self) -> int:
        return round(self.seconds * SAMPLE_RATE_HERTZ)

    @property
    def step(self) -> int:
        """Samples."""
        return round(self.step_seconds * SAMPLE_RATE_HERTZ)


class LoadedPipeline:
    """A pipeline on its device."""

    def __init__(self, options: WorkerOptions) -> None:
        """Raises UnusablePipeline."""
        torch.set_num_threads(options.threads)
        directory = Path(options.directory)
        config = _config(directory)
        told = dict(config["pipeline"]["params"])
        places = _Places(directory, options.models)
        weights = {name: places.weights(name, told.pop(name, None)) for name in ("segmentation", "embedding")}
        plda = places.plda(told.pop("plda", None))
        if plda is None and told.get("clustering", "VBxClustering") == "VBxClustering":
            raise UnusablePipeline("config.yaml names no plda, which VBxClustering needs")
        device = torch.device(_device(options.device))
        try:
            models = {name: Model.from_pretrained(path, strict=False) for name, path in weights.items()}
            pipeline = Pipeline(**told, **models, plda=_NoPlda() if plda is None else PLDA.from_pretrained(plda))
            pipeline.instantiate(config.get("params") or pipeline.default_parameters())
            self.pipeline = pipeline.to(device)
        except Exception as error:  # torch, lightning and pyannote raise what they like
            raise UnusablePipeline(f"pyannote.audio does not load it: {type(error).__name__}") from error
        clustering = pipeline.clustering
        clustering.filter_embeddings = thinned(clustering.filter_embeddings, most_voices(options.clustering_bytes))
        self.chunk = _chunk(pipeline)
        self.batch = GPU_BATCH if device.type == "cuda" else CPU_BATCH
        pipeline.segmentation_batch_size = self.batch
        pipeline.embedding_batch_size = self.batch * self.chunk.speakers
        with weights["embedding"].open("rb") as file:
            self.print_model = f"pyannote-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
        self.version = version("pyannote.audio")


class _Places:
    """Where what a ``config.yaml`` names lies."""

    def __init__(self, directory: Path, models: Mapping[str, str]) -> None:
        self._directory = directory
        self._models = models

    def weights(self, what: str, named: Any) -> Path:
        """The file of a model's weights."""
        path = self._path(what, named)
        path = path if path.is_file() else path / WEIGHTS
        if not path.is_file():
            raise UnusablePipeline(f"config.yaml's {what} is {path}, and there is no such file")
        return path

    def plda(self, named: Any) -> Path | None:
        """The PLDA's directory; None where none is named."""
        return None if named is None else self._path("plda", named)

    def _path(self, what: str, named: Any) -> Path:
        if isinstance(named, Mapping):
            named = "/".join(filter(None, (str(named.get("checkpoint", "")), named.get("subfolder"))))
        if not isinstance(named, str) or not named:
            raise UnusablePipeline(f"config.yaml names no {what}")
        head, _, rest = named.partition("/")
        if head == _OWN:
            return self._directory / rest
        for path in (Path(named), self._directory / named):
            if path.exists():
                return path
        plain = named.partition("@")[0]
        for repository, directory in self._models.items():
            if plain == repository or plain.startswith(f"{repository}/"):
                return Path(directory + plain[len(repository) :])
        raise UnusablePipeline(f"config.yaml's {what} is {plain}, which is not here: malha models pull {plain.lower()}")


def _config(directory: Path) -> dict[str, Any]:
    """Raises UnusablePipeline for anything but a diarization pipeline's."""
    try:
        config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
        name = config["pipeline"]["name"]
        if not isinstance(config["pipeline"]["params"], dict):
            raise TypeError
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError) as error:
        raise UnusablePipeline(f"config.yaml is not a pipeline's: {type(error).__name__}") from error
    if name not in _CLASSES:
        raise UnusablePipeline(f"config.yaml is of a {str(name)[:80]}, not of a {_CLASSES[0]}")
    return dict(config)


def _chunk(pipeline: Pipeline) -> Chunk:
    """Raises UnusablePipeline for models that this cannot be done with."""
    inference, embedding = pipeline._segmentation, pipeline._embedding  # noqa: SLF001 - a pipeline tells it nowhere else
    specifications = inference.model.specifications
    rates = {inference.model.audio.sample_rate, embedding.sample_rate}
    if not getattr(specifications, "powerset", False) or rates != {SAMPLE_RATE_HERTZ}:
        raise UnusablePipeline("its segmentation is older than pyannote's 3.0, or its models hear another rate than 16 kHz")
    return Chunk(float(inference.duration), float(inference.step), len(specifications.classes), int(embedding.dimension))


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise UnusablePipeline(f"MALHA_PYANNOTE_DEVICE is {asked}, and this machine's torch has no GPU")
    return asked
