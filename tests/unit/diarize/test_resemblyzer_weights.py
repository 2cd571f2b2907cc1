"""The weights' file is read, and nothing it says is run."""

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malha.diarize.engines import resemblyzer_weights as weights
from malha.diarize.engines.resemblyzer_weights import UnreadableWeights

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


class _Rebuilt:
    """What a tensor is pickled as: a call of PyTorch's function, by its name, and its storage, by a persistent id."""

    def __init__(self, key: str, values: np.ndarray, strides: tuple[int, ...] | None = None, offset: int = 0) -> None:
        self.key, self.values, self.offset = key, values, offset
        self.strides = strides or tuple(stride // 4 for stride in values.strides)


def pickled(value: Any) -> bytes:
    """As PyTorch pickles: protocol 2, the globals by name."""
    import io

    class Pickler(pickle._Pickler):
        def persistent_id(self, item: Any) -> Any:
            if isinstance(item, tuple) and item and item[0] == "storage!":
                return ("storage", Global("torch", "FloatStorage"), item[1], "cpu", item[2], None)
            return None

        def save(self, item: Any, save_persistent_id: bool = True) -> None:
            if isinstance(item, Global):
                self.write(b"c" + f"{item.module}\n{item.name}\n".encode())
            elif isinstance(item, _Rebuilt):
                self.save(Global("torch._utils", "_rebuild_tensor_v2"))
                size = item.values.size
                arguments = (("storage!", item.key, size), item.offset, item.values.shape, item.strides, False, OrderedDict())
                self.save(arguments)
                self.write(pickle.REDUCE)
            else:
                super().save(item, save_persistent_id)

    out = io.BytesIO()
    Pickler(out, 2).dump(value)
    return out.getvalue()


class Global:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


def written(path: Path, content: Any, storages: dict[str, np.ndarray]) -> Path:
    data = pickled(MAGIC) + pickled(VERSION) + pickled({"little_endian": True}) + pickled(content) + pickled(list(storages))
    for values in storages.values():
        data += struct.pack("<q", values.size) + values.astype("<f4").tobytes()
    path.write_bytes(data)
    return path


def test_tensors_are_read_by_name(tmp_path: Path) -> None:
    matrix, vector = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7.5], np.float32)
    state = OrderedDict(weight=_Rebuilt("1", matrix), bias=_Rebuilt("2", vector), step=3)
    read = weights.read(written(tmp_path / "w.pt", {"model_state": state, "step": 9}, {"1": matrix, "2": vector}))
    assert set(read) == {"weight", "bias"}
    np.testing.assert_array_equal(read["weight"], matrix)
    np.testing.assert_array_equal(read["bias"], vector)


@pytest.mark.parametrize("name", [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("collections", "Counter")])
def test_what_is_no_tensor_is_refused(tmp_path: Path, name: tuple[str, str]) -> None:
    with pytest.raises(UnreadableWeights, match="no tensor"):
        weights.read(written(tmp_path / "w.pt", {"model_state": Global(*name)}, {}))


def test_a_pickle_that_would_run_something_does_not(tmp_path: Path) -> None:
    proof = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(proof),)

    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnreadableWeights):
        weights.read(path)
    assert not proof.exists()


@pytest.mark.parametrize("keep", [0, 1, 40, -1, -5])
def test_a_file_that_is_cut_is_damaged(tmp_path: Path, keep: int) -> None:
    values = np.arange(4, dtype=np.float32)
    path = written(tmp_path / "w.pt", {"model_state": {"weight": _Rebuilt("1", values)}}, {"1": values})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableWeights):
        weights.read(path)


def test_a_tensor_must_lie_in_its_storage(tmp_path: Path) -> None:
    values = np.arange(4, dtype=np.float32)
    for tensor in (
        _Rebuilt("1", values, offset=1),
        _Rebuilt("1", values, offset=-1),
        _Rebuilt("1", values, strides=(2,)),
        _Rebuilt("2", values),
    ):
        with pytest.raises(UnreadableWeights):
            weights.read(written(tmp_path / "w.pt", {"model_state": {"weight": tensor}}, {"1": values}))


def test_another_file_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnreadableWeights, match="no model"):
        weights.read(written(tmp_path / "w.pt", {"optimizer": 1}, {}))
    path = tmp_path / "zip.pt"
    path.write_bytes(b"PK\x03\x04 a newer serialisation")
    with pytest.raises(UnreadableWeights):
        weights.read(path)
