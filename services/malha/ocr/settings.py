"""Settings of Ocr."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core import from_json
from pydantic_settings import NoDecode

from malha.runtime.settings import MalhaSettings

MIB = 1024 * 1024


class OcrSettings(MalhaSettings):
    """Which engine reads, and what a document may have."""

    ocr_engine: str = Field("rapidocr", description="Engine of Ocr: `rapidocr` or `paddleocr`.")
    ocr_workers: int = Field(1, ge=1, le=64, description="Processes that recognise, each one page at a time.")
    ocr_threads: int = Field(2, ge=1, le=64, description="CPU threads of one such process.")
    ocr_preload: bool = Field(
        default=False,
        description="Load the engine at start. Else the first document waits for it, and a server that gets none saves its memory.",
    )
    ocr_document_workers: int = Field(1, ge=1, le=64, description="Processes that decode documents, each one page at a time.")
    ocr_max_documents: int = Field(16, ge=1, le=1000, description="Documents open at once; more are refused with RESOURCE_EXHAUSTED.")
    ocr_max_document_bytes: int = Field(50 * MIB, ge=1, description="Largest document.")
    ocr_max_pages: int = Field(500, ge=1, le=100_000, description="Most pages of a document.")
    ocr_max_page_pixels: int = Field(50_000_000, ge=10_000, description="Most pixels of one image.")
    ocr_page_seconds: float = Field(
        30.0, gt=0, le=3600, description="How long one page may take to decode, and as long again to recognise."
    )
    ocr_decoder_memory_bytes: int = Field(
        1024 * MIB, ge=256 * MIB, description="Address space of a process that decodes documents; a page that needs more fails."
    )
    ocr_dpi: int = Field(
        200, ge=72, le=600, description="Resolution PDF pages are rendered at, as far as `MALHA_OCR_ENGINE_PIXELS` lets them."
    )
    ocr_engine_pixels: int = Field(
        4_000_000, ge=500_000, le=50_000_000, description="Pixels an engine is given of one page; larger pages are scaled down to it."
    )
    ocr_reader_seconds: float = Field(60.0, gt=0, description="How long a client may leave its pages unread.")
    paddleocr_python: Path | None = Field(
        None, description="Python of the environment PaddleOCR is installed in, made by `make engine-paddleocr`. Empty: this one."
    )
    paddleocr_model: str = Field(
        "PP-OCRv6_small", description="Models of PaddleOCR: PP-OCRv6_tiny, _small or _medium, or another pair by its name."
    )
    paddleocr_model_dir: Path | None = Field(
        None, description="Directory with `NAME_det` and `NAME_rec`. Empty: the models in rapidocr's wheel, where it has them."
    )
    paddleocr_backend: str = Field(
        "onnxruntime",
        pattern="^(onnxruntime|paddle|tensorrt)$",
        description="What runs PaddleOCR's models: onnxruntime, paddle or tensorrt.",
    )
    paddleocr_device: str = Field("cpu", pattern=r"^(cpu|gpu(:\d+)?)$", description="cpu, gpu or gpu:N.")
    paddleocr_precision: str = Field("fp32", pattern="^(fp32|fp16)$", description="fp32 or fp16, for Paddle and TensorRT on a GPU.")
    paddleocr_engine_config: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict, description="JSON passed on to that backend as it is (PaddleOCR's `engine_config`), over what Malha sets."
    )
    paddleocr_cache_dir: Path | None = Field(
        None, description="Where TensorRT engines are kept, each kind of GPU apart. Default: ~/.local/share/malha/paddleocr."
    )

    @field_validator("paddleocr_engine_config", mode="before")
    @classmethod
    def _read_json(cls, value: object) -> object:
        return from_json(value) if isinstance(value, str) and value else value
