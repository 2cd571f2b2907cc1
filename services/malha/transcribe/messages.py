"""The contract's messages to Transcribe's domain and back."""

from collections.abc import Sequence

from malha.api.common.v1 import media_pb2, transcript_pb2
from malha.api.transcribe.v1 import transcribe_pb2 as api
from malha.runtime.durations import duration
from malha.runtime.errors import UnsupportedFormat
from malha.transcribe.engine import Capabilities, Hypothesis, Recogniser, RecognitionConfig, Word

DEFAULT_RATE = 16_000
SAMPLE_BYTES = 2
STREAM_TAKES = "Transcribe takes one channel of ENCODING_PCM16; AudioStreamService takes the other formats"
ALIGN_TAKES = (
    'Align takes the raw samples of one channel, 16-bit little-endian, as `content` (in JSON as base64), and `format` {"encoding": '
    '"ENCODING_PCM16", "sample_rate_hertz": 16000}, or what rate they have; of a file: ffmpeg -i FILE -f s16le -ac 1 -ar 16000 samples.raw'
)


def stream_rate(opening: api.Open) -> int:
    """Samples per second of a stream. Raises UnsupportedFormat."""
    return _rate(opening.format, STREAM_TAKES, "open.format")


def align_rate(request: api.AlignRequest) -> int:
    """Samples per second of what is to be aligned. Raises UnsupportedFormat where it is not whole samples, and some."""
    rate = _rate(request.format, ALIGN_TAKES, "format")
    content = request.content
    if not content:
        raise UnsupportedFormat(f"`content` is empty: {ALIGN_TAKES}", reason="NO_AUDIO", violations={"content": "is empty"})
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        raise UnsupportedFormat(f"`content` is a WAV file: {ALIGN_TAKES}", violations={"content": "is a WAV file"})
    if len(content) % SAMPLE_BYTES:
        wrong = "is not a whole number of 16-bit samples"
        raise UnsupportedFormat(f"`content` {wrong}: {ALIGN_TAKES}", reason="PARTIAL_FRAME", violations={"content": wrong})
    return rate


def _rate(audio: media_pb2.AudioFormat, takes: str, field: str) -> int:
    if audio.encoding != media_pb2.ENCODING_PCM16 or (audio.HasField("channels") and audio.channels != 1):
        raise UnsupportedFormat(takes, violations={field: "must be ENCODING_PCM16, one channel"})
    return audio.sample_rate_hertz if audio.HasField("sample_rate_hertz") else DEFAULT_RATE


def opened_message(config: RecognitionConfig, can: Capabilities, *, align: bool) -> api.Opened:
    model = config.model if config.model in can.models else can.models[0] if can.models else ""
    return api.Opened(
        engine=media_pb2.Engine(name=can.name, version=can.version, model=model),
        language=config.language,
        incremental=can.incremental,
        interim=config.interim,
        words=config.words or align,
        align=align,
    )


def model_message(can: Capabilities, model: str) -> api.Model:
    return api.Model(name=model, engine=media_pb2.Engine(name=can.name, version=can.version, model=model), languages=can.languages)


def final_message(ordinal: int, hypothesis: Hypothesis, seconds: float, words: Sequence[Word], *, aligned: bool) -> api.Final:
    return api.Final(
        utterance=ordinal,
        text=hypothesis.text,
        confidence=hypothesis.confidence or None,
        language=hypothesis.language,
        words=map(word_message, words),
        audio=duration(seconds),
        engine=engine_message(hypothesis.recogniser) if hypothesis.recogniser is not None else None,
        aligned=aligned,
    )


def word_message(word: Word) -> transcript_pb2.Word:
    return transcript_pb2.Word(text=word.text, start=duration(word.start), end=duration(word.end), confidence=word.confidence or None)


def engine_message(who: Recogniser) -> media_pb2.Engine:
    return media_pb2.Engine(name=who.name, version=who.version, model=who.model)
