"""Malha's contracts: the services there are, whether this version has code for them or not."""

from importlib import import_module

CAPABILITIES = ("audio", "transcribe", "diarize", "insight", "chat", "ocr", "synthesize", "finetune", "conversation", "jobs")

SERVICES = {
    "malha.api.audio.v1.AudioStreamService": "audio",
    "malha.api.transcribe.v1.TranscribeService": "transcribe",
    "malha.api.diarize.v1.DiarizeService": "diarize",
    "malha.api.insight.v1.InsightService": "insight",
    "malha.api.chat.v1.ChatService": "chat",
    "malha.api.ocr.v1.OcrService": "ocr",
    "malha.api.synthesize.v1.SynthesizeService": "synthesize",
    "malha.api.finetune.v1.FineTuneService": "finetune",
    "malha.api.conversation.v1.ConversationService": "conversation",
    "malha.api.jobs.v1.JobService": "jobs",
}
"""Full service names to capabilities."""

ENGINE_KEY = "malha-engine"
"""Initial metadata of a health answer: the engine that does the service's work."""


def load_contracts() -> None:
    """Import every contract, so that their descriptors are in the default pool."""
    for capability in CAPABILITIES:
        import_module(f"malha.api.{capability}.v1.{capability}_pb2")
