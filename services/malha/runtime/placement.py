"""``placement.toml``: which models lie on which devices of this machine, and in how many replicas.

Transcribe makes the replicas it names. What it gives to the language model is kept free of them; ``malha serve llm`` starts vLLM there.
"""

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from malha.runtime.errors import FailedPrecondition
from malha.runtime.settings import MalhaSettings

CPU: Final = "cpu"
COMPUTE_TYPES: Final = ("default", "int8", "int8_float32", "int8_float16", "int16", "float16", "float32")
"""CTranslate2's, but for those of bfloat16, which the Whisper engine does not take. ``default``: int8 on a CPU, float16 on a GPU."""
GPU_TYPES: Final = frozenset({"int8_float16", "float16"})

Device = Annotated[str, StringConstraints(pattern=r"^(cpu|cuda:(0|[1-9][0-9]?))$")]


def _once(devices: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [device for device, count in Counter(devices).items() if count > 1]:
        raise ValueError(f"{twice[0]} stands here twice: `replicas` says how many")
    return devices


Devices = Annotated[tuple[Device, ...], Field(min_length=1, max_length=64), AfterValidator(_once)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Replicas(_Strict):
    """A speech recogniser's model, as often as it is wanted on each of some devices."""

    model: str = Field(min_length=1, max_length=256)
    """A name under the models directory (``whisper/medium``), or a directory."""
    devices: Devices
    replicas: int = Field(1, ge=1, le=64)
    """On each of the devices; each is a process."""
    compute_type: str = "default"
    """A compute type of CTranslate2, such as ``int8_float16``."""
    threads: int = Field(0, ge=0, le=64)
    """CPU threads of a replica; 0: half of the cores, shared between all."""
    memory_gb: float | None = Field(None, gt=0)
    """Of one replica, where it is known: their sum must fit into their device."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.compute_type not in COMPUTE_TYPES:
            raise ValueError(f"compute_type `{self.compute_type}` is none of {', '.join(COMPUTE_TYPES)}")
        if CPU in self.devices and self.compute_type in GPU_TYPES:
            raise ValueError(f"compute_type `{self.compute_type}` needs a GPU: on a cpu there are int8, int16, float32")
        return self


class LanguageModel(_Strict):
    """The devices of a language model: it takes all their memory."""

    deployment: str = Field("", max_length=128)
    """As ``models.toml`` calls it; empty: whichever is served."""
    devices: Devices


class Hardware(_Strict):
    """What is known of a device."""

    memory_gb: float = Field(gt=0)


class PlacementSettings(MalhaSettings):
    """Where the file is."""

    placement_file: Path | None = Field(
        None,
        description="placement.toml: which models lie on which devices, in how many replicas. "
        "For Transcribe it stands for MALHA_WHISPER_MODEL, _DEVICE, _COMPUTE_TYPE, _THREADS and _WORKERS.",
    )


class Placement(_Strict):
    """The whole file."""

    transcribe: tuple[Replicas, ...] = ()
    llm: tuple[LanguageModel, ...] = ()
    devices: dict[Device, Hardware] = {}
    """Sizes of devices, to check that what is placed there fits."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_owners()
        placed = Counter((entry.model, device) for entry in self.transcribe for device in entry.devices)
        if twice := [pair for pair, count in placed.items() if count > 1]:
            model, device = twice[0]
            raise ValueError(f"{model} is placed on {device} twice: `replicas` says how many")
        for device, hardware in self.devices.items():
            wanted = sum(memory for memory in self._wanted(device))
            if wanted > hardware.memory_gb:
                raise ValueError(f"{device} has {hardware.memory_gb:g} GB, and what is placed there takes {wanted:g}")
        return self

    def _check_owners(self) -> None:
        """A GPU has one kind of model: vLLM takes all memory it finds."""
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for number, entry in enumerate(self.transcribe, 1):
            for device in entry.devices:
                owners[device].append(f"transcribe {number}")
        for number, model in enumerate(self.llm, 1):
            for device in model.devices:
                if device == CPU:
                    raise ValueError(f"llm {number}: a language model is placed on GPUs")
                if owners[device]:
                    raise ValueError(f"{device} is given to {owners[device][0]} and to llm {number}: a GPU has one of them")
                owners[device].append(f"llm {number}")

    def _wanted(self, device: str) -> Iterator[float]:
        return (entry.replicas * entry.memory_gb for entry in self.transcribe if device in entry.devices and entry.memory_gb is not None)

    def gpus_of(self, deployment: str) -> tuple[int, ...]:
        """Numbers of the GPUs that a deployment of the language model has; none: nothing is said of it."""
        fitting = [entry for entry in self.llm if entry.deployment in {deployment, ""}]
        chosen = next((entry for entry in fitting if entry.deployment), fitting[0] if fitting else None)
        return () if chosen is None else tuple(int(device.partition(":")[2]) for device in chosen.devices)


def read_placement(file: Path) -> Placement:
    """Raises FailedPrecondition (PLACEMENT_UNREADABLE, PLACEMENT_INVALID) that names the place."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise FailedPrecondition(f"cannot read {file}: {why}", reason="PLACEMENT_UNREADABLE") from None
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at [^)]*\)", str(error))
        raise FailedPrecondition(f"{file} is not TOML {place[0] if place else ''}".rstrip(), reason="PLACEMENT_INVALID") from None
    try:
        return Placement.model_validate(data)
    except ValidationError as error:
        wrong = {
            ".".join(map(str, found["loc"])) or "file": found["msg"].removeprefix("Value error, ")
            for found in error.errors(include_input=False, include_url=False)
        }
        told = "; ".join(f"{place}: {what}" for place, what in wrong.items())
        raise FailedPrecondition(f"{file}: {told}", reason="PLACEMENT_INVALID", violations=wrong) from None
