"""The models on this machine's disk: ``<directory>/<family>/<variant>/`` with the files and a ``manifest.json`` of what they must be.

A model someone copied there by hand has no manifest: it is found and used, and cannot be verified.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from malha.models import catalogue
from malha.models.settings import ModelSettings
from malha.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from malha.runtime.settings import RuntimeSettings

MANIFEST = "manifest.json"
SHARED_DIRECTORY = Path("/srv/models")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
_READ_BYTES = 1 << 20


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


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A whole model on disk. ``manifest`` is None where it was not pulled by Malha."""

    name: str
    path: Path
    size_bytes: int
    manifest: Manifest | None


def default_models_directory() -> Path:
    """``MALHA_MODELS_DIR``, else ``/srv/models`` where there is one, else ``models`` in Malha's data directory."""
    if (named := ModelSettings().models_dir) is not None:
        return named
    return SHARED_DIRECTORY if SHARED_DIRECTORY.is_dir() else RuntimeSettings().data_dir / "models"


class ModelStore:
    """The models under one directory, by default `default_models_directory`."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_models_directory()

    def path(self, name: str) -> Path:
        """Where a model lies or would lie. Raises InvalidArgument for what is no name."""
        if not _NAME.fullmatch(name):
            raise InvalidArgument("a model's name is family/variant, such as whisper/small", violations={"model": "family/variant"})
        return self.directory / name

    def find(self, name: str) -> Path | None:
        """The model's directory, if all its files are there."""
        path = self.path(name)
        files = catalogue.FAMILIES.get(name.partition("/")[0])
        if files is None or not path.is_dir():
            return None
        present = [entry.name for entry in path.iterdir() if entry.is_file() and entry.suffix != ".part"]
        return path if all(fnmatch.filter(present, pattern) for pattern in files.required) else None

    def list_local(self) -> list[LocalModel]:
        """The whole models on disk, by name."""
        names = (
            f"{family}/{path.name}"
            for family in catalogue.FAMILIES
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

    def is_sound(self, name: str) -> bool:
        """Whether the model was pulled and is as it was then. Reads all of it."""
        return read_manifest(self.path(name)) is not None and not self.verify(name)


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


def _folders(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
