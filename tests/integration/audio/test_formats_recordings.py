"""Real recordings: Ogg/Opus against FFmpeg's own decode of the same file, WAV and FLAC whole and as streams."""

import io

import av
import numpy as np
import pytest
from unit.audio.format_streams import decode, reference

from malha.audio.formats.base import create_decoder
from malha.audio.formats.opus import OpusHead
from malha.audio.formats.upload import FileDecoder

MAX_LAG_FRAMES = 4


@pytest.mark.parametrize("name", [f"fleurs-{language}-00{number}" for language in ("en", "es", "pt") for number in range(5)])
def test_ogg_recordings(shared_data, name):
    """FFmpeg's own Opus decoder is not libopus: it is up to two frames (40 us) off, and shapes the upper band otherwise."""
    stream = (shared_data / "speech" / f"{name}.ogg").read_bytes()
    samples = decode(create_decoder("ogg", 0, 0), stream, range(0, len(stream), 777))
    with av.open(io.BytesIO(stream), format="ogg") as source:
        head = OpusHead.parse(source.streams.audio[0].codec_context.extradata)
        own = np.concatenate([frame.to_ndarray() for frame in source.decode(audio=0)], axis=1)[0]
    assert head.pre_skip > 0
    assert samples.shape == (len(own), 1)
    assert np.array_equal(samples, reference(stream, "ogg"))
    middle = samples[MAX_LAG_FRAMES:-MAX_LAG_FRAMES, 0]
    lags = [np.corrcoef(middle, own[lag : lag + len(middle)])[0, 1] for lag in range(2 * MAX_LAG_FRAMES + 1)]
    assert max(lags) > 0.98


@pytest.mark.parametrize("name", ["speech/LapsBM_0240.wav", "diarization/sample.wav"])
def test_wav_recordings(shared_data, name):
    path = shared_data / name
    stream = path.read_bytes()
    decoder = create_decoder("wav", 0, 0)
    streamed = decode(decoder, stream, range(0, len(stream), 1001))
    with FileDecoder(path, 600) as file:
        assert (file.sample_rate, file.channels) == (decoder.sample_rate, decoder.channels) == (16_000, 1)
        assert np.array_equal(np.concatenate(list(file)), streamed)
    assert np.abs(streamed).max() > 1000


@pytest.mark.parametrize(
    ("name", "rate", "channels", "seconds"),
    [("calls/auto-repairs-40.stereo8k.flac", 8_000, 2, 245.4), ("speech/jfk.flac", 44_100, 2, 11.0)],
)
def test_flac_recordings(shared_data, name, rate, channels, seconds):
    with FileDecoder(shared_data / name, 600) as file:
        frames = 0
        loudest = np.zeros(channels)
        for block in file:
            frames += len(block)
            assert len(block) < 2 * rate
            loudest = np.maximum(loudest, np.abs(block.astype(int)).max(axis=0))
    assert (file.sample_rate, file.channels) == (rate, channels)
    assert frames / rate == pytest.approx(seconds, abs=0.1)
    assert loudest.min() > 1000
