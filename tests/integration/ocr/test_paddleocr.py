"""The production engine, in its own environment: real PaddleOCR on the models in rapidocr's wheel."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import REPOSITORY

from fakes.documents import PORTUGUESE, drawn, encoded
from fakes.ocr import Client, serving
from malha.bench.cer import accent_recall, character_error_rate
from malha.ocr.engines.paddleocr import PaddleOcrEngine
from malha.ocr.engines.paddleocr_options import PaddleOptions
from malha.ocr.settings import OcrSettings
from malha.runtime.errors import FailedPrecondition

PYTHON = Path(os.environ.get("MALHA_PADDLEOCR_PYTHON") or REPOSITORY / ".venvs/paddleocr/bin/python")
installed = pytest.mark.skipif(not PYTHON.exists(), reason=f"PaddleOCR is not set up: make engine-paddleocr makes {PYTHON}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    folder = tmp_path_factory.mktemp("paddleocr")
    settings = OcrSettings(_env_file=None, ocr_engine="paddleocr", paddleocr_python=PYTHON, paddleocr_cache_dir=folder)
    async with serving(folder, engine=PaddleOcrEngine(settings)) as shared:
        yield shared


@installed
@pytest.mark.engine("paddleocr")
@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_is_read_with_its_accents(client: Client) -> None:
    told = await client.read(encoded(drawn(PORTUGUESE), "PNG"), languages=["pt"], scrub=False)
    assert told.opened.engine.name == "paddleocr"
    assert told.opened.engine.model == "PP-OCRv6_small"
    assert character_error_rate("\n".join(PORTUGUESE), told.text) < 0.01
    recall = accent_recall("\n".join(PORTUGUESE), told.text)
    assert recall is not None
    assert recall > 0.97


@installed
@pytest.mark.engine("paddleocr")
@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_upside_down_is_turned(client: Client) -> None:
    told = await client.read(encoded(drawn(PORTUGUESE).rotate(180), "PNG"), scrub=False)
    assert told.pages[0].rotation == 180
    assert character_error_rate("\n".join(PORTUGUESE), told.text) < 0.02


def test_without_paddleocr_its_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="make engine-paddleocr"):
        PaddleOcrEngine(OcrSettings(_env_file=None, paddleocr_python=tmp_path / "python"))


def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch(0o755)
    settings = OcrSettings(_env_file=None, paddleocr_python=python, paddleocr_model="PP-OCRv6_medium", paddleocr_model_dir=tmp_path)
    with pytest.raises(FailedPrecondition, match="no PP-OCRv6_medium_det and no PP-OCRv6_medium_rec"):
        PaddleOcrEngine(settings)


def test_settings_are_passed_through(tmp_path: Path) -> None:
    def options(**settings: object) -> PaddleOptions:
        return PaddleOptions.of(OcrSettings(_env_file=None, paddleocr_cache_dir=tmp_path, **settings))

    cpu = options(ocr_threads=3)
    assert (cpu.engine(), cpu.engine_config("")) == (
        "onnxruntime",
        {
            "providers": ["CPUExecutionProvider"],
            "provider_options": [{}],
            "intra_op_num_threads": 3,
            "inter_op_num_threads": 1,
            "device_type": "cpu",
        },
    )
    paddle = options(
        paddleocr_backend="paddle", paddleocr_device="gpu:1", paddleocr_precision="fp16", paddleocr_engine_config={"enable_cinn": True}
    )
    assert (paddle.engine(), paddle.engine_config("h200")) == (
        "paddle_static",
        {"run_mode": "trt_fp16", "cpu_threads": 2, "device_type": "gpu", "device_id": 1, "enable_cinn": True},
    )
    tensorrt = options(paddleocr_backend="tensorrt", paddleocr_device="gpu", paddleocr_precision="fp16").engine_config("nvidia-h200-9.0")
    assert tensorrt["providers"] == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert tensorrt["provider_options"][0]["trt_engine_cache_path"] == str(tmp_path / "nvidia-h200-9.0")
    assert tensorrt["provider_options"][0]["trt_fp16_enable"] is True
