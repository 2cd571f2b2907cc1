"""RapidOCR: the embedded recogniser. PP-OCRv6's small models, which lie in its wheel, by ONNX Runtime; nothing is fetched."""

from importlib.util import find_spec
from typing import Final

from malha.ocr.engines.hosted import HostedEngine
from malha.ocr.settings import OcrSettings
from malha.runtime.errors import FailedPrecondition

WORKER: Final = "malha.ocr.engines.rapidocr_worker:load"
PACKAGES: Final = ("rapidocr", "onnxruntime", "cv2")


class RapidOcrEngine(HostedEngine):
    """The engine ``rapidocr``."""

    def __init__(self, settings: OcrSettings) -> None:
        """Raises FailedPrecondition where its packages are not installed."""
        if any(find_spec(package) is None for package in PACKAGES):
            raise FailedPrecondition(
                "engine 'rapidocr' needs: pip install rapidocr onnxruntime opencv-python-headless", reason="ENGINE_NOT_INSTALLED"
            )
        super().__init__("rapidocr", WORKER, settings.ocr_threads, settings)
