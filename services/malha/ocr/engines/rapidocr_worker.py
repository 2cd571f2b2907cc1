"""The worker side of the RapidOCR engine: PP-OCRv6's detector and recogniser from its wheel, on so many threads of ONNX Runtime.

The classifier of upside-down lines is left out: it looks at every line of every page, where `page_worker` looks at a page that was read badly.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from malha.ocr.documents.raster import Pixels
from malha.ocr.engine import Loaded
from malha.ocr.engines.page_worker import Found, PageWorker
from malha.runtime.worker import Worker

DETECTOR: Final = "PP-OCRv6_det_small.onnx"
RECOGNISER: Final = "PP-OCRv6_rec_small.onnx"
MODEL: Final = "PP-OCRv6_small"
DETECTOR_SIDE: Final = 960
"""Pixels of the longer side that lines are looked for in; they are read in the page's own. What PP-OCR is published with; rapidocr's own default, 736 for
the shorter side, finds the same lines of a page in twice the time."""
LINES_AT_ONCE: Final = 1
"""Each line's scores of 18,710 characters take 15 MB, and as much again before they are normalised: rapidocr's own default, six lines made as wide as
the widest of them, takes 110 MB more for a page, and no less time."""
MOST_SIDE: Final = 100_000
"""Pixels: how large a page is, is for Malha to decide, by its area; scaled by its longer side a receipt could not be read."""


def load(threads: int) -> Worker:
    """The engine host's factory."""
    return PageWorker(_RapidReader(threads))


class _RapidReader:
    def __init__(self, threads: int) -> None:
        rapidocr: Any = import_module("rapidocr")
        omegaconf: Any = import_module("omegaconf")
        detector, recogniser = _session(DETECTOR, threads), _session(RECOGNISER, threads)
        self._ocr = rapidocr.RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,
                "Global.max_side_len": MOST_SIDE,
                "Det.limit_side_len": DETECTOR_SIDE,
                "Det.limit_type": "max",
                "Rec.rec_batch_num": LINES_AT_ONCE,
            }
        )
        with omegaconf.flag_override(self._ocr.cfg, "allow_objects", True):  # it takes sessions, and its settings none, unless told to
            self._ocr.cfg.Det.session, self._ocr.cfg.Rec.session = detector, recogniser
        characters = recogniser.get_modelmeta().custom_metadata_map["character"].splitlines()
        self.info = Loaded(f"rapidocr {version('rapidocr')}", MODEL, tuple(characters))

    def read(self, pixels: Pixels) -> Sequence[Found]:
        told = self._ocr(pixels)
        if told.txts is None or told.boxes is None:
            return []
        return [
            Found(text, float(score), np.asarray(corners, np.float64))
            for text, score, corners in zip(told.txts, told.scores, told.boxes, strict=True)
        ]


def _session(name: str, threads: int) -> Any:
    """A model of the wheel, on so many threads that sleep while they wait: spinning takes the cores from live calls."""
    ort: Any = import_module("onnxruntime")
    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("rapidocr")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return ort.InferenceSession(str(Path(spec.origin).parent / "models" / name), options, providers=["CPUExecutionProvider"])
