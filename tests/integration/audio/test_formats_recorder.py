"""Live WebM as a browser makes it: recorded by the MediaRecorder of real Chromium and decoded piece by piece as it would arrive."""

import base64
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from unit.audio.format_streams import TONE_HERTZ, decode, peak_hertz, reference

from malha.audio.formats.base import create_decoder

SECONDS = 2.0
RECORD = """async ([seconds, channels, hertz]) => {
  const context = new AudioContext({sampleRate: 48000});
  await context.resume();
  const sink = context.createMediaStreamDestination();
  sink.channelCount = channels;
  const merger = context.createChannelMerger(channels);
  for (let channel = 0; channel < channels; channel++) {
    const tone = context.createOscillator();
    tone.frequency.value = hertz * (channel + 1);
    const gain = context.createGain();
    gain.gain.value = 0.5;
    tone.connect(gain).connect(merger, 0, channel);
    tone.start();
  }
  merger.connect(sink);
  const recorder = new MediaRecorder(sink.stream, {mimeType: 'audio/webm;codecs=opus'});
  const blobs = [];
  recorder.ondataavailable = event => blobs.push(event.data);
  const stopped = new Promise(resolve => recorder.onstop = resolve);
  recorder.start(100);
  const start = context.currentTime;
  while (context.currentTime < start + seconds) await new Promise(resolve => setTimeout(resolve, 20));
  recorder.stop();
  const recorded = context.currentTime - start;
  await stopped;
  const pieces = [];
  for (const blob of blobs) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    pieces.push(btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join('')));
  }
  return {pieces, recorded};
}"""


@dataclass(frozen=True)
class Recording:
    channels: int
    pieces: list[bytes]
    """As the recorder gave them, one each 100 ms."""
    seconds: float
    """By the audio clock of the page."""


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def recording(request, page):
    result = page.evaluate(RECORD, [SECONDS, request.param, TONE_HERTZ])
    return Recording(request.param, [base64.b64decode(piece) for piece in result["pieces"]], result["recorded"])


def test_the_tone_is_decoded_as_it_comes(recording):
    decoder = create_decoder("webm", 0, 0)
    decoded = [decoder.feed(piece) for piece in recording.pieces]
    decoded.append(decoder.finish())
    assert (decoder.sample_rate, decoder.channels) == (48_000, recording.channels)
    assert len(recording.pieces) >= 10
    gained = list(itertools.accumulate(map(len, decoded)))
    assert gained[len(gained) // 2] > gained[-1] * 0.3  # not all at the end

    samples = np.concatenate([each for each in decoded if len(each)])
    assert len(samples) / 48_000 == pytest.approx(recording.seconds, abs=0.3)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    for index in range(recording.channels):
        assert peak_hertz(middle[:, index], 48_000) == pytest.approx(TONE_HERTZ * (index + 1), abs=3)
        assert np.sqrt(np.mean(middle[:, index].astype(float) ** 2)) == pytest.approx(0.5 * 32_768 / np.sqrt(2), rel=0.1)


def test_it_is_what_ffmpeg_decodes(recording):
    stream = b"".join(recording.pieces)
    samples = decode(create_decoder("webm", 0, 0), stream)
    assert np.array_equal(samples, reference(stream, "matroska"))


def test_a_lost_server_is_replaced_in_the_middle(recording):
    """The new one is fed the header and what lies from ``keep_from_byte`` on, and goes on at the same frame."""
    stream = b"".join(recording.pieces)
    whole = decode(create_decoder("webm", 0, 0), stream)
    lost = create_decoder("webm", 0, 0)
    for piece in recording.pieces[: len(recording.pieces) // 2]:
        lost.feed(piece)
    assert 0 < lost.header_bytes < lost.keep_from_byte
    heir = create_decoder("webm", 0, 0)
    assert heir.feed(stream[: lost.header_bytes]).shape == (0, recording.channels)
    heir.restart(lost.keep_from_byte, lost.keep_from_frame)
    rest = heir.feed(stream[lost.keep_from_byte :])
    assert len(rest) == len(whole) - lost.keep_from_frame
    settled = 48_000 // 5
    assert np.max(np.abs(rest[settled:].astype(int) - whole[lost.keep_from_frame + settled :])) < 300
