"""AutoAWQ's INT4 form of a small model: what vLLM's ``awq`` quantization reads (round to nearest, no activation statistics).

Layout: casper-hansen/AutoAWQ, ``WQLinear_GEMM``. Weights are transposed to (in, out); 8 output columns share an int32 in the order 0 2 4 6 1 3 5 7,
lowest bits first; each group of input rows has a zero point, packed likewise, and an fp16 scale.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

GROUP = 64
_LEVELS = 15
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_WEIGHTS = "model.safetensors"


def write_awq(source: Path, target: Path) -> None:
    """Quantize every projection; embeddings and norms become fp16. ``target`` must not exist."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(_WEIGHTS))
    packed: dict[str, torch.Tensor] = {}
    for name, weight in load_file(source / _WEIGHTS).items():
        if name.endswith("proj.weight"):
            packed |= _quantize(name.removesuffix("weight"), weight.float().T.contiguous())
        else:
            packed[name] = weight.half()
    save_file(packed, target / _WEIGHTS, metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["dtype"] = "float16"
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}
    (target / "config.json").write_text(json.dumps(config, indent=2))


def _quantize(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """``weight`` is (in, out)."""
    rows, columns = weight.shape
    groups = weight.reshape(rows // GROUP, GROUP, columns)
    low, high = groups.amin(1), groups.amax(1)
    scales = ((high - low) / _LEVELS).clamp(min=1e-6)
    zeros = (-low / scales).round().clamp(0, _LEVELS)
    levels = ((groups / scales[:, None]).round() + zeros[:, None]).clamp(0, _LEVELS).reshape(rows, columns)
    return {f"{name}qweight": _pack(levels), f"{name}qzeros": _pack(zeros), f"{name}scales": scales.half()}


def _pack(levels: torch.Tensor) -> torch.Tensor:
    """(rows, columns) of 0..15 to int32 (rows, columns / 8)."""
    nibbles = levels.to(torch.int32).reshape(levels.shape[0], -1, 8)[:, :, _ORDER]
    words = torch.zeros(nibbles.shape[:2], dtype=torch.int32)
    for place in range(8):
        words |= nibbles[:, :, place] << (4 * place)
    return words
