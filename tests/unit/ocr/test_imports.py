"""What the process that serves must not load: decoders and engines are for workers."""

import subprocess
import sys

import pytest

HEAVY = ("PIL", "cv2", "omegaconf", "onnxruntime", "pypdfium2", "rapidocr", "shapely")


@pytest.mark.parametrize("module", ["malha.ocr.service", "malha.ocr.engines.rapidocr", "malha.ocr.engines.paddleocr", "malha.edge.app"])
def test_serving_loads_no_engine_and_no_decoder(module: str) -> None:
    program = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_a_worker_in_an_environment_of_its_own_needs_numpy_alone() -> None:
    foreign = ("grpc", "pydantic", "prometheus_client", "google.protobuf", "orjson")
    program = f"import sys, malha.ocr.engines.paddleocr_worker; print([name for name in {foreign!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
