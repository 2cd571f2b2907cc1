"""What users import. A change here is a change of the SDK's contract."""

import inspect
import subprocess
import sys

import malha.sdk
from malha.sdk import (
    AnalysisStream,
    AnalysisStreamSync,
    ChatStream,
    ChatStreamSync,
    DiarizationStream,
    DiarizationStreamSync,
    LiveCall,
    LiveCallSync,
    Malha,
    MalhaSync,
    PageStream,
    PageStreamSync,
    SpeechStream,
    SpeechStreamSync,
)

NAMES = [
    "__version__",
    "Aborted",
    "Ack",
    "AlreadyClosed",
    "Amended",
    "AnalysisEvent",
    "AnalysisInput",
    "AnalysisOpened",
    "AnalysisSource",
    "AnalysisStream",
    "AnalysisStreamSync",
    "AudioSource",
    "Backtest",
    "BacktestMatch",
    "CallWarning",
    "ChannelSummary",
    "ChannelTranscript",
    "ChatAnswer",
    "ChatDelta",
    "ChatMessage",
    "ChatModel",
    "ChatRole",
    "ChatStream",
    "ChatStreamSync",
    "Citation",
    "Closed",
    "DeadlineExceeded",
    "Decision",
    "Diarization",
    "DiarizationEvent",
    "DiarizationStream",
    "DiarizationStreamSync",
    "Document",
    "DocumentSource",
    "DocumentText",
    "Encoding",
    "Engine",
    "EnrolledSpeaker",
    "Event",
    "Evidence",
    "FailedPrecondition",
    "FeedbackAction",
    "FewShot",
    "Final",
    "Gap",
    "GoAway",
    "Health",
    "Insight",
    "InsightConfiguration",
    "InsightFeedback",
    "InsightPolicy",
    "InsightType",
    "InvalidRequest",
    "LiveCall",
    "LiveCallSync",
    "Malha",
    "MalhaError",
    "MalhaSync",
    "Mark",
    "Model",
    "NotFound",
    "Offer",
    "Opened",
    "Pace",
    "Page",
    "PageBlock",
    "PageBox",
    "PageFailure",
    "PageLine",
    "PageOrigin",
    "PageStream",
    "PageStreamSync",
    "Partial",
    "PermissionDenied",
    "Progress",
    "QuotaExceeded",
    "Resumed",
    "Role",
    "Rule",
    "Segment",
    "ServerError",
    "SessionLost",
    "SpeakerMatch",
    "Speech",
    "SpeechChunk",
    "SpeechEncoding",
    "SpeechEnded",
    "SpeechStarted",
    "SpeechStream",
    "SpeechStreamSync",
    "Summary",
    "TextPiece",
    "TextSource",
    "Tick",
    "TokenMissing",
    "Transcript",
    "Transcription",
    "Turn",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnsavedAudio",
    "VadSettings",
    "Voice",
    "Window",
    "Word",
]


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_names():
    assert sorted(malha.sdk.__all__) == sorted(NAMES)
    assert all(hasattr(malha.sdk, name) for name in NAMES)


def test_methods():
    speaking = {"live", "models", "read", "resume", "say", "speak", "synthesize", "transcribe", "voices"}
    advising = {"analyze", "backtest_rule", "delete_rule", "insight_configuration", "insights", "rule", "rules", "save_rule"}
    chatting = {"chat", "chat_models", "complete", "delete_document", "documents", "embed", "save_document", "search_documents"}
    telling_apart = {"delete_speaker", "diarize", "diarize_live", "enroll", "speakers"}
    assert public(Malha) == {"close", "health", "update_insight_configuration"} | speaking | advising | chatting | telling_apart
    steering = {"dtmf", "feedback", "finish", "flush", "hold", "mute", "unhold", "unmute"}
    assert public(LiveCall) == steering | {"aclose", "cancel", "last_seq", "opened", "session_id", "unsaved_audio"}


def test_the_sync_client_has_the_same_methods_and_arguments():
    assert public(MalhaSync) == public(Malha)
    assert public(LiveCallSync) == public(LiveCall) - {"aclose", "cancel"} | {"close"}
    assert public(SpeechStreamSync) == public(SpeechStream) - {"aclose", "cancel"} | {"close"}
    assert public(ChatStreamSync) == public(ChatStream) - {"aclose", "cancel"} | {"close"}
    assert public(DiarizationStreamSync) == public(DiarizationStream) - {"aclose", "cancel"} | {"close"}
    assert public(PageStreamSync) == public(PageStream) - {"aclose", "cancel"} | {"close"}
    assert public(AnalysisStreamSync) == public(AnalysisStream) - {"aclose", "cancel"} | {"close"}
    for name in public(Malha) - {"close"}:
        here, there = inspect.signature(getattr(MalhaSync, name)), inspect.signature(getattr(Malha, name))
        assert here.parameters == there.parameters


def test_every_public_class_and_method_is_documented():
    for name in NAMES:
        thing = getattr(malha.sdk, name)
        if inspect.isclass(thing):
            assert thing.__doc__, name
            for method in public(thing) & set(vars(thing)):
                if inspect.isfunction(vars(thing)[method]):
                    assert vars(thing)[method].__doc__, f"{name}.{method}"


def test_imports_nothing_of_the_server():
    """Nor google.protobuf, grpcio-status and the like: the SDK's dependencies are grpcio and betterproto2."""
    program = (
        "import sys, malha.sdk; ours = [m for m in sys.modules if m.startswith('malha.') and not m.startswith('malha.sdk')];"
        "foreign = [m for m in sys.modules if m.startswith(('google.protobuf', 'grpc_status', 'grpclib', 'google.rpc'))];"
        "print(ours, foreign)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[] []"
