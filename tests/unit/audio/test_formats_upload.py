"""Whole files through FFmpeg: those that are audio, and those that only claim to be."""

import io
import signal
import subprocess
import sys

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.audio.format_streams import TONE_HERTZ, mux, ogg, page, pages, peak_hertz, tone, webm

from malha.audio.formats.upload import FileDecoder, _open
from malha.audio.formats.wav import encode_wav
from malha.runtime.errors import UnsupportedFormat

RATE = 44_100
PCM = tone(2.5, RATE, 2)
FLAC = mux("flac", "flac", PCM, RATE)
MP3 = mux("mp3", "libmp3lame", PCM, RATE)
ID3 = b"ID3\x04\0\0\0\0\x02\x01" + bytes(257)


@pytest.fixture
def decode(tmp_path):
    """Writes a file under a name that says nothing and decodes it."""

    def run(content: bytes, *, name: str = "upload", max_seconds: float = 60.0) -> tuple[int, list[np.ndarray]]:
        path = tmp_path / name
        path.write_bytes(content)
        with FileDecoder(path, max_seconds) as decoder:
            blocks = list(decoder)
            assert all(block.dtype == np.int16 and block.shape[1] == decoder.channels for block in blocks)
            return decoder.sample_rate, blocks

    return run


@pytest.mark.parametrize(
    "content",
    [
        encode_wav(PCM, RATE, 2),
        mux("wav", "pcm_s24le", PCM, RATE),
        mux("wav", "pcm_f32le", PCM, RATE),
        FLAC,
        ID3 + FLAC,
        mux("matroska", "pcm_s16le", PCM, RATE),
        mux("mov", "alac", PCM, RATE),
    ],
    ids=["wav", "wav24", "wavfloat", "flac", "flac-id3", "matroska", "alac"],
)
def test_lossless_files_come_back(decode, content):
    rate, blocks = decode(content)
    assert rate == RATE
    assert np.array_equal(np.concatenate(blocks), PCM)
    assert all(RATE <= len(block) < 1.2 * RATE for block in blocks[:-1])
    assert len(blocks) == 3


@pytest.mark.parametrize(
    ("content", "rate"),
    [
        (MP3, RATE),
        (ID3 + MP3, RATE),
        (mux("mp4", "aac", PCM, RATE), RATE),
        (mux("wav", "pcm_mulaw", PCM, RATE), RATE),
        (ogg(2.5, 2), 48_000),
        (webm(2.5, 2, live=False), 48_000),
        (webm(2.5, 2, live=True), 48_000),
        (mux("matroska", "aac", PCM, RATE, video=True), RATE),
    ],
    ids=["mp3", "mp3-id3", "m4a", "mulaw", "ogg", "webm", "webm-live", "with-video"],
)
def test_lossy_files_sound_alike(decode, content, rate):
    found, blocks = decode(content)
    samples = np.concatenate(blocks)
    assert found == rate
    assert len(samples) == pytest.approx(2.5 * rate, abs=0.06 * rate)
    assert [peak_hertz(samples[:, index], rate) for index in range(2)] == pytest.approx([TONE_HERTZ, 2 * TONE_HERTZ], abs=2)


def test_mono_stays_mono(decode):
    rate, blocks = decode(encode_wav(tone(0.5, 8_000, 1), 8_000, 1))
    assert (rate, [block.shape for block in blocks]) == (8_000, [(4_000, 1)])


def test_the_name_of_a_file_says_nothing(decode):
    assert np.array_equal(np.concatenate(decode(FLAC, name="song.mp3")[1]), PCM)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EMPTY_FILE"),
        (b"\0", "NOT_AUDIO"),
        (b"%PDF-1.7\n" + bytes(500), "NOT_AUDIO"),
        (PLAYLIST, "NOT_AUDIO"),
        (CONCAT, "NOT_AUDIO"),
        (b"\xff\xfe<\0h\0t\0m\0l\0", "NOT_AUDIO"),
        (b"RIFF\x10\0\0\0AVI LIST", "NOT_AUDIO"),
        (mux("adts", "aac", PCM[:RATE], RATE), "NOT_AUDIO"),
        (encode_wav(PCM, RATE, 2)[:30], "CORRUPT_CONTAINER"),
        (encode_wav(PCM[:0], RATE, 2), "CORRUPT_CONTAINER"),
        (FLAC[:40], "CORRUPT_CONTAINER"),
        (FLAC[:4] + bytes(4000), "CORRUPT_CONTAINER"),
        (MP3[:100], "CORRUPT_CONTAINER"),
        (ID3, "CORRUPT_CONTAINER"),
        (ID3[:12], "CORRUPT_CONTAINER"),
        (ID3 + PLAYLIST, "CORRUPT_CONTAINER"),
        (ogg(1.0)[:60], "CORRUPT_CONTAINER"),
        (b"".join(pages(ogg(1.0))[:2]), "CORRUPT_CONTAINER"),
        (webm(1.0)[:100], "CORRUPT_CONTAINER"),
        (mux("mp4", "aac", PCM, RATE)[:600], "CORRUPT_CONTAINER"),
        (mux("wav", "pcm_s16le", np.zeros((800, 6), np.int16), 8_000), "UNSUPPORTED_FORMAT"),
        (encode_wav(bytes(4000), 4_000, 1), "UNSUPPORTED_FORMAT"),
        (mux("wav", "adpcm_ms", PCM, RATE), "UNSUPPORTED_FORMAT"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}-bytes",
)
def test_what_is_not_audio_is_refused(decode, content, reason):
    with pytest.raises(UnsupportedFormat) as caught:
        decode(content)
    assert caught.value.reason == reason


def test_a_file_without_an_audio_track_is_refused(decode):
    video_only = page(2, 0, 1, 0, b"\x2a", b"\x80theora\3\2\1" + bytes(32)) + page(4, 0, 1, 1, b"", b"")
    with pytest.raises(UnsupportedFormat) as caught:
        decode(video_only)
    assert caught.value.reason in {"NOT_AUDIO", "CORRUPT_CONTAINER"}


def test_ffmpeg_opens_no_other_file(tmp_path, monkeypatch):
    """Not even a demuxer made for it could: without the guards this list is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(encode_wav(PCM, RATE, 2))
    playlist = b"ffconcat version 1.0\nfile secret.wav\n"
    with av.open(io.BytesIO(playlist), format="concat") as unguarded:
        assert len(unguarded.streams.audio) == 1
    with pytest.raises(UnsupportedFormat) as caught:
        _open(io.BytesIO(playlist), "concat")
    assert caught.value.reason == "CORRUPT_CONTAINER"


@pytest.mark.parametrize("content", [encode_wav(PCM, RATE, 2), FLAC, MP3, ogg(2.5, 2), webm(2.5, 2, live=True)])
def test_too_long_is_refused_from_the_header_or_while_decoding(decode, content):
    with pytest.raises(UnsupportedFormat, match="longer than 2 s") as caught:
        decode(content, max_seconds=2)
    assert caught.value.reason == "TOO_LONG"
    assert decode(content, max_seconds=2.7)


def test_a_file_cut_off_gives_what_is_there(decode):
    samples = np.concatenate(decode(encode_wav(PCM, RATE, 2)[: 44 + 4 * RATE + 1])[1])
    assert np.array_equal(samples, PCM[:RATE])
    assert len(np.concatenate(decode(MP3[: len(MP3) // 2])[1])) == pytest.approx(1.25 * RATE, abs=0.1 * RATE)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_of_unknown_size(decode, size):
    stream = encode_wav(PCM, RATE, 2)
    stream = stream[:40] + size.to_bytes(4, "little") + stream[44:]
    assert np.array_equal(np.concatenate(decode(stream)[1]), PCM)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.sampled_from(
        [encode_wav(PCM[:4000], RATE, 2), FLAC[:20_000], MP3[:8_000], ogg(0.3), webm(0.3), mux("mp4", "aac", PCM[:8_000], RATE)]
    ),
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=12),
    length=st.floats(0, 1),
)
def test_damage_is_survived_or_refused(decode, base, damage, length):
    content = bytearray(base)
    for where, what in damage:
        at = int(where * len(content))
        content[at : at + len(what)] = what
    try:
        _, blocks = decode(bytes(content[: int(length * len(content))]), max_seconds=10)
    except UnsupportedFormat:
        return
    assert 0 < sum(map(len, blocks)) <= 10 * 192_000


def run_limited(code: str) -> subprocess.CompletedProcess[str]:
    program = f"from malha.runtime.process_limits import limit_process\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_memory_is_bounded():
    done = run_limited("limit_process(2 << 30, 60)\ntry:\n    bytearray(3 << 30)\nexcept MemoryError:\n    print('refused')")
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_cpu_time_is_bounded_from_now_on_and_can_be_given_anew():
    done = run_limited("limit_process(8 << 30, 60)\nlimit_process(8 << 30, 1)\nwhile True: pass")
    assert done.returncode == -signal.SIGXCPU
    more = run_limited(
        "import resource\nlimit_process(8 << 30, 1)\nlimit_process(8 << 30, 60)\nprint(resource.getrlimit(resource.RLIMIT_CPU)[0] >= 60)"
    )
    assert (more.returncode, more.stdout) == (0, "True\n"), more.stderr
