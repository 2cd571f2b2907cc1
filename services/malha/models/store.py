"""The models on this machine's disk: ``<directory>/<family>/<variant>/`` with the files and a ``manifest.json`` of what they must be.

A model someone copied there by hand has no manifest: it is found and used, and cannot be verified.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from malha.models import catalogue
from malha.models.part import PART_SUFFIX
from malha.models.settings import ModelSettings
from malha.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from malha.runtime.settings import RuntimeSettings

MANIFEST = "manifest.json"
SHARED_DIRECTORY = Path("/srv/models")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file of a model as it was when pulled."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a model came from and what its files must be."""

    model: str
    repository: str
    commit: str
    licence: str
    files: tuple[ManifestFile, ...]
    agreed_at: str = ""
    """When somebody agreed to the licence, ISO 8601 in UTC, where that is asked for."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A whole model on disk. ``manifest`` is None where it was not pulled by Malha."""

    name: str
    path: Path
    size_bytes: int
    manifest: Manifest | None


def default_models_directory() -> Path:
    """``MALHA_MODELS_DIR``, else ``/srv/models`` where there is one that can be read, else ``models`` in Malha's data directory."""
    if (named := ModelSettings().models_dir) is not None:
        return named
    shared = SHARED_DIRECTORY.is_dir() and os.access(SHARED_DIRECTORY, os.R_OK | os.X_OK)
    return SHARED_DIRECTORY if shared else RuntimeSettings().data_dir / "models"


class ModelStore:
    """The models under one directory, by default `default_models_directory`."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_models_directory()

    def path(self, name: str) -> Path:
        """Where a model lies or would lie; a variant's name alone will do where the catalogue has it once.

        Raises InvalidArgument for what is no name.
        """
        full = catalogue.full_name(name)
        if not _NAME.fullmatch(full):
            raise InvalidArgument("a model's name is family/variant, such as whisper/small", violations={"model": "family/variant"})
        return self.directory / full

    def find(self, name: str) -> Path | None:
        """The model's directory, if all its files are there."""
        path = self.path(name)
        files = catalogue.files_of(catalogue.full_name(name))
        if files is None or not path.is_dir():
            return None
        return path if all(_has(path, pattern) for pattern in files.required) and _has_all_shards(path) else None

    def get(self, name: str) -> Path:
        """The model's directory. Raises FailedPrecondition naming the command that fetches it."""
        found = self.find(name)
        if found is None:
            raise FailedPrecondition(f"model {name!r} is not in {self.directory}: malha models pull {name}", reason="MODEL_NOT_LOCAL")
        return found

    def list_local(self) -> list[LocalModel]:
        """The whole models on disk, by name."""
        names = (
            f"{family}/{path.name}"
            for family in catalogue.families()
            for path in _folders(self.directory / family)
            if _NAME.fullmatch(f"x/{path.name}")
        )
        found = ((name, self.find(name)) for name in sorted(names))
        return [LocalModel(name, path, _size(path), read_manifest(path)) for name, path in found if path is not None]

    def verify(self, name: str) -> tuple[str, ...]:
        """Read the model's files through and return what is wrong with them, one line each; empty if nothing is.

        Raises NotFound if it is not here, FailedPrecondition if it has no manifest to be compared with.
        """
        path = self.path(name)
        if not path.is_dir():
            raise NotFound(f"model {name!r} is not in {self.directory}: `malha models pull {name}`", reason="MODEL_NOT_LOCAL")
        manifest = read_manifest(path)
        if manifest is None:
            raise FailedPrecondition(
                f"model {name!r} in {path} was not pulled by Malha: it has no {MANIFEST}", reason="MODEL_WITHOUT_MANIFEST"
            )
        return tuple(problem for file in manifest.files for problem in _problems(path, file))


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of the model in ``path``; None where there is none, or nothing that can be read as one."""
    try:
        content = json.loads((path / MANIFEST).read_text())
        files = tuple(ManifestFile(**file) for file in content.pop("files"))
        return Manifest(files=files, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest into ``path``, whole or not at all."""
    part = path / f"{MANIFEST}.part"
    part.write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    part.replace(path / MANIFEST)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _problems(directory: Path, file: ManifestFile) -> Iterable[str]:
    path = directory / file.path
    if not path.is_file():
        yield f"{file.path}: missing"
    elif (size := path.stat().st_size) != file.size_bytes:
        yield f"{file.path}: {size} bytes, not {file.size_bytes}"
    elif file_sha256(path) != file.sha256:
        yield f"{file.path}: not the SHA-256 it had when it was pulled"


def _has(path: Path, pattern: str) -> bool:
    """Whether a file, not the part of one, matches; ``*`` does not pass a ``/``."""
    return any(entry.is_file() and entry.suffix != PART_SUFFIX for entry in path.glob(pattern))


def _has_all_shards(path: Path) -> bool:
    """Whether each file that an index of weights names is there."""
    try:
        indexes = [json.loads(index.read_text()) for index in path.glob("*.safetensors.index.json")]
        return all((path / shard).is_file() for index in indexes for shard in set(index["weight_map"].values()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _folders(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
