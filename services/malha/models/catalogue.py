"""Models Malha knows how to fetch: where each lies, what it weighs, and under which licence.

Revision, size and SHA-256 of the weights are pinned, so that no hub or mirror can hand out other weights under the same name. The pins are
those that several independent public projects record for these repositories. The other files of a model are checked against what the hub
states for the pinned revision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from malha.runtime.errors import NotFound


@dataclass(frozen=True, slots=True)
class Pin:
    """What a file must be, whatever the hub says."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be pulled."""

    name: str
    """``family/variant``: also its folder under the models directory."""
    title: str
    repository: str
    """On the hub, ``owner/name``."""
    revision: str
    """Commit of the repository, or a branch where no pin is known."""
    size_bytes: int
    """Of all its files together."""
    licence: str
    """SPDX identifier."""
    languages: str
    """For people."""
    pins: Mapping[str, Pin] = field(default_factory=dict)

    @property
    def files(self) -> "Files":
        """What is fetched of it."""
        return FAMILIES[self.name.partition("/")[0]]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a kind of model, by patterns."""

    required: tuple[str, ...]
    """A model without a match for each of these is not whole."""
    optional: tuple[str, ...] = ()


FAMILIES: Mapping[str, Files] = MappingProxyType(
    {
        "whisper": Files(required=("model.bin", "config.json", "tokenizer.json", "vocabulary.*"), optional=("preprocessor_config.json",)),
    }
)
"""By the first part of a model's name."""


def find(name: str) -> Model:
    """The model of this name. Raises NotFound naming those there are."""
    try:
        return MODELS[name]
    except KeyError:
        raise NotFound(f"no model {name!r}: there are {', '.join(MODELS)}", reason="UNKNOWN_MODEL") from None


def _whisper(variant: str, repository: str, revision: str, size_bytes: int, weights: Pin, *, languages: str = "99 languages") -> Model:
    """A CTranslate2 conversion of OpenAI's Whisper, weights in float16."""
    return Model(
        name=f"whisper/{variant}",
        title=f"Whisper {variant}",
        repository=repository,
        revision=revision,
        size_bytes=size_bytes,
        licence="MIT",
        languages=languages,
        pins=MappingProxyType({"model.bin": weights}),
    )


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        model.name: model
        for model in (
            _whisper(
                "tiny",
                "Systran/faster-whisper-tiny",
                "d90ca5fe260221311c53c58e660288d3deb8d356",
                78_203_619,
                Pin(75_538_270, "dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1"),
            ),
            _whisper(
                "base",
                "Systran/faster-whisper-base",
                "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
                147_882_941,
                Pin(145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
            ),
            _whisper(
                "small",
                "Systran/faster-whisper-small",
                "536b0662742c02347bc0e980a01041f333bce120",
                486_212_372,
                Pin(483_546_902, "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671"),
            ),
            _whisper(
                "medium",
                "Systran/faster-whisper-medium",
                "08e178d48790749d25932bbc082711ddcfdfbc4f",
                1_530_571_735,
                Pin(1_527_906_378, "9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae"),
            ),
            _whisper(
                "large-v3",
                "Systran/faster-whisper-large-v3",
                "edaa852ec7e145841d8ffdb056a99866b5f0a478",
                3_090_835_702,
                Pin(3_087_284_237, "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1"),
                languages="100 languages",
            ),
            _whisper(
                "turbo",
                "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
                "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
                1_621_665_983,
                Pin(1_617_884_929, "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da"),
                languages="100 languages",
            ),
        )
    }
)
"""By name, the lightest first within a family."""
