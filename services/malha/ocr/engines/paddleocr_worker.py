"""The worker side of the PaddleOCR engine, in PaddleOCR's own environment: nothing of Malha's other packages is there."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from malha.ocr.documents.raster import Pixels
from malha.ocr.engine import Loaded
from malha.ocr.engines.paddleocr_options import PaddleOptions
from malha.ocr.engines.page_worker import Found, PageWorker
from malha.runtime.worker import Worker

ASK_SECONDS: Final = 10.0
DETECTOR: Final[dict[str, Any]] = {
    "PreProcess": {
        "transform_ops": [
            {"DetResizeForTest": {"limit_side_len": 736, "limit_type": "min"}},
            {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": "1./255.", "order": "hwc"}},
            {"ToCHWImage": None},
        ]
    },
    "PostProcess": {"name": "DBPostProcess", "thresh": 0.3, "box_thresh": 0.5, "max_candidates": 1000, "unclip_ratio": 1.6},
}
"""What PP-OCR detectors are published with (PaddleOCR, configs/det)."""


def load(options: PaddleOptions) -> Worker:
    """The engine host's factory."""
    return PageWorker(_PaddleReader(options))


class _PaddleReader:
    def __init__(self, options: PaddleOptions) -> None:
        paddleocr: Any = import_module("paddleocr")
        directory = options.model_dir or laid_out(options)
        detector, recogniser = options.models
        gpu_name = "" if options.gpu is None else _gpu_name(options.gpu)
        if options.backend == "tensorrt":
            (options.cache_dir / gpu_name).mkdir(parents=True, exist_ok=True)
        self._ocr = paddleocr.PaddleOCR(
            engine=options.engine(),
            engine_config=options.engine_config(gpu_name),
            device=options.device,
            text_detection_model_name=detector,
            text_detection_model_dir=str(directory / detector),
            text_recognition_model_name=recogniser,
            text_recognition_model_dir=str(directory / recogniser),
            text_det_limit_side_len=736,
            text_det_limit_type="min",
            use_doc_orientation_classify=False,
            use_doc_unwarping=False,
            use_textline_orientation=False,
        )
        self.info = Loaded(f"paddleocr {version('paddleocr')} on {options.backend}", options.model, _characters(directory / recogniser))

    def read(self, pixels: Pixels) -> Sequence[Found]:
        result = self._ocr.predict(np.ascontiguousarray(pixels))[0]
        return [
            Found(text, float(score), np.asarray(corners, np.float64))
            for text, score, corners in zip(result["rec_texts"], result["rec_scores"], result["rec_polys"], strict=True)
            if text.strip()
        ]


def laid_out(options: PaddleOptions) -> Path:
    """The models of rapidocr's wheel, as PaddleOCR wants to find them: one directory each, with what they are in ``inference.yml``."""
    yaml: Any = import_module("yaml")
    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(options.model)
    models, target = Path(spec.origin).parent / "models", options.cache_dir / "models"
    family, _, size = options.model.rpartition("_")
    for name, kind, what in zip(options.models, ("det", "rec"), (DETECTOR, None), strict=True):
        source, folder = models / f"{family}_{kind}_{size}.onnx", target / name
        if not source.is_file():
            raise FileNotFoundError(options.model)
        if not (folder / "inference.yml").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / "inference.onnx")
            told = {"Global": {"model_name": name}, **(what or _recogniser(source))}
            written = folder / f"inference.yml.{os.getpid()}"
            written.write_text(yaml.safe_dump(told, allow_unicode=True, sort_keys=False))
            written.replace(folder / "inference.yml")
    return target


def _recogniser(model: Path) -> dict[str, Any]:
    ort: Any = import_module("onnxruntime")
    characters = ort.InferenceSession(str(model)).get_modelmeta().custom_metadata_map["character"].splitlines()
    return {
        "PreProcess": {"transform_ops": [{"RecResizeImg": {"image_shape": [3, 48, 320]}}]},
        "PostProcess": {"name": "CTCLabelDecode", "character_dict": characters},
    }


def _characters(model: Path) -> tuple[str, ...]:
    yaml: Any = import_module("yaml")
    return tuple(map(str, yaml.safe_load((model / "inference.yml").read_text())["PostProcess"]["character_dict"]))


def _gpu_name(number: int) -> str:
    """A GPU's kind, as a directory's name: TensorRT's engines hold for one kind."""
    asked = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader", "-i", str(number)]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_SECONDS, check=True).stdout
    return re.sub(r"[^A-Za-z0-9.]+", "-", told.strip()).strip("-").lower()
