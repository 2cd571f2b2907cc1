"""resemblyzer's network, run by ONNX Runtime: windows of speech to voice prints.

Three LSTM layers of 256 over mel frames; the last state, projected and rectified, is the print (Wan et al., "Generalized end-to-end loss for
speaker verification", 2018). The graph is made here from the wheel's weights. Windows of different lengths share a batch: each ends at its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from malha.diarize.engines import onnx_file
from malha.diarize.engines.onnx_file import Node, Value
from malha.diarize.engines.resemblyzer_mel import BANDS, mel_spectrogram
from malha.diarize.engines.resemblyzer_weights import UnreadableWeights

Array = npt.NDArray[np.float32]

UNITS: Final = 256
LAYERS: Final = 3
LOUDNESS: Final = 10 ** (-30 / 20)
"""RMS that quieter windows are raised to (resemblyzer's ``audio_norm_target_dBFS``): the network hears power, not its logarithm."""
FULL_SCALE: Final = 32_768.0


class Network:
    """The network on ``threads`` threads."""

    def __init__(self, weights: Mapping[str, Array], *, threads: int = 1) -> None:
        """Raises UnreadableWeights if they are another network's."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(_graph(weights), options, providers=["CPUExecutionProvider"])

    def prints(self, windows: Sequence[npt.NDArray[np.int16]]) -> Array:
        """(windows, 256) unit vectors of windows of 16 kHz audio. One without any sound is all zeros."""
        return self.embed([mel_spectrogram(levelled(window)) for window in windows])

    def embed(self, mels: Sequence[Array]) -> Array:
        """(windows, 256) of mel frames, each (frames, 40), of any number of frames."""
        lengths = np.array([len(mel) for mel in mels], np.int32)
        batch = np.zeros((int(lengths.max()), len(mels), BANDS), np.float32)
        for index, mel in enumerate(mels):
            batch[: len(mel), index] = mel
        raw: Array = self._session.run(None, {"mel": batch, "lengths": lengths})[0]
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        unit: Array = raw / np.maximum(norms, np.finfo(np.float32).tiny)
        return unit


def levelled(window: npt.NDArray[np.int16]) -> Array:
    """Samples between -1 and 1, made louder where they are quieter than the network was trained with."""
    samples = window.astype(np.float32)
    loudness = math.sqrt(float(samples @ samples) / len(samples)) / FULL_SCALE if len(samples) else 0.0
    samples *= (LOUDNESS / loudness if 0 < loudness < LOUDNESS else 1.0) / FULL_SCALE
    return samples


def _graph(weights: Mapping[str, Array]) -> bytes:
    constants: dict[str, npt.NDArray[np.generic]] = {"one": np.array([1], np.int64), "zero": np.array([0], np.int64)}
    nodes: list[Node] = []
    source = "mel"
    for layer in range(LAYERS):
        constants |= _layer(weights, layer)
        last = layer == LAYERS - 1
        outputs = ["", "state"] if last else [f"states{layer}"]
        inputs = [source, f"input{layer}", f"recurrent{layer}", f"bias{layer}", "lengths"]
        nodes.append(Node("LSTM", inputs, outputs, {"hidden_size": UNITS}))
        if not last:
            source = f"heard{layer}"
            nodes.append(Node("Squeeze", [f"states{layer}", "one"], [source]))
    constants["projection"] = _checked(weights, "linear.weight", (UNITS, UNITS))
    constants["offset"] = _checked(weights, "linear.bias", (UNITS,))
    nodes += [
        Node("Squeeze", ["state", "zero"], ["last"]),
        Node("Gemm", ["last", "projection", "offset"], ["projected"], {"transB": 1}),
        Node("Relu", ["projected"], ["print"]),
    ]
    given = [Value("mel", "float32", ["frames", "windows", BANDS]), Value("lengths", "int32", ["windows"])]
    return onnx_file.model(nodes, constants, given, [Value("print", "float32", ["windows", UNITS])])


def _layer(weights: Mapping[str, Array], layer: int) -> dict[str, npt.NDArray[np.generic]]:
    """A layer's weights as ONNX has them: one direction, and the gates in the order input, output, forget, cell."""
    width = BANDS if layer == 0 else UNITS
    biases = [_reordered(_checked(weights, f"lstm.bias_{kind}_l{layer}", (4 * UNITS,))) for kind in ("ih", "hh")]
    return {
        f"input{layer}": _reordered(_checked(weights, f"lstm.weight_ih_l{layer}", (4 * UNITS, width)))[None],
        f"recurrent{layer}": _reordered(_checked(weights, f"lstm.weight_hh_l{layer}", (4 * UNITS, UNITS)))[None],
        f"bias{layer}": np.concatenate(biases)[None],
    }


def _checked(weights: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    found = weights.get(name)
    if found is None or found.shape != shape:
        raise UnreadableWeights(f"the file has no {name} of {shape}")
    return found


def _reordered(values: Array) -> Array:
    """PyTorch's gates are input, forget, cell, output."""
    enter, forget, cell, leave = np.split(values, 4)
    return np.concatenate([enter, leave, forget, cell])
