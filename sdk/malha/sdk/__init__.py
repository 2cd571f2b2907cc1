"""Malha from Python: live calls, transcripts of recordings, speech, advice, and answers of language models.

    async with Malha() as malha:
        async for event in malha.live(microphone(), language="en"):
            match event:
                case Final():
                    print(event.text)

``MalhaSync`` is the same without ``await``. The server and the token are found by themselves after ``malha up``; see Malha. All names of the
SDK are here.
"""

from importlib.metadata import version

from malha.sdk._call_settings import Pace, VadSettings, Window
from malha.sdk._format import Encoding
from malha.sdk._source import AudioSource
from malha.sdk._unsaved import UnsavedAudio
from malha.sdk.catalog import Health, Model, Voice
from malha.sdk.chat import ChatAnswer, ChatDelta, ChatMessage, ChatModel, ChatRole, ChatStream, Citation
from malha.sdk.client import Malha
from malha.sdk.diarization import Diarization, DiarizationEvent, DiarizationStream, EnrolledSpeaker, SpeakerMatch, Turn
from malha.sdk.errors import (
    Aborted,
    AlreadyClosed,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    MalhaError,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ServerError,
    SessionLost,
    TokenMissing,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from malha.sdk.events import (
    Ack,
    Amended,
    CallWarning,
    ChannelSummary,
    Closed,
    Engine,
    Event,
    Evidence,
    Final,
    Gap,
    GoAway,
    Insight,
    Opened,
    Partial,
    Resumed,
    Role,
    Segment,
    SpeechEnded,
    SpeechStarted,
    Summary,
    Transcript,
    Word,
)
from malha.sdk.insights import AnalysisEvent, AnalysisInput, AnalysisOpened, AnalysisSource, AnalysisStream, Decision, InsightFeedback, Tick
from malha.sdk.knowledge import Document
from malha.sdk.live import FeedbackAction, LiveCall
from malha.sdk.ocr import (
    DocumentSource,
    DocumentText,
    Page,
    PageBlock,
    PageBox,
    PageFailure,
    PageLine,
    PageOrigin,
    PageStream,
)
from malha.sdk.rules import Backtest, BacktestMatch, FewShot, InsightConfiguration, InsightPolicy, InsightType, Offer, Rule
from malha.sdk.speech import Mark, Speech, SpeechChunk, SpeechEncoding, SpeechStream, TextPiece, TextSource
from malha.sdk.sync import (
    AnalysisStreamSync,
    ChatStreamSync,
    DiarizationStreamSync,
    LiveCallSync,
    MalhaSync,
    PageStreamSync,
    SpeechStreamSync,
)
from malha.sdk.transcription import ChannelTranscript, Progress, Transcription

__version__ = version("malha-sdk")

__all__ = [
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
    "__version__",
]
