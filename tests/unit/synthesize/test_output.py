"""Speech in the format a client asked for. FFmpeg, through PyAV, is the other side."""

import io
import struct
import threading

import av
import numpy as np
import pytest
import soxr

from malha.synthesize.encoders import Encoders
from malha.synthesize.output import ALAW_OF, MULAW_OF, RATES, Coding, OutputFormat, SpeechWriter, wav_header

SOURCE = 22_050


def tone(seconds: float, rate: int = SOURCE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    fade = np.minimum(1, np.minimum(time, seconds - time) * 50)
    return (12_000 * np.sin(2 * np.pi * 440 * time) * fade).astype(np.int16)


def write(writer: SpeechWriter, pcm: bytes, size: int) -> bytes:
    return b"".join(writer.write(pcm[start : start + size]) for start in range(0, len(pcm), size)) + writer.end_sentence()


def decoded(codec: str, data: bytes) -> np.ndarray:
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    return np.concatenate([frame.to_ndarray().ravel() for frame in decoder.decode(av.Packet(data))]).astype(np.int32)


@pytest.mark.parametrize(("codec", "table", "cut"), [("pcm_mulaw", MULAW_OF, 4), ("pcm_alaw", ALAW_OF, 8)])
def test_every_g711_code_stands_for_its_sample(codec: str, table: np.ndarray, cut: int) -> None:
    """Within half a step of its segment, after G.711 has cut the sample to 14 or 13 bits; and louder samples never sound quieter."""
    levels = decoded(codec, bytes(range(256)))
    samples = np.arange(-(1 << 15), 1 << 15)
    heard = levels[table[samples & 0xFFFF]]
    assert (np.diff(heard) >= 0).all()
    magnitudes = np.unique(np.abs(levels))
    steps = dict(zip(magnitudes.tolist(), np.append(np.diff(magnitudes), magnitudes[-1] - magnitudes[-2]).tolist(), strict=True))
    half_steps = np.array([steps[magnitude] / 2 for magnitude in np.abs(heard).tolist()])
    inside = np.abs(samples) <= magnitudes[-1]
    assert (np.abs(heard - samples)[inside] <= half_steps[inside] + cut).all()
    assert set(range(256)) - set(table.tolist()) <= {0x7F}  # mu-law has two zeros and needs one


def test_g711_of_the_extremes() -> None:
    codes = {value: (int(MULAW_OF[value & 0xFFFF]), int(ALAW_OF[value & 0xFFFF])) for value in (0, 32767, -32768, -1)}
    assert codes == {0: (0xFF, 0xD5), 32767: (0x80, 0xAA), -32768: (0x00, 0x2A), -1: (0x7E, 0x55)}


@pytest.mark.parametrize("coding", [Coding.MULAW, Coding.ALAW])
def test_g711_speech_keeps_its_shape(coding: Coding) -> None:
    writer = SpeechWriter(OutputFormat(coding, 8000), 8000)
    pcm = tone(0.5, 8000)
    out = decoded(f"pcm_{coding.value}", write(writer, pcm.tobytes(), 1000))
    noise = out - pcm
    assert 10 * np.log10((pcm.astype(float) ** 2).mean() / (noise.astype(float) ** 2).mean()) > 30


def test_the_engines_own_rate_passes_unchanged() -> None:
    writer = SpeechWriter(OutputFormat(Coding.PCM16, SOURCE), SOURCE)
    pcm = tone(0.3).tobytes()
    assert write(writer, pcm, 4410) == pcm
    assert writer.seconds == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_each_sentence_is_resampled_whole_however_it_was_cut(rate: int) -> None:
    writer = SpeechWriter(OutputFormat(Coding.PCM16, rate), SOURCE)
    pcm = tone(0.5)
    expected = soxr.resample(pcm, SOURCE, rate).astype(np.int32)
    for size in (len(pcm) * 2, 4410, 2):
        out = np.frombuffer(write(writer, pcm.tobytes(), size), np.int16).astype(np.int32)
        assert abs(len(out) - len(expected)) <= 1
        shared = min(len(out), len(expected))
        assert np.abs(out[:shared] - expected[:shared]).max() <= 2
    assert writer.seconds == pytest.approx(1.5, abs=0.001)


def test_silence_between_sentences_is_not_dragged_into_the_next() -> None:
    writer = SpeechWriter(OutputFormat(Coding.PCM16, 16_000), SOURCE)
    write(writer, tone(0.2).tobytes(), 4410)
    quiet = np.frombuffer(write(writer, bytes(SOURCE), 4410), np.int16)
    assert np.abs(quiet).max() <= 1


def test_an_empty_sentence_gives_nothing() -> None:
    writer = SpeechWriter(OutputFormat(Coding.PCM16, 16_000), SOURCE)
    assert writer.end_sentence() == b""
    assert writer.seconds == 0


def test_a_wav_stream_is_read_by_ffmpeg() -> None:
    writer = SpeechWriter(OutputFormat(Coding.WAV, 16_000), SOURCE)
    data = writer.header() + write(writer, tone(0.5).tobytes(), 4410)
    with av.open(io.BytesIO(data), format="wav") as container:
        stream = container.streams.audio[0]
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(stream)])
        assert (stream.rate, stream.channels, stream.codec_context.name) == (16_000, 1, "pcm_s16le")
    assert samples.size == writer.samples == 8000


def test_a_wav_header_says_that_the_length_is_not_known() -> None:
    header = wav_header(8000)
    assert len(header) == 44
    assert struct.unpack_from("<I", header, 4) == struct.unpack_from("<I", header, 40) == (0xFFFFFFFF,)
    assert SpeechWriter(OutputFormat(Coding.PCM16, 8000), SOURCE).header() == b""


# Compressed


def heard(data: bytes, kind: str) -> tuple[np.ndarray, int]:
    """What FFmpeg reads of a file: samples and their rate."""
    with av.open(io.BytesIO(data), format=kind) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="s16", layout="mono", rate=stream.rate)
        pieces = [each.to_ndarray().ravel() for frame in container.decode(stream) for each in resampler.resample(frame)]
        return np.concatenate([*pieces, *(each.to_ndarray().ravel() for each in resampler.resample(None))]), stream.rate


COMPRESSED = [(coding, rate) for coding, rates in RATES.items() for rate in rates]


@pytest.mark.parametrize(("coding", "rate"), COMPRESSED, ids=[f"{coding.value}-{rate}" for coding, rate in COMPRESSED])
def test_compressed_speech_sounds_as_it_was_spoken(coding: Coding, rate: int) -> None:
    writer = SpeechWriter(OutputFormat(coding, rate), SOURCE)
    pcm = tone(1.0)
    data = writer.header() + write(writer, pcm.tobytes(), 4410) + write(writer, pcm.tobytes(), 44_100) + writer.finish()
    samples, told = heard(data, coding.value)
    assert told == (48_000 if coding is Coding.OGG else rate)  # Opus is always decoded at 48 kHz
    assert samples.size / told == pytest.approx(2.0, abs=0.2)  # MP3 frames are up to 72 ms, and the encoder begins with one of its own
    spectrum = np.abs(np.fft.rfft(samples.astype(float)))
    assert np.argmax(spectrum) * told / samples.size == pytest.approx(440, abs=3)
    assert 0.5 < np.abs(samples).max() / 12_000 < 1.5
    assert writer.seconds == pytest.approx(2.0, abs=0.001)


@pytest.mark.parametrize("coding", [Coding.OGG, Coding.MP3])
def test_compressed_speech_leaves_while_it_is_made(coding: Coding) -> None:
    """A player has all but a tenth of a second of what was written, and a frame or two."""
    writer = SpeechWriter(OutputFormat(coding, 24_000), SOURCE)
    data = writer.header()
    for spoken in range(1, 9):
        data += writer.write(tone(0.25).tobytes())
        if spoken > 1:
            samples, rate = heard(data, coding.value)
            assert samples.size / rate > 0.25 * spoken - 0.25
    assert len(writer.finish()) > 0
    assert len(data) < 2.0 * 24_000 * 2 / 4


@pytest.mark.parametrize("coding", [Coding.OGG, Coding.MP3])
def test_compressed_silence_is_a_file_too(coding: Coding) -> None:
    writer = SpeechWriter(OutputFormat(coding, 16_000), SOURCE)
    data = writer.header() + writer.end_sentence() + writer.finish()
    assert writer.samples == 0
    assert coding is Coding.MP3 or data.startswith(b"OggS")


async def test_encoders_work_beside_the_event_loop() -> None:
    encoders = Encoders()
    loop_thread = threading.get_ident()
    try:
        assert await encoders.run(threading.get_ident) != loop_thread
        assert await encoders.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await encoders.run(divmod, 7, 0)
    finally:
        encoders.close()
