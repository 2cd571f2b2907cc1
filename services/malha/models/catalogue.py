"""What can be fetched and what is run: models, engines, and their licences, as ``catalogue.toml`` has them."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Any

from malha.runtime.errors import NotFound


@dataclass(frozen=True, slots=True)
class Licence:
    """What may be done with a model or an engine."""

    name: str
    """SPDX identifier; where SPDX has none, the short name its authors use."""
    title: str
    commercial: bool
    """Whether it may be used to earn money."""
    url: str
    """Its text."""
    note: str = ""
    """What it asks for, in a few words."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a kind of model, by patterns; ``*`` does not pass a ``/``."""

    required: tuple[str, ...]
    """A model without a match for each of these is not whole."""
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be pulled."""

    name: str
    """``family/variant``: also its folder under the models directory."""
    title: str
    files: Files
    repository: str
    """On the hub, ``owner/name``."""
    revision: str
    """A commit; or a branch, which is looked up once, when it is first pulled, and not again."""
    size_bytes: int
    """About, of all its files together, for people."""
    terms: Licence
    languages: str
    """For people."""
    gated: bool = False
    """Whether the hub hands it only to accounts that accepted conditions there."""
    production: bool = False
    """Whether a production server needs it."""
    needs: tuple[str, ...] = ()
    """Models without which it does not run."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 that files must have, whatever the hub says, by path."""

    @property
    def licence(self) -> str:
        """Its licence's name."""
        return self.terms.name

    @property
    def asks(self) -> bool:
        """Whether somebody has to agree before it is fetched."""
        return self.gated or not self.terms.commercial


@dataclass(frozen=True, slots=True)
class Engine:
    """A library that computes."""

    name: str
    title: str
    terms: Licence
    source: str
    base: bool = False
    """Whether it comes with the base install."""


def find(name: str) -> Model:
    """The model of this name; its variant alone will do where only one has it. Raises NotFound naming those there are, the nearest first."""
    try:
        return MODELS[full_name(name)]
    except KeyError:
        nearest = sorted(MODELS, key=lambda known: _likeness(name, known), reverse=True)
        raise NotFound(f"no model {name!r}: there are {', '.join(nearest)}", reason="UNKNOWN_MODEL") from None


def select(name: str) -> tuple[Model, ...]:
    """The model of this name, or of a family's name what production needs of it. Raises as `find`."""
    family = tuple(model for model in production_models() if model.name.partition("/")[0] == name.lower())
    return family or (find(name),)


def full_name(name: str) -> str:
    """``bge-m3`` or ``BAAI/bge-m3`` -> ``baai/bge-m3``; a name the catalogue lacks as it is."""
    wanted = name.lower()
    same = [known for known in MODELS if known.lower() == wanted]
    having = same or [known for known in MODELS if known.lower().partition("/")[2] == wanted]
    return having[0] if len(having) == 1 else name


def files_of(name: str) -> Files | None:
    """What makes a model of this name whole: its own files, or for one the catalogue lacks those of the first of its family."""
    if name in MODELS:
        return MODELS[name].files
    family = name.partition("/")[0]
    return next((model.files for known, model in MODELS.items() if known.partition("/")[0] == family), None)


def families() -> tuple[str, ...]:
    """The first parts of the models' names."""
    return tuple(dict.fromkeys(name.partition("/")[0] for name in MODELS))


def with_needs(models: Iterable[Model]) -> tuple[Model, ...]:
    """The models and what they need, that first, each once."""
    found: dict[str, Model] = {}
    for model in models:
        for needed in (*(MODELS[name] for name in model.needs), model):
            found.setdefault(needed.name, needed)
    return tuple(found.values())


def production_models() -> tuple[Model, ...]:
    """What a production server needs."""
    return tuple(model for model in MODELS.values() if model.production)


def _likeness(given: str, known: str) -> float:
    """0 to 1, to the whole name or its variant."""
    return max(SequenceMatcher(None, given.lower(), part).ratio() for part in (known.lower(), known.lower().partition("/")[2]))


def _models(read: Mapping[str, Any], licences: Mapping[str, Licence]) -> dict[str, Model]:
    formats = {name: Files(tuple(given["required"]), tuple(given["optional"])) for name, given in read["formats"].items()}
    return {
        name: Model(
            name=name,
            files=formats[given.pop("format")],
            terms=licences[given.pop("licence")],
            needs=tuple(given.pop("needs", ())),
            pins=MappingProxyType(given.pop("pins", {})),
            **given,
        )
        for name, given in read["models"].items()
    }


_READ = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text())
LICENCES: Mapping[str, Licence] = MappingProxyType({name: Licence(name, **given) for name, given in _READ["licences"].items()})
"""By name."""
MODELS: Mapping[str, Model] = MappingProxyType(_models(_READ, LICENCES))
"""By name, in the order of ``catalogue.toml``."""
ENGINES: Mapping[str, Engine] = MappingProxyType(
    {name: Engine(name, terms=LICENCES[given.pop("licence")], **given) for name, given in _READ["engines"].items()}
)
"""By name."""
