"""PaddleOCR 3: the production recogniser, in an environment of its own (`make engine-paddleocr`), on ONNX Runtime, Paddle or TensorRT.

Models are a detector and a recogniser as PaddleOCR has them, directories ``NAME_det`` and ``NAME_rec``; without any, those of rapidocr's wheel
are laid out as such.
"""

import os
from importlib.util import find_spec
from typing import Final

from malha.ocr.engines.hosted import HostedEngine
from malha.ocr.engines.paddleocr_options import PaddleOptions
from malha.ocr.settings import OcrSettings
from malha.runtime.errors import FailedPrecondition

WORKER: Final = "malha.ocr.engines.paddleocr_worker:load"
COMMAND: Final = "make engine-paddleocr"
ENVIRONMENT: Final = {"PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK": "True"}
"""PaddleX asks the network which of its model hubs is near, unless told not to."""


class PaddleOcrEngine(HostedEngine):
    """The engine ``paddleocr``."""

    def __init__(self, settings: OcrSettings) -> None:
        """Raises FailedPrecondition where PaddleOCR or its models are not here."""
        python = settings.paddleocr_python
        if python is None and find_spec("paddleocr") is None:
            raise FailedPrecondition(
                f"engine 'paddleocr' needs: {COMMAND}, and MALHA_PADDLEOCR_PYTHON=.venvs/paddleocr/bin/python", reason="MISSING_EXTRA"
            )
        if python is not None and not os.access(python, os.X_OK):
            raise FailedPrecondition(f"there is no Python at MALHA_PADDLEOCR_PYTHON: {COMMAND}", reason="MISSING_EXTRA")
        options = PaddleOptions.of(settings)
        if options.model_dir is not None:
            missing = [name for name in options.models if not (options.model_dir / name).is_dir()]
            if missing:
                raise FailedPrecondition(
                    f"MALHA_PADDLEOCR_MODEL_DIR has no {' and no '.join(missing)}: malha models pull PP-OCRv6", reason="MODEL_NOT_LOCAL"
                )
        super().__init__(
            "paddleocr", WORKER, options, settings, python="" if python is None else str(python.absolute()), environment=ENVIRONMENT
        )
