"""What PaddleOCR is told, from settings. The standard library only: its worker imports this in an environment of its own."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from malha.ocr.settings import OcrSettings


@dataclass(frozen=True, slots=True)
class PaddleOptions:
    """How PaddleOCR runs."""

    model: str
    model_dir: Path | None
    backend: str
    device: str
    precision: str
    threads: int
    cache_dir: Path
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Passed on to the backend as they are."""

    @classmethod
    def of(cls, settings: "OcrSettings") -> Self:
        from malha.runtime.settings import default_data_directory  # noqa: PLC0415 - the worker has no pydantic

        return cls(
            model=settings.paddleocr_model,
            model_dir=settings.paddleocr_model_dir,
            backend=settings.paddleocr_backend,
            device=settings.paddleocr_device,
            precision=settings.paddleocr_precision,
            threads=settings.ocr_threads,
            cache_dir=(settings.paddleocr_cache_dir or default_data_directory() / "paddleocr").absolute(),
            extra=dict(settings.paddleocr_engine_config),
        )

    @property
    def models(self) -> tuple[str, str]:
        """Names of the detector and the recogniser."""
        return f"{self.model}_det", f"{self.model}_rec"

    @property
    def gpu(self) -> int | None:
        """Its number; None: the CPU."""
        kind, _, number = self.device.partition(":")
        return int(number or 0) if kind == "gpu" else None

    def engine(self) -> str:
        """PaddleOCR's name of what runs the models. TensorRT is a provider of ONNX Runtime."""
        return "paddle_static" if self.backend == "paddle" else "onnxruntime"

    def engine_config(self, gpu_name: str) -> dict[str, Any]:
        """PaddleOCR's ``engine_config``; ``gpu_name``: what TensorRT's engines are kept apart by.

        Source: PaddleOCR 3.7, "Inference Engine and Configuration", section 4.2; ONNX Runtime, "TensorRT Execution Provider".
        """
        if self.backend == "paddle":
            half = "trt_fp16" if self.precision == "fp16" else "paddle"
            return {"run_mode": half if self.gpu is not None else "mkldnn", "cpu_threads": self.threads, **self._place(), **self.extra}
        providers: list[str] = ["CPUExecutionProvider"]
        options: list[dict[str, Any]] = [{}]
        if self.gpu is not None:
            providers.insert(0, "CUDAExecutionProvider")
            options.insert(0, {"device_id": self.gpu})
        if self.backend == "tensorrt":
            providers.insert(0, "TensorrtExecutionProvider")
            options.insert(0, self._tensorrt(gpu_name))
        return {
            "providers": providers,
            "provider_options": options,
            "intra_op_num_threads": self.threads,
            "inter_op_num_threads": 1,
            **self._place(),
            **self.extra,
        }

    def _place(self) -> dict[str, Any]:
        return {"device_type": "cpu"} if self.gpu is None else {"device_type": "gpu", "device_id": self.gpu}

    def _tensorrt(self, gpu_name: str) -> dict[str, Any]:
        cache = str(self.cache_dir / gpu_name)
        return {
            "device_id": self.gpu or 0,
            "trt_fp16_enable": self.precision == "fp16",
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": cache,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": cache,
        }
