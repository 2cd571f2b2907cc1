"""Reads the weights in resemblyzer's wheel without PyTorch, and without running anything the file says.

``pretrained.pt`` is in the serialisation PyTorch had before 1.6 (``torch/serialization.py``, ``_legacy_load``): pickles of a magic number, a
version and the machine's sizes, then the pickled objects, in which a tensor names its storage, then the storages' names and their bytes. A
pickle can call anything it can name. This one can name what is listed here: an ordered dictionary, and what describes a tensor.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

PACKAGE: Final = "resemblyzer"
COMMAND: Final = "pip install --no-deps resemblyzer==0.1.4"
"""Without what it names: the network is run without PyTorch, and its VAD's source distribution would overwrite ours."""

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001
_MAX_ELEMENTS: Final = 1 << 24
_COUNT_BYTES: Final = 8


class UnreadableWeights(Exception):
    """The file is not the one this code knows: install the version that the error names."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    elements: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, storages: Mapping[str, Array]) -> Array:
        """The values. Raises UnreadableWeights for one that is not contiguous, or does not lie in its storage."""
        size = int(np.prod(self.shape, dtype=np.int64))
        expected = tuple(int(np.prod(self.shape[axis + 1 :], dtype=np.int64)) for axis in range(len(self.shape)))
        values = storages[self.storage.key]
        if self.strides != expected or not 0 <= self.offset <= len(values) - size:
            raise UnreadableWeights("a tensor does not fit its storage")
        return values[self.offset : self.offset + size].reshape(self.shape)


def _tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
    """In the place of ``torch._utils._rebuild_tensor_v2``; its last arguments are of training."""
    whole = (
        isinstance(shape, tuple) and isinstance(strides, tuple) and all(isinstance(each, int) and each >= 0 for each in (*shape, *strides))
    )
    if not (isinstance(storage, _Storage) and isinstance(offset, int) and whole):
        raise UnreadableWeights("a tensor is not described as one")
    return _Tensor(storage, offset, shape, strides)  # type: ignore[arg-type]  # checked in the lines before


_FLOATS: Final = "torch.FloatStorage"
_ALLOWED: Final[Mapping[tuple[str, str], object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): _FLOATS,
}


class _Unpickler(pickle.Unpickler):
    """Loads plain values and descriptions of tensors; anything else the file names is refused."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise UnreadableWeights("the file names something that is no tensor")
        return found

    def persistent_load(self, identifier: Any) -> _Storage:
        match identifier:
            case ("storage", kind, str(key), str(), int(elements), None) if kind == _FLOATS and 0 <= elements <= _MAX_ELEMENTS:
                return _Storage(key, elements)
        raise UnreadableWeights("a storage is not one of 32-bit floats")


def find() -> Path | None:
    """Where the wheel's weights lie; None: it is not installed. Nothing of it is imported."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "pretrained.pt"
    return path if path.is_file() else None


def read(path: Path) -> dict[str, Array]:
    """The network's tensors by name. Raises UnreadableWeights, OSError."""
    with path.open("rb") as file:
        try:
            if (_load(file), _load(file)) != (_MAGIC, _VERSION):
                raise UnreadableWeights("the file is in another format")
            _load(file)
            content = _load(file)
            storages = {key: _values(file) for key in _keys(_load(file))}
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise UnreadableWeights("the file is damaged") from error
    state = content.get("model_state") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise UnreadableWeights("the file holds no model")
    try:
        return {name: tensor.of(storages) for name, tensor in state.items() if isinstance(tensor, _Tensor)}
    except KeyError:
        raise UnreadableWeights("a tensor's storage is missing") from None


def _load(file: BufferedReader) -> Any:
    return _Unpickler(file).load()


def _keys(keys: object) -> list[str]:
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise UnreadableWeights("the file does not name its storages")
    return keys


def _values(file: BufferedReader) -> Array:
    """A storage: how many 32-bit floats, then these."""
    count = int.from_bytes(file.read(_COUNT_BYTES), "little")
    if count > _MAX_ELEMENTS:
        raise UnreadableWeights("a storage is too large")
    data = file.read(4 * count)
    if len(data) != 4 * count:
        raise UnreadableWeights("the file is cut short")
    return np.frombuffer(data, "<f4")
