"""What a token may do: four scopes, and which of them each method of each contract needs."""

from typing import Final

STREAM: Final = "stream"
"""Have something recognised, said, answered: every capability's streams and the inference beside them."""
READ: Final = "read"
"""See what is kept: conversations, states, feedback, insights, jobs."""
WRITE: Final = "write"
"""Change and delete what is kept."""
ADMIN: Final = "admin"
"""Tokens, tenants, erasure, every setting of a tenant."""

ALL_SCOPES: Final = frozenset({STREAM, READ, WRITE, ADMIN})
DEFAULT_SCOPES: Final = frozenset({STREAM, READ, WRITE})
"""Of a new token that names none."""

_AUDIO, _CHAT, _CONVERSATION, _DIARIZE, _FINETUNE, _INSIGHT, _JOBS, _OCR, _SYNTHESIZE, _TRANSCRIBE = (
    f"malha.api.{name}"
    for name in (
        "audio.v1.AudioStreamService",
        "chat.v1.ChatService",
        "conversation.v1.ConversationService",
        "diarize.v1.DiarizeService",
        "finetune.v1.FineTuneService",
        "insight.v1.InsightService",
        "jobs.v1.JobService",
        "ocr.v1.OcrService",
        "synthesize.v1.SynthesizeService",
        "transcribe.v1.TranscribeService",
    )
)

METHOD_SCOPES: Final = {
    f"{_AUDIO}/Stream": STREAM,
    f"{_CHAT}/Chat": STREAM,
    f"{_CHAT}/DeleteDocument": WRITE,
    f"{_CHAT}/Embed": STREAM,
    f"{_CHAT}/GetStatus": READ,
    f"{_CHAT}/ListDocuments": READ,
    f"{_CHAT}/ListModels": STREAM,
    f"{_CHAT}/SaveDocument": WRITE,
    f"{_CHAT}/SearchDocuments": READ,
    f"{_CONVERSATION}/CreateCustomer": WRITE,
    f"{_CONVERSATION}/CreateFeedback": WRITE,
    f"{_CONVERSATION}/CreateMessage": WRITE,
    f"{_CONVERSATION}/DeleteConversation": WRITE,
    f"{_CONVERSATION}/DeleteState": WRITE,
    f"{_CONVERSATION}/GetConversation": READ,
    f"{_CONVERSATION}/GetCustomer": READ,
    f"{_CONVERSATION}/GetState": READ,
    f"{_CONVERSATION}/ListConversations": READ,
    f"{_CONVERSATION}/ListCustomers": READ,
    f"{_CONVERSATION}/ListFeedback": READ,
    f"{_CONVERSATION}/ListStates": READ,
    f"{_CONVERSATION}/SaveState": WRITE,
    f"{_CONVERSATION}/SearchConversations": READ,
    f"{_CONVERSATION}/UpdateConversation": WRITE,
    f"{_CONVERSATION}/UpdateCustomer": WRITE,
    f"{_CONVERSATION}/UpsertConversation": WRITE,
    f"{_DIARIZE}/DeleteSpeaker": WRITE,
    f"{_DIARIZE}/Diarize": STREAM,
    f"{_DIARIZE}/EnrollSpeaker": WRITE,
    f"{_DIARIZE}/ListSpeakers": READ,
    f"{_FINETUNE}/FineTune": STREAM,
    f"{_FINETUNE}/GetJob": READ,
    f"{_FINETUNE}/ListJobs": READ,
    f"{_INSIGHT}/Analyze": STREAM,
    f"{_INSIGHT}/BacktestRule": READ,
    f"{_INSIGHT}/DeleteRule": WRITE,
    f"{_INSIGHT}/GetConfiguration": READ,
    f"{_INSIGHT}/GetRule": READ,
    f"{_INSIGHT}/ListInsights": READ,
    f"{_INSIGHT}/ListRules": READ,
    f"{_INSIGHT}/SaveRule": WRITE,
    f"{_INSIGHT}/UpdateConfiguration": ADMIN,
    f"{_JOBS}/CancelJob": WRITE,
    f"{_JOBS}/CreateJob": WRITE,
    f"{_JOBS}/CreateWebhook": WRITE,
    f"{_JOBS}/DeleteWebhook": WRITE,
    f"{_JOBS}/GetJob": READ,
    f"{_JOBS}/ListJobs": READ,
    f"{_JOBS}/ListWebhooks": READ,
    f"{_OCR}/Recognize": STREAM,
    f"{_SYNTHESIZE}/ListVoices": STREAM,
    f"{_SYNTHESIZE}/Synthesize": STREAM,
    f"{_TRANSCRIBE}/Align": STREAM,
    f"{_TRANSCRIBE}/ListModels": STREAM,
    f"{_TRANSCRIBE}/Transcribe": STREAM,
}
"""By ``service/method``. Who may have something made may also ask which models and voices make it."""


def scope_of(service: str, method: str) -> str:
    """The scope a method needs; of one that the table does not name, the highest."""
    return METHOD_SCOPES.get(f"{service}/{method}", ADMIN)
