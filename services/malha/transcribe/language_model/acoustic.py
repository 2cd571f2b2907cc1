"""The acoustic model in PocketSphinx's wheel: what of it adaptation reads and writes, and the features it is a model of.

A phonetically tied mixture: each phone has one codebook of 128 Gaussians with diagonal covariances for each of three streams of 13
features; each tied state (senone) weighs its phone's Gaussians. Formats: ``ms_gauden.c``, ``ptm_mgau.c``, ``bin_mdef.c`` of PocketSphinx 5.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FOLDER: Final = Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"
CEPSTRA: Final = 13
_LEAST_VARIANCE: Final = 1e-4
_WEIGHT_STEP: Final = 1024 * float(np.log(1.0001))
"""Mixture weights are kept as minus their logarithm, in these steps."""


@dataclass(frozen=True)
class AcousticModel:
    """Codebooks by phone, and what the senones weigh them with."""

    phones: tuple[str, ...]
    means: Floats
    """(phone, stream, Gaussian, feature)."""
    variances: Floats
    log_weights: Floats
    """(stream, Gaussian, senone)."""


def read_model(folder: Path = FOLDER) -> AcousticModel:
    """Read the wheel's model."""
    variances = np.maximum(_read_gaussians(folder / "variances"), _LEAST_VARIANCE)
    return AcousticModel(_read_phones(folder / "mdef"), _read_gaussians(folder / "means"), variances, _read_weights(folder / "sendump"))


def write_means(means: Floats, path: Path, **about: str) -> None:
    """Write means as PocketSphinx reads them, with what ``about`` tells in the file's header."""
    phones, streams, gaussians, size = means.shape
    lines = ("version 1.0", *(f"{name} {value}" for name, value in about.items()), "endhdr\n")
    shape = struct.pack(f"<{4 + streams}i", phones, streams, gaussians, *([size] * streams), means.size)
    path.write_bytes("\n".join(("s3", *lines)).encode() + struct.pack("<I", 0x11223344) + shape + means.astype("<f4").tobytes())


def read_about(path: Path) -> dict[str, str]:
    """What the header of a file of means tells."""
    header = path.read_bytes().partition(b"endhdr\n")[0].decode()
    return {name: value for line in header.splitlines()[1:] for name, _, value in [line.partition(" ")]}


def features(cepstra: NDArray[np.float32]) -> Floats:
    """(frame, stream, feature): cepstra without their mean over the utterance, and their first and second differences (``1s_c_d_dd``)."""
    heard = cepstra[cepstra[:, 0] >= 0]
    static: Floats = cepstra.astype(np.float64) - (heard if len(heard) else cepstra).mean(0, dtype=np.float64)
    padded = np.pad(static, ((3, 3), (0, 0)), mode="edge")

    def at(offset: int) -> Floats:
        moved: Floats = padded[3 + offset : 3 + offset + len(static)]
        return moved

    return np.stack([static, at(2) - at(-2), (at(3) - at(-1)) - (at(1) - at(-3))], axis=1)


def _read_gaussians(path: Path) -> Floats:
    data = path.read_bytes()
    at = data.index(b"endhdr\n") + len(b"endhdr\n") + 4
    phones, streams, gaussians = struct.unpack_from("<3i", data, at)
    at += 4 * (3 + streams + 1)
    count = phones * streams * gaussians * CEPSTRA
    return np.frombuffer(data, "<f4", count, at).reshape(phones, streams, gaussians, CEPSTRA).astype(np.float64)


def _read_weights(path: Path) -> Floats:
    data, at = path.read_bytes(), 0
    strings = 0
    while True:  # a title, a header, more headers, and an empty one
        (length,) = struct.unpack_from("<i", data, at)
        at += 4 + length
        strings += 1
        if not length and strings > 2:
            break
    gaussians, senones = struct.unpack_from("<2i", data, at)
    steps = np.frombuffer(data, np.uint8, 3 * gaussians * senones, at + 8).reshape(3, gaussians, senones)
    return steps.astype(np.float64) * -_WEIGHT_STEP


def _read_phones(path: Path) -> tuple[str, ...]:
    """The context-independent phones, whose order the codebooks have."""
    data = path.read_bytes()
    (description,) = struct.unpack_from("<i", data, 8)
    at = 12 + description
    (count,) = struct.unpack_from("<i", data, at)
    names = data[at + 40 :].split(b"\0", count)[:count]
    return tuple(name.decode() for name in names)
